"""What the kernel says of this process: memory, open files, threads, processor time."""

from __future__ import annotations

import os
import re
from pathlib import Path


def resident_mib() -> float:
    """Return the memory that this process holds now."""
    return _status("VmRSS")


def peak_mib() -> float:
    """Return the most memory that this process has held."""
    return _status("VmHWM")


def open_files() -> int:
    """Return how many files, sockets and pipes this process has open."""
    return len(os.listdir("/proc/self/fd")) - 1  # the listing itself is one


def threads() -> int:
    """Return how many threads this process has, of any language."""
    return len(os.listdir("/proc/self/task"))


def size_mib(file: Path) -> float:
    """Return the size of a file; none is 0."""
    return file.stat().st_size / 2**20 if file.exists() else 0.0


def _status(name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/self/status does not tell {name}")
    return int(found[1]) / 1024
