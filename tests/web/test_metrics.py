"""The figures for Prometheus."""

from __future__ import annotations

import contextlib
from pathlib import Path

from doors import OpenDoor, open_door
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event

from components import Gate, Text, echo_production
from wattbus.energy.record import EnergyRecord, EnergyStatus, IntervalRecord, Tier
from wattbus.errors import RequestFailed
from wattbus.store.tables import processes

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def figures(ask: OpenDoor) -> Figures:
    said = ask("GET", "/metrics").said
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(said)
        for sample in family.samples
    }


def of(found: Figures, name: str, **labels: str) -> float | None:
    return found.get((f"wattbus_{name}", tuple(sorted(labels.items()))))


def test_what_ended_is_counted_by_item_status_and_outcome(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        running = ask.director.current()
        for _ in range(3):
            running.request("Echo", Text("hello"))
        with contextlib.suppress(RequestFailed):
            running.request("Echo", Text("boom"))

        found = figures(ask)

    assert of(found, "up") == 1
    assert of(found, "requests_total", item="Echo", status="Completed") == 3
    assert of(found, "requests_total", item="Echo", status="Error") == 1
    assert of(found, "attempts_total", item="Echo", outcome="completed") == 3
    assert of(found, "attempt_seconds_count", item="Echo") == 4
    assert of(found, "attempt_seconds_bucket", item="Echo", le="+Inf") == 4
    assert of(found, "wait_seconds_count", item="Echo") == 4
    assert (of(found, "attempt_seconds_sum", item="Echo") or 0) > 0


def test_the_queues_tell_their_depth_and_the_age_of_their_oldest(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        running = ask.director.current()
        running.stop_item("Echo")
        running.submit("Echo", Text("a"))
        running.submit("Echo", Text("b"))

        found = figures(ask)

    assert of(found, "queue_messages", queue="Echo") == 2
    assert (of(found, "queue_oldest_seconds", queue="Echo") or 0) > 0
    assert of(found, "workers", item="Echo") == 0
    assert of(found, "workers", item="Relay") == 1


def test_joules_are_counted_by_item_and_tier_and_an_unknown_one_is_no_zero(tmp_path: Path) -> None:
    def record(attempt: int, joules: float | None, tier: Tier, status: EnergyStatus) -> EnergyRecord:
        return EnergyRecord(1, attempt, "Echo", 0, 0.1, energy_joules=joules, tier=tier, status=status)

    reading = IntervalRecord(0, 1.0, 10.0, 4.0, 3.0, 2.0, 1.0, Tier.MODELLED, "a test")
    with open_door(tmp_path, echo_production()) as ask:
        tally = ask.director.current().bus.tally
        tally.settled([record(1, 2.5, Tier.MODELLED, EnergyStatus.ESTIMATED)], reading)
        tally.settled([record(2, 1.5, Tier.MODELLED, EnergyStatus.ESTIMATED)])
        tally.settled([record(3, None, Tier.NONE, EnergyStatus.NOT_MEASURED)])
        tally.settled([record(4, 99.0, Tier.MODELLED, EnergyStatus.PENDING)])

        found = figures(ask)

    assert of(found, "energy_joules_total", item="Echo", scope="local", tier="modelled") == 4.0
    assert of(found, "energy_joules_total", item="Echo", scope="local", tier="none") is None
    assert of(found, "energy_unknown_attempts_total", item="Echo", scope="local", tier="none") == 1
    buckets = ("operations", "idle", "others", "overhead")
    assert sum(of(found, "machine_joules_total", bucket=one, tier="modelled") or 0 for one in buckets) == 10


def test_a_message_that_is_in_two_places_shows(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        running = ask.director.current()
        message_id, _ = running.exchange("Echo", Text("a"))
        before = figures(ask)
        with running.store.engine.begin() as connection:
            values = dict(
                message_id=message_id, item="Echo", version=1, waiting=1, response_class="", properties="{}"
            )
            connection.execute(processes.insert().values(values))

        after = figures(ask)

    assert of(before, "conservation_astray_messages") == 0
    assert of(after, "conservation_astray_messages") == 1
    assert of(after, "open_messages", place="deferred") == 1


def test_the_process_and_the_store_tell_what_they_use(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        found = figures(ask)

    assert found[("process_resident_memory_bytes", ())] > 1_000_000
    assert found[("process_open_fds", ())] > 0
    assert (of(found, "threads") or 0) > 1
    assert (of(found, "store_bytes", part="file") or 0) > 0


def test_reading_them_counts_no_row_of_the_messages(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        running = ask.director.current()
        running.request("Echo", Text("a"))
        asked: list[tuple[str, object]] = []

        def note(connection: object, cursor: object, statement: str, values: object, *rest: object) -> None:
            asked.append((statement, values))

        event.listen(running.store.engine, "before_cursor_execute", note)
        ask("GET", "/metrics")
        event.remove(running.store.engine, "before_cursor_execute", note)
        with running.store.engine.connect() as connection:
            plans = [
                row[3]
                for statement, values in asked
                if statement.startswith("SELECT")
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            ]

    assert plans
    assert [plan for plan in plans if plan.startswith("SCAN messages") and "INDEX" not in plan] == []
    assert [plan for plan in plans if "SCAN attempts" in plan and "attempts_running" not in plan] == []


def test_they_need_a_token_and_touch_no_global_registry(tmp_path: Path) -> None:
    before = {family.name for family in REGISTRY.collect()}
    with open_door(tmp_path, echo_production()) as ask:
        stranger = ask("GET", "/metrics", authorization="")
        viewer = ask.as_role("viewer")("GET", "/metrics")

    assert stranger.status == 401
    assert viewer.status == 200
    assert viewer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert {family.name for family in REGISTRY.collect()} == before


def test_while_nothing_runs_they_say_so(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        found = figures(ask)

    assert of(found, "up") == 0
    assert of(found, "queue_messages", queue="Echo") is None


def test_a_name_that_would_break_the_text_form_is_escaped(tmp_path: Path) -> None:
    name = 'a"b\\c'
    prod = echo_production()
    prod.operation(name, Gate)
    with open_door(tmp_path, prod) as ask:
        found = figures(ask)

    assert of(found, "queue_messages", queue=name) == 0
