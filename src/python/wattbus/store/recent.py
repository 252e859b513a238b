"""What happened lately, in questions that cost the same at a thousand messages and at millions.

Each looks at the newest rows of a table, so many at most, or goes by a small index; none counts through a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Engine,
    Select,
    and_,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    union_all,
)

from wattbus.store.queries import EnergyBuckets, EnergyGroup, EventLine
from wattbus.store.rows import Header
from wattbus.store.tables import attempts, energy, energy_intervals, event_log, jobs, messages
from wattbus.store.waiting import Waiting, waiting

#: How far back a question about something rare looks.
NEWEST = 20_000
#: Counts stop here and are shown with a plus.
MOST = 1_000
#: SQLite joins 500 queries to one at most.
_AT_ONCE = 100
# Written out, so that the databases see that a partial index serves.
_QUEUED: ColumnElement[Any] = literal_column("'Queued'")
_DEAD: ColumnElement[bool] = literal_column("messages.status IN ('Error', 'Suspended')")
_AUDIT: ColumnElement[Any] = literal_column("'Audit'")


@dataclass(frozen=True)
class Ran:
    """What ran since a time."""

    messages: int
    sessions: int
    errors: int
    since_us: int
    at_least: bool  # there was more than was looked at


@dataclass(frozen=True)
class Dead:
    """What failed or was set aside, of one item."""

    item: str
    count: int  # up to MOST
    newest_id: int
    error: str | None


@dataclass(frozen=True)
class Job:
    """A component that was made for a thread of an item."""

    id: int
    started_us: int
    ready_us: int | None
    error: str | None


@dataclass(frozen=True)
class InHand:
    """An attempt that is under way."""

    message_id: int
    number: int
    job: str
    started_us: int


def ran(engine: Engine, since_us: int, most: int = 10_000) -> Ran:
    """Return what was accepted since a time, counted over so many of the newest messages."""
    newest = (
        select(messages.c.session_id, messages.c.is_error, messages.c.time_created_us)
        .order_by(messages.c.id.desc())
        .limit(most)
        .subquery()
    )
    query = select(
        func.count(),
        func.count(func.distinct(newest.c.session_id)),
        func.sum(case((newest.c.is_error, 1), else_=0)),
    ).where(newest.c.time_created_us >= since_us)
    with engine.connect() as connection:
        count, sessions, errors = connection.execute(query).one()
    return Ran(count, sessions, int(errors or 0), since_us, count == most)


def depths(engine: Engine, items: Iterable[str], most: int = MOST) -> dict[str, Waiting]:
    """Return what waits in the queues of the items, where something does; counted up to ``most``."""
    found: dict[str, Waiting] = {}
    for some in _chunks(list(items)):
        found |= waiting(engine, dict.fromkeys(some, most))[1]
    return found


def dead(engine: Engine, items: Sequence[str]) -> list[Dead]:
    """Return what failed or was set aside, of those of the items that have such messages."""
    rows: list[Any] = []
    with engine.connect() as connection:
        for some in _chunks(list(items)):
            rows += connection.execute(union_all(*map(_dead_of, some))).all()
        newest = [row[2] for row in rows if row[1]]
        query = select(messages.c.id, messages.c.error_status).where(messages.c.id.in_(newest))
        errors = {row.id: row.error_status for row in connection.execute(query)} if newest else {}
    return [Dead(item, count, last, errors.get(last)) for item, count, last in rows if count]


def _dead_of(item: str) -> Select[Any]:
    of_item = (_DEAD, messages.c.target_item == item)
    some = select(literal_column("1")).select_from(messages).where(*of_item).limit(MOST).subquery()
    return select(
        literal(item),
        select(func.count()).select_from(some).scalar_subquery(),
        select(func.max(messages.c.id)).where(*of_item).scalar_subquery(),
    )


def queue_of(engine: Engine, item: str, limit: int = 50) -> list[Header]:
    """Return what is queued for an item, in the order in which it is served."""
    query = (
        select(messages)
        .where(messages.c.status == _QUEUED, messages.c.target_queue == item)
        .order_by(messages.c.priority, messages.c.id)
        .limit(limit)
    )
    with engine.connect() as connection:
        return [Header._make(row) for row in connection.execute(query)]


def messages_of(engine: Engine, item: str, limit: int = 50) -> list[Header]:
    """Return the newest messages to and from an item, of the newest of the store."""
    query = (
        select(messages)
        .where(
            messages.c.id > _newest(messages),
            or_(messages.c.target_item == item, messages.c.source_item == item),
        )
        .order_by(messages.c.id.desc())
        .limit(limit)
    )
    with engine.connect() as connection:
        return [Header._make(row) for row in connection.execute(query)]


def events(engine: Engine, *conditions: ColumnElement[bool], limit: int = 50) -> list[EventLine]:
    """Return lines of the event log, the newest first, of the newest of the log."""
    query = (
        select(event_log)
        .where(event_log.c.id > _newest(event_log), *conditions)
        .order_by(event_log.c.id.desc())
        .limit(limit)
    )
    with engine.connect() as connection:
        return [EventLine(*row) for row in connection.execute(query)]


def errors(engine: Engine, limit: int = 8) -> list[EventLine]:
    """Return the newest errors of the event log, the newest first."""
    return events(engine, event_log.c.type.in_(("Error", "Assert")), limit=limit)


def events_of(engine: Engine, item: str, limit: int = 100) -> list[EventLine]:
    """Return the newest lines of the event log about an item, the newest first."""
    return events(engine, event_log.c.item == item, limit=limit)


def audit(engine: Engine, limit: int = 100) -> list[EventLine]:
    """Return what was changed through the HTTP door, and who was refused there, the newest first."""
    query = select(event_log).where(event_log.c.source_class == _AUDIT)
    with engine.connect() as connection:
        return [
            EventLine(*row) for row in connection.execute(query.order_by(event_log.c.id.desc()).limit(limit))
        ]


def jobs_of(engine: Engine, item: str, limit: int = 20) -> list[Job]:
    """Return the newest jobs of an item."""
    query = (
        select(jobs.c.id, jobs.c.started_us, jobs.c.ready_us, jobs.c.error)
        .where(jobs.c.item == item)
        .order_by(jobs.c.started_us.desc())
        .limit(limit)
    )
    with engine.connect() as connection:
        return [Job(*row) for row in connection.execute(query)]


def in_hand_of(engine: Engine, item: str, limit: int = 50) -> list[InHand]:
    """Return the attempts of an item that are under way, the oldest first."""
    running = and_(attempts.c.outcome == literal_column("'running'"), attempts.c.item == item)
    query = (
        select(attempts.c.message_id, attempts.c.number, attempts.c.job, attempts.c.started_us)
        .where(running)
        .order_by(attempts.c.started_us)
        .limit(limit)
    )
    with engine.connect() as connection:
        return [InHand(*row) for row in connection.execute(query)]


def energy_of(engine: Engine, item: str) -> list[EnergyGroup]:
    """Return the energy of an item by model, scope and tier, of the newest messages; unlike tiers are never added."""
    known = energy.c.energy_joules
    columns = (energy.c.item, energy.c.model, energy.c.scope, energy.c.tier)
    sums = [
        func.sum(energy.c[name])
        for name in ("energy_joules", "low_joules", "high_joules", "cpu_seconds", "duration_seconds")
    ]
    unknown = func.sum(case((known.is_(None), 1), else_=0))
    query: Select[Any] = (
        select(*columns, func.count(), unknown, *sums)
        .where(energy.c.message_id > _newest(messages), energy.c.item == item)
        .group_by(*columns)
        .order_by(*columns)
    )
    with engine.connect() as connection:
        return [EnergyGroup(*row) for row in connection.execute(query)]


def buckets(engine: Engine, since_us: int) -> list[EnergyBuckets]:
    """Return what each machine used since a time, by bucket, of the newest readings."""
    names = (
        "duration_seconds", "total_joules", "operations_joules", "idle_joules", "others_joules", "overhead_joules",
    )  # fmt: skip
    interval = energy_intervals.c
    query: Select[Any] = (
        select(interval.host, interval.tier, interval.method, *(func.sum(interval[name]) for name in names))
        .where(interval.id > _newest(energy_intervals), interval.started_at_us >= since_us)
        .group_by(interval.host, interval.tier, interval.method)
        .order_by(interval.host, interval.tier, interval.method)
    )
    with engine.connect() as connection:
        return [EnergyBuckets(*row) for row in connection.execute(query)]


def _chunks(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(items), _AT_ONCE):
        yield items[first : first + _AT_ONCE]


def _newest(table: Any) -> Any:
    """Return the id after which the newest rows of a table begin."""
    return select(func.coalesce(func.max(table.c.id), 0) - NEWEST).scalar_subquery()
