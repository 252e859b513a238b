"""How much waits in the queues and for how long: one query for all, of a few index entries each.

What is counted is counted up to a limit, and the oldest message is the first of each priority in the index of what is
queued: a look costs the same at a hundred queued messages and at a million.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
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
    union_all,
)

from wattbus.clock import Clock
from wattbus.store.store import Store
from wattbus.store.tables import Priority, messages

_PRIORITIES = (Priority.HIGH_SYNC, Priority.SYNC, Priority.SIM_SYNC, Priority.ASYNC)
_MOST_MARKS = 20_000
# Written out, so that the databases see that the partial index of queued messages serves.
_QUEUED: ColumnElement[Any] = literal_column("'Queued'")


class Waiting(NamedTuple):
    """What waits in one queue."""

    queued: int  # up to the limit that was asked for
    oldest_id: int


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
