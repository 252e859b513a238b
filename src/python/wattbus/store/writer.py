"""The writer: the one place that changes the store, in group commits.

Work is handed over with :meth:`Writer.submit`. When nobody writes, the caller's own thread commits at once (one
client: no thread switch); when somebody does, the writer thread takes everything that has gathered meanwhile into
one transaction. A commit returns after the fsync, and only then are the units told.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

from wattbus.errors import StoreBusy, StoreError, StoreFailed, StoreFull

_CROWD = 3
_LARGEST_GROUP = 512
_LOOK_SECONDS = 0.001  # after a commit that has left something to be looked after
_BREATH_SECONDS = 0.00001  # before a commit among many: with the kernel's slack about 70 microseconds


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

    @property
    def left_ahead(self) -> bool:
        """Tell whether a commit has left something that :meth:`rouse` is to look after."""
        ...

    def commit(self, units: list[Unit]) -> None:
        """Apply all units in one transaction; raise, with nothing applied, if that cannot be."""

    def rouse(self) -> bool:
        """Wake whoever is needed for what a commit has left; tell whether some of it is left still."""

    def close(self) -> None: ...


class Rescue(Protocol):
    """What to do when a transaction fails for a reason that is not its units' own."""

    def meaning_of(self, error: Exception) -> Exception:
        """Return what the error says about the store, or the error itself where it says nothing."""

    def make_room(self) -> bool:
        """Give up room that was kept free on the disk; False: there is none."""

    def can_wait(self, unit: Unit) -> bool:
        """Tell whether a unit is to be refused on a full disk, so that the others have the room that is left."""


class Writer:
    """Group commit over one connection."""

    def __init__(self, transactions: Transactions, rescue: Rescue) -> None:
        self._transactions, self._rescue = transactions, rescue
        #: Why nothing is written any more; None: it is.
        self.failure: StoreFailed | None = None
        self._waiting: deque[Unit] = deque()
        self._turn = threading.Lock()  # held while a transaction is open
        self._gathered = _Bell()
        self._never = threading.Lock()  # waited at for a breath; time.sleep fails under a clock that is faked
        self._never.acquire()
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
            if self._waiting or self._transactions.left_ahead:
                self._gathered.ring()
            return
        self._waiting.extend(units)
        self._gathered.ring()

    def submit_later(self, *units: Unit) -> None:
        """Hand over units that nobody waits for: the writer thread takes them with the next commit."""
        self._waiting.extend(units)
        self._gathered.ring()

    def fail(self, failure: StoreFailed) -> None:
        """Write nothing any more: what is on the disk is not known."""
        if self.failure is None:
            self.failure = failure
            sys.stderr.write(f"{failure}\n")

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Keep every transaction out while the block runs."""
        with self._turn:
            yield
        if self._waiting:
            self._gathered.ring()

    def close(self) -> None:
        """Commit what is waiting and close the connection."""
        if self._closing:
            return
        self._closing = True
        self._gathered.ring()
        self._thread.join()
        self._transactions.close()

    def _write(self) -> None:
        left = False
        while not (self._closing and not self._waiting):
            self._gathered.wait(_LOOK_SECONDS if left else -1)
            while self._waiting:
                if self._crowded:
                    # Who was told by the last commit runs first: what it asks for comes with this one, and a commit
                    # costs nearly the same with twice as much in it.
                    self._never.acquire(timeout=_BREATH_SECONDS)
                with self._turn:
                    units = self._gather()
                    self._crowded = len(units) > _CROWD
                    if units:
                        self._commit(units)
                self._transactions.rouse()
            left = self._transactions.rouse()

    def _gather(self) -> list[Unit]:
        take = self._waiting.popleft
        return [take() for _ in range(min(len(self._waiting), _LARGEST_GROUP))]

    def _commit(self, units: list[Unit]) -> None:
        if self.failure is not None:
            _tell_failed(units, self.failure)
            return
        try:
            self._transactions.commit(units)
        except self._transactions.errors as error:
            self._not_committed(units, self._rescue.meaning_of(error))
            return
        except BaseException as error:
            # A bug of ours: nobody is to wait for ever for a writer that is gone.
            failure = StoreFailed(
                f"the store can write no more ({type(error).__name__}: {error}): stop and start it again."
            )
            self.fail(failure)
            _tell_failed(units, failure)
            raise
        for unit in units:
            unit.committed()

    def _not_committed(self, units: list[Unit], error: Exception) -> None:
        if isinstance(error, StoreFailed):
            self.fail(error)
            _tell_failed(units, error)
        elif isinstance(error, StoreBusy):
            # The next would wait as long for the same.
            _tell_failed(units, error)
        elif isinstance(error, StoreFull):
            self._use_what_room_is_left(units, error)
        elif len(units) == 1:
            units[0].failed(error)
        else:
            self._commit_each(units)

    def _use_what_room_is_left(self, units: list[Unit], error: StoreFull) -> None:
        """Refuse what is new, and let the others have the room that was kept free for them."""
        new = [unit for unit in units if self._rescue.can_wait(unit)]
        _tell_failed(new, error)
        others = [unit for unit in units if not self._rescue.can_wait(unit)]
        if not others:
            return
        if self._rescue.make_room():
            self._commit(others)
        elif len(others) == 1:
            others[0].failed(error)
        else:
            self._commit_each(others)

    def _commit_each(self, units: list[Unit]) -> None:
        """One unit must not take its neighbours down: try each by itself."""
        for unit in units:
            self._commit([unit])


def _tell_failed(units: list[Unit], error: Exception) -> None:
    for unit in units:
        unit.failed(error)


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
        try:
            self._lock.release()
        except RuntimeError:  # two rang at once: the lock is open already
            return

    def wait(self, seconds: float) -> None:
        """Wait for a ring, so long at most (-1: for ever); one that came before is enough.

        The caller looks for work after this returns.
        """
        self._lock.acquire(timeout=seconds)
        self._rung = False
