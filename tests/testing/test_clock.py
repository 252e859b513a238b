"""The clock that a test moves by hand."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from wattbus.clock import SYSTEM, Clock
from wattbus.testing import FakeClock


class Sleeper(threading.Thread):
    """Waits once, and keeps what the wait returned."""

    def __init__(self, clock: Clock, event: threading.Event, seconds: float | None) -> None:
        super().__init__(name=f"sleeper-{seconds}", daemon=True)
        self._clock, self._event, self._seconds = clock, event, seconds
        self.returned: bool | None = None
        self.start()

    def run(self) -> None:
        self.returned = self._clock.wait(self._event, self._seconds)

    def ended(self) -> bool | None:
        self.join(20)
        assert not self.is_alive(), "the wait did not end"
        return self.returned


def test_a_wait_ends_when_its_time_has_passed() -> None:
    clock = FakeClock()
    sleeper = Sleeper(clock, threading.Event(), 60)
    clock.wait_for_sleeper("sleeper-60")

    clock.advance(60)

    assert sleeper.ended() is False


def test_a_wait_goes_on_while_its_time_has_not_passed() -> None:
    clock = FakeClock()
    sleeper = Sleeper(clock, threading.Event(), 60)
    clock.wait_for_sleeper()

    clock.advance(59.999)

    assert clock.sleeping() == {"sleeper-60"}
    clock.advance(0.001)
    assert sleeper.ended() is False


def test_a_wait_ends_at_once_when_its_event_is_set() -> None:
    clock, event = FakeClock(), threading.Event()
    sleeper = Sleeper(clock, event, 3600)
    clock.wait_for_sleeper()

    event.set()

    assert sleeper.ended() is True
    assert clock.monotonic() == 0


def test_a_wait_without_an_end_waits_for_its_event_only() -> None:
    clock, event = FakeClock(), threading.Event()
    sleeper = Sleeper(clock, event, None)

    clock.advance(1e9)
    event.set()

    assert sleeper.ended() is True


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_wait_for_no_time_does_not_wait(seconds: float) -> None:
    event = threading.Event()

    assert FakeClock().wait(event, seconds) is False
    event.set()
    assert FakeClock().wait(event, seconds) is True


def test_one_leap_ends_every_wait_that_is_over() -> None:
    clock = FakeClock()
    sleepers = [Sleeper(clock, threading.Event(), seconds) for seconds in range(1, 21)]
    for sleeper in sleepers:
        clock.wait_for_sleeper(sleeper.name)

    clock.advance(10)

    assert clock.sleeping() == {sleeper.name for sleeper in sleepers[10:]}
    clock.advance(10)
    assert [sleeper.ended() for sleeper in sleepers] == [False] * 20


def test_setting_the_time_of_day_back_ends_no_wait_and_lets_no_time_pass() -> None:
    clock = FakeClock(datetime(2026, 10, 25, 2, 30, tzinfo=UTC))
    sleeper = Sleeper(clock, threading.Event(), 60)
    clock.wait_for_sleeper()

    clock.jump(-3600)
    clock.jump(86_400)

    assert clock.now == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert clock.monotonic() == 0
    assert sleeper.is_alive()
    clock.advance(60)
    assert sleeper.ended() is False


def test_the_time_of_day_is_set_to_the_microsecond() -> None:
    clock = FakeClock()
    moment = datetime(2038, 1, 19, 3, 14, 7, 999_999, tzinfo=UTC)

    clock.set(moment)
    clock.advance(0.000_001)

    assert clock.now_us() == int(moment.timestamp()) * 1_000_000 + 1_000_000
    assert clock.now == moment + timedelta(microseconds=1)


def test_many_small_steps_add_up_exactly() -> None:
    clock = FakeClock()

    for _ in range(1000):
        clock.advance(0.1)

    assert clock.monotonic() == 100


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match=r"jump\(\) sets the time of day back"):
        FakeClock().advance(-1)


def test_a_time_of_day_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        FakeClock(datetime(2026, 1, 1))


def test_who_waits_in_vain_for_a_sleeper_is_told_who_sleeps() -> None:
    clock, event = FakeClock(), threading.Event()
    sleeper = Sleeper(clock, event, 60)
    clock.wait_for_sleeper()

    with pytest.raises(AssertionError, match=r"'Echo' waits for the clock; those that do: sleeper-60"):
        clock.wait_for_sleeper("Echo", seconds=0.01)

    event.set()
    sleeper.ended()


def test_the_system_clock_waits_for_its_event_or_its_time() -> None:
    event = threading.Event()

    assert SYSTEM.wait(event, 0) is False
    event.set()
    assert SYSTEM.wait(event, None) is True
    assert SYSTEM.wait(event, 1e300) is True


def test_the_system_clock_grows() -> None:
    before = SYSTEM.monotonic(), SYSTEM.now_us()

    assert SYSTEM.monotonic() >= before[0]
    assert SYSTEM.now_us() > 1_700_000_000_000_000
