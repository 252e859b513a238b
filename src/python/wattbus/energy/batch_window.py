"""The energy window of a batch: one piece of work for several messages, divided among them.

In equal shares, unless the component says how much of the work was whose.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wattbus.energy.attempt_window import Window, leave
from wattbus.energy.record import EnergyRecord, TaskFacts

if TYPE_CHECKING:
    from wattbus.energy.ledger import Ledger


class BatchWindow(Window):
    """What the component sees while it handles a batch; its attempts are :class:`ShareWindow`."""

    def __init__(self, ledger: Ledger, attempts: Sequence[tuple[int, int]], item: str) -> None:
        super().__init__(ledger, 0, 0, item)
        self.shares = [
            ShareWindow(self, message_id, attempt, 1 / len(attempts)) for message_id, attempt in attempts
        ]

    def describe_each(self, facts: Sequence[TaskFacts | None]) -> None:
        """Say what each attempt does, in their order; what was said of the batch holds for all."""
        for share, one in zip(self.shares, facts, strict=True):
            share.own_facts = one

    def weigh(self, weights: Sequence[float]) -> None:
        """Say how much of the work each attempt was, in their order and any unit; all 0: equal shares."""
        total = sum(weights)
        for share, weight in zip(self.shares, weights, strict=True):
            share.part = weight / total if total > 0 else 1 / len(self.shares)

    def close_shares(self, failed: Sequence[str | None]) -> list[list[EnergyRecord]]:
        """End the batch and return the records of each attempt; ``failed`` says for each why it failed, if it did."""
        self._pause(time.thread_time_ns())
        leave(self)
        if self._children is not None:
            self.sample_children()
        return [share.close(reason) for share, reason in zip(self.shares, failed, strict=True)]

    def abandon(self) -> None:
        """End the batch without records: its attempts are metered by themselves."""
        self._pause(time.thread_time_ns())
        leave(self)
        self._ledger.withdraw(self.shares)


class ShareWindow(Window):
    """One attempt of a batch: its part of the processor time, from 0 to 1."""

    own_facts: TaskFacts | None = None

    def __init__(self, batch: BatchWindow, message_id: int, attempt: int, part: float) -> None:
        self._batch, self.part = batch, part
        self._ledger = batch._ledger
        self._message_id, self._attempt, self._item = message_id, attempt, batch._item
        self.thread_id, self.opened, self._started_us = batch.thread_id, batch.opened, batch._started_us

    def own_ns(self) -> int:
        return int(self._batch.own_ns() * self.part)

    def child_seconds(self) -> float:
        return self._batch.child_seconds() * self.part

    def sample_children(self) -> None:
        self._batch.sample_children()

    def close(self, failed: str | None = None) -> list[EnergyRecord]:
        if self.provisional is not None:
            return self._rows(self.provisional)
        batch = self._batch
        self._kind, self._model, self._revision = batch._kind, batch._model, batch._revision
        self._facts = self.own_facts or batch._facts
        self._remote, self.uses_gpu = batch._remote, batch.uses_gpu
        self._children = batch._children
        closed = self._ledger.clock()
        self.provisional = record = self._record(closed, self.own_ns(), failed)
        self.closed = closed
        if not self._ledger.running:
            self.provisional = record = self._ledger.settle_late(self)
        return self._rows(record)
