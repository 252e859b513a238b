"""The report of a training: what each rung of its ladder came to, and how the model does, class by class."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

#: How a model can be fine-tuned, the cheapest first; each is a rung of the ladder.
RUNGS = ("features", "last-layers", "lora", "full")
AUTO = "auto"
METHODS = (AUTO, *RUNGS)
#: What a target can be set for.
TARGET_METRICS = ("accuracy", "f1", "precision", "recall")
CALIBRATION_BINS = 10

Method = Literal["auto", "features", "last-layers", "lora", "full"]
TargetMetric = Literal["accuracy", "f1", "precision", "recall"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Rung(_Part):
    """What came of one way to fine-tune; what was not read is None."""

    name: str
    state: Literal["done", "stopped", "skipped"] = Field(
        description="stopped: it ended before its last step; skipped: it made no model"
    )
    words: str = Field(description="why it was stopped or skipped, or what it did")
    metrics: dict[str, float] = Field(default={}, description="on the test rows; none where it made no model")
    steps: int = 0
    seconds: float = Field(default=0.0, description="from its start to its end, its evaluation included")
    joules: float | None = Field(default=None, description="of the attempts, by the ledger; empty: not read")
    likely_seconds: float | None = Field(
        default=None, description="what its first steps said that it would take"
    )
    likely_joules: float | None = None


class ClassScore(_Part):
    """How a model does on the test rows of one label; 0 where it never answers with it."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int = Field(description="test rows that have the label")


class CalibrationBin(_Part):
    """The test rows whose answer was given with a confidence from ``low`` to ``high``."""

    low: float
    high: float
    rows: int
    confidence: float | None = Field(default=None, description="their mean confidence")
    accuracy: float | None = Field(default=None, description="the share of them that was right")


class Scores(_Part):
    """How a model does on the test rows: per class, which label it takes for which, and whether it knows."""

    classes: list[ClassScore] = Field(description="at most 100, those with the most test rows")
    confusion: list[list[int]] = Field(
        description="rows by their label, columns by the answer; empty above 100 labels"
    )
    calibration_error: float = Field(
        description="expected calibration error: mean distance of confidence and accuracy, by rows"
    )
    calibration: list[CalibrationBin]


class LearningPoint(_Part):
    """A head that was fitted on a share of the training rows, on the test rows: mean over its seeds."""

    share: float
    rows: int
    value: float
    low: float
    high: float
    seeds: int


class LadderReport(_Part):
    """A ladder as it was walked: its rungs, which one was chosen, and whether that met the target."""

    rungs: list[Rung] = []
    chosen: str | None = None
    outcome: str = Field(default="", description="in one sentence")
    target: float | None = None
    target_metric: str = "accuracy"
    target_met: bool | None = Field(default=None, description="empty: there was no target")
    energy_budget_wh: float | None = None
    joules: float | None = Field(default=None, description="of all attempts until the last rung ended")
    old_scores: Scores | None = None
    new_scores: Scores | None = None
    learning_curve: list[LearningPoint] = Field(
        default=[], description="of a linear head on the features, by training rows"
    )
    more_rows: str = Field(default="", description="whether more rows would help, in one sentence")
