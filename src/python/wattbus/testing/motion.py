"""What is in motion in a running production: what goes on by itself, with nobody moving the clock.

A message is not in motion when its time has not come (a retry, a timer), when its item does not run or all of the
item's workers wait, when the thread that holds it sleeps on the test's clock, or when it waits for an answer.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from sqlalchemy import Row, exists, select

from wattbus.runtime.running import RunningProduction
from wattbus.store.tables import OPEN_STATUSES, Priority, Status, attempts, messages

_GOES_ON = ("Starting", "Running", "Stopping")
_OPEN = [status.value for status in OPEN_STATUSES]
_MOVABLE = [Status.CREATED.value, Status.QUEUED.value, Status.DELIVERED.value]


def in_motion(running: RunningProduction, sleeping: frozenset[str] | None) -> list[str]:
    """Say what is in motion; ``sleeping`` are the threads that wait for the test's clock, None: it has none."""
    rows = _open_messages(running)
    items = {status.name: status for status in running.items()}
    now_us = running.store.steady_us()
    held: Counter[str] = Counter()  # workers of an item that wait with a message in hand
    ready, moving = [], []
    for row in rows:
        if row.status == Status.DELIVERED.value:
            if _is_held(row, sleeping):
                held[row.target_item] += 1
            else:
                moving.append(row)
        elif row.not_before_us <= now_us:
            ready.append(row)
        elif row.job is not None and row.target_item in items and items[row.target_item].state in _GOES_ON:
            # A retry waits in the hands of its worker, which must be asleep before the clock may be moved.
            if sleeping is None or row.job in sleeping:
                held[row.target_item] += 1
            else:
                moving.append(row)
    for row in ready:
        item = items.get(row.target_item)
        if item is not None and item.state in _GOES_ON and held[item.name] < item.pool_size:
            moving.append(row)
    said = [
        f"message {row.id} ({row.body_class or 'no body'}) to {row.target_item!r} is {row.status}"
        for row in moving
    ]
    return said if sleeping is None else said + _polling(running, sleeping)


def _is_held(row: Row[Any], sleeping: frozenset[str] | None) -> bool:
    """Tell whether the thread with a message in hand waits."""
    if sleeping is None:
        return bool(row.asks)
    # Who waits for an answer sleeps on the clock as well, but for those that an event loop waits for.
    return row.job in sleeping or bool(row.asks_together)


def _open_messages(running: RunningProduction) -> list[Row[Any]]:
    child = messages.alias()
    asks = exists().where(
        child.c.session_id == messages.c.session_id,
        child.c.parent_id == messages.c.id,
        child.c.type == "Request",
        child.c.status.in_(_OPEN),
    )
    together = asks.where(child.c.priority == Priority.SIM_SYNC)
    # One statement: what moves from one row to the next between two of them would be missed.
    query = (
        select(
            messages.c.id,
            messages.c.target_item,
            messages.c.body_class,
            messages.c.status,
            messages.c.not_before_us,
            attempts.c.job,
            asks.label("asks"),
            together.label("asks_together"),
        )
        .select_from(
            messages.outerjoin(
                attempts,
                (attempts.c.message_id == messages.c.id) & (attempts.c.number == messages.c.attempts),
            )
        )
        .where(messages.c.status.in_(_MOVABLE))
        .order_by(messages.c.id)
    )
    with running.store.engine.connect() as connection:
        return list(connection.execute(query))


def _polling(running: RunningProduction, sleeping: frozenset[str]) -> list[str]:
    """Name the services whose call at an interval is not over: their thread does not sleep."""
    alive = {thread.name for thread in threading.enumerate()}
    services = [item.name for item in running.bus.production.items.values() if item.kind == "service"]
    return [f"service {name!r} is being called" for name in services if f"{name}#poll" in alive - sleeping]
