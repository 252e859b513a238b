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
_BECAME = {"completed": "Completed", "error": "Error", "suspended": "Suspended"}
#: Outcomes after which an item has finished with a message.
_DONE = ("completed", "error", "deferred", "suspended")
_PENDING = EnergyStatus.PENDING


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


class _Item:
    """What has ended in one item."""

    __slots__ = ("attempts", "durations", "requests", "waits")

    def __init__(self) -> None:
        self.attempts: dict[str, int] = {}
        self.requests: dict[str, int] = {}
        self.durations, self.waits = Times(), Times()


class Tally:
    """The counters of one production, from its start."""

    def __init__(self) -> None:
        self._items: dict[str, _Item] = {}
        self._energy_lock = threading.Lock()  # the ledger settles in a thread of its own
        self._joules: dict[EnergyOf, Joules] = {}
        self._buckets: Counter[tuple[str, str]] = Counter()

    def ended(
        self, claimed: Claimed, request: Header, outcome: Ending, became: Ending, seconds: float
    ) -> None:
        """Count the end of an attempt; called by the writer of the store, one at a time, for every message."""
        header = claimed.header
        item = self._items.get(header.target_item) or self._new(header.target_item)
        word = outcome._value_  # neither the property nor the hash of an enum, which are slow
        item.attempts[word] = item.attempts.get(word, 0) + 1
        item.durations.add(seconds)
        if claimed.attempt == 1:
            item.waits.add(max(0, claimed.started_us - header.time_created_us) / 1e6)
        status = _BECAME.get(became._value_)
        if status is not None:
            asked = item if request is header else self._items.get(request.target_item)
            asked = asked or self._new(request.target_item)
            asked.requests[status] = asked.requests.get(status, 0) + 1

    def _new(self, name: str) -> _Item:
        item = self._items[name] = _Item()
        return item

    def attempts(self) -> dict[tuple[str, str], int]:
        """Return how many attempts have ended, by item and outcome."""
        return {
            (name, word): count for name, item in self._all() for word, count in dict(item.attempts).items()
        }

    def requests(self) -> dict[tuple[str, str], int]:
        """Return how many requests came to their end, by item and status."""
        return {
            (name, word): count for name, item in self._all() for word, count in dict(item.requests).items()
        }

    def durations(self) -> dict[str, Times]:
        """Return how long attempts took, by item."""
        return {name: item.durations for name, item in self._all()}

    def waits(self) -> dict[str, Times]:
        """Return how long messages waited for their first attempt, by item."""
        return {name: item.waits for name, item in self._all()}

    def _all(self) -> list[tuple[str, _Item]]:
        return list(dict(self._items).items())

    def done(self, item: str) -> int:
        """Return how many messages an item has finished with; one that it puts back, or retries, is not."""
        own = self._items.get(item)
        return 0 if own is None else sum(own.attempts.get(word, 0) for word in _DONE)

    def settled(self, records: list[EnergyRecord], interval: IntervalRecord | None = None) -> None:
        """Add energies that are final, and a reading of the machine."""
        if len(records) == 1 and records[0].status is _PENDING and interval is None:
            return  # as the writer says after nearly every message
        final = [record for record in records if record.status is not _PENDING]
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
