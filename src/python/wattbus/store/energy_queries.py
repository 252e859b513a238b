"""Energy over a span of time: sums by item, model, version and hour, and the buckets of the machine.

The sums of an hour are kept once the hour is over (:func:`close_hours`), so that a year of records is read in a few
thousand rows; what is younger is added up from the records themselves. Records of different tiers or scopes are never
added to each other: each keeps its own row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Engine,
    Select,
    Table,
    and_,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.engine import Connection, Row

from wattbus.energy.record import EnergyRecord, EnergyStatus
from wattbus.store.moves import execute
from wattbus.store.rows import energy_record
from wattbus.store.store import Store
from wattbus.store.tables import (
    Outcome,
    attempts,
    energy,
    energy_bucket_hours,
    energy_hours,
    energy_intervals,
)
from wattbus.store.units import Notes

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
#: An hour is over when nothing can be added to it any more: clocks of several machines may differ by so much.
_SKEW_US = 600_000_000
_HOURS_AT_ONCE = 24
#: The inferences of a model are looked for in so many of the newest records.
_NEWEST_RECORDS = 20_000


@dataclass(frozen=True)
class EnergySum:
    """Attempts of one kind in one hour or day, added up; of one tier and one scope always."""

    start_us: int
    item: str
    operation_kind: str | None
    model: str | None
    revision: str | None
    scope: str
    tier: str
    attempts: int
    unknown: int
    joules: float | None
    low_joules: float | None
    high_joules: float | None
    bounded: int
    cpu_seconds: float | None
    duration_seconds: float | None
    requests: int | None
    carbon_grams: float | None
    with_carbon: int


@dataclass(frozen=True)
class BucketSum:
    """What one machine used in one hour, by bucket; the buckets sum to the total."""

    start_us: int
    host: str
    tier: str
    method: str
    seconds: float
    total_joules: float
    operations_joules: float
    idle_joules: float
    others_joules: float
    overhead_joules: float

    @property
    def difference_joules(self) -> float:
        """Return what the buckets lack of the total, or have too much: rounding, or something is wrong."""
        parts = self.operations_joules + self.idle_joules + self.others_joules + self.overhead_joules
        return self.total_joules - parts


_KEYS = ("item", "operation_kind", "model", "revision", "scope", "tier")
_NAMES = ("operation_kind", "model", "revision")
_COUNTS = ("attempts", "unknown", "bounded", "with_carbon")
_FIGURES = (
    "joules", "low_joules", "high_joules", "cpu_seconds", "duration_seconds", "requests", "carbon_grams",
)  # fmt: skip
_BUCKETS = ("seconds", "total_joules", "operations_joules", "idle_joules", "others_joules", "overhead_joules")


def energy_sums(
    engine: Engine, since_us: int, until_us: int, *, item: str | None = None, step_us: int = HOUR_US
) -> list[EnergySum]:
    """Return the sums of a span by hour, item, kind, model, version, scope and tier; the span is of whole hours.

    ``step_us`` is HOUR_US, or DAY_US for sums by day; the day in which the kept hours end may come in two parts.
    """
    with engine.connect() as connection:
        closed_us = _closed_until(connection, energy_hours)
        kept = _of_kept(step_us).where(
            energy_hours.c.hour_us >= since_us, energy_hours.c.hour_us < min(until_us, closed_us)
        )
        young = _of_records(max(since_us, closed_us), until_us, step_us)
        if item is not None:
            kept, young = kept.where(energy_hours.c.item == item), young.where(energy.c.item == item)
        return [EnergySum(*row) for query in (kept, young) for row in connection.execute(query)]


def bucket_sums(engine: Engine, since_us: int, until_us: int) -> list[BucketSum]:
    """Return the buckets of a span by hour, machine, tier and method; a reading counts to the hour it began in."""
    with engine.connect() as connection:
        closed_us = _closed_until(connection, energy_bucket_hours)
        kept = select(*_columns_of(energy_bucket_hours, BucketSum)).where(
            energy_bucket_hours.c.hour_us >= since_us,
            energy_bucket_hours.c.hour_us < min(until_us, closed_us),
        )
        young = _of_readings(max(since_us, closed_us), until_us)
        found = [BucketSum(*row) for query in (kept, young) for row in connection.execute(query)]
    return sorted(found, key=lambda one: one.start_us)


def added(sums: Iterable[EnergySum], key: Callable[[EnergySum], Any]) -> list[EnergySum]:
    """Add up the sums that have the same key, tier and scope; a part in which they differ is None in the sum."""
    groups: dict[Any, dict[str, Any]] = {}
    for one in sums:
        name = (key(one), one.scope, one.tier)
        values = vars(one)
        group = groups.get(name)
        if group is None:
            groups[name] = values.copy()
            continue
        for field in _COUNTS:
            group[field] += values[field]
        for field in _FIGURES:
            part = values[field]
            if part is not None:
                before = group[field]
                group[field] = part if before is None else before + part
        for field in _NAMES:
            if group[field] != values[field]:
                group[field] = None
        if values["start_us"] < group["start_us"]:
            group["start_us"] = values["start_us"]
    return [EnergySum(**group) for group in groups.values()]


def added_buckets(sums: Iterable[BucketSum], step_us: int) -> list[BucketSum]:
    """Add up the buckets of the same stretch of time, machine, tier and method."""
    groups: dict[Any, BucketSum] = {}
    for one in sums:
        start_us = one.start_us // step_us * step_us
        name = (start_us, one.host, one.tier, one.method)
        before = groups.get(name)
        groups[name] = replace(
            one,
            start_us=start_us,
            **{
                field: getattr(one, field) + (getattr(before, field) if before else 0.0) for field in _BUCKETS
            },
        )
    return list(groups.values())


def newest_records(engine: Engine, *, since_us: int = 0, limit: int = 1000) -> list[EnergyRecord]:
    """Return the newest records of a span, the oldest first."""
    query = (
        select(energy)
        .where(energy.c.started_at_us >= since_us)
        .order_by(energy.c.started_at_us.desc(), energy.c.message_id.desc(), energy.c.attempt.desc())
        .limit(limit)
    )
    with engine.connect() as connection:
        return [energy_record(row) for row in connection.execute(query)][::-1]


def newest_records_of(engine: Engine, model: str, *, limit: int = 1000) -> list[EnergyRecord]:
    """Return the newest records of a model, of those among the newest of all."""
    newest = select(energy).order_by(energy.c.started_at_us.desc()).limit(_NEWEST_RECORDS).subquery()
    query = select(newest).where(newest.c.model == model).limit(limit)
    with engine.connect() as connection:
        return [energy_record(row) for row in connection.execute(query)][::-1]


def records_of_message(engine: Engine, message_id: int) -> list[EnergyRecord]:
    """Return the records of a message: one an attempt and scope, the first attempt first."""
    query = (
        select(energy)
        .where(energy.c.message_id == message_id)
        .order_by(energy.c.attempt, energy.c.started_at_us, energy.c.scope)
    )
    with engine.connect() as connection:
        return [energy_record(row) for row in connection.execute(query)]


# -- hours that are over ---------------------------------------------------------------------------------------------


def close_hours(store: Store) -> bool:
    """Keep the sums of some hours that are over; return whether there may be more to do.

    They are added up on a connection for reading, so that the bus goes on meanwhile; the writer gets a few rows.
    """
    until_us = _over_until(store.engine, store.now_us())
    some = False
    for kept, source, query in (
        (energy_hours, energy, _of_records),
        (energy_bucket_hours, energy_intervals, _of_readings),
    ):
        with store.engine.connect() as connection:
            since_us = _next_hour(connection, kept, source)
            if since_us is None or since_us >= until_us:
                continue
            rows = connection.execute(
                query(since_us, min(until_us, since_us + _HOURS_AT_ONCE * HOUR_US))
            ).all()
        _keep(store, kept, rows, None)
        some = True
    return some


def close_again(store: Store, before_us: int) -> None:
    """Add up the kept hours before a time anew: records of theirs were taken out."""
    for kept, query in ((energy_hours, _of_records), (energy_bucket_hours, _of_readings)):
        with store.engine.connect() as connection:
            until_us = min((before_us // HOUR_US + 1) * HOUR_US, _closed_until(connection, kept))
            rows = connection.execute(query(0, until_us)).all()
        _keep(store, kept, rows, until_us)


def _keep(store: Store, table: Table, rows: Sequence[Row[Any]], instead_until_us: int | None) -> None:
    """Keep the sums of hours, in the place of those before a time where one is given."""
    dialect = store.engine.dialect
    one = insert(table).inline().compile(dialect=dialect)
    order: Sequence[str] = one.positiontup or ()
    names = [column.name for column in table.c]
    values = [[dict(zip(names, row, strict=True))[name] for name in order] for row in rows]

    def write(cursor: Any) -> None:
        if instead_until_us is not None:
            execute(cursor, delete(table).where(table.c.hour_us < instead_until_us), dialect)
        if values:
            cursor.executemany(str(one), values)

    notes = Notes(run=write)
    store.submit(notes)
    notes.wait()


def _closed_until(connection: Connection, table: Table) -> int:
    """Return the end of the newest hour that is kept; all before it is kept too."""
    newest = connection.execute(select(func.max(table.c.hour_us))).scalar()
    return 0 if newest is None else int(newest) + HOUR_US


def _next_hour(connection: Connection, kept: Table, source: Table) -> int | None:
    """Return the first hour with records after those that are kept; None: there is none."""
    after_us = _closed_until(connection, kept)
    first = connection.execute(
        select(func.min(source.c.started_at_us)).where(source.c.started_at_us >= after_us)
    ).scalar()
    return None if first is None else int(first) // HOUR_US * HOUR_US


def _over_until(engine: Engine, now_us: int) -> int:
    """Return the begin of the first hour to which something may still be added."""
    pending = select(func.min(energy.c.started_at_us)).where(energy.c.status == EnergyStatus.PENDING.value)
    running = select(func.min(attempts.c.started_us)).where(attempts.c.outcome == Outcome.RUNNING.value)
    with engine.connect() as connection:
        open_us = [connection.execute(query).scalar() for query in (pending, running)]
    return int(min([now_us - _SKEW_US, *(one for one in open_us if one is not None)])) // HOUR_US * HOUR_US


# -- the queries -----------------------------------------------------------------------------------------------------


def _of_kept(step_us: int) -> Select[Any]:
    """Return the query that reads the kept hours, or adds them up to days."""
    if step_us == HOUR_US:
        return select(*_columns_of(energy_hours, EnergySum))
    kept = energy_hours.c
    start, keys = _step_of(kept.hour_us, step_us), [kept[name] for name in _KEYS]
    sums = [
        cast(func.sum(kept[field.name]), kept[field.name].type)
        for field in fields(EnergySum)
        if field.name in (*_COUNTS, *_FIGURES)
    ]
    return select(start, *keys, *sums).group_by(start, *keys)


def _of_records(since_us: int, until_us: int, step_us: int = HOUR_US) -> Select[Any]:
    """Return the query that adds up records by hour or day, in the order of the columns of ``energy_hours``."""
    hour = _step_of(energy.c.started_at_us, step_us)
    known = energy.c.energy_joules.is_not(None)
    asked = energy.c.facts["requests"].as_integer()
    inference = energy.c.facts["stage"].as_string() == "inference"
    bounds = and_(known, energy.c.low_joules.is_not(None), energy.c.high_joules.is_not(None))
    keys = [energy.c[name] for name in _KEYS]
    return (
        select(
            hour.label("hour_us"),
            *keys,
            func.count(),
            func.count() - func.count(energy.c.energy_joules),
            func.sum(energy.c.energy_joules),
            func.sum(case((bounds, energy.c.low_joules))),
            func.sum(case((bounds, energy.c.high_joules))),
            func.count(case((bounds, 1))),
            func.sum(energy.c.cpu_seconds),
            func.sum(energy.c.duration_seconds),
            func.sum(case((and_(known, inference), func.coalesce(asked, 1)))),
            func.sum(energy.c.carbon_grams),
            func.count(energy.c.carbon_grams),
        )
        .where(energy.c.started_at_us >= since_us, energy.c.started_at_us < until_us)
        .group_by(hour, *keys)
    )


def _of_readings(since_us: int, until_us: int) -> Select[Any]:
    one = energy_intervals.c
    hour = _step_of(one.started_at_us, HOUR_US)
    sums = [func.sum(one["duration_seconds" if name == "seconds" else name]) for name in _BUCKETS]
    return (
        select(hour.label("hour_us"), one.host, one.tier, one.method, *sums)
        .where(one.started_at_us >= since_us, one.started_at_us < until_us)
        .group_by(hour, one.host, one.tier, one.method)
    )


def _step_of(column: ColumnElement[int], step_us: int) -> ColumnElement[int]:
    # Not bound: PostgreSQL must see that what is selected is what is grouped by.
    return column - column % literal_column(str(step_us))


def _columns_of(table: Table, row: type) -> list[ColumnElement[Any]]:
    return [table.c["hour_us" if field.name == "start_us" else field.name] for field in fields(row)]
