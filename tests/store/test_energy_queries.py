"""Energy over a span: what is kept of hours that are over says the same as the records themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text

from wattbus.energy.record import EnergyRecord, EnergyStatus, Scope, TaskFacts, Tier
from wattbus.home import Home
from wattbus.store.energy_queries import (
    DAY_US,
    HOUR_US,
    added,
    added_buckets,
    bucket_sums,
    close_again,
    close_hours,
    energy_sums,
)
from wattbus.store.rows import energy_row
from wattbus.store.store import Store
from wattbus.store.tables import energy, energy_hours, energy_intervals

NOW_US = 1_700_000_000_000_000 // DAY_US * DAY_US + 12 * HOUR_US
FOREVER_US = NOW_US + 365 * DAY_US


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, home: Home) -> Iterator[Store]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    made = Store(home, url)
    yield made
    made.close()


def put(store: Store, *records: EnergyRecord) -> None:
    rows = [dict(zip(energy.c.keys(), energy_row(record), strict=True)) for record in records]
    for row in rows:
        row["facts"] = None if row["facts"] is None else {"stage": "inference", "requests": 4}
    with store.engine.begin() as connection:
        connection.execute(insert(energy), rows)


def record(number: int, hours_ago: float, **changes: Any) -> EnergyRecord:
    one = EnergyRecord(
        message_id=number,
        attempt=1,
        item="Op",
        started_at_us=NOW_US - int(hours_ago * HOUR_US),
        duration_seconds=0.5,
        model="m",
        revision="v1",
        cpu_seconds=0.25,
        energy_joules=2.0,
        low_joules=1.0,
        high_joules=4.0,
        tier=Tier.MODELLED,
        status=EnergyStatus.ESTIMATED,
        facts=TaskFacts("inference", requests=4),
    )
    return replace(one, **changes)


def everything(store: Store) -> list[Any]:
    return sorted(energy_sums(store.engine, 0, FOREVER_US), key=repr)


def test_kept_hours_and_records_add_up_to_the_same(store: Store) -> None:
    put(
        store,
        record(1, 30.2),
        record(2, 30.1, energy_joules=None, low_joules=None, high_joules=None, tier=Tier.NONE),
        record(3, 5.0, scope=Scope.CLIENT),
        record(4, 5.0, tier=Tier.MEASURED, facts=None, carbon_grams=0.5),
        record(5, 5.1, model=None, revision=None, low_joules=None),
    )
    before = everything(store)

    while close_hours(store):
        pass

    with store.engine.connect() as connection:
        assert connection.execute(select(func.sum(energy_hours.c.attempts))).scalar() == 5
    assert everything(store) == before
    assert sum(one.attempts for one in before) == 5
    assert sum(one.unknown for one in before) == 1
    assert {one.requests for one in before} == {4, None}
    assert [one.bounded for one in before if one.model is None] == [0]


def test_the_sums_of_days_are_those_of_their_hours_kept_or_not(store: Store) -> None:
    put(
        store,
        record(1, 60.2),
        record(2, 58.1, energy_joules=None, low_joules=None, high_joules=None, tier=Tier.NONE),
        record(3, 57.0),
        record(4, 30.0, facts=None, carbon_grams=0.5),
        record(5, 0.1, cpu_seconds=None),
    )

    def days() -> list[Any]:
        found = energy_sums(store.engine, 0, FOREVER_US, step_us=DAY_US)
        return sorted(added(found, lambda one: (one.start_us, one.item)), key=repr)

    of_hours = added(everything(store), lambda one: (one.start_us // DAY_US, one.item))
    expected = sorted((replace(one, start_us=one.start_us // DAY_US * DAY_US) for one in of_hours), key=repr)
    before = days()
    while close_hours(store):
        pass

    assert before == days() == expected
    assert all(type(one.attempts) is int and type(one.bounded) is int for one in days())
    assert sum(one.attempts for one in before) == 5


def test_an_hour_with_an_attempt_that_runs_or_is_not_settled_is_not_over(store: Store) -> None:
    put(store, record(1, 9), record(2, 8, status=EnergyStatus.PENDING, energy_joules=None), record(3, 7))

    while close_hours(store):
        pass

    with store.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(energy_hours)).scalar() == 1
    assert sum(one.attempts for one in everything(store)) == 3


def test_a_span_and_an_item_are_kept_to(store: Store) -> None:
    put(store, record(1, 50), record(2, 5), record(3, 5, item="Other"))
    while close_hours(store):
        pass

    found = energy_sums(store.engine, NOW_US - DAY_US, NOW_US, item="Op")

    assert [(one.item, one.attempts) for one in found] == [("Op", 1)]


def test_what_a_purge_took_out_is_taken_out_of_the_kept_hours(store: Store) -> None:
    put(store, record(1, 50), record(2, 49), record(3, 5))
    while close_hours(store):
        pass
    with store.engine.begin() as connection:
        connection.execute(energy.delete().where(energy.c.message_id == 1))

    close_again(store, NOW_US - DAY_US)

    assert sum(one.attempts for one in everything(store)) == 2


def test_unlike_tiers_and_scopes_are_never_added(store: Store) -> None:
    put(
        store,
        record(1, 5),
        record(2, 4),
        record(3, 4, tier=Tier.MEASURED),
        record(4, 4, scope=Scope.REMOTE, tier=Tier.ESTIMATED_REMOTE),
    )

    found = added(everything(store), lambda one: one.item)

    assert sorted((one.scope, one.tier, one.joules) for one in found) == [
        ("local", "measured", 2.0),
        ("local", "modelled", 4.0),
        ("remote", "estimated-remote", 2.0),
    ]


def test_buckets_sum_to_the_total_hour_by_hour_and_day_by_day(store: Store) -> None:
    reading = {
        "instance": "x", "duration_seconds": 1.0, "total_joules": 10.0, "operations_joules": 1.0,
        "idle_joules": 6.0, "others_joules": 2.0, "overhead_joules": 1.0, "tier": "modelled", "method": "m",
    }  # fmt: skip
    with store.engine.begin() as connection:
        for hours in (40.5, 40.4, 5.5, 0.1):
            at = NOW_US - int(hours * HOUR_US)
            connection.execute(insert(energy_intervals).values(started_at_us=at, **reading))
    before = bucket_sums(store.engine, 0, FOREVER_US)

    while close_hours(store):
        pass

    assert bucket_sums(store.engine, 0, FOREVER_US) == before
    days = added_buckets(before, DAY_US)
    assert [(one.seconds, one.total_joules) for one in days] == [(2.0, 20.0), (2.0, 20.0)]
    assert all(abs(one.difference_joules) < 1e-9 for one in days)


def test_a_span_of_records_is_found_by_its_time(home: Home) -> None:
    store = Store(home)
    try:
        with store.engine.connect() as connection:
            plan = connection.execute(
                text("EXPLAIN QUERY PLAN SELECT sum(energy_joules) FROM energy WHERE started_at_us >= 5")
            ).all()
        assert "energy_by_time" in str(plan)
    finally:
        store.close()
