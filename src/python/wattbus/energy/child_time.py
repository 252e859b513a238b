"""The CPU time of all child processes of this process: those that run and those that ended."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wattbus.energy.cputime import CpuTimes

# The ledger asks for each open window once a tick; what it is told may be this old.
RECENT_SECONDS = 0.1
_TASKS = Path("/proc/self/task")


class ChildTime:
    """Divides what all children used among the windows that are open, in equal parts.

    Which window a child works for cannot be seen. With one window at a time, as in most scripts, the division is exact.
    """

    def __init__(self, cpu: CpuTimes, read: Callable[[CpuTimes], float] | None = None) -> None:
        self._cpu = cpu
        self._read = read or all_children_seconds
        self._lock = threading.Lock()
        self._parts: dict[object, float] = {}
        self._seen: float | None = None
        self._read_at = -RECENT_SECONDS

    def begin(self, window: object) -> None:
        """Count children to ``window`` from here on."""
        with self._lock:
            self._advance()
            self._parts[window] = 0.0

    def part(self, window: object) -> float:
        """Return the CPU seconds that are counted to ``window`` so far."""
        with self._lock:
            if time.monotonic() - self._read_at > RECENT_SECONDS:
                self._advance()
            return self._parts.get(window, 0.0)

    def end(self, window: object) -> float:
        """Stop counting children to ``window``, and return its CPU seconds."""
        with self._lock:
            self._advance()
            return self._parts.pop(window, 0.0)

    def _advance(self) -> None:
        now = self._read(self._cpu)
        self._read_at = time.monotonic()
        if self._seen is None:
            self._seen = now
        new = now - self._seen
        if new <= 0:  # a child that ends while it is read shows too little, and in full the next time
            return
        self._seen = now
        for window in self._parts:
            self._parts[window] += new / len(self._parts)


def all_children_seconds(cpu: CpuTimes) -> float:
    """Return the CPU seconds of all children of this process and of theirs, ended or not."""
    ended = os.times()  # first: a child that ends now is missed once rather than counted twice
    running = sum(cpu.child(pid) or 0.0 for pid in children())
    return ended.children_user + ended.children_system + running


def children() -> Sequence[int]:
    """Return the process ids of the children that run."""
    try:
        lists = [(task / "children").read_bytes() for task in _TASKS.iterdir()]
    except OSError:
        return _children_elsewhere()
    return [int(word) for line in lists for word in line.split()]


def _children_elsewhere() -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process().children()]
    except psutil.Error:
        return []
