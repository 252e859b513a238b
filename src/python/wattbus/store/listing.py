"""Pages of the message list, the newest first, each found by a bounded look whatever the store holds.

A page is a range of ids, so that a later page costs what the first one costs. What no index serves is looked for in so
many of the newest messages and no more; the page then says how far it looked and where to search on. The conditions
on time become a range of ids as well: a message id is its place in the order of acceptance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, func, select, text

from wattbus.store.filters import MessageFilter
from wattbus.store.tables import Status, messages

#: How many messages are looked through for one page: their headers, or their bodies as well.
LOOKED_THROUGH = 100_000
BODIES_LOOKED_THROUGH = 10_000
MOST_LINES = 500
#: A clock that was set back puts a message out of the order of time by so many places at most.
_OUT_OF_ORDER = 10_000
#: As the condition of the index says it, so that the index serves it.
_DEAD = text("status IN ('Error', 'Suspended')")
_DEAD_STATUSES = {Status.ERROR.value, Status.SUSPENDED.value}
_ONE = messages.c
_COLUMNS: tuple[ColumnElement[Any], ...] = (
    _ONE.id, _ONE.session_id, _ONE.type, _ONE.source_item, _ONE.target_item, _ONE.body_class, _ONE.status,
    _ONE.is_error, func.substr(_ONE.error_status, 1, 300), _ONE.time_created_us, _ONE.time_processed_us, _ONE.attempts,
    _ONE.resent,
)  # fmt: skip


@dataclass(frozen=True)
class MessageLine:
    """A message in a list: of its header what a list shows, of its body nothing."""

    id: int
    session_id: int
    type: str  # Request, Response
    source: str
    target: str
    body_class: str
    status: str
    is_error: bool
    error: str | None  # its first characters
    created_us: int
    processed_us: int | None
    attempts: int
    resent: str | None


@dataclass(frozen=True)
class MessagePage:
    """Some lines, the newest first, and where the pages beside them begin."""

    lines: list[MessageLine]
    older: int | None  # as ``before`` it gives the next page; None: there is nothing older
    newer: int | None  # as ``after`` it gives the page before; None: there is nothing newer
    looked_through: int | None  # where the look was cut: after so many messages; the page beside searches on


def message_page(
    engine: Engine,
    which: MessageFilter,
    *,
    limit: int = 50,
    before: int | None = None,
    after: int | None = None,
    reach: int | None = None,
) -> MessagePage:
    """Return the newest messages of a filter: those older than ``before``, or the next ones newer than ``after``.

    ``reach`` is how many messages are looked through at most, by default as many as take a moment.
    """
    with engine.connect() as connection:
        look = _Look(connection, which, min(max(1, limit), MOST_LINES), reach)
        return look.older(before) if after is None else look.newer(after)


def newest_id(engine: Engine) -> int:
    """Return the id of the newest message; 0: there is none."""
    with engine.connect() as connection:
        return int(connection.execute(select(func.max(_ONE.id))).scalar() or 0)


def message_ids(engine: Engine, which: MessageFilter, *, chunk: int = 500) -> Iterator[list[int]]:
    """Yield the ids of all messages of a filter, the newest first, in chunks of ``chunk`` at most."""
    before: int | None = None
    while True:
        page = message_page(engine, which, limit=chunk, before=before)
        if page.lines:
            yield [line.id for line in page.lines]
        if page.older is None:
            return
        before = page.older


class _Look:
    """One look into the store for one page."""

    def __init__(self, connection: Connection, which: MessageFilter, limit: int, reach: int | None) -> None:
        self._connection, self._which, self._limit = connection, which, limit
        self._conditions = which.conditions(connection.dialect.name)
        self._window: list[ColumnElement[bool]] = []
        if which.session_id is not None:
            self._window = [_ONE.session_id == which.session_id]
        elif which.statuses and _DEAD_STATUSES.issuperset(which.statuses):
            self._window = [_DEAD]  # type: ignore[list-item]
        self._reach = reach or (BODIES_LOOKED_THROUGH if which.searches_bodies else LOOKED_THROUGH)
        self._first, self._last = self._ends()

    def older(self, before: int | None) -> MessagePage:
        top = self._last + 1 if before is None else min(before, self._last + 1)
        bottom = self._edge(top, down=True)
        lines = self._lines(_ONE.id < top, _ONE.id >= bottom, order=_ONE.id.desc())
        more = len(lines) > self._limit
        lines = lines[: self._limit]
        cut = not more and bottom > self._first
        older = lines[-1].id if more else bottom if cut else None
        newer = None if before is None else lines[0].id if lines else before - 1
        return MessagePage(lines, older, newer, self._reach if cut else None)

    def newer(self, after: int) -> MessagePage:
        bottom = max(after + 1, self._first)
        top = self._edge(bottom, down=False)
        lines = self._lines(_ONE.id >= bottom, _ONE.id <= top, order=_ONE.id)
        more = len(lines) > self._limit
        lines = lines[: self._limit][::-1]
        cut = not more and top < self._last
        newer = lines[0].id if more else top if cut else None
        older = lines[-1].id if lines else bottom
        return MessagePage(lines, older, newer, self._reach if cut else None)

    def _lines(self, *bounds: ColumnElement[bool], order: Any) -> list[MessageLine]:
        query = (
            select(*_COLUMNS)
            .where(*self._window, *bounds, *self._conditions)
            .order_by(order)
            .limit(self._limit + 1)
        )
        return [MessageLine(*row) for row in self._connection.execute(query)]

    def _edge(self, start: int, *, down: bool) -> int:
        """Return the id at which the look ends that begins at ``start``."""
        if not self._conditions:
            return self._first if down else self._last
        if not self._window:  # ids have few gaps, and a gap makes the look only shorter
            return max(self._first, start - self._reach) if down else min(self._last, start + self._reach)
        query = select(_ONE.id).where(*self._window)
        query = (
            query.where(_ONE.id < start).order_by(_ONE.id.desc())
            if down
            else query.where(_ONE.id >= start).order_by(_ONE.id)
        )
        found = self._connection.execute(query.limit(1).offset(self._reach - 1)).scalar()
        if found is None:
            return self._first if down else self._last
        return max(self._first, int(found)) if down else min(self._last, int(found))

    def _ends(self) -> tuple[int, int]:
        """Return the first and the last id that can be meant."""
        first, last = self._connection.execute(
            select(select(func.min(_ONE.id)).scalar_subquery(), select(func.max(_ONE.id)).scalar_subquery())
        ).one()
        if last is None:
            return 0, -1
        which = self._which
        begin, end = (
            max(int(first), which.first_id or 0),
            min(int(last), last if which.last_id is None else which.last_id),
        )
        if which.since_us is not None:
            begin = max(begin, self._id_at(which.since_us, first, last) - _OUT_OF_ORDER)
        if which.until_us is not None:
            end = min(end, self._id_at(which.until_us, first, last) + _OUT_OF_ORDER)
        return begin, end

    def _id_at(self, time_us: int, first: int, last: int) -> int:
        """Return the first id that was accepted at a time or later, by halving."""
        low, high = first, last + 1
        while low < high:
            middle = (low + high) // 2
            row = self._connection.execute(
                select(_ONE.id, _ONE.time_created_us).where(_ONE.id >= middle).order_by(_ONE.id).limit(1)
            ).one()
            if row.time_created_us >= time_us:
                high = middle
            else:
                low = row.id + 1
        return low
