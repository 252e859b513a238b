"""The attempts as people look at them: those in hand, and the last ones with how they ended.

There is no index by time. What is asked for goes by the message, the newest first, and a page looks at a bounded number
of messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Row, Select, func, select, text, tuple_

from wattbus.errors import UnknownName
from wattbus.store.tables import Outcome, attempts, messages

#: The most messages that one page looks at.
MOST_LOOKED_AT = 50_000
_MOST_IN_HAND = 500
_RUNNING = text("outcome = 'running'")  # as the index says it


@dataclass(frozen=True)
class InHand:
    """A message that a worker has, or that was taken out of its queue for one."""

    message_id: int
    session_id: int
    item: str
    job: str
    instance: str
    attempt: int
    started_us: int
    lease_until_us: int
    body_class: str
    source_item: str


@dataclass(frozen=True)
class Tried:
    """An attempt: how it ended, and how long its message had waited."""

    message_id: int
    number: int
    session_id: int
    item: str
    job: str
    outcome: str
    started_us: int
    ended_us: int | None
    duration_seconds: float | None
    wait_seconds: float
    body_class: str
    status: str  # of the message, now
    error_status: str | None
    detail: str | None


@dataclass(frozen=True)
class TriedPage:
    """Some attempts, those of the newest messages first."""

    attempts: list[Tried]
    next_before: str | None  # as ``before`` of the next page; None: there is nothing further down
    looked_back_to: int | None = None  # the oldest message that was looked at, where the page is not full


def in_hand(engine: Engine) -> list[InHand]:
    """Return the messages in hand, the oldest first."""
    query: Select[Any] = (
        select(
            attempts.c.message_id, messages.c.session_id, attempts.c.item, attempts.c.job, attempts.c.instance,
            attempts.c.number, attempts.c.started_us, attempts.c.lease_until_us, messages.c.body_class,
            messages.c.source_item,
        )
        .join(messages, messages.c.id == attempts.c.message_id)
        .where(_RUNNING)
        .order_by(attempts.c.started_us)
        .limit(_MOST_IN_HAND)
    )  # fmt: skip
    with engine.connect() as connection:
        return [InHand(*row) for row in connection.execute(query).all()]


def tried(
    engine: Engine,
    *,
    limit: int = 50,
    item: str | None = None,
    outcome: str | None = None,
    before: tuple[int, int] | None = None,
) -> TriedPage:
    """Return the last attempts, of one item or with one outcome where that is asked for."""
    if outcome is not None and outcome not in list(Outcome):
        raise UnknownName("outcome", outcome, list(Outcome))
    with engine.connect() as connection:
        newest = connection.execute(select(func.max(attempts.c.message_id))).scalar() or 0
        top = newest if before is None else before[0]
        floor = max(0, top - MOST_LOOKED_AT) if item or outcome else 0
        rows = connection.execute(_tried(floor, limit, item, outcome, before)).all()
    found = [_attempt(row) for row in rows]
    if len(found) == limit:
        return TriedPage(found, f"{found[-1].message_id}.{found[-1].number}")
    return TriedPage(found, f"{floor}.0" if floor else None, floor or None)


def _tried(
    floor: int, limit: int, item: str | None, outcome: str | None, before: tuple[int, int] | None
) -> Select[Any]:
    query = (
        select(
            attempts, messages.c.session_id, messages.c.time_created_us, messages.c.body_class, messages.c.status,
            messages.c.error_status,
        )
        .join(messages, messages.c.id == attempts.c.message_id)
        .where(attempts.c.message_id >= floor)
        .order_by(attempts.c.message_id.desc(), attempts.c.number.desc())
        .limit(limit)
    )  # fmt: skip
    if item is not None:
        query = query.where(attempts.c.item == item)
    if outcome is not None:
        query = query.where(attempts.c.outcome == outcome)
    if before is not None:
        query = query.where(
            attempts.c.message_id <= before[0], tuple_(attempts.c.message_id, attempts.c.number) < before
        )
    return query


def _attempt(row: Row[Any]) -> Tried:
    return Tried(
        row.message_id, row.number, row.session_id, row.item, row.job, row.outcome, row.started_us, row.ended_us,
        row.duration_seconds, max(0, row.started_us - row.time_created_us) / 1e6, row.body_class, row.status,
        row.error_status, row.detail,
    )  # fmt: skip
