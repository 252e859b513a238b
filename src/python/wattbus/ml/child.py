"""A child process of ours for long work on a model: in a group of its own, heard line by line, ended for good."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wattbus.errors import (
    BadRequest,
    BadSettings,
    ModelCorrupt,
    ModelError,
    Refused,
    TrainingFailed,
    WattbusError,
)
from wattbus.home import OWNER_FILE
from wattbus.memory import OomWatch, resident_bytes

POLL_SECONDS = 0.1
MEMORY_POLL_SECONDS = 0.5
GRACE_SECONDS = 5.0
LINE_BYTES_MAX = 1_000_000
#: What a child may say that was wrong, by the name in its error event; every other name is a failure of its own.
ERRORS: dict[str, type[WattbusError]] = {
    "BadRequest": BadRequest,
    "UnknownName": BadRequest,
    "Refused": Refused,
    "BadSettings": BadSettings,
    "ModelError": ModelError,
    "ModelCorrupt": ModelCorrupt,
}
PASSED_ENVIRONMENT = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "WATTBUS_KILL_AT", "WATTBUS_KILL_ROOT",
)  # fmt: skip


@dataclass
class Child:
    """The process, and once it is reaped, how it ended and what it used."""

    process: subprocess.Popen[bytes]
    begun: float
    status: int | None = None
    cpu_seconds: float | None = None
    seconds: float | None = None
    memory: OomWatch = field(default_factory=OomWatch)
    looked: float = 0.0  # when its memory was looked at last

    def tell(self, told: dict[str, Any]) -> None:
        """Write it a line."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: its status tells why
            self.process.stdin.write(json.dumps(told).encode() + b"\n")
            self.process.stdin.flush()

    def reap(self, wait_seconds: float) -> bool:
        """Wait for the end and read the CPU time; tell whether it ended. What it has left behind ends with it."""
        deadline = time.monotonic() + wait_seconds
        while self.status is None:
            # Looked at before it is waited for: until then its number, and that of its group, are its own.
            if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                self._signal(signal.SIGKILL)
                _, status, usage = os.wait4(self.process.pid, 0)
                self.status = self.process.returncode = os.waitstatus_to_exitcode(status)
                self.cpu_seconds = usage.ru_utime + usage.ru_stime
                self.seconds = time.monotonic() - self.begun
            elif time.monotonic() >= deadline:
                return False
            else:
                time.sleep(0.01)
        return True

    def bytes_over(self, limit_bytes: int | None) -> int | None:
        """Return what it holds, where that is more than its limit; it is looked at now and then."""
        now = time.monotonic()
        if now - self.looked < MEMORY_POLL_SECONDS:
            return None
        self.looked = now
        self.memory.look(self.process.pid)
        used = resident_bytes(self.process.pid) if limit_bytes is not None else None
        return used if limit_bytes is not None and used is not None and used > limit_bytes else None

    def end(self) -> None:
        """Stop the process group, softly and then for good, and close the pipes."""
        if not self.reap(0):
            self._signal(signal.SIGTERM)
            if not self.reap(GRACE_SECONDS):
                self._signal(signal.SIGKILL)
                self.reap(GRACE_SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def start_child(
    module: str, spec: Path, *, log: Path, told: dict[str, Any], pass_fds: Sequence[int] = ()
) -> Child:
    """Start ``python -m module spec --attended`` in the folder of its spec; it ends when our end of stdin closes.

    ``told`` is its first line, for what must stand in no file. What it prints goes to ``log``.
    """
    command = [sys.executable, "-P", "-m", module, str(spec), "--attended"]
    begun = time.monotonic()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, OWNER_FILE)
    with os.fdopen(descriptor, "ab") as output:
        process = subprocess.Popen(  # noqa: S603  # our interpreter, our module, our file
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=spec.parent,
            env=_environment(),
            pass_fds=tuple(pass_fds),
            process_group=0,
        )
    child = Child(process, begun)
    child.tell(told)
    return child


def events_of(child: Child) -> Iterator[dict[str, Any]]:
    """Yield each event as it comes, an empty one when nothing came for a moment, until the child closes its pipe."""
    assert child.process.stdout is not None
    descriptor = child.process.stdout.fileno()
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(POLL_SECONDS):
                yield {}
                continue
            if not (data := os.read(descriptor, 65536)):
                return
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > LINE_BYTES_MAX:
                raise TrainingFailed("the child process sent a line without end: it was ended.")
            for line in lines:
                yield json.loads(line)


def _environment() -> dict[str, str]:
    """Return what the child may know: no secret of ours, no hub."""
    known = {name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ}
    root = str(Path(__file__).parents[2])
    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        known["PYTHONPATH"] = os.pathsep.join(filter(None, (root, known.get("PYTHONPATH"))))
    return known | {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }
