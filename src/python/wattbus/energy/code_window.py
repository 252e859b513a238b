"""The energy window around a user's own code: like that of an attempt, and it can be left and entered again."""

from __future__ import annotations

import threading
import time

from wattbus.energy.attempt_window import NullWindow, Window, current_window, enter, leave
from wattbus.energy.child_time import ChildTime
from wattbus.energy.ledger import Ledger
from wattbus.energy.record import EnergyRecord


class _Apart(threading.local):
    """The innermost window of a thread that stands apart from a production's attempt."""

    def __init__(self) -> None:
        self.current: NullWindow = _NULL


class CodeWindow(Window):
    """A window of one ledger in any thread.

    Inside an attempt of a production, which another ledger meters, it stands apart: the attempt stays whole, and the
    window tells how much of it the block was. Nested in another window of its own ledger it takes its time out of it.
    """

    def __init__(self, ledger: Ledger, number: int, name: str, child_time: ChildTime) -> None:
        around = current_window()
        super().__init__(ledger, number, 1, name)
        self._children = []
        self._apart = not _same_account(around, ledger)
        self._child_time = None if self._apart else child_time
        self._child_seconds = 0.0
        if self._apart:
            leave(self)
            self._outer = _APART.current
            self._outer._pause(time.thread_time_ns())
            _APART.current = self
        else:
            child_time.begin(self)

    @property
    def number(self) -> int:
        """The number that its records bear."""
        return self._message_id

    def detach(self) -> None:
        """Stop counting this thread: other work has it now."""
        now = time.thread_time_ns()
        self._pause(now)
        self._give_back(now)

    def attach(self) -> None:
        """Go on counting this thread, after :meth:`detach`."""
        now = time.thread_time_ns()
        if self._apart:
            self._outer, _APART.current = _APART.current, self
        else:
            self._outer = enter(self)
        self._outer._pause(now)
        self._resume(now)

    def close(self, failed: str | None = None) -> list[EnergyRecord]:
        if self.provisional is None and self._child_time is not None:
            self._child_seconds = self._child_time.end(self)
            self._child_time = None
        rows = super().close(failed)
        if self._apart:
            self._give_back(time.thread_time_ns())
        return rows

    def sample_children(self) -> None:
        super().sample_children()
        child_time = self._child_time
        if child_time is not None:
            self._child_seconds = child_time.part(self)

    def child_seconds(self) -> float:
        return super().child_seconds() + self._child_seconds

    def _give_back(self, now: int) -> None:
        if not self._apart:
            leave(self, now)
        elif _APART.current is self:
            _APART.current = outer = self._outer._innermost_open()
            outer._resume(now)


def _same_account(around: NullWindow, ledger: Ledger) -> bool:
    if isinstance(around, Window):
        return around._ledger is ledger
    return type(around) is NullWindow


_NULL = NullWindow()
_APART = _Apart()
