"""One plan for the cores of a process: how many threads compute, and that models take turns with them.

Every model may use all cores for a call, which is what makes a lone request fast. Where several call at once their
threads would outnumber the cores and wait for each other in turns of the kernel's; so calls that fill the cores go one
after the other, first come first served. What reads and writes (tokenizers, pictures, the bus) is not counted: it runs
beside them. A text that is written word by word takes no turn: it would hold the cores for seconds.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_QUOTAS = Path("/sys/fs/cgroup")


def cores() -> int:
    """Return how many threads compute: the cores that this process may use, fewer where OMP_NUM_THREADS says so."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = os.environ.get("OMP_NUM_THREADS", "")
    wanted = int(told) if told.isdecimal() and int(told) > 0 else there
    return max(1, min(there, wanted, _quota() or there))


class Turns:
    """So many calls at once, in the order in which they came."""

    def __init__(self, at_once: int = 1) -> None:
        self._free = at_once
        self._waiting: deque[threading.Lock] = deque()
        self._lock = threading.Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a turn and have it for a block."""
        self._take()
        try:
            yield
        finally:
            self._give()

    def _take(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()  # until it is handed over

    def _give(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


#: Of all models of this process: each call fills the cores.
COMPUTE = Turns()


def _quota(folder: Path = _QUOTAS) -> int | None:
    """Return the whole cores that a container's quota allows, one at least; None: there is no quota."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = (
                (folder / "cpu" / name).read_text().strip()
                for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            )
        if quota == "max" or int(quota) <= 0:
            return None
        return max(1, int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return None
