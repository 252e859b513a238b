"""The event log as people look through it: filtered, newest first, page by page.

A page looks at a bounded number of lines, whatever it filters by: where few of them fit, it says how far it has looked
and the next page goes on there. So a page costs the same on a log of a thousand lines and of ten million.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, case, func, or_, select, text

from wattbus.errors import BadRequest, UnknownName
from wattbus.store.filters import parse_terms
from wattbus.store.queries import EventLine
from wattbus.store.tables import event_log

#: The types of lines, the gravest first; those of IRIS.
TYPES = ("Assert", "Error", "Warning", "Alert", "Info", "Status", "Trace")
#: The types of the index: few lines have them. As the condition of the index says it, so that the index serves it.
_GRAVE_TYPES = frozenset({"Assert", "Error", "Warning", "Alert"})
_GRAVE = text("type IN ('Alert', 'Assert', 'Error', 'Warning')")
#: Of a text, a page shows so much; the rest is on a page of its own.
LONGEST_TEXT = 4_000
#: The most lines that one page looks at.
MOST_LOOKED_AT = 50_000
# Lines are written soon after they are made: their order is that of their times, but for moments and a clock set back.
_SLACK_US = 60_000_000


@dataclass(frozen=True)
class EventFilter:
    """Which lines are meant; a field that is None or empty asks for nothing."""

    types: tuple[str, ...] = ()
    item: str | None = None
    session_id: int | None = None
    message_id: int | None = None
    contains: str | None = None
    since_us: int | None = None
    until_us: int | None = None

    @property
    def is_indexed(self) -> bool:
        """Tell whether an index leads to the lines: then none is looked at in vain."""
        rest = self.item is None and self.contains is None and self.message_id is None
        return self.session_id is not None or (rest and self._is_grave)

    @property
    def _is_grave(self) -> bool:
        return bool(self.types) and _GRAVE_TYPES.issuperset(self.types)

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of a query."""
        one = event_log.c
        found: list[ColumnElement[bool]] = []
        if self.types:
            found.append(one.type == self.types[0] if len(self.types) == 1 else one.type.in_(self.types))
        if self._is_grave and self.session_id is None:
            found.append(_GRAVE)  # type: ignore[arg-type]
        if self.item is not None:
            found.append(one.item == self.item)
        if self.session_id is not None:
            found.append(one.session_id == self.session_id)
        if self.message_id is not None:
            found.append(one.message_id == self.message_id)
        if self.contains is not None:
            found.append(
                or_(
                    one.text.icontains(self.contains, autoescape=True),
                    one.source_class.icontains(self.contains, autoescape=True),
                )
            )
        if self.since_us is not None:
            found.append(one.time_us >= self.since_us)
        if self.until_us is not None:
            found.append(one.time_us < self.until_us)
        return found


@dataclass(frozen=True)
class EventPage:
    """Some lines, the newest first."""

    lines: list[EventLine]
    #: Where the next page begins; None: there is nothing further down.
    next_before: int | None
    #: When the oldest line was written that was looked at, where the look ended before a page was full.
    looked_back_to_us: int | None = None


def event_filter(
    *,
    types: list[str] | None = None,
    item: str = "",
    session: str = "",
    message: str = "",
    contains: str = "",
    since: str = "",
    until: str = "",
    now_us: int | None = None,
) -> EventFilter:
    """Read a filter out of texts as a person gives them; what is not understood is refused in a sentence."""
    known = {name.casefold(): name for name in TYPES}
    for name in types or ():
        if name.casefold() not in known:
            raise UnknownName("type", name, TYPES)
    terms = [
        f"{key}={value}" for key, value in (("since", since), ("until", until), ("session", session)) if value
    ]
    read = parse_terms(terms, now_us)
    number = parse_terms([f"id={message}"], now_us) if message else None
    if number is not None and number.first_id != number.last_id:
        raise BadRequest(f"{message!r} is no id of one message: give a whole number.")
    return EventFilter(
        tuple(dict.fromkeys(known[name.casefold()] for name in types or ())),
        item or None,
        read.session_id,
        None if number is None else number.first_id,
        contains or None,
        read.since_us,
        read.until_us,
    )


def event_page(
    engine: Engine,
    which: EventFilter,
    *,
    limit: int = 100,
    before: int | None = None,
    longest: int | None = LONGEST_TEXT,
) -> EventPage:
    """Return the lines of a filter, the newest first, from below the line ``before``.

    A text that is longer than ``longest`` is cut, and ends with an ellipsis.
    """
    with engine.connect() as connection:
        newest = connection.execute(select(func.max(event_log.c.id))).scalar() or 0
        below = min(before or newest + 1, newest + 1)
        if which.until_us is not None:
            below = min(below, _first_after(connection, which.until_us + _SLACK_US, newest))
        lowest = 1
        if which.since_us is not None:
            lowest = max(1, _first_after(connection, which.since_us - _SLACK_US, newest))
        floor = lowest if which.is_indexed else max(lowest, below - MOST_LOOKED_AT)
        # Each type by itself, so that the index gives the lines in their order and none has to be sorted.
        parts = [replace(which, types=(name,)) for name in which.types] if which.is_indexed else []
        rows = [
            row
            for part in parts or [which]
            for row in connection.execute(_page(part, floor, below, limit, longest))
        ]
        found = sorted((EventLine(*row) for row in rows), key=lambda line: -line.id)[:limit]
        if len(found) == limit:
            return EventPage(found, found[-1].id)
        if floor <= lowest:
            return EventPage(found, None)
        oldest = select(event_log.c.time_us).where(event_log.c.id >= floor).order_by(event_log.c.id).limit(1)
        return EventPage(found, floor, connection.execute(oldest).scalar())


def every_event(engine: Engine, which: EventFilter, *, at_once: int = 1000) -> Iterator[EventLine]:
    """Yield all lines of a filter, the newest first, with a page of them in memory."""
    before: int | None = None
    while True:
        page = event_page(engine, which, limit=at_once, before=before, longest=None)
        yield from page.lines
        if page.next_before is None:
            return
        before = page.next_before


def event_line(engine: Engine, line_id: int) -> EventLine:
    """Return one line with its whole text."""
    with engine.connect() as connection:
        row = connection.execute(select(event_log).where(event_log.c.id == line_id)).first()
    if row is None:
        raise BadRequest(f"there is no line {line_id} of the event log: it may have been purged.")
    return EventLine(*row)


def _page(which: EventFilter, floor: int, below: int, limit: int, longest: int | None) -> Select[Any]:
    one = event_log.c
    columns: list[Any] = list(one)
    if longest is not None:
        cut = func.substr(one.text, 1, longest) + "…"
        columns[-1] = case((func.length(one.text) > longest, cut), else_=one.text)
    return (
        select(*columns)
        .where(one.id >= floor, one.id < below, *which.conditions())
        .order_by(one.id.desc())
        .limit(limit)
    )


def _first_after(connection: Connection, time_us: int, newest: int) -> int:
    """Return the id of the first line that was written at a time or later, by halves; one past the last: none was."""
    low, high = 1, newest + 1
    while low < high:
        middle = (low + high) // 2
        query = select(event_log.c.id, event_log.c.time_us).where(event_log.c.id >= middle)
        row = connection.execute(query.order_by(event_log.c.id).limit(1)).first()
        if row is None or row.time_us >= time_us:
            high = middle
        else:
            low = row.id + 1
    return low
