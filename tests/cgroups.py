"""A memory cgroup for a test, where the machine lets us make one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from waiting import until


@contextlib.contextmanager
def memory_cgroup(limit_bytes: int) -> Iterator[Path]:
    """Make a cgroup with this limit, of version 1 or 2, and take it away when the last process has left it."""
    root = Path("/sys/fs/cgroup/memory")
    limit_file = "memory.limit_in_bytes" if root.is_dir() else "memory.max"
    folder = (root if root.is_dir() else root.parent) / f"wattbus-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / limit_file).write_text(str(limit_bytes))
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        yield folder
    finally:
        until(lambda: not (folder / "cgroup.procs").read_text().strip(), "the cgroup is empty")
        folder.rmdir()
