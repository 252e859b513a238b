"""What the doors read from a store: messages, event log, energy by item and by bucket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Select, case, func, select

from wattbus.energy.record import EnergyRecord, IntervalRecord, Scope, Tier
from wattbus.store.filters import MessageFilter
from wattbus.store.rows import Header, energy_record
from wattbus.store.tables import Status, bodies, energy, energy_intervals, event_log, instances, messages


@dataclass(frozen=True)
class EventLine:
    """A line of the event log."""

    id: int
    time_us: int
    type: str
    item: str
    job: str
    message_id: int | None
    session_id: int | None
    source_class: str | None
    source_method: str | None
    text: str


@dataclass(frozen=True)
class Run:
    """When a production started, and when it stopped; None while it runs, or where it died."""

    started_us: int
    stopped_us: int | None


@dataclass(frozen=True)
class EnergyGroup:
    """Attempts of one item, model, scope and tier, added up; unlike tiers are never added."""

    item: str
    model: str | None
    scope: str
    tier: str
    attempts: int
    unknown: int
    joules: float | None
    low_joules: float | None
    high_joules: float | None
    cpu_seconds: float | None
    duration_seconds: float | None


@dataclass(frozen=True)
class CarbonSum:
    """Grams of CO2 equivalent of attempts on our side, at one intensity; ``source`` says country, year and origin."""

    g_per_kwh: float
    source: str
    grams: float
    attempts: int


@dataclass(frozen=True)
class EnergyBuckets:
    """What one machine used while the meter ran, by bucket; the buckets sum to the total."""

    host: str
    tier: str
    method: str
    seconds: float
    total_joules: float
    operations_joules: float
    idle_joules: float
    others_joules: float
    overhead_joules: float


def list_messages(
    engine: Engine,
    *,
    limit: int = 50,
    item: str | None = None,
    status: str | None = None,
    session_id: int | None = None,
    before_id: int | None = None,
    which: MessageFilter | None = None,
) -> list[Header]:
    """Return the newest messages first; ``before_id``, the last id of a page, gives the next one."""
    query = select(messages).order_by(messages.c.id.desc()).limit(limit)
    if item is not None:
        query = query.where((messages.c.target_item == item) | (messages.c.source_item == item))
    if status is not None:
        query = query.where(messages.c.status == status)
    if session_id is not None:
        query = query.where(messages.c.session_id == session_id)
    if before_id is not None:
        query = query.where(messages.c.id < before_id)
    if which is not None:
        query = query.where(*which.conditions(engine.dialect.name))
    with engine.connect() as connection:
        return [Header._make(row) for row in connection.execute(query)]


def message_header(engine: Engine, message_id: int) -> Header | None:
    """Return the header of a message."""
    with engine.connect() as connection:
        row = connection.execute(select(messages).where(messages.c.id == message_id)).first()
    return None if row is None else Header._make(row)


def message_body(engine: Engine, folder: Path, body_id: int | None) -> str | None:
    """Return a body as JSON text: from its row, or from its file in ``folder``."""
    if body_id is None:
        return None
    with engine.connect() as connection:
        row = connection.execute(select(bodies.c.json, bodies.c.sha256).where(bodies.c.id == body_id)).first()
    if row is None:
        return None
    return str(row.json) if row.json is not None else (folder / row.sha256).read_text()


def count_messages(engine: Engine, which: MessageFilter, *, most: int = 10_000) -> int:
    """Return how many messages a filter finds, counted no further than ``most``."""
    found = select(messages.c.id).where(*which.conditions(engine.dialect.name)).limit(most).subquery()
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(found)).scalar_one())


def count_unsearched(engine: Engine, which: MessageFilter) -> int:
    """Return how many messages that would fit have a body which lies out of line and was not looked into."""
    if not which.searches_bodies:
        return 0
    with engine.connect() as connection:
        query = select(func.count()).select_from(messages).where(*which.unsearched())
        return int(connection.execute(query).scalar_one())


def list_events(
    engine: Engine,
    *,
    limit: int = 50,
    item: str | None = None,
    type: str | None = None,
    session_id: int | None = None,
    since_id: int | None = None,
) -> list[EventLine]:
    """Return the newest lines of the event log, oldest first."""
    query = select(event_log).order_by(event_log.c.id.desc()).limit(limit)
    if item is not None:
        query = query.where(event_log.c.item == item)
    if type is not None:
        query = query.where(event_log.c.type == type)
    if session_id is not None:
        query = query.where(event_log.c.session_id == session_id)
    if since_id is not None:
        query = query.where(event_log.c.id > since_id)
    with engine.connect() as connection:
        return [EventLine(*row) for row in connection.execute(query)][::-1]


def energy_groups(engine: Engine, *, since_us: int = 0) -> list[EnergyGroup]:
    """Return the energy of all attempts since a time, by item, model, scope and tier."""
    known = energy.c.energy_joules
    columns = (energy.c.item, energy.c.model, energy.c.scope, energy.c.tier)
    query: Select[Any] = (
        select(
            *columns,
            func.count(),
            func.sum(case((known.is_(None), 1), else_=0)),
            func.sum(known),
            func.sum(energy.c.low_joules),
            func.sum(energy.c.high_joules),
            func.sum(energy.c.cpu_seconds),
            func.sum(energy.c.duration_seconds),
        )
        .where(energy.c.started_at_us >= since_us)
        .group_by(*columns)
        .order_by(*columns)
    )
    with engine.connect() as connection:
        return [EnergyGroup(*row) for row in connection.execute(query)]


def carbon_sums(engine: Engine, *, since_us: int = 0) -> list[CarbonSum]:
    """Return the carbon of our own attempts since a time, one row an intensity and its source."""
    columns = (energy.c.carbon_intensity_g_per_kwh, energy.c.carbon_source)
    query: Select[Any] = (
        select(*columns, func.sum(energy.c.carbon_grams), func.count())
        .where(
            energy.c.started_at_us >= since_us,
            energy.c.carbon_grams.is_not(None),
            energy.c.scope != Scope.REMOTE.value,
        )
        .group_by(*columns)
        .order_by(*columns)
    )
    with engine.connect() as connection:
        return [CarbonSum(*row) for row in connection.execute(query)]


def energy_buckets(engine: Engine, *, since_us: int = 0) -> list[EnergyBuckets]:
    """Return the buckets of the readings since a time, one row a machine, tier and method."""
    columns = (energy_intervals.c.host, energy_intervals.c.tier, energy_intervals.c.method)
    sums = [
        func.sum(energy_intervals.c[name])
        for name in (
            "duration_seconds", "total_joules", "operations_joules", "idle_joules", "others_joules", "overhead_joules",
        )
    ]  # fmt: skip
    query: Select[Any] = (
        select(*columns, *sums)
        .where(energy_intervals.c.started_at_us >= since_us)
        .group_by(*columns)
        .order_by(*columns)
    )
    with engine.connect() as connection:
        return [EnergyBuckets(*row) for row in connection.execute(query)]


def energy_records(engine: Engine, *, since_us: int = 0) -> list[EnergyRecord]:
    """Return the records of all attempts since a time."""
    query = (
        select(energy)
        .where(energy.c.started_at_us >= since_us)
        .order_by(energy.c.message_id, energy.c.attempt)
    )
    with engine.connect() as connection:
        return [energy_record(row) for row in connection.execute(query)]


def energy_intervals_of(
    engine: Engine, *, since_us: int = 0, limit: int | None = None
) -> list[IntervalRecord]:
    """Return the readings of the power feed since a time, the oldest first and ``limit`` at most."""
    columns = [column for column in energy_intervals.c if column.name not in ("id", "instance", "host")]
    query = (
        select(*columns)
        .where(energy_intervals.c.started_at_us >= since_us)
        .order_by(energy_intervals.c.started_at_us, energy_intervals.c.id)
        .limit(limit)
    )
    with engine.connect() as connection:
        return [
            IntervalRecord(**{**row._mapping, "tier": Tier(row.tier)}) for row in connection.execute(query)
        ]


def production_name(engine: Engine) -> str | None:
    """Return the name of the production that ran last on this store."""
    with engine.connect() as connection:
        name = connection.execute(
            select(instances.c.production).order_by(instances.c.started_us.desc()).limit(1)
        ).scalar()
    return None if name is None else str(name)


def last_runs(engine: Engine) -> dict[str, Run]:
    """Return when each production last ran on this store."""
    query = select(instances.c.production, instances.c.started_us, instances.c.stopped_us).order_by(
        instances.c.started_us
    )
    with engine.connect() as connection:
        return {name: Run(started, stopped) for name, started, stopped in connection.execute(query)}


def queued(engine: Engine) -> dict[str, int]:
    """Return how many messages wait in each queue."""
    query = (
        select(messages.c.target_queue, func.count())
        .where(messages.c.status == Status.QUEUED.value)
        .group_by(messages.c.target_queue)
    )
    with engine.connect() as connection:
        return {queue: count for queue, count in connection.execute(query)}


def newest_event(engine: Engine) -> int:
    """Return the id of the newest line of the event log; 0: there is none."""
    with engine.connect() as connection:
        return int(connection.execute(select(func.max(event_log.c.id))).scalar() or 0)


def events_after(
    engine: Engine,
    since_id: int,
    limit: int = 1000,
    *,
    item: str | None = None,
    type: str | None = None,
    session_id: int | None = None,
) -> list[EventLine]:
    """Return the lines of the event log after one, the oldest first."""
    query = select(event_log).where(event_log.c.id > since_id).order_by(event_log.c.id).limit(limit)
    if item is not None:
        query = query.where(event_log.c.item == item)
    if type is not None:
        query = query.where(event_log.c.type == type)
    if session_id is not None:
        query = query.where(event_log.c.session_id == session_id)
    with engine.connect() as connection:
        return [EventLine(*row) for row in connection.execute(query)]
