"""The curve of a training: its loss and its metrics by step, a line each in a file of the run folder.

The process that trains appends to it, whoever looks reads it, also while it grows and after the training has failed.
A training that goes on from a checkpoint drops what came after that checkpoint. A line is short and nothing waits for
the disk: what a power cut takes is at most the last points of a curve.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wattbus.home import OWNER_FILE

CURVE = "curve.jsonl"
#: Losses that are kept of a training, however many steps it has; each evaluation comes on top.
MOST_LOSSES = 400
_MOST_BYTES = 4_000_000
_METRICS = ("loss", "accuracy", "precision", "recall", "f1")


@dataclass(frozen=True)
class CurvePoint:
    """What was known at a step: the loss of its rows, or the metrics of the model on the test rows."""

    step: int
    total: int
    time_us: int
    loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


class Curve:
    """The curve of one run folder, to be written by the process that trains; ``after`` so many steps of others."""

    def __init__(self, run_folder: Path, after: int = 0) -> None:
        self._file = run_folder / CURVE
        self._after = after

    def begin(self, step: int) -> None:
        """Keep what an earlier attempt has written up to the step that the training goes on from."""
        kept = [point for point in read_curve(self._file.parent) if point.step <= self._after + step]
        aside = self._file.with_suffix(".part")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_FILE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(_line(point) for point in kept)
        aside.replace(self._file)

    def loss(self, step: int, total: int, loss: float) -> None:
        """Keep the loss of a step, where it is one of those that are kept."""
        if step == 1 or step == total or step % max(1, -(-total // MOST_LOSSES)) == 0:
            self._add(step, total, loss, {})

    def evaluation(self, step: int, total: int, evaluated: Mapping[str, Any]) -> None:
        """Keep the metrics of an evaluation on the way, as the Trainer names them."""
        metrics = {name: float(evaluated[f"eval_{name}"]) for name in _METRICS if f"eval_{name}" in evaluated}
        self._add(step, total, None, metrics)

    def _add(self, step: int, total: int, loss: float | None, metrics: dict[str, float]) -> None:
        now = time.time_ns() // 1000
        point = CurvePoint(self._after + step, self._after + total, now, loss, metrics)
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, OWNER_FILE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(_line(point))


def read_curve(run_folder: Path) -> list[CurvePoint]:
    """Return the curve that lies in a run folder, in the order of its steps; empty where there is none."""
    file = run_folder / CURVE
    if file.is_symlink() or not file.is_file():
        return []
    with file.open(encoding="utf-8", errors="replace") as lines:
        text = lines.read(_MOST_BYTES)
    found = [point for line in text.splitlines() if (point := _point(line)) is not None]
    return sorted(found, key=lambda point: point.step)


def keep_only_the_curve(run_folder: Path) -> None:
    """Take everything else out of a run folder; the folder itself as well, where there is no curve in it."""
    if run_folder.is_symlink() or not run_folder.is_dir():
        return
    for path in run_folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != CURVE:
            path.unlink(missing_ok=True)
    if not any(run_folder.iterdir()):
        run_folder.rmdir()


def _line(point: CurvePoint) -> str:
    told: dict[str, Any] = {"step": point.step, "total": point.total, "time_us": point.time_us}
    if point.loss is not None:
        told["loss"] = round(point.loss, 6)
    if point.metrics:
        told["metrics"] = {name: round(value, 6) for name, value in point.metrics.items()}
    return json.dumps(told) + "\n"


def _point(line: str) -> CurvePoint | None:
    """Read a line; None for one that a kill has cut."""
    try:
        told = json.loads(line)
        return CurvePoint(
            int(told["step"]),
            int(told["total"]),
            int(told["time_us"]),
            None if told.get("loss") is None else float(told["loss"]),
            {str(name): float(value) for name, value in told.get("metrics", {}).items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
