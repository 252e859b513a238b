"""The values of a run by metric: what a profile can grade, read from its figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from wattbus.energy.figures import RunFigures, Stage
from wattbus.labels.builtin import KWH_PER_TRAINING, WH_PER_1000, WH_PER_1000_TOKENS

_WH, _KWH, _MEGABYTE = 3600.0, 3.6e6, 1e6


@dataclass(frozen=True)
class Value:
    """A value, or why there is none."""

    value: float | None
    missing: str = ""


def values_of(figures: RunFigures) -> dict[str, Value]:
    """Return what is known of a run by the id of a metric; what was given by that id counts before what is derived."""
    found = {name: Value(*_checked(derive(figures))) for name, derive in _DERIVED.items()}
    found.update({name: Value(value) for name, value in figures.extra.items()})
    return found


def joules_per_request(figures: RunFigures, joules: float | None) -> float | None:
    """Return the share of one inference in ``joules``; None where either is not known."""
    return _ratio(joules, figures.requests)


def _checked(found: tuple[float | None, str]) -> tuple[float | None, str]:
    value, missing = found
    if value is None:
        return None, missing
    return (value, "") if math.isfinite(value) else (None, "it is not a finite number")


def _ratio(value: float | None, by: float | None) -> float | None:
    return None if value is None or by is None or by <= 0 else value / by


def _whole(value: float | None, missing: str) -> tuple[float | None, str]:
    return (None, missing) if value is None else (float(value), "")


def _per_gram(value: float | None, figures: RunFigures, what: str) -> tuple[float | None, str]:
    grams = figures.extra.get("co2_eq_emissions", figures.carbon_grams)
    if grams is not None and grams <= 0:
        return None, "the emissions are not above 0, and nothing is divided by that"
    missing = " and ".join(name for name, one in ((what, value), ("the emissions", grams)) if one is None)
    return _whole(_ratio(value, grams), f"needs {missing}")


def _per_inference(joules: float | None, figures: RunFigures, times: float) -> tuple[float | None, str]:
    if figures.stage is not Stage.INFERENCE:
        return None, "this is a training"
    known = joules_per_request(figures, joules)
    lacks = [
        name
        for name, one in (("the energy", joules), ("the number of inferences", figures.requests))
        if not one
    ]
    return _whole(None if known is None else known * times, f"needs {' and '.join(lacks)}")


def _per_tokens(figures: RunFigures) -> tuple[float | None, str]:
    if figures.stage is not Stage.INFERENCE:
        return None, "this is a training"
    wh = None if figures.energy_joules is None else figures.energy_joules / _WH * 1000
    return _whole(_ratio(wh, figures.tokens), "needs the energy and the number of tokens")


def _training(figures: RunFigures) -> tuple[float | None, str]:
    if figures.stage is not Stage.TRAINING:
        return None, "this is no training"
    joules = figures.energy_joules
    return _whole(None if joules is None else joules / _KWH, "needs the energy")


def _time(figures: RunFigures) -> tuple[float | None, str]:
    if figures.stage is not Stage.INFERENCE:
        return None, "this is a training"
    return _whole(
        _ratio(figures.duration_seconds, figures.requests), "needs the duration and the number of inferences"
    )


_DERIVED: dict[str, Callable[[RunFigures], tuple[float | None, str]]] = {
    WH_PER_1000: lambda run: _per_inference(run.energy_joules, run, 1000 / _WH),
    WH_PER_1000_TOKENS: _per_tokens,
    KWH_PER_TRAINING: _training,
    "power_draw": lambda run: _per_inference(run.energy_joules, run, 1.0),
    "running_time": _time,
    "co2_eq_emissions": lambda run: _whole(run.carbon_grams, "the emissions are not known"),
    "size_efficency": lambda run: _per_gram(run.size_bytes, run, "the size of the model"),
    "datasets_size_efficency": lambda run: _per_gram(
        run.extra.get("dataset_bytes"), run, "the size of the data"
    ),
    "performance_score": lambda run: _whole(run.accuracy, "no score was given or measured"),
    "model_size": lambda run: _whole(run.parameters, "the number of parameters is not known"),
    "file_size": lambda run: _whole(
        None if run.size_bytes is None else run.size_bytes / _MEGABYTE, "the size is not known"
    ),
    "flops": lambda run: _whole(run.flops, "the operations of an inference are not known"),
}
