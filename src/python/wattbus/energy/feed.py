"""Where power readings come from: the protocol of a feed, with a null and a scripted twin.

A feed may take seconds to start, raise anywhere, hang or lie: the ledger calls it from one thread of its own,
with a deadline, and refuses readings that cannot be true. Energies are joules since the previous reading.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from wattbus.energy.record import Tier

_MEASURED = Tier.MEASURED  # naming a member of an enum takes 80 ns, and each attempt asks
# A working machine never uses 0 J; shorter than this a counter may not have moved yet.
ZERO_IS_BROKEN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class PowerSource:
    """How the power of one component is known.

    ``tier`` is the best tier its figures can reach: measured for a hardware counter, modelled or
    modelled-generic for a formula. ``max_watts`` (for a CPU the TDP) and ``idle_watts`` are None when
    unknown.
    """

    tier: Tier
    method: str
    max_watts: float | None = None
    idle_watts: float | None = None

    @property
    def is_counter(self) -> bool:
        return self.tier is _MEASURED


@dataclass(frozen=True, slots=True)
class PowerFacts:
    """What a feed found on this machine; a component that it cannot read is None."""

    method: str
    cpu: PowerSource | None = None
    gpu: PowerSource | None = None
    ram: PowerSource | None = None
    reason: str | None = None  # why there is no power source at all
    cpu_model: str | None = None
    gpu_model: str | None = None


@dataclass(frozen=True, slots=True)
class PowerReading:
    """Energy of each component over ``duration_seconds``; None for one that the feed does not read."""

    duration_seconds: float
    cpu_joules: float | None = None
    gpu_joules: float | None = None
    ram_joules: float | None = None

    @property
    def total_joules(self) -> float:
        return math.fsum(
            part for part in (self.cpu_joules, self.gpu_joules, self.ram_joules) if part is not None
        )


class PowerFeed(Protocol):
    """A source of power readings; every method is called from one thread only."""

    def start(self) -> PowerFacts:
        """Find the power sources and begin to count; may take seconds."""
        ...

    def read(self) -> PowerReading:
        """Return the energy since the previous ``read``, or since ``start``."""
        ...

    def stop(self) -> None:
        """Give back what ``start`` took."""
        ...


def fault_of(reading: PowerReading, facts: PowerFacts) -> str | None:
    """Say why a reading cannot be true, or return None; a faulty GPU alone does not spoil it."""
    if not (math.isfinite(reading.duration_seconds) and reading.duration_seconds > 0):
        return f"the power feed gave an interval of {reading.duration_seconds} s"
    for name, source, joules in (
        ("CPU", facts.cpu, reading.cpu_joules),
        ("RAM", facts.ram, reading.ram_joules),
    ):
        fault = component_fault(name, source, joules, reading.duration_seconds)
        if fault:
            return fault
    return None


def component_fault(
    name: str, source: PowerSource | None, joules: float | None, duration_seconds: float
) -> str | None:
    """Say why the figure of one component cannot be true, or return None."""
    if source is None:
        return None
    if joules is None:
        return f"the power feed gave no {name} energy"
    if not math.isfinite(joules) or joules < 0:
        return f"the power feed gave {joules} J for the {name}"
    if joules == 0 and duration_seconds >= ZERO_IS_BROKEN_SECONDS:
        return f"the power feed gave 0 J for the {name} over {duration_seconds:.1f} s"
    return None


class NullFeed:
    """No power source: each record says not measured, with the reason."""

    def __init__(self, reason: str = "no power feed is configured") -> None:
        self._reason = reason

    def start(self) -> PowerFacts:
        return PowerFacts(method="none", reason=self._reason)

    def read(self) -> PowerReading:
        return PowerReading(duration_seconds=0.0)

    def stop(self) -> None:
        return None


class FakeFeed:
    """A feed of constant watts, or of scripted readings, for tests; it keeps the total of what it gave.

    ``script`` is played first: a ``PowerReading`` is returned, an exception is raised. ``start_error`` and
    ``stop_error`` are raised there. While ``gate`` is given and not set, ``gated`` ("start", "read" or "stop") hangs.
    """

    def __init__(
        self,
        *,
        cpu_watts: float | None = 10.0,
        gpu_watts: float | None = None,
        ram_watts: float | None = None,
        tier: Tier = Tier.MODELLED,
        max_watts: float | None = 50.0,
        idle_watts: float | None = 1.0,
        script: Iterable[PowerReading | Exception] = (),
        start_error: Exception | None = None,
        stop_error: Exception | None = None,
        gate: threading.Event | None = None,
        gated: str = "read",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watts = (cpu_watts, gpu_watts, ram_watts)
        self._tier, self._max_watts, self._idle_watts = tier, max_watts, idle_watts
        self._script = iter(tuple(script))
        self._start_error, self._stop_error = start_error, stop_error
        self._gate, self._gated = gate, gated
        self._clock = clock
        self._since = 0.0
        self.total_joules = 0.0
        self.reads = 0
        self.stopped = False

    def start(self) -> PowerFacts:
        if self._start_error:
            raise self._start_error
        self._wait_at("start")
        self._since = self._clock()
        counter = self._tier if self._tier is Tier.MEASURED else Tier.MODELLED
        cpu_watts, gpu_watts, ram_watts = self._watts
        return PowerFacts(
            method="fake",
            cpu=None
            if cpu_watts is None
            else PowerSource(self._tier, "fake CPU", self._max_watts, self._idle_watts),
            gpu=None if gpu_watts is None else PowerSource(Tier.MEASURED, "fake GPU"),
            ram=None if ram_watts is None else PowerSource(counter, "fake RAM"),
        )

    def read(self) -> PowerReading:
        self._wait_at("read")
        self.reads += 1
        now = self._clock()
        duration, self._since = now - self._since, now
        step = next(self._script, None)
        if isinstance(step, Exception):
            raise step
        joules = [None if watts is None else watts * duration for watts in self._watts]
        reading = step if step is not None else PowerReading(duration, *joules)
        self.total_joules += reading.total_joules
        return reading

    def stop(self) -> None:
        self._wait_at("stop")
        self.stopped = True
        if self._stop_error:
            raise self._stop_error

    def _wait_at(self, place: str) -> None:
        if self._gate is not None and self._gated == place:
            self._gate.wait()
