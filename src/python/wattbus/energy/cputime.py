"""CPU seconds: of threads by their kernel clock, of the process, of the machine, of child processes.

On Linux every thread has a CPU clock that any other thread may read, in nanoseconds, without opening a
file; the number of the clock is built from the thread id as ``pthread_getcpuclockid`` builds it. Elsewhere
only the process and the machine are known, and attempts share the process' time by how long they were open.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Collection
from typing import Protocol

NANO = 1e-9

# Python threads of the doors and of the bus. Everything else that belongs to no worker (OpenMP, torch, a
# thread pool that loads weights) works for the attempts that are open.
BUS_THREADS = ("MainThread", "wattbus", "AnyIO", "asyncio_", "uvicorn")
# A thread inherits the kernel's name of the thread that made it: a worker so named can be told from its pool's.
_NAME = "wattbus-"
#: The owner of pool threads of which it is not known.
NOBODY = 0


def thread_clock(thread_id: int) -> int:
    """Return the number of a thread's CPU clock: the inverted id, and 6 for "one thread, run time"."""
    return (~thread_id << 3) | 6


class CpuTimes(Protocol):
    """What the ledger must know of CPU time; figures are cumulative, in seconds."""

    knows_threads: bool

    def machine(self) -> tuple[float, float]:
        """Return the CPU seconds that the machine (could have used, has used)."""
        ...

    def process(self) -> float:
        """Return the CPU seconds of this process, its dead threads included, its children not."""
        ...

    def pool(self, workers: Collection[int]) -> dict[int, float]:
        """Return the CPU seconds of threads that are neither the bus' nor those ``workers``, by who made them.

        Workers and owners are native ids; those whose maker is not known are NOBODY's.
        """
        ...

    def child(self, pid: int) -> float | None:
        """Return the CPU seconds of a child and its descendants; None when it is gone or unreadable."""
        ...


def name_worker(thread_id: int) -> None:
    """Give this thread a name in the kernel that the threads of its pools will have too."""
    if sys.platform == "linux" and thread_id != os.getpid():  # the main thread's is the name of the process
        try:
            with open(f"/proc/self/task/{thread_id}/comm", "wb") as name:
                name.write(f"{_NAME}{thread_id}".encode())
        except OSError:
            pass  # hidden or read-only: its pool is shared by time


def _maker(thread_id: int) -> int:
    try:
        with open(f"/proc/self/task/{thread_id}/comm", "rb") as name:
            maker = name.read().decode("ascii", "replace").strip().removeprefix(_NAME)
    except OSError:
        return NOBODY
    return int(maker) if maker.isdecimal() else NOBODY


def cpu_times() -> CpuTimes:
    """Return the best view of CPU time that this platform has."""
    if sys.platform != "linux" or not os.path.exists("/proc/self/task"):
        return PlainCpuTimes()
    linux = LinuxCpuTimes()
    try:
        linux.machine()
    except OSError:  # a container may hide it
        return PlainCpuTimes()
    return linux


class LinuxCpuTimes:
    """CPU time from thread clocks and ``/proc``."""

    knows_threads = True

    def __init__(self) -> None:
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._last: dict[int, int] | None = None
        self._makers: dict[int, int] = {}
        self._pool_ns: dict[int, int] = {}

    def machine(self) -> tuple[float, float]:
        with open("/proc/stat", "rb") as stat:
            fields = [int(word) for word in stat.readline().split()[1:9]]  # guest time is inside user time
        idle = fields[3] + fields[4]
        total = sum(fields)
        return total / self._ticks, (total - idle) / self._ticks

    def process(self) -> float:
        return time.process_time_ns() * NANO

    def pool(self, workers: Collection[int]) -> dict[int, float]:
        bus = {thread.native_id for thread in threading.enumerate() if thread.name.startswith(BUS_THREADS)}
        now: dict[int, int] = {}
        for name in os.listdir("/proc/self/task"):
            thread_id = int(name)
            try:
                now[thread_id] = time.clock_gettime_ns(thread_clock(thread_id))
            except OSError:
                continue  # it ended since the folder was listed
        last, self._last = self._last, now
        if last is not None:
            for thread_id, spent in now.items():
                if thread_id not in bus and thread_id not in workers:
                    before = last.get(thread_id, 0)
                    self._add(thread_id, spent - before if spent >= before else spent, new=spent < before)
        if len(self._makers) > 2 * len(now):
            self._makers = {thread_id: maker for thread_id, maker in self._makers.items() if thread_id in now}
        return {maker: spent * NANO for maker, spent in self._pool_ns.items()}

    def _add(self, thread_id: int, spent: int, *, new: bool) -> None:
        maker = None if new else self._makers.get(thread_id)
        if maker is None:
            maker = self._makers[thread_id] = _maker(thread_id)
        self._pool_ns[maker] = self._pool_ns.get(maker, 0) + spent

    def child(self, pid: int) -> float | None:
        spent = self._one(pid)
        if spent is None:
            return None
        for descendant in self._children(pid):
            spent += self.child(descendant) or 0.0
        return spent

    def _one(self, pid: int) -> float | None:
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                # the name in brackets may hold spaces and brackets: count from the last one
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            return None
        # utime, stime, and those of the descendants already waited for
        return sum(int(word) for word in fields[11:15]) / self._ticks

    def _children(self, pid: int) -> list[int]:
        found: list[int] = []
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children", "rb") as children:
                    found += [int(word) for word in children.read().split()]
        except OSError:
            return found
        return found


class PlainCpuTimes:
    """CPU time from psutil, where threads cannot be told apart."""

    knows_threads = False

    def machine(self) -> tuple[float, float]:
        import psutil

        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return total, total - idle

    def process(self) -> float:
        return time.process_time()

    def pool(self, workers: Collection[int]) -> dict[int, float]:
        return {}

    def child(self, pid: int) -> float | None:
        import psutil

        try:
            process = psutil.Process(pid)
            members = [process, *process.children(recursive=True)]
            return float(sum(sum(member.cpu_times()[:2]) for member in members))
        except psutil.Error:
            return None
