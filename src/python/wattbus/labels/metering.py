"""Meter a piece of work several times: a warm-up, then repeats, each with its own record of energy.

The ledger divides the machine's energy as it does for messages: idle, other processes and the bus are not in them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from wattbus.energy.carbon import CarbonIntensity
from wattbus.energy.feed import PowerFeed
from wattbus.energy.label import FEWEST_RUNS
from wattbus.energy.ledger import Ledger
from wattbus.energy.record import EnergyRecord, IntervalRecord
from wattbus.errors import BadRequest

MOST_REPEATS, MOST_IN_A_REPEAT = 100, 100_000
#: A repeat lasts at least so long, where nobody says how many inferences it has: shorter ones are noise.
REPEAT_SECONDS = 2.0
#: The machine at rest, before the warm-up: what it spends then is idle, and in no figure.
QUIET_SECONDS = 2.0
_READY_SECONDS, _SETTLE_SECONDS = 30.0, 10.0


@dataclass(frozen=True)
class Plan:
    """How often: ``count`` 0 lets the warm-up tell how many inferences make a repeat of some seconds."""

    repeats: int = 5
    count: int = 0
    warm_up: int = 3
    quiet_seconds: float = QUIET_SECONDS
    repeat_seconds: float = REPEAT_SECONDS

    def checked(self) -> Plan:
        """Return the plan, or say what is wrong with it."""
        if not FEWEST_RUNS <= self.repeats <= MOST_REPEATS:
            raise BadRequest(
                f"{self.repeats} repeats were asked for: give {FEWEST_RUNS} to {MOST_REPEATS}, "
                "so that there is a spread."
            )
        if not 0 <= self.count <= MOST_IN_A_REPEAT:
            raise BadRequest(
                f"{self.count} inferences in a repeat were asked for: give 1 to {MOST_IN_A_REPEAT:,}, or 0 to let the "
                "warm-up tell."
            )
        if not 1 <= self.warm_up <= MOST_IN_A_REPEAT:
            raise BadRequest(
                f"{self.warm_up} inferences of warm-up were asked for: give 1 to {MOST_IN_A_REPEAT:,}."
            )
        return self


@dataclass(frozen=True)
class Metered:
    """The repeats of some work: the record of each, how many times the work was done in each, and all times."""

    records: list[EnergyRecord]
    count: int
    seconds: list[float]  # of each single time, in order

    @property
    def total(self) -> int:
        return len(self.records) * self.count


def metered(
    work: Callable[[], None], plan: Plan, feed: PowerFeed, carbon: CarbonIntensity | None = None
) -> Metered:
    """Do ``work`` as the plan says, and return what it used; the meter is started for it and stopped after."""
    plan = plan.checked()
    settled: dict[int, EnergyRecord] = {}

    def keep(records: list[EnergyRecord], _interval: IntervalRecord | None) -> None:
        settled.update({one.attempt: one for one in records})

    ledger = Ledger(feed, on_settled=keep, carbon=carbon)
    ledger.start()
    try:
        if ledger.wait_ready(_READY_SECONDS) and plan.quiet_seconds:
            threading.Event().wait(plan.quiet_seconds)
        ledger.settle(_SETTLE_SECONDS)
        count = plan.count or _count(_timed(work, plan.warm_up), plan.repeat_seconds)
        if plan.count:
            _timed(work, plan.warm_up)
        pending: list[EnergyRecord] = []
        seconds: list[float] = []
        for repeat in range(1, plan.repeats + 1):
            window = ledger.open(0, repeat, "measurement")
            try:
                seconds += _timed(work, count)
            finally:
                pending += window.close()[:1]
        ledger.settle(_SETTLE_SECONDS)
    finally:
        ledger.stop()
    return Metered([settled.get(one.attempt, one) for one in pending], count, seconds)


def _timed(work: Callable[[], None], times: int) -> list[float]:
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return seconds


def _count(warm_up: list[float], repeat_seconds: float) -> int:
    """Return how many inferences fill a repeat, by the fastest of the warm-up: the first ones are slow."""
    fastest = max(min(warm_up), 1e-6)
    return max(1, min(MOST_IN_A_REPEAT, round(repeat_seconds / fastest)))


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share of the values lies, between two neighbours in proportion.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5), percentile([5.0], 0.99)
    (2.5, 5.0)
    """
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
