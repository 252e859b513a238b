"""Several processes on one store: each machine is counted once, machines are not mixed, and the sums are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from wattbus.energy.record import IntervalRecord, Tier
from wattbus.home import Home
from wattbus.store import machines
from wattbus.store.energy_queries import added_buckets, bucket_sums, close_hours
from wattbus.store.power import power_curve
from wattbus.store.queries import EnergyBuckets, energy_buckets
from wattbus.store.store import Store
from wattbus.store.tables import attempts, energy, energy_intervals, instances

BEGAN_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
FOREVER_US = BEGAN_US + 400 * 86_400 * SECOND_US


def reading(
    second: float, *, operations: float, others: float, seconds: float = 1.0, **changes: Any
) -> IntervalRecord:
    """Return a reading of 10 W as one process divides it."""
    values: dict[str, Any] = {
        "started_at_us": BEGAN_US + int(second * SECOND_US), "duration_seconds": seconds,
        "total_joules": 10.0 * seconds, "operations_joules": operations, "others_joules": others,
        "overhead_joules": 0.5, "tier": Tier.MODELLED, "method": "a formula",
    }  # fmt: skip
    values |= changes
    values["idle_joules"] = values["total_joules"] - operations - others - values["overhead_joules"]
    return IntervalRecord(**values)


@pytest.fixture
def begin(tmp_path: Path, postgres_url: str) -> Any:
    """A maker of processes on one PostgreSQL, each with a home of its own."""
    made: list[Store] = []

    def one(host: str | None = None) -> Store:
        home = Home.find(tmp_path / f"home{len(made)}")
        home.create()
        store = Store(home, postgres_url)
        if host is not None:
            store._host = host
        store.begin("Bench")
        made.append(store)
        return store

    yield one
    for store in made:
        store.close()


Begin = Callable[..., Store]


def booked(store: Store, interval: IntervalRecord) -> None:
    store.settle([], interval)
    store.flush()


def the_machine(store: Store) -> EnergyBuckets:
    (row,) = energy_buckets(store.engine)
    return row


def test_two_processes_on_one_machine_count_it_once_and_both_their_operations(begin: Begin) -> None:
    first, second = begin(), begin()

    for at in range(3):
        booked(first, reading(at, operations=2.0, others=4.0))
        booked(second, reading(at + 0.3, operations=3.0, others=3.0))

    row = the_machine(first)
    assert (row.seconds, row.total_joules) == (3.0, 30.0)
    assert (row.operations_joules, row.overhead_joules) == (15.0, 3.0)
    # the others of the first hold what the second used: 3 x (4 - 3 - 0.5)
    assert row.others_joules == pytest.approx(1.5)
    assert row.idle_joules == pytest.approx(10.5)


def test_two_machines_are_not_mixed(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = begin("near"), begin("far")

    booked(near, reading(0, operations=2.0, others=4.0))
    monkeypatch.setattr(machines, "machine_id", lambda: "another kernel")
    booked(far, reading(0, operations=1.0, others=0.0, total_joules=100.0))

    rows = energy_buckets(near.engine)
    assert [(row.host, row.total_joules, row.operations_joules) for row in rows] == [
        ("far", 100.0, 1.0),
        ("near", 10.0, 2.0),
    ]
    days = added_buckets(bucket_sums(near.engine, 0, FOREVER_US), 86_400 * SECOND_US)
    assert [(one.host, one.total_joules) for one in days] == [("far", 100.0), ("near", 10.0)]


def test_the_kept_hours_say_of_each_machine_what_its_readings_say(begin: Begin) -> None:
    first, second = begin(), begin()
    for at in (0, 3700):
        booked(first, reading(at, operations=2.0, others=4.0))
        booked(second, reading(at, operations=3.0, others=3.0))
    before = bucket_sums(first.engine, 0, FOREVER_US)

    while close_hours(first):
        pass

    assert bucket_sums(first.engine, 0, FOREVER_US) == before
    assert sum(one.total_joules for one in before) == 20.0
    assert all(abs(one.difference_joules) < 1e-9 for one in before)


def test_when_the_counting_process_stops_the_other_goes_on_from_its_next_reading(begin: Begin) -> None:
    first, second = begin(), begin()
    booked(first, reading(0, operations=2.0, others=4.0))
    booked(second, reading(0, operations=3.0, others=3.0))
    first.close()

    booked(second, reading(0.5, operations=3.0, others=3.0))  # half of this second is counted already
    booked(second, reading(1.5, operations=3.0, others=1.0))

    row = the_machine(second)
    assert (row.seconds, row.total_joules, row.operations_joules) == (2.0, 20.0, 11.0)


def test_a_process_that_fell_silent_is_replaced_and_comes_back_as_the_second(begin: Begin) -> None:
    first, second = begin(), begin()
    booked(first, reading(0, operations=2.0, others=4.0))

    booked(second, reading(60, operations=3.0, others=3.0))  # a bus at rest writes once a minute
    booked(second, reading(120, operations=3.0, others=3.0))
    booked(first, reading(1, operations=2.0, others=4.0, seconds=120.0))

    row = the_machine(first)
    assert (row.seconds, row.total_joules, row.operations_joules) == (2.0, 20.0, 10.0)


def test_a_restart_after_a_kill_counts_from_its_first_reading(begin: Begin) -> None:
    killed = begin()
    booked(killed, reading(0, operations=2.0, others=4.0))
    with killed.engine.begin() as connection:  # as the next start notes it
        connection.execute(
            update(instances).where(instances.c.id == killed.instance).values(status="Troubled")
        )
    again = begin()

    booked(again, reading(2, operations=2.0, others=4.0))

    assert the_machine(again).seconds == 2.0


def test_what_a_killed_process_had_not_read_is_not_measured_and_the_rest_is_left_alone(begin: Begin) -> None:
    killed, alive = begin(), begin()
    row = {
        "attempt": 1, "scope": "local", "item": "Op", "started_at_us": BEGAN_US, "tier": "none", "status": "pending",
        "partial": False,
    }  # fmt: skip
    begun = {
        "number": 1, "item": "Op", "job": "j", "started_us": BEGAN_US, "lease_until_us": BEGAN_US,
        "outcome": "completed",
    }  # fmt: skip
    with alive.engine.begin() as connection:
        for message_id, store in ((1, killed), (2, alive)):
            connection.execute(insert(energy).values(message_id=message_id, **row))
            connection.execute(
                insert(attempts).values(message_id=message_id, instance=store.instance, **begun)
            )
        connection.execute(
            update(instances).where(instances.c.id == killed.instance).values(status="Troubled")
        )

    begin()

    with alive.engine.connect() as connection:
        query = select(energy.c.status, energy.c.energy_joules, energy.c.reason).order_by(energy.c.message_id)
        first, second = connection.execute(query).all()
    assert (first.status, first.energy_joules) == ("not_measured", None)
    assert "the process ended before" in first.reason
    assert (second.status, second.reason) == ("pending", None)


def test_what_is_measured_in_another_way_is_not_taken_out_of_the_others(begin: Begin) -> None:
    first, second = begin(), begin()
    booked(first, reading(0, operations=2.0, others=4.0))

    booked(second, reading(0, operations=3.0, others=3.0, method="a counter", tier=Tier.MEASURED))

    row = the_machine(first)
    assert (row.total_joules, row.operations_joules, row.others_joules) == (10.0, 2.0, 4.0)


def test_the_power_beside_a_training_is_that_of_its_machine(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = begin("near"), begin("far")
    booked(near, reading(0, operations=2.0, others=4.0))
    monkeypatch.setattr(machines, "machine_id", lambda: "another kernel")
    booked(far, reading(0, operations=1.0, others=0.0, total_joules=100.0))
    with near.engine.begin() as connection:
        connection.execute(
            insert(attempts).values(
                message_id=7, number=1, item="Train", job="j", instance=far.instance, started_us=BEGAN_US,
                lease_until_us=BEGAN_US, outcome="completed",
            )
        )  # fmt: skip

    of_the_training = power_curve(near.engine, BEGAN_US, BEGAN_US + 5 * SECOND_US, message_id=7)

    assert [point.machine_watts for point in of_the_training.points] == [100.0]


def test_one_process_on_a_file_says_its_machine(home: Home) -> None:
    store = Store(home)
    store.begin("Bench")
    try:
        booked(store, reading(0, operations=2.0, others=4.0))
        with store.engine.connect() as connection:
            of_it = energy_intervals.join(instances, instances.c.id == energy_intervals.c.instance)
            query = select(energy_intervals.c.host, instances.c.host).select_from(of_it)
            (row,) = connection.execute(query).all()
    finally:
        store.close()

    assert row[0] == row[1] != ""
