"""A shim that makes the N-th write or sync of a file fail, in a process of its own; for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("faultshim.c")


def build(folder: Path) -> Path:
    """Compile the shim; skip the test where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: the shim that makes writes fail cannot be built")
    library = folder / "faultshim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def run(folder: Path, script: str, *arguments: str, seconds: float = 240.0) -> list[str]:
    """Run a script under the shim and return its lines; it has ``arm(kind, path_part, which)`` and ``seen()``."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(build(folder)),
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
    }
    done = subprocess.run(
        [sys.executable, "-c", _PRELUDE + script, str(folder), *arguments],
        env=environment, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


_PRELUDE = """
import ctypes, errno
_shim = ctypes.CDLL(None)

def arm(kind, path_part, which, number=errno.EIO):
    _shim.fault_arm({"write": 1, "sync": 2}[kind], path_part.encode(), which, number)

def disarm():
    _shim.fault_arm(0, b"", 0, 0)

def seen():
    return _shim.fault_seen()
"""
