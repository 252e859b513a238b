"""Text classification: one label for each text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.ml.classifier import Classifier, load_classifier
from wattbus.ml.examples import BATCH_MAX, Examples, label_order, read_examples
from wattbus.ml.metrics import classification_metrics, predict
from wattbus.ml.objectives.base import Answers, Encoded, changed_places, shown
from wattbus.ml.train_spec import ChangedExample, TrainMetrics, TrainSpec

EVAL_BATCH = 32


@dataclass(frozen=True)
class TextRows:
    """Rows of a label and a text."""

    examples: Examples

    @property
    def strata(self) -> tuple[str, ...]:
        return self.examples.labels

    @property
    def dropped(self) -> int:
        return self.examples.dropped

    @property
    def digest(self) -> str:
        return self.examples.digest

    @property
    def bytes(self) -> int:
        return self.examples.bytes

    def load(self, folder: Path, num_labels: int | None, seed: int) -> TextLearner:
        """Load a text encoder with a head for the labels of these rows."""
        return TextLearner(
            load_classifier(folder, label_order(self.examples.labels), num_labels, seed), self.examples
        )


def read(rows: Iterable[tuple[Any, ...]], spec: TrainSpec) -> TextRows:
    """Read rows of (label, text); BadRequest when they teach nothing."""
    return TextRows(read_examples(rows, spec.table, spec.columns))


@dataclass(frozen=True)
class TextLearner:
    """A classifier beside its rows."""

    base: Classifier
    examples: Examples
    rows_at_once: int = BATCH_MAX

    def encode(self, positions: Sequence[int], *, held_out: bool) -> Encoded:
        """Tokenise texts, with the number of their label."""
        coded = self.base.encode([self.examples.texts[row] for row in positions])
        truth = [self.base.label_ids[self.examples.labels[row]] for row in positions]
        rows = [{**row, "labels": label} for row, label in zip(coded, truth, strict=True)]
        return Encoded(rows, tuple(positions), tuple(len(row["input_ids"]) for row in coded))

    def answers(self, encoded: Encoded) -> Answers:
        """Return the label that each text gets."""
        bare = [{name: row[name] for name in row if name != "labels"} for row in encoded.rows]
        predicted = predict(self.base.model, self.base.collate, bare, EVAL_BATCH)
        truth = [row["labels"] for row in encoded.rows]
        return Answers(classification_metrics(truth, predicted), tuple((one,) for one in predicted))

    def score(self, truth: Any, predicted: Any) -> TrainMetrics:
        """Return accuracy, and precision, recall and F1 weighted by class."""
        return classification_metrics(truth.tolist(), predicted.tolist())

    def changed(self, encoded: Encoded, old: Answers, new: Answers) -> list[ChangedExample]:
        """Return the texts that get another label."""
        return [
            ChangedExample(
                row=self.examples.row_numbers[row],
                text=shown(self.examples.texts[row]),
                label=self.examples.labels[row],
                old=self.base.labels[old.predicted[number][0]],
                new=self.base.labels[new.predicted[number][0]],
            )
            for row, number, _ in changed_places(encoded, old, new)
        ]
