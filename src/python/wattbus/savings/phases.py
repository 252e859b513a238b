"""Meter the parts of a child process's work one by one: a ledger of their own, each with its records.

The child's processor time is counted as that of a training on the bus is; idle and other processes are in no record.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from wattbus.energy.attempt_window import Window
from wattbus.energy.feed import PowerFeed
from wattbus.energy.ledger import Ledger
from wattbus.energy.record import EnergyRecord, IntervalRecord

#: The machine at rest before the first part.
QUIET_SECONDS = 2.0
_READY_SECONDS, _SETTLE_SECONDS = 30.0, 10.0


class Phases:
    """A context in which parts are metered; its records are there when it has ended."""

    def __init__(self, feed: PowerFeed, quiet_seconds: float = QUIET_SECONDS) -> None:
        self._quiet_seconds = quiet_seconds
        self._settled: dict[int, EnergyRecord] = {}
        self._pending: list[tuple[str, EnergyRecord]] = []
        self._ledger = Ledger(feed, on_settled=self._keep)
        self._metered = False
        self._number = 0

    def __enter__(self) -> Phases:
        self._ledger.start()
        self._metered = self._ledger.wait_ready(_READY_SECONDS)
        if self._metered and self._quiet_seconds:
            threading.Event().wait(self._quiet_seconds)
        self._ledger.settle(_SETTLE_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._ledger.settle(_SETTLE_SECONDS)
        self._ledger.stop()

    @contextmanager
    def part(self, name: str, pid: int | None = None) -> Iterator[Window]:
        """Meter a part, which the child ``pid`` works on where one is named."""
        self._number += 1
        window = self._ledger.open(0, self._number, name)
        if pid is not None:
            window.watch_child(pid, self._ledger.cpu.child(pid) or 0.0)
        try:
            yield window
        finally:
            self._pending += [(name, record) for record in window.close()[:1]]

    def records(self) -> dict[str, list[EnergyRecord]]:
        """Return the settled records of each part, one a repeat."""
        found: dict[str, list[EnergyRecord]] = defaultdict(list)
        for name, record in self._pending:
            found[name].append(self._settled.get(record.attempt, record))
        return dict(found)

    @property
    def why_no_joules(self) -> str:
        """Say why there is no energy; empty where the machine's power was read."""
        facts = self._ledger.facts
        if facts is not None and facts.reason:
            return facts.reason
        return "" if self._metered else "no power was read on this machine in time"

    def _keep(self, records: list[EnergyRecord], _interval: IntervalRecord | None) -> None:
        self._settled.update({one.attempt: one for one in records})
