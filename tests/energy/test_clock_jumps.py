"""Clocks that jump: the time of day set back and forth, a clock that stands still, a machine that slept."""

from __future__ import annotations

import math

import pytest

from energy_samples import FOREVER, Sink, burn
from wattbus.energy import FakeFeed, Ledger

NOON = 1_700_000_000.0


class Clocks:
    """The time of day and a steady clock, both moved by hand, and the ledger that reads them."""

    def __init__(self, **feed: float) -> None:
        self.steady, self.day = 100.0, NOON
        self.sink = Sink()
        self.feed = FakeFeed(clock=lambda: self.steady, **feed)  # type: ignore[arg-type]
        self.ledger = Ledger(
            self.feed,
            on_settled=self.sink,
            clock=lambda: self.steady,
            wall=lambda: self.day,
            interval_seconds=FOREVER,
        )
        self.ledger.start()
        assert self.ledger.wait_ready()

    def passes(self, seconds: float) -> None:
        self.steady += seconds
        self.day += seconds

    def settle(self) -> None:
        assert self.ledger.settle()

    def conserved(self) -> None:
        parts = (
            (one.operations_joules, one.idle_joules, one.others_joules, one.overhead_joules)
            for one in self.sink.intervals
        )
        whole = math.fsum(part for four in parts for part in four)
        assert whole == pytest.approx(self.feed.total_joules, rel=1e-9)


@pytest.mark.parametrize("jump", [-3600.0, 3600.0, -400 * 86_400.0])
def test_a_time_of_day_that_is_set_moves_no_duration_and_no_energy(jump: float) -> None:
    clocks = Clocks()
    clocks.settle()
    window = clocks.ledger.open(1, 1, "Op")
    burn(0.01)
    clocks.passes(1.0)
    clocks.day += jump
    clocks.settle()
    clocks.passes(1.0)
    window.close()
    clocks.settle()
    clocks.ledger.stop()

    record = clocks.sink.records[1]
    assert (record.duration_seconds, record.started_at_us) == (2.0, int(NOON * 1e6))
    assert [one.total_joules for one in clocks.sink.intervals if one.duration_seconds == 1.0] == [10.0, 10.0]
    assert all(one.duration_seconds <= 1.0 for one in clocks.sink.intervals)
    clocks.conserved()


def test_a_clock_that_stands_still_is_a_gap_and_no_division_by_nothing() -> None:
    clocks = Clocks()
    clocks.settle()
    window = clocks.ledger.open(1, 1, "Op")
    burn(0.01)
    window.close()
    clocks.settle()
    clocks.passes(1.0)
    later = clocks.ledger.open(2, 1, "Op")
    burn(0.01)
    later.close()
    clocks.passes(1.0)
    clocks.settle()
    clocks.ledger.stop()

    assert clocks.sink.records[1].energy_joules is None
    assert clocks.sink.records[1].reason == "the power feed gave an interval of 0.0 s"
    assert (clocks.sink.records[2].energy_joules or 0) > 0
    clocks.conserved()


def test_a_machine_that_slept_gives_the_time_of_its_sleep_to_nobody_twice() -> None:
    clocks = Clocks(cpu_watts=2.0)
    clocks.settle()
    window = clocks.ledger.open(1, 1, "Op")
    burn(0.01)
    clocks.passes(8 * 3600.0)  # a clock that counted on while everything stood still
    window.close()
    clocks.settle()
    clocks.ledger.stop()

    record = clocks.sink.records[1]
    assert record.duration_seconds == 8 * 3600.0
    assert 0 < (record.energy_joules or 0) <= 2.0 * 8 * 3600
    assert (record.cpu_seconds or 0) < 1.0
    clocks.conserved()
