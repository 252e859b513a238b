"""What a training is given, what it tells on its way and what it gives back; JSON on both sides of the process."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from wattbus.errors import BadRequest, Refused
from wattbus.ml.ladder_options import (
    LADDER_FIELDS,
    parse_budget,
    parse_class_weights,
    parse_method,
    parse_patience,
    parse_target,
    parse_target_metric,
    rungs_of,
)
from wattbus.ml.objectives.known import DEFAULT_OBJECTIVE, find_objective
from wattbus.ml.tables import parse_limit, parse_url, without_secrets
from wattbus.ml.tokenizing import check_vocabulary
from wattbus.ml.training_options import parse_options
from wattbus.training_report import LadderReport

EXAMPLES_SHOWN = 20
EXAMPLE_CHARACTERS = 300


class TrainSpec(BaseModel):
    """One training: which model on which rows, into which folder; BadRequest or Refused on a wrong value.

    ``columns`` are those that the objective takes, as a list or as "ReviewLabel,ReviewText". ``options`` are
    TrainingArguments by name. ``uploads`` is where pictures that the rows name lie.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_folder: Path
    table_url: str
    table: str
    objective: str = DEFAULT_OBJECTIVE
    columns: tuple[str, ...]
    limit: int | None = None
    p_of_train: float = 0.8
    num_labels: int | None = None
    run_folder: Path
    options: dict[str, Any] = {}
    uploads: Path | None = None
    train_tokenizer: int | None = None
    method: str | None = None  # None: full, or auto where there is a target or a budget
    target: float | None = None
    target_metric: str = "accuracy"
    energy_budget_wh: float | None = None
    class_weights: str | dict[str, float] | None = None
    early_stopping_patience: int | None = None
    engine_folder: Path | None = None  # an optimised version of the same encoder
    features_file: Path | None = None  # where features are kept; None: nowhere

    _method = field_validator("method", mode="before")(parse_method)
    _target = field_validator("target", mode="before")(parse_target)
    _target_metric = field_validator("target_metric", mode="before")(parse_target_metric)
    _budget = field_validator("energy_budget_wh", mode="before")(parse_budget)
    _weights = field_validator("class_weights", mode="before")(parse_class_weights)
    _patience = field_validator("early_stopping_patience", mode="before")(parse_patience)

    @field_validator("model_folder", "run_folder", "uploads", mode="after")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.absolute()

    @field_validator("table_url", mode="after")
    @classmethod
    def _known_database(cls, value: str) -> str:
        parse_url(value)
        return value

    @field_validator("columns", mode="before")
    @classmethod
    def _names(cls, value: object) -> tuple[str, ...]:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise BadRequest("columns must be names, as in 'ReviewLabel,ReviewText'.")
        return tuple(name.strip() for name in names)

    @field_validator("objective", mode="before")
    @classmethod
    def _known_objective(cls, value: object) -> str:
        return find_objective(str(value)).name

    @field_validator("limit", mode="before")
    @classmethod
    def _row_limit(cls, value: object) -> int | None:
        return parse_limit(value)

    @field_validator("p_of_train", mode="before")
    @classmethod
    def _share(cls, value: object) -> float:
        try:
            share = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            share = math.nan
        if not 0.0 < share < 1.0:
            raise BadRequest(
                f"p_of_train is {str(value)[:40]!r}: it must be above 0 and below 1, such as 0.8 for 80 % "
                "of the rows."
            )
        return share

    @field_validator("num_labels", mode="before")
    @classmethod
    def _labels(cls, value: object) -> int | None:
        if value is None:
            return None
        number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 7 else value
        if isinstance(number, bool) or not isinstance(number, int) or not 2 <= number <= 10_000:
            raise BadRequest(f"num_labels is {str(value)[:40]!r}: it must be a whole number from 2 to 10000.")
        return number

    @field_validator("options", mode="after")
    @classmethod
    def _allowed(cls, value: dict[str, Any]) -> dict[str, Any]:
        parse_options(value, Path("run"))
        return value

    @model_validator(mode="after")
    def _goes_together(self) -> TrainSpec:
        objective = find_objective(self.objective)
        objective.check_columns(self.columns)
        asked = self._set_of_ladder()
        objective.check_ladder([name for name in asked if (name, self.method) != ("method", "full")])
        if self.train_tokenizer is not None:
            if not objective.names_tokens:
                raise BadRequest(
                    f"train_tokenizer goes with masked-lm and causal-lm, which teach the model the new tokens: "
                    f"{objective.name} does not."
                )
            check_vocabulary(self.train_tokenizer)
        best = str(self.options.get("metric_for_best_model", "loss")).lower()
        if best not in ("loss", *objective.metrics):
            raise BadRequest(
                f"metric_for_best_model is {best!r}, which {objective.name} does not measure: choose one of "
                f"{', '.join(objective.metrics)}."
            )
        return self

    def shown(self) -> TrainSpec:
        """Return the spec with the password of the database masked: fit for a file or a log."""
        return self.model_copy(update={"table_url": without_secrets(parse_url(self.table_url))})

    def fingerprint(self, rows_digest: str) -> str:
        """Return what must be the same for a checkpoint to go on: the spec, where it runs apart, and the rows."""
        told = self.shown().model_copy(update={"run_folder": Path("/")})
        apart = {"engine_folder", "features_file"}
        usual = set(LADDER_FIELDS) - set(self._set_of_ladder())
        text = told.model_dump_json(exclude=apart | usual)
        return hashlib.sha256(f"{text}\n{rows_digest}".encode()).hexdigest()

    def _set_of_ladder(self) -> list[str]:
        """Return the fields of the ladder that are not as they are when left out."""
        fields = type(self).model_fields
        return [name for name in LADDER_FIELDS if getattr(self, name) != fields[name].default]

    @property
    def rungs(self) -> tuple[str, ...]:
        """Return the ways to train that are walked, the cheapest first."""
        return rungs_of(self.method, self.target, self.energy_budget_wh)


class TrainProgress(BaseModel):
    """Where a training is: a stage in words, or a step of the training itself."""

    model_config = ConfigDict(frozen=True)

    stage: str
    step: int | None = None
    total: int | None = None
    loss: float | None = None
    epoch: float | None = None


class TrainMetrics(BaseModel):
    """How a model does on the test rows; None is what its objective does not measure.

    Accuracy, precision, recall and F1 are 0 to 1. The loss is in nats a token, the perplexity its exponential.
    """

    model_config = ConfigDict(frozen=True)

    accuracy: float
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    loss: float | None = None
    perplexity: float | None = None

    def measured(self) -> dict[str, float]:
        """Return the metrics that there are, by name."""
        return self.model_dump(exclude_none=True)


class ChangedExample(BaseModel):
    """A test row that the new model answers in another way than the old one."""

    model_config = ConfigDict(frozen=True)

    row: int  # as read, from 1
    text: str  # its first EXAMPLE_CHARACTERS characters, or those around the answer
    label: str  # what the table says
    old: str
    new: str


class TrainResult(BaseModel):
    """A finished training: old and new model on the same test rows, and the facts that reports need."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    fingerprint: str
    objective: str = DEFAULT_OBJECTIVE
    old_metrics: TrainMetrics
    new_metrics: TrainMetrics
    old_note: str | None
    labels: tuple[str, ...]
    train_rows: int
    test_rows: int
    dropped_rows: int
    changed_predictions: int
    changed_examples: tuple[ChangedExample, ...]  # the first EXAMPLES_SHOWN
    seconds: float  # of the training itself, this attempt
    steps: int
    epochs: float
    optimizer: str
    learning_rate: float | None  # None: the head was fitted without one
    batch_size: int
    precision: str  # fp32 or bf16
    seed: int
    model_folder: Path
    resumed_from_step: int | None
    notes: tuple[str, ...]
    parameters: int
    layers: int | None
    class_path: str
    framework: str
    framework_version: str
    dataset_bytes: int
    cpu_seconds: float | None = None  # of the child process; None when it was not read
    child_seconds: float | None = None  # from start to end of the child process
    ladder: LadderReport = LadderReport()


def reject_unsafe_folder(folder: Path) -> None:
    """Refuse a model folder without safetensors weights or with code of its own."""
    if not (folder / "config.json").is_file():
        raise Refused(f"{folder} holds no config.json: it is no model folder.")
    if not any(folder.glob("*.safetensors")):
        raise Refused(
            f"{folder} holds no safetensors weights: other formats can carry code and are not loaded."
        )
