"""The promise that every message is in one place, as far as it can be checked at any moment: by what is open now.

The doctor counts every row; this looks at the small indexes of what is in hand and what waits for responses.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, func, select, text

from wattbus.store.tables import Status, attempts, messages, processes

_MOST = 10_000
_RUNNING = text("outcome = 'running'")  # as the index says it
_SET_ASIDE = text("status IN ('Error', 'Suspended')")


@dataclass(frozen=True)
class Open:
    """What is not at its end besides what is queued; each is counted up to 10,000."""

    in_hand: int
    deferred: int
    suspended: int
    astray: int  # in hand or deferred, and its message says something else: 0 unless the store is damaged


def open_messages(engine: Engine) -> Open:
    """Count what is open, all of it as of one moment."""
    held = (
        select(messages.c.status)
        .select_from(attempts.outerjoin(messages, messages.c.id == attempts.c.message_id))
        .where(_RUNNING)
        .limit(_MOST)
        .subquery()
    )
    waiting = (
        select(messages.c.status)
        .select_from(processes.outerjoin(messages, messages.c.id == processes.c.message_id))
        .limit(_MOST)
        .subquery()
    )
    aside = (
        select(messages.c.id)
        .where(_SET_ASIDE, messages.c.status == Status.SUSPENDED.value)
        .limit(_MOST)
        .subquery()
    )
    # One statement: so that all of it is of one moment, on any database.
    query = select(
        *(
            select(func.count()).select_from(rows).where(*where).scalar_subquery()
            for rows, where in (
                (held, ()),
                (waiting, ()),
                (aside, ()),
                (held, (func.coalesce(held.c.status, "") != Status.DELIVERED.value,)),
                (waiting, (func.coalesce(waiting.c.status, "") != Status.DEFERRED.value,)),
            )
        )
    )
    with engine.connect() as connection:
        in_hand, deferred, suspended, held_astray, waiting_astray = connection.execute(query).one()
    return Open(in_hand, deferred, suspended, held_astray + waiting_astray)
