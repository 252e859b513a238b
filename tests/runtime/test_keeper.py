"""Items that a schedule starts and stops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from iop import Production

from components import Echo, Text
from waiting import until
from wattbus import testing
from wattbus.errors import BadSettings
from wattbus.runtime.reading import from_production
from wattbus.store.queries import list_events
from wattbus.testing.production import ProductionUnderTest

DAY = "START:*-*-*T08:00:00,STOP:*-*-*T18:00:00"


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")


def scheduled(schedule: str = DAY, **more: Any) -> Production:
    prod = Production("Test.Scheduled")
    prod.operation("Echo", Echo, schedule=schedule, **more)
    prod.operation("Always", Echo)
    return prod


@contextmanager
def running(prod: Production, home: Path, now: str) -> Iterator[ProductionUnderTest]:
    clock = testing.FakeClock(datetime.fromisoformat(now).replace(tzinfo=UTC))
    with testing.production(prod, home, clock=clock) as bus:
        yield bus


def passes(bus: ProductionUnderTest, seconds: float) -> None:
    """Let time pass, and see the keeper look."""
    clock = bus.clock
    assert isinstance(clock, testing.FakeClock)
    clock.wait_for_sleeper("wattbus-schedules")
    clock.advance(seconds)
    clock.wait_for_sleeper("wattbus-schedules")


def state(bus: ProductionUnderTest, item: str = "Echo") -> str:
    return next(row.state for row in bus.items() if row.name == item)


def stands(bus: ProductionUnderTest, wanted: str) -> None:
    until(lambda: state(bus) == wanted, f"Echo is {wanted}, it is {state(bus)}")


def test_an_item_runs_between_the_turns_of_its_schedule_and_its_messages_wait_meanwhile(
    tmp_path: Path,
) -> None:
    with running(scheduled(), tmp_path, "2026-05-04T17:59:00") as bus:
        stands(bus, "Running")
        passes(bus, 60)
        stands(bus, "Stopped")

        waiter = bus.production.submit_and_watch("Echo", Text("late"))
        assert not waiter.done
        passes(bus, 14 * 3600)
        stands(bus, "Running")

        assert waiter.wait(20)
        bus.production.store.flush()
        said = [line.text for line in list_events(bus.production.store.engine, type="Info", item="Echo")]
    assert [text for text in said if "says so" in text] == [
        f"stopped: {DAY} says so",
        f"started: {DAY} says so",
    ]


def test_an_item_whose_time_has_not_come_is_not_started_and_the_others_are(tmp_path: Path) -> None:
    with running(scheduled(), tmp_path, "2026-05-04T05:00:00") as bus:
        bus.wait_ready()

        assert (state(bus), state(bus, "Always")) == ("Stopped", "Running")
        passes(bus, 3 * 3600)
        stands(bus, "Running")


def test_what_a_person_does_between_two_turns_stays(tmp_path: Path) -> None:
    with running(scheduled(), tmp_path, "2026-05-04T05:00:00") as bus:
        bus.production.start_item("Echo")
        stands(bus, "Running")
        passes(bus, 3600)
        assert state(bus) == "Running"

        passes(bus, 3 * 3600)
        bus.production.stop_item("Echo")
        passes(bus, 3600)

        assert state(bus) == "Stopped"


def test_a_disabled_item_is_never_started(tmp_path: Path) -> None:
    with running(scheduled(enabled=False), tmp_path, "2026-05-04T05:00:00") as bus:
        passes(bus, 4 * 3600)

        assert state(bus) == "Disabled"


def test_a_clock_that_is_set_is_noticed(tmp_path: Path) -> None:
    with running(scheduled(), tmp_path, "2026-05-04T05:00:00") as bus:
        bus.clock.jump(4 * 3600)  # type: ignore[attr-defined]
        passes(bus, 30)
        stands(bus, "Running")

        bus.clock.jump(-4 * 3600)  # type: ignore[attr-defined]
        passes(bus, 30)
        stands(bus, "Stopped")


def test_another_schedule_by_an_update_counts_at_once(tmp_path: Path) -> None:
    with running(scheduled(), tmp_path, "2026-05-04T05:00:00") as bus:
        bus.production.update(from_production(scheduled("START:*-*-*T04:00:00,STOP:*-*-*T06:00:00")))
        stands(bus, "Running")

        bus.production.update(from_production(scheduled("cron: * 8-17 * * *")))
        stands(bus, "Stopped")


def test_an_item_that_an_update_brings_outside_its_time_is_not_started(tmp_path: Path) -> None:
    prod = scheduled("")
    with running(prod, tmp_path, "2026-05-04T05:00:00") as bus:
        more = scheduled("")
        more.operation("New", Echo, schedule=DAY)

        bus.production.update(from_production(more))

        assert state(bus, "New") == "Stopped"
        bus.clock.wait_for_sleeper("wattbus-schedules")  # type: ignore[attr-defined]
        passes(bus, 3 * 3600)
        until(lambda: state(bus, "New") == "Running", "the new item runs")


def test_an_item_that_an_update_changes_outside_its_time_is_not_started(tmp_path: Path) -> None:
    with running(scheduled(), tmp_path, "2026-05-04T05:00:00") as bus:
        bus.production.update(from_production(scheduled(settings={"prefix": ">"})))
        bus.clock.wait_for_sleeper("wattbus-schedules")  # type: ignore[attr-defined]

        assert state(bus) == "Stopped"
        passes(bus, 3 * 3600)
        stands(bus, "Running")


def test_the_time_is_that_of_the_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")

    with running(scheduled(), tmp_path, "2026-05-04T00:00:00") as bus:
        bus.wait_ready()

        assert state(bus) == "Running"


def test_a_schedule_that_cannot_be_read_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"item 'Echo': Schedule 'START:\*-\*-\*T25:00:00', character 13"):
        testing.production(scheduled("START:*-*-*T25:00:00"), tmp_path)

    with testing.production(scheduled(""), tmp_path) as bus:
        assert bus.wait_ready()


def test_a_schedule_that_only_iris_has_is_a_warning_and_the_item_runs(tmp_path: Path) -> None:
    with running(scheduled("@Daytime"), tmp_path, "2026-05-04T05:00:00") as bus:
        bus.wait_ready()
        bus.production.store.flush()
        (warning,) = [
            line.text for line in list_events(bus.production.store.engine, type="Warning", item="Echo")
        ]

        assert state(bus) == "Running"
    assert "runs at all times: Schedule '@Daytime'" in warning
