"""A failing meter never fails work: feeds that raise, hang or lie."""

import math
import threading
import time
from collections.abc import Iterator

import pytest

import wattbus.energy.ledger as ledger_module
from energy_samples import Sink, burn, wait_until
from wattbus.energy import EnergyStatus, FakeFeed, Ledger, NullFeed
from wattbus.energy.cputime import PlainCpuTimes
from wattbus.energy.feed import PowerFeed, PowerReading

MOST_ADDED_SECONDS = 2.0


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def one_attempt(ledger: Ledger) -> float:
    """Run one attempt and return how long opening and closing took."""
    began = time.perf_counter()
    window = ledger.open(1, 1, "x")
    opened = time.perf_counter()
    burn(0.005)
    before = time.perf_counter()
    window.close()
    return opened - began + time.perf_counter() - before


def run(feed: PowerFeed, sink: Sink) -> float:
    ledger = Ledger(feed, on_settled=sink, interval_seconds=3600)
    ledger.start()
    ledger.wait_ready()
    added = one_attempt(ledger)
    assert ledger.settle(10)
    ledger.stop()
    return added


def test_a_feed_that_cannot_start_leaves_a_failed_record_with_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = Sink()

    added = run(FakeFeed(start_error=ImportError("No module named 'codecarbon'")), sink)

    record = sink.records[1]
    assert (record.status, record.energy_joules, record.cpu_joules) == (EnergyStatus.FAILED, None, None)
    assert record.reason == "the power feed could not start: ImportError: No module named 'codecarbon'"
    assert (record.cpu_seconds or 0) >= 0.005
    assert added < MOST_ADDED_SECONDS
    assert sink.intervals == []
    assert "could not start" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (OSError("permission denied"), "OSError: permission denied"),
        (PowerReading(1.0, math.nan), "nan J for the CPU"),
        (PowerReading(1.0, -3.0), "-3.0 J for the CPU"),
        (PowerReading(1.0, math.inf), "inf J for the CPU"),
        (PowerReading(1.0, 0.0), "0 J for the CPU over 1.0 s"),
        (PowerReading(1.0, None), "no CPU energy"),
        (PowerReading(0.0, 1.0), "an interval of 0.0 s"),
        (PowerReading(math.nan, 1.0), "an interval of nan s"),
    ],
)
def test_a_reading_that_cannot_be_true_is_a_failed_record_and_no_interval(
    wrong: PowerReading | Exception, words: str
) -> None:
    sink = Sink()

    added = run(FakeFeed(script=[wrong]), sink)

    record = sink.records[1]
    assert (record.status, record.energy_joules) == (EnergyStatus.FAILED, None)
    assert words in (record.reason or "")
    assert added < MOST_ADDED_SECONDS


def test_a_feed_without_a_source_leaves_not_measured_records() -> None:
    sink = Sink()

    run(NullFeed("this machine has no power source"), sink)

    record = sink.records[1]
    assert (record.status, record.energy_joules) == (EnergyStatus.NOT_MEASURED, None)
    assert record.reason == "this machine has no power source"


def test_a_feed_that_hangs_at_its_start_delays_nothing(gate: threading.Event) -> None:
    sink = Sink()
    ledger = Ledger(FakeFeed(gate=gate, gated="start"), on_settled=sink, interval_seconds=3600)
    began = time.perf_counter()
    ledger.start()
    added = one_attempt(ledger)
    assert ledger.settle()
    ready = ledger.wait_ready(0.01)
    ledger.stop()

    assert ready is False
    assert added < MOST_ADDED_SECONDS
    assert time.perf_counter() - began < MOST_ADDED_SECONDS
    record = sink.records[1]
    assert (record.status, record.energy_joules) == (EnergyStatus.NOT_MEASURED, None)
    assert "still starting" in (record.reason or "")


def test_a_feed_that_hangs_while_read_fails_the_record_and_its_late_answer_counts(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "READ_DEADLINE_SECONDS", 0.25)
    sink = Sink()
    feed = FakeFeed(gate=gate)
    ledger = Ledger(feed, on_settled=sink, interval_seconds=3600)
    ledger.start()
    assert ledger.wait_ready()

    added = one_attempt(ledger)
    assert ledger.settle(10)
    gate.set()
    assert ledger.settle(10)
    ledger.stop()

    assert added < MOST_ADDED_SECONDS
    assert sink.records[1].status is EnergyStatus.FAILED
    assert "has not answered" in (sink.records[1].reason or "")
    assert math.fsum(i.total_joules for i in sink.intervals) == pytest.approx(feed.total_joules, rel=1e-9)


def test_stopping_beside_a_feed_that_hangs_takes_a_few_seconds_at_most(gate: threading.Event) -> None:
    sink = Sink()
    ledger = Ledger(FakeFeed(gate=gate), on_settled=sink, interval_seconds=3600)
    ledger.start()
    assert ledger.wait_ready()
    one_attempt(ledger)
    began = time.perf_counter()

    ledger.stop()

    assert time.perf_counter() - began < 6
    assert sink.records[1].status is EnergyStatus.FAILED


def test_a_feed_that_cannot_stop_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    sink = Sink()
    feed = FakeFeed(stop_error=RuntimeError("stuck"))

    run(feed, sink)

    assert sink.records[1].status is EnergyStatus.ESTIMATED
    assert feed.stopped is True
    assert "could not be stopped" in caplog.text


def test_an_attempt_before_the_first_reading_of_a_slow_feed_is_partly_read(gate: threading.Event) -> None:
    sink = Sink()
    ledger = Ledger(FakeFeed(gate=gate, gated="start"), on_settled=sink, interval_seconds=3600)
    ledger.start()
    window = ledger.open(1, 1, "x")
    burn(0.02)
    gate.set()
    assert ledger.wait_ready()
    burn(0.02)
    window.close()
    ledger.stop()

    record = sink.records[1]
    assert record.partial is True
    assert (record.energy_joules or 0) > 0
    assert (record.reason or "").startswith("no power reading for")


def test_a_failing_gpu_query_leaves_the_cpu_figure_and_says_so() -> None:
    sink = Sink()
    feed = FakeFeed(gpu_watts=100.0, script=[PowerReading(1.0, 10.0, math.nan)])
    ledger = Ledger(feed, on_settled=sink, interval_seconds=3600)
    ledger.start()
    assert ledger.wait_ready()
    window = ledger.open(1, 1, "x")
    window.describe(gpu=True)
    burn(0.01)
    window.close()
    ledger.settle()
    ledger.stop()

    record = sink.records[1]
    assert (record.cpu_joules or 0) > 0
    assert (record.gpu_joules, record.partial) == (None, True)
    assert "nan J for the GPU" in (record.reason or "")


def test_zero_joules_for_an_operation_of_more_than_a_second_is_a_failure() -> None:
    class StandsStill(PlainCpuTimes):
        def process(self) -> float:
            return 0.0

    sink = Sink()
    now = [0.0]
    ledger = Ledger(
        FakeFeed(), on_settled=sink, interval_seconds=3600, clock=lambda: now[0], cpu=StandsStill()
    )
    ledger.start()
    assert ledger.wait_ready()
    window = ledger.open(1, 1, "x")
    now[0] += 3.0
    window.close()
    ledger.settle()
    ledger.stop()

    record = sink.records[1]
    assert (record.status, record.energy_joules) == (EnergyStatus.FAILED, None)
    assert "0 J for an operation of 3.0 s" in (record.reason or "")


def test_a_feed_that_recovers_measures_again() -> None:
    sink = Sink()
    feed = FakeFeed(script=[OSError("once")])
    ledger = Ledger(feed, on_settled=sink, interval_seconds=0.01)
    ledger.start()
    wait_until(lambda: feed.reads >= 3)
    window = ledger.open(1, 1, "x")
    burn(0.01)
    window.close()
    ledger.stop()

    assert sink.records[1].status is EnergyStatus.ESTIMATED
