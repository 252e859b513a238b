"""How much of a BoAmps report is filled, of what can apply to it, and what is left to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wattbus.export.boamps_fields import FIELDS, Origin

INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True)
class Provenance:
    """Where one value came from."""

    origin: Origin
    source: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.source}"


@dataclass(frozen=True)
class Situation:
    """What decides whether a field can apply to a task."""

    training: bool
    remote: bool
    gpu: bool
    cloud: bool
    wattmeter: bool
    neural: bool = True
    model: bool = True  # False: a generic task, in which no model was seen
    private_data: bool = False  # all data came in messages, and has no address


@dataclass(frozen=True)
class Score:
    """``filled`` of ``applicable``; ``missing`` and ``to_confirm`` say what to do, field by field."""

    filled: int
    applicable: int
    missing: tuple[tuple[str, str], ...] = ()
    not_applicable: tuple[tuple[str, str], ...] = ()
    to_confirm: tuple[tuple[str, str], ...] = ()  # filled with a default that nobody has said

    def __str__(self) -> str:
        return f"{self.filled} / {self.applicable}"


def filled_paths(document: object) -> frozenset[str]:
    """Return the distinct paths of leaf fields that hold a value, a list's index written as ``[]``."""
    known = {field.path for field in FIELDS}
    return frozenset(path for path in _paths(document, "") if path in known)


def _paths(value: object, prefix: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _paths(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, prefix + "[]")
    elif value is not None:
        yield prefix


def score(document: object, situation: Situation, provenance: Mapping[str, Provenance]) -> Score:
    """Count the filled and the applicable fields; a filled field always counts as applicable."""
    filled = filled_paths(document)
    missing, not_applicable = [], []
    for field in FIELDS:
        if field.path in filled:
            continue
        reason = why_not_applicable(field.path, situation, filled)
        if reason:
            not_applicable.append((field.path, reason))
        else:
            missing.append((field.path, field.remedy))
    remedies = {field.path: field.remedy for field in FIELDS}
    defaults = {
        INDEX.sub("[]", path) for path, origin in provenance.items() if origin.origin is Origin.DEFAULT
    }
    return Score(
        filled=len(filled),
        applicable=len(filled) + len(missing),
        missing=tuple(missing),
        not_applicable=tuple(not_applicable),
        to_confirm=tuple((path, remedies[path]) for path in remedies if path in defaults & filled),
    )


OF_A_MODEL = ("task.algorithms[]", "task.measuredAccuracy", "task.estimatedAccuracy")
TRAINING_ONLY = ("trainingType", "epochsNumber", "optimizer")
UNKNOWABLE_REMOTE = (
    "system.",
    "software.",
    "measures[].cpuTracking",
    "measures[].gpuTracking",
    "measures[].averageUtilization",
    "measures[].version",
    "infrastructure.components[].share",
    "infrastructure.components[].manufacturer",
    "infrastructure.components[].family",
    "infrastructure.components[].series",
    "environment.",
    "infrastructure.cloudInstance",
)


def why_not_applicable(path: str, situation: Situation, filled: frozenset[str] = frozenset()) -> str | None:
    """Say why an empty field cannot apply to this task, or None when it could be filled."""
    name = path.rsplit(".", 1)[-1]
    if situation.remote and path.startswith(UNKNOWABLE_REMOTE):
        return "the machine behind a remote service tells nobody"
    if "Calibration" in name and situation.remote:
        return "an estimate is not calibrated"
    if not situation.model and path.startswith(
        ("task.algorithms[]", "task.measuredAccuracy", "task.estimatedAccuracy")
    ):
        return "no model ran in the task"
    if name == "nbRequest" and situation.training:
        return "a training answers no requests"
    if name in TRAINING_ONLY and not situation.training:
        return "an inference trains nothing"
    if name == "layersNumber" and not situation.neural:
        return "not a neural network"
    if path == "measures[].manufacturer" and not situation.wattmeter:
        return "no wattmeter was used"
    if name == "averageUtilizationGpu" and not situation.gpu:
        return "the machine has no GPU"
    if name in ("cloudProvider", "cloudInstance") and not situation.cloud:
        return "not in a cloud"
    if name == "cloudService" and not situation.remote:
        return "no cloud service was called"
    if name == "sourceUri" and situation.private_data:
        return "data that came in messages has no address"
    return _accuracy_answered(name, situation, filled)


def _accuracy_answered(name: str, situation: Situation, filled: frozenset[str]) -> str | None:
    """One accuracy is enough: measured if there is one, else estimated; a training can always measure."""
    if name == "estimatedAccuracy" and ("task.measuredAccuracy" in filled or situation.training):
        return "the accuracy is measured, or can be"
    if name == "measuredAccuracy" and not situation.training:
        return "an inference is not compared with right answers; estimatedAccuracy stands for it"
    return None
