"""How much waits in the queues and for how long: one query for all, of a few index entries each.

What is counted is counted up to a limit, and the oldest message is the first of each priority in the index of what is
queued: a look costs the same at a hundred queued messages and at a million.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Engine,
    Select,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    union_all,
)

from wattbus.clock import Clock
from wattbus.store.store import Store
from wattbus.store.tables import Priority, messages

_PRIORITIES = (Priority.HIGH_SYNC, Priority.SYNC, Priority.SIM_SYNC, Priority.ASYNC)
_MOST_MARKS = 20_000
#: A queue is counted up to this number: a look at a longer one costs no more.
MOST_COUNTED = 100_000
_QUEUES_AT_ONCE = 100
# Written out, so that the databases see that the partial index of queued messages serves.
_QUEUED: ColumnElement[Any] = literal_column("'Queued'")


class Waiting(NamedTuple):
    """What waits in one queue."""

    queued: int  # up to the limit that was asked for
    oldest_id: int


@dataclass(frozen=True)
class WaitingMessage:
    """A message in a queue, without its body."""

    id: int
    session_id: int
    priority: int
    type: str
    source_item: str
    body_class: str
    time_created_us: int
    not_before_us: int  # by the steady time of the process; 0: at once
    attempts: int


def depths(engine: Engine, queues: Sequence[str]) -> dict[str, Waiting]:
    """Return what waits in each of the queues where something does, counted up to ``MOST_COUNTED``."""
    found: dict[str, Waiting] = {}
    for some in range(0, len(queues), _QUEUES_AT_ONCE):
        found |= waiting(engine, dict.fromkeys(queues[some : some + _QUEUES_AT_ONCE], MOST_COUNTED))[1]
    return found


def queue_names(engine: Engine, most: int = 200) -> list[str]:
    """Return the queues that something waits in, also those of items that are not there any more."""
    names: list[str] = []
    with engine.connect() as connection:
        while len(names) < most:
            # From name to name by the index: what waits in between is not read.
            after = messages.c.target_queue > (names[-1] if names else "")
            query = select(func.min(messages.c.target_queue)).where(messages.c.status == _QUEUED, after)
            name = connection.execute(query).scalar()
            if name is None:
                break
            names.append(str(name))
    return names


def waiting_messages(
    engine: Engine, queue: str, *, limit: int = 50, after: tuple[int, int] | None = None
) -> list[WaitingMessage]:
    """Return the messages of a queue as they will be served; ``after`` is priority and id of the last one seen."""
    one = messages.c
    query = (
        select(
            one.id, one.session_id, one.priority, one.type, one.source_item, one.body_class,
            one.time_created_us, one.not_before_us, one.attempts,
        )
        .where(one.status == _QUEUED, one.target_queue == queue)
        .order_by(one.priority, one.id)
        .limit(limit)
    )  # fmt: skip
    if after is not None:
        query = query.where(tuple_(one.priority, one.id) > after)
    with engine.connect() as connection:
        return [WaitingMessage(*row) for row in connection.execute(query)]


def queues_of(engine: Engine, ids: Sequence[int]) -> dict[int, str]:
    """Return the queue that each message has gone into; a message that is not there is left out."""
    query = select(messages.c.id, messages.c.target_queue).where(messages.c.id.in_(ids))
    with engine.connect() as connection:
        return {row.id: row.target_queue for row in connection.execute(query)}


def created_us(engine: Engine, ids: Sequence[int]) -> dict[int, int]:
    """Return when each message was accepted."""
    query = select(messages.c.id, messages.c.time_created_us).where(messages.c.id.in_(ids))
    with engine.connect() as connection:
        return {row.id: row.time_created_us for row in connection.execute(query)}


def waiting(engine: Engine, limits: Mapping[str, int]) -> tuple[int, dict[str, Waiting]]:
    """Return the newest message id of the store, and what waits in those of the queues where something does.

    ``limits``: the queues to look at, each with the number up to which it is counted.
    """
    with engine.connect() as connection:
        rows = connection.execute(waiting_query(limits)).all()
    found = {
        row[1]: Waiting(row[2], min((first for first in row[3:] if first is not None), default=row[0]))
        for row in rows
        if row[2]
    }
    return max((row[0] or 0 for row in rows), default=0), found


def waiting_query(limits: Mapping[str, int]) -> CompoundSelect[Any]:
    """Return the query behind :func:`waiting`."""
    return union_all(*(_of_queue(queue, limit) for queue, limit in limits.items()))


def _of_queue(queue: str, limit: int) -> Select[Any]:
    queued = (messages.c.status == _QUEUED, messages.c.target_queue == queue)
    some = select(literal_column("1")).select_from(messages).where(*queued).limit(max(1, limit)).subquery()
    firsts = (
        select(func.min(messages.c.id)).where(*queued, messages.c.priority == priority).scalar_subquery()
        for priority in _PRIORITIES
    )
    return select(
        select(func.max(messages.c.id)).scalar_subquery(),
        literal(queue),
        select(func.count()).select_from(some).scalar_subquery(),
        *firsts,
    )


class Arrivals:
    """When messages came, by the clock that only grows: a time of day that jumps makes no message old.

    Ids are the order of acceptance. The newest id is noted each time somebody looks; a message that is older than a
    noted id came before it was noted.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._ids: list[int] = []
        self._seconds: list[float] = []
        self._began_us = 0
        self._before: tuple[int, float] = (
            0,
            0.0,
        )  # a message of the last run, and for how long it had waited then

    def begin(self) -> None:
        """Note what is there already; for those messages alone the time of day counts, once."""
        with self._store.engine.connect() as connection:
            newest = connection.execute(select(func.max(messages.c.id))).scalar() or 0
        self._began_us = self._clock.now_us()
        self._ids, self._seconds = [newest], [self._clock.monotonic()]

    def note(self, newest_id: int) -> None:
        """Note the newest id of now."""
        if newest_id > self._ids[-1]:
            self._ids.append(newest_id)
            self._seconds.append(self._clock.monotonic())
        if len(self._ids) > _MOST_MARKS:
            # Every other of the older half: what waits that long need not be known to the second.
            half = _MOST_MARKS // 2
            self._ids = self._ids[0:1] + self._ids[1:half:2] + self._ids[half:]
            self._seconds = self._seconds[0:1] + self._seconds[1:half:2] + self._seconds[half:]

    def age_seconds(self, message_id: int) -> float:
        """Return for how long, at least, a message has been there."""
        place = bisect_left(self._ids, message_id)
        if place == len(self._ids):
            return 0.0
        age = self._clock.monotonic() - self._seconds[place]
        return age + self._waited_before(message_id) if place == 0 else age

    def _waited_before(self, message_id: int) -> float:
        if self._before[0] != message_id:
            header = self._store.header(message_id)
            created_us = header.time_created_us if header is not None else self._began_us
            self._before = message_id, max(0, self._began_us - created_us) / 1e6
        return self._before[1]
