"""How the energy of one interval is divided among its buckets, which sum to the whole.

The rules, per component:

- **CPU.** A machine that is busy for the fraction ``u`` of its CPU time spends its idle power anyway. The
  unused fraction ``1 - u`` of that base is the idle bucket; all the rest is *active* energy and goes to
  whoever used CPU time, in proportion to it. With codecarbon's load formula ``TDP * (0.1 + 0.9 u^3)`` an
  attempt's part then lies between 0.1 TDP and TDP times its share of the CPU time, which are the bounds
  given for modelled figures; and on a machine that never rests the operations still get their part.
- **RAM.** A modelled constant does not change with what runs, so no operation caused it: it is idle, and the
  operation's RAM figure is unknown (None). A RAM counter is divided as the CPU is.
- **GPU.** A whole-device counter: what exceeds its idle power goes to the attempts that said they use the
  GPU, by their seconds in the interval; with none, to others.
"""

from __future__ import annotations

from dataclasses import dataclass

from wattbus.energy.feed import PowerReading

# The clocks count nanoseconds: less than one is no time, and a division by it no rate.
SHORTEST_SECONDS = 1e-9


@dataclass(frozen=True, slots=True)
class Load:
    """CPU seconds of one interval: there to use, used by anyone, by the bus, by attempts; GPU seconds."""

    capacity_seconds: float
    busy_seconds: float
    overhead_seconds: float
    operations_seconds: float
    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Base:
    """What each component spends when nothing runs; None for the RAM means that it cannot be attributed."""

    cpu_watts: float = 0.0
    gpu_watts: float = 0.0
    ram_watts: float | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """One interval in buckets, in joules, with the rates that turn an attempt's seconds into its part.

    A rate is None where an attempt's energy of that component is unknown.
    """

    operations_joules: float
    idle_joules: float
    others_joules: float
    overhead_joules: float
    busy_seconds: float
    capacity_seconds: float
    cpu_watts: float | None
    """Joules a CPU second."""
    ram_watts: float | None
    """Joules a CPU second."""
    gpu_watts: float | None
    """Joules a second of an attempt that uses the GPU."""


def split_interval(reading: PowerReading, base: Base, load: Load) -> Split:
    """Divide a reading; operations + idle + others + overhead = its total, to rounding."""
    claimed = load.overhead_seconds + load.operations_seconds
    # /proc/stat counts in steps of 10 ms, thread clocks in nanoseconds: what was claimed was certainly used.
    busy = max(load.busy_seconds, claimed)
    capacity = max(load.capacity_seconds, busy)
    someone, on_gpu = busy >= SHORTEST_SECONDS, load.gpu_seconds >= SHORTEST_SECONDS
    base_seconds = reading.duration_seconds * (1.0 - busy / capacity) if capacity > 0 else 0.0

    idle, active = _cut(reading.cpu_joules, base.cpu_watts * base_seconds, someone=someone)
    ram_counted = base.ram_watts is not None
    ram_idle, ram_active = _cut(
        reading.ram_joules, (base.ram_watts or 0.0) * base_seconds, someone=someone and ram_counted
    )
    gpu_idle, gpu_active = _cut(reading.gpu_joules, base.gpu_watts * reading.duration_seconds, someone=True)

    cpu_rate = active / busy if someone else 0.0
    ram_rate = ram_active / busy if someone else 0.0
    gpu_rate = gpu_active / load.gpu_seconds if on_gpu else 0.0
    cpu_and_ram = cpu_rate + ram_rate
    return Split(
        operations_joules=cpu_and_ram * load.operations_seconds + gpu_rate * load.gpu_seconds,
        idle_joules=idle + ram_idle + gpu_idle,
        others_joules=cpu_and_ram * (busy - claimed) + (0.0 if on_gpu else gpu_active),
        overhead_joules=cpu_and_ram * load.overhead_seconds,
        busy_seconds=busy,
        capacity_seconds=capacity,
        cpu_watts=None if reading.cpu_joules is None else cpu_rate,
        ram_watts=ram_rate if ram_counted and reading.ram_joules is not None else None,
        gpu_watts=None if reading.gpu_joules is None else gpu_rate,
    )


def _cut(joules: float | None, base_joules: float, *, someone: bool) -> tuple[float, float]:
    """Cut a component's energy into (idle, active); with nobody who used it, all of it is idle."""
    if joules is None:
        return 0.0, 0.0
    if not someone:
        return joules, 0.0
    idle = min(base_joules, joules)
    return idle, joules - idle
