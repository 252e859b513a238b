"""Trainings side by side: one row a setting, a metric, a figure, and whether it differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wattbus import words
from wattbus.store.trainings import TrainingRun


@dataclass(frozen=True)
class CompareRow:
    """One line: what it is, its value in each training as text, whether they are not all the same."""

    group: str
    name: str
    values: list[str]
    differs: bool


@dataclass(frozen=True)
class CompareView:
    """The trainings in the order they were asked for, and the lines below them."""

    runs: list[TrainingRun]
    rows: list[CompareRow]


_Value = Callable[[TrainingRun], str]


def compared(runs: Sequence[TrainingRun]) -> CompareView:
    """Put trainings side by side."""
    options = sorted({name for run in runs for name in run.options})
    metrics = [*_METRICS, *(name for name in _OF_LANGUAGE if any(name in run.new_metrics for run in runs))]
    lines: list[tuple[str, str, _Value]] = [
        ("Settings", "model", lambda run: _text(run.model)),
        ("Settings", "from version", lambda run: _text(run.old_version)),
        ("Settings", "table", lambda run: _text(run.table)),
        ("Settings", "columns", lambda run: _text(run.columns)),
        ("Settings", "limit", lambda run: "all rows" if run.limit is None else f"{run.limit:,}"),
        ("Settings", "p_of_train", lambda run: _text(run.p_of_train)),
        *(("Settings", name, _option(name)) for name in options),
        ("Rows", "train", lambda run: _text(run.train_rows)),
        ("Rows", "test", lambda run: _text(run.test_rows)),
        ("Rows", "labels", lambda run: ", ".join(map(str, run.labels)) or words.UNKNOWN),
        *(("New model", name, _metric("new_metrics", name)) for name in metrics),
        *(("Old model", name, _metric("old_metrics", name)) for name in metrics),
        ("New model", "answers that changed", lambda run: _text(run.changed_predictions)),
        ("New model", "version", lambda run: _text(run.new_version)),
        ("Cost", "time of the training", lambda run: words.seconds(run.seconds)),
        ("Cost", "CPU time", lambda run: words.seconds(run.energy.cpu_seconds if run.energy else None)),
        ("Cost", "energy", _energy),
        ("Cost", "bounds", _bounds),
        ("Cost", "energy for each point of accuracy won", _energy_a_point),
        ("Outcome", "state", lambda run: run.state),
        ("Outcome", "attempts", lambda run: str(run.attempts)),
        ("Outcome", "error", lambda run: words.clean(run.error, 300) if run.error else words.UNKNOWN),
    ]
    order = ("Settings", "Rows", "New model", "Old model", "Cost", "Outcome")
    rows = []
    for group, name, value in sorted(lines, key=lambda line: order.index(line[0])):
        values = [value(run) for run in runs]
        rows.append(CompareRow(group, name, values, len(set(values)) > 1))
    return CompareView(list(runs), rows)


_METRICS = ("accuracy", "precision", "recall", "f1")
_OF_LANGUAGE = ("loss", "perplexity")


def _text(value: Any) -> str:
    if value is None or value == "":
        return words.UNKNOWN
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _option(name: str) -> _Value:
    return lambda run: _text(run.options.get(name))


def _metric(which: str, name: str) -> _Value:
    def value(run: TrainingRun) -> str:
        found = getattr(run, which).get(name)
        return words.UNKNOWN if found is None else f"{found:.3f}"

    return value


def _energy(run: TrainingRun) -> str:
    return words.UNKNOWN if run.energy is None else words.joules(run.energy.joules, run.energy.tier)


def _bounds(run: TrainingRun) -> str:
    if run.energy is None:
        return words.UNKNOWN
    return words.joule_range(run.energy.low_joules, run.energy.high_joules) or words.UNKNOWN


def _energy_a_point(run: TrainingRun) -> str:
    """Return the energy of a hundredth of accuracy that the new model does better."""
    won = 100 * (run.new_metrics.get("accuracy", 0.0) - run.old_metrics.get("accuracy", 0.0))
    if run.energy is None or run.energy.joules is None or won <= 0:
        return words.UNKNOWN
    return words.joules(run.energy.joules / won, run.energy.tier)
