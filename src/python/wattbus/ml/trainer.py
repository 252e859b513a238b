"""The trainer: starts the training in a child process, follows its events and ends it when asked."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from wattbus.errors import (
    BadRequest,
    BadSettings,
    ModelError,
    Refused,
    TrainingFailed,
    TrainingKilled,
    WattbusError,
)
from wattbus.home import OWNER_FILE, make_owner_folder, write_durably
from wattbus.memory import OomWatch, resident_bytes, size_words
from wattbus.ml.train_spec import (
    TrainMetrics,
    TrainProgress,
    TrainResult,
    TrainSpec,
    reject_unsafe_folder,
)

__all__ = ["TrainMetrics", "TrainProgress", "TrainResult", "TrainSpec", "train"]

POLL_SECONDS = 0.1
MEMORY_POLL_SECONDS = 0.5
GRACE_SECONDS = 5.0
LOCK_WAIT_SECONDS = 15.0
LINE_BYTES_MAX = 1_000_000
# the three checkpoints that exist for a moment are three times the model each, then there is the new model
DISK_PER_MODEL_BYTE = 10
PASSED_ENVIRONMENT = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "WATTBUS_KILL_AT", "WATTBUS_KILL_ROOT",
)  # fmt: skip
ERRORS: dict[str, type[WattbusError]] = {
    "BadRequest": BadRequest,
    "UnknownName": BadRequest,
    "Refused": Refused,
    "BadSettings": BadSettings,
    "ModelError": ModelError,
}


def train(
    spec: TrainSpec,
    *,
    on_progress: Callable[[TrainProgress], None] = lambda _: None,
    on_child: Callable[[int], None] = lambda _: None,
    on_cpu_seconds: Callable[[float], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
    memory_limit_bytes: int | None = None,
    time_limit_seconds: float | None = None,
) -> TrainResult:
    """Train in a child process and return the result; the new model lies in ``run_folder/model``.

    The same spec in the same run folder goes on from the newest complete checkpoint of an earlier attempt, or
    returns the stored result if that attempt had ended. ``on_child`` gets the process id as soon as there is
    one, ``on_cpu_seconds`` what it had used, however it ended. Raises BadRequest or Refused on rows, names and
    options that cannot be used, TrainingKilled when the process was killed from outside, TrainingFailed on
    everything else that ends a training: cancelled, limits, a loss that is no number, no memory, a full disk.
    """
    reject_unsafe_folder(spec.model_folder)
    make_owner_folder(spec.run_folder)
    _need_space(spec)
    with _locked(spec.run_folder, on_progress, cancelled) as lock:
        write_durably(spec.run_folder / "spec.json", spec.shown().model_dump_json(indent=1).encode())
        child = _start(spec, lock)
        try:
            on_child(child.process.pid)
            ending = _follow(child, on_progress, cancelled, memory_limit_bytes, time_limit_seconds)
        finally:
            child.end()
            if child.cpu_seconds is not None:
                on_cpu_seconds(child.cpu_seconds)
        return _result(spec, child, ending)


@dataclass
class _Child:
    """The process, and once it is reaped, how it ended and what it used."""

    process: subprocess.Popen[bytes]
    begun: float
    status: int | None = None
    cpu_seconds: float | None = None
    seconds: float | None = None
    memory: OomWatch = field(default_factory=OomWatch)

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


@dataclass(frozen=True)
class _Ending:
    """Why the events stopped: the child's own last word, or a reason of ours to end it."""

    result: TrainResult | None = None
    error: WattbusError | None = None
    last_step: int | None = None


def _start(spec: TrainSpec, lock: IO[bytes]) -> _Child:
    """Start the child in a process group of its own; it holds the lock too, and ends when our end of stdin closes."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "wattbus.ml.training",
        str(spec.run_folder / "spec.json"),
        "--attended",
    ]
    begun = time.monotonic()
    descriptor = os.open(spec.run_folder / "train.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, OWNER_FILE)
    with os.fdopen(descriptor, "ab") as log:
        process = subprocess.Popen(  # noqa: S603  # our interpreter, our module, our file
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=spec.run_folder,
            env=_environment(),
            pass_fds=(lock.fileno(),),
            process_group=0,
        )
    child = _Child(process, begun)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it ended at once: its status tells why
        process.stdin.write(json.dumps({"table_url": spec.table_url}).encode() + b"\n")
        process.stdin.flush()
    return child


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


def _follow(
    child: _Child,
    on_progress: Callable[[TrainProgress], None],
    cancelled: Callable[[], bool],
    memory_limit_bytes: int | None,
    time_limit_seconds: float | None,
) -> _Ending:
    """Pass the events on until the child has said its last word or has to end."""
    last_step: int | None = None
    checked_memory = 0.0
    for event in _events(child):
        kind = event.get("event")
        if kind == "progress":
            told = TrainProgress.model_validate({name: event[name] for name in event if name != "event"})
            last_step = told.step if told.step is not None else last_step
            on_progress(told)
        elif kind == "result":
            return _Ending(result=TrainResult.model_validate(event["result"]), last_step=last_step)
        elif kind == "error":
            error = ERRORS.get(str(event.get("kind")), TrainingFailed)
            return _Ending(error=error(str(event.get("message"))), last_step=last_step)
        now = time.monotonic()
        where = f" at step {last_step}" if last_step is not None else ""
        if cancelled():
            return _Ending(error=TrainingFailed(f"the training was cancelled{where}. Nothing was staged."))
        if time_limit_seconds is not None and now - child.begun > time_limit_seconds:
            return _Ending(
                error=TrainingFailed(
                    f"the training took longer than its limit of {time_limit_seconds:g} s and was "
                    f"ended{where}: send it "
                    "again with a higher limit, it goes on from its last checkpoint."
                )
            )
        if now - checked_memory >= MEMORY_POLL_SECONDS:
            checked_memory = now
            child.memory.look(child.process.pid)
            used = resident_bytes(child.process.pid) if memory_limit_bytes is not None else None
            if memory_limit_bytes is not None and used is not None and used > memory_limit_bytes:
                return _Ending(
                    error=TrainingFailed(
                        f"the training was killed, out of memory, limit {size_words(memory_limit_bytes)}: it used "
                        f"{size_words(used)}{where}; set per_device_train_batch_size lower."
                    )
                )
    return _Ending(last_step=last_step)


def _events(child: _Child) -> Iterator[dict[str, Any]]:
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
                raise TrainingFailed("the training process sent a line without end: it was ended.")
            for line in lines:
                yield json.loads(line)


def _result(spec: TrainSpec, child: _Child, ending: _Ending) -> TrainResult:
    if ending.error is not None:
        raise ending.error
    if ending.result is None:
        raise _death(spec, child, ending)
    return ending.result.model_copy(update={"cpu_seconds": child.cpu_seconds, "child_seconds": child.seconds})


def _death(spec: TrainSpec, child: _Child, ending: _Ending) -> TrainingFailed:
    where = f" at step {ending.last_step}" if ending.last_step is not None else ""
    if child.status is not None and child.status < 0:
        hungry = child.memory.sentence() if child.status == -signal.SIGKILL else None
        if hungry is not None:
            return TrainingFailed(
                f"the training process was {hungry}{where}: set per_device_train_batch_size lower, or give it "
                "more memory."
            )
        return TrainingKilled(
            f"the training process was killed by signal {-child.status}{where}: the next attempt goes on from its "
            "last complete checkpoint."
        )
    log = spec.run_folder / "train.log"
    lines = log.read_text(errors="replace").strip().splitlines()
    cause = f" ({lines[-1][:300]})" if lines else ""
    return TrainingFailed(f"the training process ended with status {child.status}{where}{cause}: see {log}.")


def take_over(spec: TrainSpec) -> Path | None:
    """Let ``spec`` go on where an earlier run of the very same training failed; return the folder it had, or None.

    The earlier run lies beside the run folder; one that goes on, or that has its result, is left alone.
    """
    if spec.run_folder.exists():
        return None
    asked = spec.shown().model_copy(update={"run_folder": Path("/")})
    beside = spec.run_folder.parent.iterdir() if spec.run_folder.parent.is_dir() else ()
    for folder in sorted(beside, key=lambda path: path.name):
        try:
            told = TrainSpec.model_validate_json((folder / "spec.json").read_bytes())
        except (OSError, ValueError, WattbusError):
            continue
        same = told.model_copy(update={"run_folder": Path("/")}) == asked
        if same and not (folder / "result.json").exists() and _is_free(folder):
            folder.rename(spec.run_folder)
            return folder
    return None


def _is_free(run_folder: Path) -> bool:
    try:
        with (run_folder / "lock").open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _need_space(spec: TrainSpec) -> None:
    model_bytes = sum(path.stat().st_size for path in spec.model_folder.glob("*.safetensors"))
    needed = DISK_PER_MODEL_BYTE * model_bytes
    free = shutil.disk_usage(spec.run_folder).free
    if free < needed:
        raise TrainingFailed(
            f"the training needs {needed / 1e9:.2f} GB in {spec.run_folder} and {free / 1e9:.2f} GB are "
            "free: make room."
        )


@contextlib.contextmanager
def _locked(
    run_folder: Path, on_progress: Callable[[TrainProgress], None], cancelled: Callable[[], bool]
) -> Iterator[IO[bytes]]:
    """Hold the run folder; the lock lives as long as we or the child do, and no file can leave it behind."""
    descriptor = os.open(run_folder / "lock", os.O_RDWR | os.O_CREAT, OWNER_FILE)
    with os.fdopen(descriptor, "r+b") as lock:
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if cancelled() or time.monotonic() >= deadline:
                    raise TrainingFailed(
                        f"another training works in {run_folder}: wait for its end."
                    ) from None
            if not told:
                on_progress(TrainProgress(stage="waiting for an earlier process of this run to end"))
                told = True
            time.sleep(POLL_SECONDS)
        yield lock
