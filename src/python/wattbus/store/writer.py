"""The writer: the one place that changes the store, in group commits.

Work is handed over with :meth:`Writer.submit`. When nobody writes, the caller's own thread commits at once (one
client: no thread switch); when somebody does, the writer thread takes everything that has gathered meanwhile into
one transaction. A commit returns after the fsync, and only then are the units told.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import Any, Protocol

from wattbus.errors import StoreError

_CROWD = 3
_LARGEST_GROUP = 512


class Unit(Protocol):
    """Something that must be wholly in the store or not at all."""

    @property
    def new_messages(self) -> int:
        """How many message ids it takes at most."""
        ...

    def apply(self, batch: Any) -> None:
        """Add the rows to the batch."""

    def committed(self) -> None:
        """The rows are durable. Called by the writer: be short, do not raise."""

    def failed(self, error: Exception) -> None:
        """Nothing of the unit is in the store."""


class Transactions(Protocol):
    """The database side of a writer."""

    errors: tuple[type[Exception], ...]

    def commit(self, units: list[Unit]) -> None:
        """Apply all units in one transaction; raise, with nothing applied, if that cannot be."""

    def close(self) -> None: ...


class Writer:
    """Group commit over one connection."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._waiting: deque[Unit] = deque()
        self._turn = threading.Lock()  # held while a transaction is open
        self._gathered = _Bell()
        self._closing = False
        self._crowded = (
            False  # many are at work: a commit of one's own would only be in the way of the groups
        )
        self._thread = threading.Thread(target=self._write, name="wattbus-writer", daemon=True)
        self._thread.start()

    def submit(self, *units: Unit) -> None:
        """Hand the units over, in this order; they are told when they are durable."""
        if self._closing:
            raise StoreError("the store is closed: nothing more can be accepted by this process.")
        if not self._crowded and not self._waiting and self._turn.acquire(blocking=False):
            try:
                self._commit(list(units))
            finally:
                self._turn.release()
            if self._waiting:
                self._gathered.ring()
            return
        self._waiting.extend(units)
        self._gathered.ring()

    def submit_later(self, *units: Unit) -> None:
        """Hand over units that nobody waits for: the writer thread takes them with the next commit."""
        self._waiting.extend(units)
        self._gathered.ring()

    def close(self) -> None:
        """Commit what is waiting and close the connection."""
        self._closing = True
        self._gathered.ring()
        self._thread.join()
        self._transactions.close()

    def _write(self) -> None:
        while not (self._closing and not self._waiting):
            self._gathered.wait()
            while self._waiting:
                with self._turn:
                    units = self._gather()
                    self._crowded = len(units) > _CROWD
                    if units:
                        self._commit(units)

    def _gather(self) -> list[Unit]:
        take = self._waiting.popleft
        return [take() for _ in range(min(len(self._waiting), _LARGEST_GROUP))]

    def _commit(self, units: list[Unit]) -> None:
        try:
            self._transactions.commit(units)
        except self._transactions.errors as error:
            self._separate(units, error)
            return
        for unit in units:
            unit.committed()

    def _separate(self, units: list[Unit], error: Exception) -> None:
        """One unit must not take its neighbours down: try each by itself."""
        if len(units) == 1:
            units[0].failed(error)
            return
        for unit in units:
            self._commit([unit])


class _Bell:
    """Wakes the one thread that waits for it; cheaper than an Event, which every unit would pay for."""

    __slots__ = ("_lock", "_rung")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._rung = False

    def ring(self) -> None:
        if self._rung:
            return
        self._rung = True
        with contextlib.suppress(RuntimeError):  # two rang at once: the lock is open already
            self._lock.release()

    def wait(self) -> None:
        """Wait for a ring; one that came before is enough. The caller looks for work after this returns."""
        self._lock.acquire()
        self._rung = False
