"""The clock: the time of day, the time that passes, and waiting; a test brings its own.

A time of day is written to the store and may jump (NTP, summer time). A duration comes from :meth:`Clock.monotonic`
alone, and a wait is measured by it: whoever waits for time to pass does it through :meth:`Clock.wait`, so that a test
can let an hour pass in no time (``wattbus.testing.FakeClock``).
"""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What tells the time."""

    def now_us(self) -> int:
        """Return the time of day: microseconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Return seconds that only grow; only differences mean something."""

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Wait for ``event``, ``seconds`` of this clock at most (None: for ever); return whether it is set."""


class SystemClock:
    """The clock of the machine."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        # threading.TIMEOUT_MAX: a longer wait raises OverflowError, and is for ever in all but name.
        return event.wait(None if seconds is None else min(max(0.0, seconds), threading.TIMEOUT_MAX))


#: The clock that everything uses unless it is given another.
SYSTEM: Clock = SystemClock()
