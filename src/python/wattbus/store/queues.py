"""The queues of the items: how much waits in each, and how much of it somebody waits for.

Each question goes by a small index, of what is queued, in hand or deferred: never through all that was ever stored.
"""

from __future__ import annotations

from collections import Counter

from sqlalchemy import ColumnElement, Engine, and_, func, select

from wattbus.store.store import STREAM
from wattbus.store.tables import Outcome, Status, attempts, messages, processes

# A caller waits: a thread, or a door. A process that waits for a response is no caller: it is a row of its own.
_HAS_A_CALLER = and_(
    messages.c.response_required.is_(True),
    messages.c.return_queue.is_(None),
    messages.c.corresponding_id.is_(None),
)


def queued(engine: Engine) -> Counter[str]:
    """Return how many messages are queued for each item."""
    query = (
        select(messages.c.target_queue, func.count())
        .where(messages.c.status == Status.QUEUED.value)
        .group_by(messages.c.target_queue)
    )
    found: Counter[str] = Counter()
    with engine.connect() as connection:
        for queue, count in connection.execute(query):
            found[queue.partition(STREAM)[0]] += count
    return found


def awaited(engine: Engine) -> Counter[str]:
    """Return how many open requests of each item a caller waits for."""
    in_hand = select(attempts.c.message_id).where(attempts.c.outcome == Outcome.RUNNING.value)
    deferred = select(processes.c.message_id)
    return (
        _callers(engine, messages.c.status == Status.QUEUED.value)
        + _callers(engine, messages.c.id.in_(in_hand), messages.c.status == Status.DELIVERED.value)
        + _callers(engine, messages.c.id.in_(deferred), messages.c.status == Status.DEFERRED.value)
    )


def _callers(engine: Engine, *conditions: ColumnElement[bool]) -> Counter[str]:
    query = (
        select(messages.c.target_item, func.count())
        .where(*conditions, _HAS_A_CALLER)
        .group_by(messages.c.target_item)
    )
    with engine.connect() as connection:
        return Counter({item: count for item, count in connection.execute(query)})
