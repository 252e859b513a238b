"""The tally of a running production: what has ended since it began, counted as it ends, so that nobody counts rows.

The bus adds to it when a result is durable, the ledger when an energy is final. Each addition is one or two of a
dictionary; who reads takes a copy.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from wattbus.energy.record import EnergyRecord, EnergyStatus, IntervalRecord
from wattbus.store.rows import Claimed, Header
from wattbus.store.units import Ending

#: Upper bounds, in seconds, of the buckets that times are counted in; the last one has none.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
#: What a request has become once its handling is over for good.
_BECAME = {Ending.COMPLETED: "Completed", Ending.ERROR: "Error", Ending.SUSPENDED: "Suspended"}


class Times:
    """How long something took, in buckets."""

    __slots__ = ("counts", "total_seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total_seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total_seconds += seconds


class EndOf(NamedTuple):
    """An attempt that has ended durably, and the request that it was made for."""

    message_id: int
    attempt: int
    request_id: int


class EnergyOf(NamedTuple):
    """Whose energy: unlike tiers are never added."""

    item: str
    scope: str
    tier: str


@dataclass
class Joules:
    """The energy of some attempts; ``unknown`` of them have no figure."""

    known: float = 0.0
    attempts: int = 0
    unknown: int = 0


class Tally:
    """The counters of one production, from its start."""

    def __init__(self) -> None:
        #: Attempts by item and outcome, requests at their end by item and status.
        self.attempts: Counter[tuple[str, str]] = Counter()
        self.requests: Counter[tuple[str, str]] = Counter()
        self.durations: dict[str, Times] = {}
        self.waits: dict[str, Times] = {}
        self._energy_lock = threading.Lock()  # the ledger settles in a thread of its own
        self._joules: dict[EnergyOf, Joules] = {}
        self._buckets: Counter[tuple[str, str]] = Counter()

    def ended(
        self, claimed: Claimed, request: Header, outcome: Ending, became: Ending, seconds: float
    ) -> None:
        """Count the end of an attempt; called by the writer of the store, one at a time."""
        item = claimed.header.target_item
        self.attempts[item, outcome.value] += 1
        if item not in self.durations:
            self.durations[item], self.waits[item] = Times(), Times()
        self.durations[item].add(seconds)
        if claimed.attempt == 1:
            self.waits[item].add(max(0, claimed.started_us - claimed.header.time_created_us) / 1e6)
        if became in _BECAME:
            self.requests[request.target_item, _BECAME[became]] += 1

    def settled(self, records: list[EnergyRecord], interval: IntervalRecord | None = None) -> None:
        """Add energies that are final, and a reading of the machine."""
        final = [record for record in records if record.status is not EnergyStatus.PENDING]
        if not final and interval is None:
            return
        with self._energy_lock:
            for record in final:
                of = EnergyOf(record.item, str(record.scope), str(record.tier))
                sum_ = self._joules.setdefault(of, Joules())
                sum_.attempts += 1
                sum_.known += record.energy_joules or 0.0
                sum_.unknown += record.energy_joules is None
            if interval is not None:
                for bucket in ("operations", "idle", "others", "overhead"):
                    self._buckets[bucket, str(interval.tier)] += getattr(interval, f"{bucket}_joules")

    def joules(self) -> dict[EnergyOf, Joules]:
        """Return the energy of the attempts, by item, scope and tier."""
        with self._energy_lock:
            return {of: Joules(one.known, one.attempts, one.unknown) for of, one in self._joules.items()}

    def buckets(self) -> dict[tuple[str, str], float]:
        """Return what the machine used, by bucket and tier."""
        with self._energy_lock:
            return dict(self._buckets)

    def done(self, item: str) -> int:
        """Return how many messages an item has finished with; one that it puts back, or retries, is not."""
        return sum(self.attempts[item, ending.value] for ending in _DONE)


_DONE = (Ending.COMPLETED, Ending.ERROR, Ending.DEFERRED, Ending.SUSPENDED)
