"""R41: a power feed that raises, hangs or lies under a running production: work goes on, and the record says why."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

import wattbus.energy.ledger as ledger_module
from components import Text, echo_production
from wattbus import doctor, testing
from wattbus.energy import CodecarbonFeed, EnergyStatus, FakeFeed
from wattbus.energy.feed import NullFeed, PowerFeed, PowerReading
from wattbus.energy.record import EnergyRecord
from wattbus.home import Home
from wattbus.store.queries import energy_records
from wattbus.store.tables import attempts

#: What the feed gives for ever: more than a test ever reads.
OFTEN = 10_000


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def worked_with(feed: PowerFeed, home: Path) -> list[EnergyRecord]:
    """Run a production on this feed: one request that succeeds, one that fails; return the records of both."""
    with testing.production(echo_production(), home, feed=feed) as bus:
        bus.production.ledger.wait_ready(60)
        answer = bus.request("Echo", Text("hello"), timeout_seconds=20)
        failed = bus.begin("Echo", Text("boom")).exception(20)
        bus.production.ledger.settle(10)
    with testing.production(echo_production(), home) as bus:  # what was written, as the next process reads it
        records = energy_records(bus.production.store.engine)
        with bus.production.store.engine.connect() as connection:
            outcomes = list(
                connection.execute(select(attempts.c.outcome).order_by(attempts.c.message_id)).scalars()
            )
    report = doctor.examine(Home(home))

    assert answer == Text("hello")
    assert "the text is boom" in str(failed)
    assert outcomes == ["completed", "error"]
    assert len(records) == 2
    assert report.ok, report.to_text()
    return records


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        (
            lambda: FakeFeed(start_error=ImportError("No module named 'codecarbon'")),
            "could not start: ImportError",
        ),
        (lambda: FakeFeed(start_error=OSError("no such device")), "could not start: OSError: no such device"),
        (
            lambda: FakeFeed(script=[PermissionError("energy_uj")] * OFTEN),
            "failed: PermissionError: energy_uj",
        ),
        (lambda: FakeFeed(script=[PowerReading(1.0, 0.0)] * OFTEN), "0 J for the CPU over 1.0 s"),
        (lambda: FakeFeed(script=[PowerReading(1.0, math.nan)] * OFTEN), "nan J for the CPU"),
        (lambda: FakeFeed(script=[PowerReading(1.0, -3.0)] * OFTEN), "-3.0 J for the CPU"),
    ],
    ids=["import", "start", "rapl-unreadable", "zero", "nan", "negative"],
)
def test_a_feed_that_fails_or_lies_leaves_failed_records_with_the_reason_and_unknown_joules(
    tmp_path: Path, feed: Callable[[], PowerFeed], words: str
) -> None:
    records = worked_with(feed(), tmp_path)

    assert [record.status for record in records] == [EnergyStatus.FAILED] * 2
    assert [record.energy_joules for record in records] == [None, None]
    assert all(words in (record.reason or "") for record in records)
    assert all((record.cpu_seconds or 0) > 0 for record in records)  # what needs no feed is known


def test_codecarbon_that_cannot_look_for_its_sources_leaves_failed_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    records = worked_with(CodecarbonFeed(), tmp_path)

    assert [record.status for record in records] == [EnergyStatus.FAILED] * 2
    assert all("codecarbon could not look for power sources" in (record.reason or "") for record in records)


def test_a_feed_that_hangs_at_its_start_delays_no_request(tmp_path: Path, gate: threading.Event) -> None:
    with testing.production(echo_production(), tmp_path, feed=FakeFeed(gate=gate, gated="start")) as bus:
        answers = [bus.request("Echo", Text(str(number)), timeout_seconds=20).text for number in range(3)]
        bus.production.ledger.settle(10)
        bus.production.store.flush()
        records = energy_records(bus.production.store.engine)

    assert answers == ["0", "1", "2"]
    assert {record.status for record in records} == {EnergyStatus.NOT_MEASURED}
    assert all("still starting" in (record.reason or "") for record in records)


def test_a_feed_that_hangs_while_it_is_read_leaves_failed_records_and_lets_the_production_stop(
    tmp_path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "READ_DEADLINE_SECONDS", 0.25)

    records = worked_with(FakeFeed(gate=gate), tmp_path)

    assert [record.status for record in records] == [EnergyStatus.FAILED] * 2
    assert all("has not answered for" in (record.reason or "") for record in records)


def test_a_feed_that_hangs_or_raises_when_it_is_stopped_changes_nothing(
    tmp_path: Path, gate: threading.Event
) -> None:
    hanging = worked_with(FakeFeed(gate=gate, gated="stop"), tmp_path / "hanging")
    raising = worked_with(FakeFeed(stop_error=RuntimeError("stuck")), tmp_path / "raising")

    assert {record.status for record in (*hanging, *raising)} == {EnergyStatus.ESTIMATED}


def test_a_gpu_that_cannot_be_asked_leaves_the_figure_of_the_cpu(tmp_path: Path) -> None:
    feed = FakeFeed(gpu_watts=100.0, script=[PowerReading(1.0, 10.0, math.nan)] * OFTEN)

    records = worked_with(feed, tmp_path)

    assert {record.status for record in records} == {EnergyStatus.ESTIMATED}
    assert all(record.gpu_joules is None and (record.cpu_joules or 0) > 0 for record in records)


def test_a_machine_without_a_source_leaves_records_that_were_not_measured_with_the_reason(
    tmp_path: Path,
) -> None:
    records = worked_with(NullFeed("this machine has no power source"), tmp_path)

    assert [record.status for record in records] == [EnergyStatus.NOT_MEASURED] * 2
    assert all((record.reason or "").startswith("this machine has no power source") for record in records)
