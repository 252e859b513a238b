"""How the queues stand now: how much waits in each, for how long, who works on it, and how fast it moves."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Engine

from wattbus.runtime.running import RunningProduction
from wattbus.store import tried, waiting
from wattbus.store.waiting import MOST_COUNTED


@dataclass(frozen=True)
class QueueStanding:
    """One queue."""

    name: str
    kind: str  # of its item: service, process, operation; empty where there is no such item
    state: str  # of its item
    queued: int
    more: bool  # the queue is longer than it was counted
    oldest_id: int | None
    oldest_us: int | None
    oldest_seconds: float | None
    workers: int
    in_hand: int
    in_per_second: float | None
    out_per_second: float | None
    depths: tuple[int, ...] = ()  # the last half hour


#: So many looks are drawn small.
_DRAWN = 360


def queues(engine: Engine, running: RunningProduction | None) -> list[QueueStanding]:
    """Return every queue: of each item in the order of the production, and those whose items are gone."""
    items = {} if running is None else {item.name: item for item in running.items()}
    names = list(dict.fromkeys([*items, *waiting.queue_names(engine)]))
    found = waiting.depths(engine, names)
    created = waiting.created_us(engine, [one.oldest_id for one in found.values()])
    held = Counter(one.item for one in tried.in_hand(engine)) if running is not None else Counter[str]()
    now_us = time.time_ns() // 1000
    rows = []
    for name in names:
        there, item = found.get(name), items.get(name)
        oldest_us = created.get(there.oldest_id) if there else None
        pool = running.life.pools.get(name) if running is not None else None
        rates = running.queue_history.rates(name) if running is not None else (None, None)
        rows.append(
            QueueStanding(
                name,
                item.kind if item else "",
                item.state if item else "",
                there.queued if there else 0,
                there is not None and there.queued >= MOST_COUNTED,
                there.oldest_id if there else None,
                oldest_us,
                None if oldest_us is None else max(0, now_us - oldest_us) / 1e6,
                len(pool.jobs) if pool is not None else 0,
                held[name],
                *rates,
                running.queue_history.points(name).depths[-_DRAWN:] if running is not None else (),
            )
        )
    return rows
