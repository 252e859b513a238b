"""The ground of a ladder: what all rungs of one training stand on, and how what they made is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.ml.classifier import Classifier, load_classifier
from wattbus.ml.examples import Examples, Split
from wattbus.ml.ladder_options import JOULES_PER_WH
from wattbus.ml.metrics import classification_metrics, predict_logits
from wattbus.ml.rung_records import RungRecord, RungRecords
from wattbus.ml.scores import probabilities
from wattbus.ml.spending import Spending, Spent
from wattbus.ml.train_spec import TrainSpec
from wattbus.ml.training_options import Value

EVAL_BATCH = 32


@dataclass(frozen=True)
class Ground:
    """What all rungs of one training stand on."""

    spec: TrainSpec
    arguments: Mapping[str, Value]
    seed: int
    batch_size: int
    examples: Examples
    split: Split
    labels: tuple[str, ...]  # as the head has them
    encoded: Sequence[dict[str, list[int]]]
    truth: Sequence[int]
    loss_weights: Sequence[float] | None
    fingerprint: str
    spending: Spending
    evaluation: Spent  # what the evaluation of the old model took
    progress: Callable[..., None]
    records: RungRecords

    @property
    def test_truth(self) -> list[int]:
        return [self.truth[row] for row in self.split.test]

    @property
    def test_rows(self) -> list[dict[str, list[int]]]:
        return [self.encoded[row] for row in self.split.test]

    @property
    def budget_joules(self) -> float | None:
        wh = self.spec.energy_budget_wh
        return None if wh is None else wh * JOULES_PER_WH

    def fresh(self) -> Classifier:
        """Return the model as it was, to be trained."""
        return load_classifier(self.spec.model_folder, self.labels, len(self.labels), self.seed)

    def examples_of(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        return [{**self.encoded[row], "labels": self.truth[row]} for row in rows]


def judged(
    ground: Ground, record: RungRecord, saved: Path, known: Callable[[Classifier], Any | None]
) -> RungRecord:
    """Return the record with how the saved model does on the test rows, asked as it will be asked.

    ``known`` may know the chances without asking for all rows; it gets the model as it was saved.
    """
    ground.progress("evaluating the new model")
    fresh = load_classifier(saved, ground.labels, None, ground.seed)
    chances = known(fresh)
    if chances is None:
        chances = probabilities(predict_logits(fresh.model, fresh.collate, ground.test_rows, EVAL_BATCH))
    metrics = classification_metrics(ground.test_truth, chances.argmax(axis=1).tolist())
    return record.model_copy(
        update={
            "rung": record.rung.model_copy(update={"metrics": metrics.measured()}),
            "chances": [[round(float(one), 8) for one in row] for row in chances],
            "parameters": fresh.parameters,
            "layers": fresh.layers,
        }
    )
