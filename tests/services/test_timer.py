"""TimerService: a message again and again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from iop import BusinessOperation, Message, Production

from wattbus import testing
from wattbus.messages import TimerTick
from wattbus.services import TimerService
from wattbus.store.queries import list_events, list_messages
from wattbus.testing.production import ProductionUnderTest


@dataclass
class Report(Message):
    kind: str
    pages: int = 1


class Taker(BusinessOperation):
    def tick(self, request: TimerTick) -> None:
        pass

    def report(self, request: Report) -> None:
        pass


@contextmanager
def timing(home: Path, now: str = "2026-05-04T07:58:00", **settings: Any) -> Iterator[ProductionUnderTest]:
    prod = Production("Test.Timer")
    taker = prod.operation("Taker", Taker)
    feed = prod.service("Feed", TimerService, settings=settings)
    prod.connect(feed.Output, taker)
    clock = testing.FakeClock(datetime.fromisoformat(now).replace(tzinfo=UTC))
    with testing.production(prod, home, clock=clock) as bus:
        bus.wait_ready()
        if all(item.state != "Error" for item in bus.items()):
            clock.wait_for_sleeper("Feed")
        yield bus


def passes(bus: ProductionUnderTest, seconds: float) -> None:
    """Let time pass, and see the service's call end."""
    clock = bus.clock
    assert isinstance(clock, testing.FakeClock)
    bus.advance(seconds)
    clock.wait_for_sleeper("Feed")
    bus.settle()


def sent(bus: ProductionUnderTest) -> list[dict[str, Any]]:
    store = bus.production.store
    rows = [row for row in list_messages(store.engine, limit=1000) if row.target_item == "Taker"]
    return [json.loads(store.body(row.body_id) or "") for row in reversed(rows)]


def dues(bus: ProductionUnderTest) -> list[str]:
    return [body["due"][11:19] for body in sent(bus)]


def test_without_a_schedule_it_sends_at_each_call_interval(tmp_path: Path) -> None:
    with timing(tmp_path / "home", CallInterval=60) as bus:
        passes(bus, 60)
        passes(bus, 60)

        assert dues(bus) == ["07:58:00", "07:59:00", "08:00:00"]
        assert len({row.session_id for row in list_messages(bus.production.store.engine)}) == 3


def test_the_call_interval_of_the_adapter_counts_as_on_iris(tmp_path: Path) -> None:
    prod = Production("Test.Timer")
    taker = prod.operation("Taker", Taker)
    feed = prod.service("Feed", TimerService, adapter_settings={"CallInterval": "60"})
    prod.connect(feed.Output, taker)

    with testing.production(prod, tmp_path / "home", clock=testing.FakeClock()) as bus:
        bus.clock.wait_for_sleeper("Feed")  # type: ignore[attr-defined]
        passes(bus, 59)
        assert len(sent(bus)) == 1
        passes(bus, 1)

        assert len(sent(bus)) == 2


def test_with_a_schedule_it_sends_at_its_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")

    with timing(tmp_path / "home", At="cron: */5 8-17 * * mon-fri") as bus:
        for _ in range(80):
            passes(bus, 5)

        assert dues(bus) == ["08:00:00"]


def test_ticks_that_fall_between_two_calls_are_all_sent(tmp_path: Path) -> None:
    with timing(tmp_path / "home", At="every 20 s", CallInterval=60) as bus:
        passes(bus, 60)

        assert dues(bus)[-3:] == ["07:58:20", "07:58:40", "07:59:00"]


def test_a_restart_within_the_minute_sends_no_tick_twice_and_makes_up_for_one(tmp_path: Path) -> None:
    with timing(tmp_path / "home", "2026-05-04T08:00:10", At="every 10 min") as bus:
        first = dues(bus)
    with timing(tmp_path / "home", "2026-05-04T08:00:40", At="every 10 min") as bus:
        second = dues(bus)

    assert first == second == ["08:00:00"]


def test_a_clock_that_is_set_back_brings_no_tick_twice(tmp_path: Path) -> None:
    with timing(tmp_path / "home", At="every 1 min") as bus:
        passes(bus, 60)
        before = dues(bus)
        bus.clock.jump(-60)  # type: ignore[attr-defined]
        passes(bus, 5)
        passes(bus, 55)

        assert dues(bus) == before


def test_what_a_long_sleep_passes_over_is_a_warning_and_the_newest_are_sent(tmp_path: Path) -> None:
    with timing(tmp_path / "home", At="every 1 min") as bus:
        before = len(sent(bus))
        bus.clock.jump(3 * 86400)  # type: ignore[attr-defined]
        passes(bus, 5)
        bus.production.store.flush()
        (warning,) = list_events(bus.production.store.engine, type="Warning")

        assert len(sent(bus)) == before + 100
        assert dues(bus)[-1] == "07:58:00"
    assert "were passed over, only the last 100 are sent" in warning.text


def test_it_sends_the_type_and_the_body_that_are_set(tmp_path: Path) -> None:
    body = '{"kind": "daily", "pages": 3}'

    with timing(tmp_path / "home", MessageType=f"{__name__}.Report", Body=body) as bus:
        assert sent(bus) == [{"kind": "daily", "pages": 3}]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"At": "cron: 61 * * * *"}, "'61' is no minute"),
        ({"Body": "{"}, "Body '{' is no JSON"),
        ({"Body": "[1]"}, "is a list: write a JSON object"),
        ({"Body": '{"kindd": "x"}', "MessageType": f"{__name__}.Report"}, "did you mean 'kind'"),
        ({"MessageType": f"{__name__}.Report"}, "field 'kind' is missing"),
    ],
)
def test_a_wrong_setting_is_an_error_of_the_item_in_a_sentence(
    tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    with timing(tmp_path / "home", **settings) as bus:
        (feed,) = [item for item in bus.items() if item.name == "Feed"]

    assert feed.state == "Error"
    assert re.search(says, feed.error or ""), feed.error
