"""The memory of a process: what it and its descendants hold, and whether the kernel killed it for want of memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
# A cgroup without a limit shows the largest number of pages there is (version 1) or the word max (version 2).
_NO_LIMIT_BYTES = 1 << 60


def descendants(pid: int) -> list[int]:
    """Return the processes that ``pid`` has started and those that they have, as far as they can be seen."""
    if not os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children"):
        return _descendants_by_psutil(pid)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def resident_bytes(pid: int) -> int | None:
    """Return the memory that ``pid`` and its descendants hold; None when the process is gone or unreadable.

    Pages that they share are counted once for each, as every tool that adds up resident sizes does.
    """
    own = _resident(pid)
    return None if own is None else own + sum(_resident(child) or 0 for child in descendants(pid))


def return_freed() -> None:
    """Give memory that was freed back to the machine, where the C library keeps it for later (glibc does)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def size_words(size_bytes: float) -> str:
    """Write a size as people say it.

    >>> size_words(512 * 1024 * 1024), size_words(2 * 1024**3), size_words(1.25 * 1024**3)
    ('512 MB', '2 GB', '1.25 GB')
    """
    if size_bytes >= 1024**3:
        return f"{size_bytes / 1024**3:.2f}".rstrip("0").rstrip(".") + " GB"
    return f"{size_bytes / 1024**2:.0f} MB"


@dataclass(frozen=True)
class Cgroup:
    """The memory cgroup of a process, in version 1 or 2."""

    folder: Path

    @classmethod
    def of(cls, pid: int) -> Cgroup | None:
        """Return the memory cgroup of ``pid``; None where there is none or it cannot be seen."""
        try:
            lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        except OSError:
            return None
        for line in lines:
            _number, controllers, path = line.split(":", 2)
            root = _CGROUPS / "memory" if controllers == "memory" else _CGROUPS
            folder = root / path.lstrip("/")
            if controllers in ("", "memory") and (folder / _events_name(folder)).exists():
                return cls(folder)
        return None

    def oom_kills(self) -> int | None:
        """Return how many of its processes the kernel has killed for want of memory; None: not to be known."""
        try:
            lines = (self.folder / _events_name(self.folder)).read_text().splitlines()
        except OSError:
            return None
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)

    def limit_bytes(self) -> int | None:
        """Return the lowest limit that binds it, its own or of one above it; None: only that of the machine."""
        limits = []
        for folder in (self.folder, *self.folder.parents):
            if folder == _CGROUPS.parent:
                break
            for name in ("memory.max", "memory.limit_in_bytes"):
                try:
                    limits.append(int((folder / name).read_text()))
                except (OSError, ValueError):  # not there, or the word max
                    continue
        return min((limit for limit in limits if limit < _NO_LIMIT_BYTES), default=None)


class OomWatch:
    """Tells whether the kernel killed a process for want of memory; looked at while the process lives."""

    def __init__(self) -> None:
        # More than one: a process may be moved, and one that is just ending is shown in the root.
        self._kills: dict[Cgroup, int] = {}

    def look(self, pid: int) -> None:
        """Note where the memory of ``pid`` is accounted, and how many were killed there so far."""
        cgroup = Cgroup.of(pid)
        if cgroup is not None and cgroup not in self._kills and (kills := cgroup.oom_kills()) is not None:
            self._kills[cgroup] = kills

    def sentence(self) -> str | None:
        """Return what was short where somebody was killed there since the first look, else None."""
        for cgroup, before in self._kills.items():
            if (cgroup.oom_kills() or 0) > before:
                limit = cgroup.limit_bytes()
                if limit is None:
                    return "killed, out of memory: the machine has no more"
                return f"killed, out of memory, limit {size_words(limit)} (memory cgroup)"
        return None


def _events_name(folder: Path) -> str:
    return "memory.events" if (folder / "memory.events").exists() else "memory.oom_control"


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as children:
                found += [int(word) for word in children.read().split()]
    except OSError:
        return found
    return found


def _resident(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/statm", "rb") as pages:
            return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return None if os.path.exists("/proc/self/statm") else _resident_by_psutil(pid)
    except (OSError, IndexError):
        return None


def _descendants_by_psutil(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def _resident_by_psutil(pid: int) -> int | None:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None
