"""The depths of the queues that have a limit: how many requests stand in each, with no count in the database.

They move with the transactions of the writer, under its turn: exact where one process writes the store. Where several
do (PostgreSQL), each counts what passes through itself, and looks at the rows again from time to time.
"""

from __future__ import annotations

from typing import Any, Protocol

from wattbus.store.rows import Header

_LOOK_AGAIN_US = 1_000_000
_LOOK_AGAIN_WHEN_FULL_US = 100_000


class Transaction(Protocol):
    """The part of a batch that a count needs."""

    cursor: Any
    statements: Any
    steady_us: int


class Depths:
    """Counters of the watched queues; a transaction that fails leaves them as they were."""

    __slots__ = ("_alone", "_counted_us", "_counts", "_moves", "watched")

    def __init__(self, alone: bool) -> None:
        """``alone``: no other process writes the store."""
        self.watched = False  # nothing is watched: nothing costs anything
        self._alone = alone
        self._counted_us: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._moves: dict[str, int] = {}

    def watches(self, queue: str) -> bool:
        """Tell whether a queue is counted."""
        return queue in self._counts

    def watch(self, queue: str, depth: int, steady_us: int) -> None:
        """Count a queue from now on; ``depth`` as its rows say it in this transaction."""
        self.watched = True
        self._counts[queue], self._counted_us[queue] = depth, steady_us
        self._moves.pop(queue, None)

    def full(self, queue: str, limit: int, now: Transaction) -> bool:
        """Tell whether a queue holds as many requests as its limit, those of this transaction too."""
        if queue not in self._counts:
            return False
        full = self._depth(queue) >= limit
        if not self._alone:
            age_us = now.steady_us - self._counted_us[queue]
            if age_us > (_LOOK_AGAIN_WHEN_FULL_US if full else _LOOK_AGAIN_US):
                self._counts[queue] = now.statements.depth.run(now.cursor, (queue,)).fetchone()[0]
                self._counted_us[queue] = now.steady_us
                full = self._depth(queue) >= limit
        return full

    def _depth(self, queue: str) -> int:
        return self._counts[queue] + self._moves.get(queue, 0)

    def move(self, header: Header, by: int) -> None:
        """Note that a message has come into its queue (1) or left it (-1)."""
        queue = header.target_queue
        if queue in self._counts and header.type == "Request":
            self._moves[queue] = self._moves.get(queue, 0) + by

    def begin(self) -> None:
        """Forget what a transaction that failed has moved."""
        self._moves.clear()

    def settle(self) -> None:
        """Take over what a transaction has moved: it is durable."""
        for queue, by in self._moves.items():
            self._counts[queue] += by
        self._moves.clear()
