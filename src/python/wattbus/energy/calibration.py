"""What the machine spends at rest: as the feed states it, else learned at the start and again whenever it is quiet.

At the start it is the power at the lowest load seen so far: an upper bound on a machine that never rests. Once the
machine is quiet, with no attempt at work, it is the mean of the least busy quarter of the newest quiet readings, so
that it follows what changes: a fan, a frequency, a driver.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from wattbus.energy.feed import PowerFacts, PowerReading, PowerSource
from wattbus.energy.split import Base, Load

# A shorter interval says little: /proc/stat counts in steps of 10 ms.
SHORTEST_SECONDS = 0.2
# Quiet: no attempt works, and others use at most this part of the processor.
QUIET_LOAD = 0.1
KEPT_READINGS = 60
# A GPU at rest in our eyes may work for others: its lowest of so many readings is its idle power.
KEPT_GPU_READINGS = 600


@dataclass(frozen=True, slots=True)
class IdlePower:
    """The watts at rest as they are used now, how they came about, and over how long they were read.

    ``load`` is the part of the processor that was in use meanwhile; None where nothing was read for it.
    """

    how: str  # stated by the meter, read while quiet, lowest load so far
    cpu_watts: float | None
    gpu_watts: float | None
    ram_watts: float | None
    seconds: float
    load: float | None


@dataclass(frozen=True, slots=True)
class _Quiet:
    load: float
    seconds: float
    cpu_watts: float
    ram_watts: float


class Calibration:
    """Learns the idle power of each component from the intervals it is shown."""

    def __init__(self) -> None:
        self.base = Base()
        self._lowest: _Quiet | None = None
        self._quiet: deque[_Quiet] = deque(maxlen=KEPT_READINGS)
        self._gpu: deque[float] = deque(maxlen=KEPT_GPU_READINGS)

    def learn(self, reading: PowerReading, facts: PowerFacts, load: Load) -> Base:
        """Take one interval in and return the idle power known now.

        A modelled RAM has none (None): it cannot be attributed. A GPU is at rest while no attempt uses it.
        """
        if reading.duration_seconds >= SHORTEST_SECONDS:
            self._take(reading, load)
        at_rest = _at_rest(self._quiet, self._lowest)
        ram = None
        if facts.ram is not None and facts.ram.is_counter:
            ram = _idle_watts(facts.ram, 0.0 if at_rest is None else at_rest.ram_watts)
        self.base = Base(
            _idle_watts(facts.cpu, 0.0 if at_rest is None else at_rest.cpu_watts),
            _idle_watts(facts.gpu, min(self._gpu, default=0.0)),
            ram,
        )
        return self.base

    def idle_power(self, facts: PowerFacts) -> IdlePower | None:
        """Return the idle power in use; None before anything is known of it."""
        at_rest = _at_rest(self._quiet, self._lowest)
        stated = facts.cpu is not None and facts.cpu.idle_watts is not None
        if at_rest is None and not stated:
            return None
        learned = "read while quiet" if self._quiet else "lowest load so far"
        seconds = 0.0 if at_rest is None or stated else at_rest.seconds
        return IdlePower(
            "stated by the meter" if stated else learned,
            None if facts.cpu is None else self.base.cpu_watts,
            self.base.gpu_watts if self._gpu else None,
            self.base.ram_watts,
            seconds,
            None if at_rest is None or stated else at_rest.load,
        )

    def _take(self, reading: PowerReading, load: Load) -> None:
        span = reading.duration_seconds
        if load.gpu_seconds == 0 and reading.gpu_joules is not None:
            self._gpu.append(reading.gpu_joules / span)
        busy = load.busy_seconds / load.capacity_seconds if load.capacity_seconds > 0 else 1.0
        if reading.cpu_joules is None:
            return
        one = _Quiet(busy, span, reading.cpu_joules / span, (reading.ram_joules or 0.0) / span)
        if busy <= QUIET_LOAD and load.operations_seconds == 0:
            self._quiet.append(one)
        if self._lowest is None or busy <= self._lowest.load:
            self._lowest = one


def _at_rest(quiet: deque[_Quiet], lowest: _Quiet | None) -> _Quiet | None:
    if not quiet:
        return lowest
    least = sorted(quiet.copy(), key=lambda one: one.load)[: math.ceil(len(quiet) / 4)]
    seconds = sum(one.seconds for one in least)
    return _Quiet(
        sum(one.load * one.seconds for one in least) / seconds,
        seconds,
        sum(one.cpu_watts * one.seconds for one in least) / seconds,
        sum(one.ram_watts * one.seconds for one in least) / seconds,
    )


def _idle_watts(source: PowerSource | None, learned: float) -> float:
    if source is None:
        return 0.0
    return learned if source.idle_watts is None else source.idle_watts
