"""The trainer: starts the training in a child process, follows its events and ends it when asked."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from wattbus.errors import (
    TrainingFailed,
    TrainingKilled,
    WattbusError,
)
from wattbus.home import OWNER_FILE, make_owner_folder, write_durably
from wattbus.memory import size_words
from wattbus.ml.child import ERRORS, POLL_SECONDS, Child, events_of, start_child
from wattbus.ml.train_spec import (
    TrainMetrics,
    TrainProgress,
    TrainResult,
    TrainSpec,
    reject_unsafe_folder,
)

__all__ = ["TrainMetrics", "TrainProgress", "TrainResult", "TrainSpec", "train"]

LOCK_WAIT_SECONDS = 15.0
# the three checkpoints that exist for a moment are three times the model each, then there are the best and a new model
DISK_PER_MODEL_BYTE = 11


def train(
    spec: TrainSpec,
    *,
    on_progress: Callable[[TrainProgress], None] = lambda _: None,
    on_child: Callable[[int], None] = lambda _: None,
    on_cpu_seconds: Callable[[float], None] = lambda _: None,
    joules: Callable[[bool], float | None] = lambda _exact: None,
    cancelled: Callable[[], bool] = lambda: False,
    memory_limit_bytes: int | None = None,
    time_limit_seconds: float | None = None,
) -> TrainResult:
    """Train in a child process and return the result; the new model lies in ``run_folder/model``.

    The same spec in the same run folder goes on from the newest complete checkpoint of an earlier attempt, or
    returns the stored result if that attempt had ended. ``on_child`` gets the process id as soon as there is
    one, ``on_cpu_seconds`` what it had used, however it ended. ``joules`` is asked what this attempt used so far, None
    where that is not known; with true, by a reading that is taken now. Raises BadRequest or Refused on rows, names and
    options that cannot be used, TrainingKilled when the process was killed from outside, TrainingFailed on
    everything else that ends a training: cancelled, limits, a loss that is no number, no memory, a full disk.
    """
    reject_unsafe_folder(spec.model_folder)
    make_owner_folder(spec.run_folder)
    _need_space(spec)
    with _locked(spec.run_folder, on_progress, cancelled) as lock:
        write_durably(spec.run_folder / "spec.json", spec.shown().model_dump_json(indent=1).encode())
        # the child holds the lock too
        child = start_child(
            "wattbus.ml.training",
            spec.run_folder / "spec.json",
            log=spec.run_folder / "train.log",
            told={"table_url": spec.table_url},
            pass_fds=(lock.fileno(),),
        )
        try:
            on_child(child.process.pid)
            ending = _follow(child, on_progress, joules, cancelled, memory_limit_bytes, time_limit_seconds)
        finally:
            child.end()
            if child.cpu_seconds is not None:
                on_cpu_seconds(child.cpu_seconds)
        return _result(spec, child, ending)


@dataclass(frozen=True)
class _Ending:
    """Why the events stopped: the child's own last word, or a reason of ours to end it."""

    result: TrainResult | None = None
    error: WattbusError | None = None
    last_step: int | None = None


def _follow(
    child: Child,
    on_progress: Callable[[TrainProgress], None],
    joules: Callable[[bool], float | None],
    cancelled: Callable[[], bool],
    memory_limit_bytes: int | None,
    time_limit_seconds: float | None,
) -> _Ending:
    """Pass the events on until the child has said its last word or has to end."""
    last_step: int | None = None
    for event in events_of(child):
        kind = event.get("event")
        if kind == "progress":
            told = TrainProgress.model_validate({name: event[name] for name in event if name != "event"})
            last_step = told.step if told.step is not None else last_step
            on_progress(told)
        elif kind == "spent":
            child.tell({"joules": joules(event.get("exact") is True)})
        elif kind == "result":
            return _Ending(result=TrainResult.model_validate(event["result"]), last_step=last_step)
        elif kind == "error":
            error = ERRORS.get(str(event.get("kind")), TrainingFailed)
            return _Ending(error=error(str(event.get("message"))), last_step=last_step)
        where = f" at step {last_step}" if last_step is not None else ""
        if cancelled():
            return _Ending(error=TrainingFailed(f"the training was cancelled{where}. Nothing was staged."))
        if time_limit_seconds is not None and time.monotonic() - child.begun > time_limit_seconds:
            return _Ending(
                error=TrainingFailed(
                    f"the training took longer than its limit of {time_limit_seconds:g} s and was "
                    f"ended{where}: send it "
                    "again with a higher limit, it goes on from its last checkpoint."
                )
            )
        used = child.bytes_over(memory_limit_bytes)
        if used is not None:
            return _Ending(
                error=TrainingFailed(
                    f"the training was killed, out of memory, limit {size_words(memory_limit_bytes or 0)}: it used "
                    f"{size_words(used)}{where}; set per_device_train_batch_size lower."
                )
            )
    return _Ending(last_step=last_step)


def _result(spec: TrainSpec, child: Child, ending: _Ending) -> TrainResult:
    if ending.error is not None:
        raise ending.error
    if ending.result is None:
        raise _death(spec, child, ending)
    return ending.result.model_copy(update={"cpu_seconds": child.cpu_seconds, "child_seconds": child.seconds})


def _death(spec: TrainSpec, child: Child, ending: _Ending) -> TrainingFailed:
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
