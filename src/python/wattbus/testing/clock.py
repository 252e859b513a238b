"""A clock that a test moves by hand: an hour passes in no time, and every wait for it ends.

A production that is given one takes all its times and waits from it: retries, timers, time-outs, call intervals,
schedules, leases and alerts. Nothing passes by itself.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime

# A plain event is woken by nothing but its own set(): a waiter looks this often, in real time, what the clock says.
_LOOK_SECONDS = 0.01
#: How long :meth:`FakeClock.advance` waits, in real time, for the threads whose wait has ended to be on their way.
_WAKE_SECONDS = 5.0


@dataclass(frozen=True, eq=False)
class _Sleeper:
    thread: str
    event: threading.Event
    until_us: int | None  # None: for ever


class FakeClock:
    """Stands still until it is told; a :class:`wattbus.clock.Clock`.

    >>> clock = FakeClock()
    >>> clock.now
    datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)
    >>> clock.advance(90)
    >>> clock.now.time(), clock.monotonic()
    (datetime.time(0, 1, 30), 90.0)
    """

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._changed = threading.Condition()
        self._now_us = _microseconds(now)
        self._passed_us = 0
        self._sleepers: set[_Sleeper] = set()

    # -- the clock ----------------------------------------------------------------------------------------------

    def now_us(self) -> int:
        """Return the time of day: microseconds since the epoch, UTC."""
        with self._changed:
            return self._now_us

    def monotonic(self) -> float:
        """Return the seconds that have passed since the clock was made."""
        with self._changed:
            return self._passed_us / 1e6

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Wait for ``event``, or until so much of this clock has passed; return whether the event is set."""
        with self._changed:
            until_us = None if seconds is None else self._passed_us + round(seconds * 1e6)
            sleeper = _Sleeper(threading.current_thread().name, event, until_us)
            self._sleepers.add(sleeper)
            self._changed.notify_all()
        try:
            while not event.is_set() and not self._is_over(sleeper):
                event.wait(None if seconds is None else _LOOK_SECONDS)
            return event.is_set()
        finally:
            with self._changed:
                self._sleepers.discard(sleeper)
                self._changed.notify_all()

    # -- the hand that moves it ---------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The time of day, UTC."""
        return datetime.fromtimestamp(self.now_us() / 1e6, UTC)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once, and wait until every thread whose wait has ended is on its way.

        It is one leap: what happens each 5 s happens once in a leap of 20, and four times in four leaps of 5.
        """
        if seconds < 0:
            raise ValueError(
                f"advance({seconds:g}): time does not run backwards; jump() sets the time of day back."
            )
        passed_us = round(seconds * 1e6)
        with self._changed:
            self._passed_us += passed_us
            self._now_us += passed_us
            over = {sleeper for sleeper in self._sleepers if self._is_over(sleeper)}
            self._changed.wait_for(lambda: not over & self._sleepers, _WAKE_SECONDS)

    def jump(self, seconds: float) -> None:
        """Set the time of day forward or back, as NTP, a user or summer time does; no time passes."""
        with self._changed:
            self._now_us += round(seconds * 1e6)

    def set(self, now: datetime) -> None:
        """Set the time of day; no time passes."""
        with self._changed:
            self._now_us = _microseconds(now)

    # -- who waits ----------------------------------------------------------------------------------------------

    def sleeping(self) -> frozenset[str]:
        """Return the names of the threads that wait for this clock to move."""
        with self._changed:
            return frozenset(
                sleeper.thread
                for sleeper in self._sleepers
                if not self._is_over(sleeper) and not sleeper.event.is_set()
            )

    def wait_for_sleeper(self, thread: str = "", *, seconds: float = 10.0) -> None:
        """Wait, in real time, until a thread whose name contains ``thread`` waits for this clock to move."""
        with self._changed:
            if not self._changed.wait_for(lambda: any(thread in name for name in self.sleeping()), seconds):
                asleep = ", ".join(sorted(self.sleeping())) or "none"
                raise AssertionError(
                    f"after {seconds:g} s no thread called {thread!r} waits for the clock; those that do: {asleep}."
                )

    def _is_over(self, sleeper: _Sleeper) -> bool:
        with self._changed:
            return sleeper.until_us is not None and sleeper.until_us <= self._passed_us


def _microseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone: write datetime(..., tzinfo=UTC).")
    # Whole numbers: a float of today's microseconds is off by one now and then.
    passed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
