"""What the machine spends at rest: as the feed states it, else the power at the lowest load seen so far."""

from __future__ import annotations

import math

from wattbus.energy.feed import PowerFacts, PowerReading, PowerSource
from wattbus.energy.split import Base, Load

# A shorter interval says little: /proc/stat counts in steps of 10 ms.
SHORTEST_SECONDS = 0.2


class Calibration:
    """Learns the idle power of each component from the intervals it is shown."""

    def __init__(self) -> None:
        self.base = Base()
        self._lowest_load = math.inf

    def learn(self, reading: PowerReading, facts: PowerFacts, load: Load) -> Base:
        """Take one interval in and return the idle power known now.

        A modelled RAM has none (None): it cannot be attributed. A GPU is at rest while no attempt uses it.
        """
        span = reading.duration_seconds
        busy = load.busy_seconds / load.capacity_seconds if load.capacity_seconds > 0 else 1.0
        lowest = span >= SHORTEST_SECONDS and busy <= self._lowest_load
        if lowest:
            self._lowest_load = busy
        gpu_rests = span >= SHORTEST_SECONDS and load.gpu_seconds == 0 and reading.gpu_joules is not None
        gpu_known = self.base.gpu_watts
        gpu = _idle_watts(facts.gpu, reading.gpu_joules, span, gpu_known, lower=gpu_rests)
        ram = None
        if facts.ram is not None and facts.ram.is_counter:
            ram = _idle_watts(facts.ram, reading.ram_joules, span, self.base.ram_watts or 0.0, lower=lowest)
        cpu = _idle_watts(facts.cpu, reading.cpu_joules, span, self.base.cpu_watts, lower=lowest)
        self.base = Base(cpu, min(gpu, gpu_known) if gpu_known > 0 else gpu, ram)
        return self.base


def _idle_watts(
    source: PowerSource | None, joules: float | None, span: float, known: float, *, lower: bool
) -> float:
    if source is None or joules is None:
        return known
    if source.idle_watts is not None:
        return source.idle_watts
    return joules / span if lower else known
