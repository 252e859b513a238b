"""Next sentence: does the second sentence follow the first? Pairs of a table, or made from documents (BERT)."""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from wattbus.errors import BadRequest
from wattbus.ml.classifier import Classifier, load_classifier
from wattbus.ml.examples import BATCH_MAX, label_text
from wattbus.ml.metrics import classification_metrics, predict
from wattbus.ml.objectives.base import Answers, Encoded, changed_places, shown
from wattbus.ml.objectives.texts import Texts, check_enough, read_texts
from wattbus.ml.train_spec import ChangedExample, TrainMetrics, TrainSpec

LABELS = ("next", "not next")  # in the order of BERT's own head
_MEANS = {
    "next": 0, "1": 0, "true": 0, "yes": 0, "not next": 1, "0": 1, "false": 1, "no": 1,
}  # fmt: skip
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")
EVAL_BATCH = 32


@dataclass(frozen=True)
class Pair:
    """Two sentences, and the number of the label that is right."""

    first: str
    second: str
    label: int


@dataclass(frozen=True)
class PairRows:
    """Rows that are pairs already."""

    pairs: tuple[Pair, ...]
    row_numbers: tuple[int, ...]
    dropped: int
    digest: str
    bytes: int

    @property
    def strata(self) -> tuple[str, ...]:
        return tuple(LABELS[pair.label] for pair in self.pairs)

    def load(self, folder: Path, num_labels: int | None, seed: int) -> PairLearner:
        """Load a text encoder with the head that tells next from not next."""
        return PairLearner(_loaded(folder, seed), self, seed)

    def pairs_of(self, positions: Sequence[int], seed: int) -> list[tuple[int, Pair]]:
        """Return each pair with the place of its row."""
        return [(row, self.pairs[row]) for row in positions]


@dataclass(frozen=True)
class DocumentRows(Texts):
    """Documents to make pairs from, once it is known which of them train and which test."""

    def load(self, folder: Path, num_labels: int | None, seed: int) -> PairLearner:
        """Load a text encoder with the head that tells next from not next."""
        return PairLearner(_loaded(folder, seed), self, seed)

    def pairs_of(self, positions: Sequence[int], seed: int) -> list[tuple[int, Pair]]:
        """Return each sentence with the next one, or, every other time, with one of another of these documents."""
        documents = [(row, sentences(self.texts[row])) for row in positions]
        all_of_them = [(row, sentence) for row, each in documents for sentence in each]
        chance = random.Random(f"{seed} pairs")  # noqa: S311  # an order, not a secret
        found = [(row, Pair(first, second, 0)) for row, each in documents for first, second in pairwise(each)]
        chance.shuffle(found)
        for number in range(len(found) // 2):
            row, pair = found[number]
            others = [
                sentence
                for other, sentence in (chance.choice(all_of_them) for _ in range(20))
                if other != row
            ]
            if others:
                found[number] = (row, replace(pair, second=others[0], label=1))
        return sorted(found, key=lambda one: one[0])


def read(rows: Iterable[tuple[Any, ...]], spec: TrainSpec) -> PairRows | DocumentRows:
    """Read rows of (label, first, second) or of one document each; BadRequest when they teach nothing."""
    return _read_documents(rows, spec) if len(spec.columns) == 1 else _read_pairs(rows, spec)


def sentences(text: str) -> list[str]:
    """Return the sentences of a text: they end with . ! or ? before a space, or with a line.

    >>> sentences("It rains. Does it? Yes")
    ['It rains.', 'Does it?', 'Yes']
    """
    return [sentence.strip() for sentence in _SENTENCES.split(text) if sentence.strip()]


def _read_documents(rows: Iterable[tuple[Any, ...]], spec: TrainSpec) -> DocumentRows:
    found = read_texts(rows, spec)
    several = [place for place, text in enumerate(found.texts) if len(sentences(text)) > 1]
    check_enough(len(several), len(found.texts) + found.dropped, spec)
    return DocumentRows(
        texts=tuple(found.texts[place] for place in several),
        row_numbers=tuple(found.row_numbers[place] for place in several),
        dropped=found.dropped + len(found.texts) - len(several),
        digest=found.digest,
        bytes=found.bytes,
    )


def _read_pairs(rows: Iterable[tuple[Any, ...]], spec: TrainSpec) -> PairRows:
    pairs: list[Pair] = []
    numbers: list[int] = []
    digest = hashlib.sha256()
    size = number = 0
    for number, (label, *both) in enumerate(rows, start=1):
        if label is None or label == "" or any(text is None or text == "" for text in both):
            continue
        if not all(isinstance(text, str) for text in both):
            raise BadRequest(
                f"row {number} of {spec.table} holds something else than text in {spec.columns[1]} or "
                f"{spec.columns[2]}: name the label first, then both sentences."
            )
        pairs.append(Pair(both[0], both[1], _meaning(label, number, spec)))
        numbers.append(number)
        coded = "\x00".join((str(pairs[-1].label), *both)).encode("utf-8", "surrogatepass")
        size += len(coded) - 3
        digest.update(coded + b"\x00")
    check_enough(len(pairs), number, spec)
    counts = Counter(pair.label for pair in pairs)
    if len(counts) == 1:
        raise BadRequest(
            f"all {len(pairs)} rows of {spec.table} are {LABELS[pairs[0].label]!r}: rows of both kinds are needed, or "
            "one column of documents, from which pairs are made."
        )
    return PairRows(tuple(pairs), tuple(numbers), number - len(pairs), digest.hexdigest(), size)


def _meaning(label: object, number: int, spec: TrainSpec) -> int:
    said = label_text(label, spec.table, spec.columns[0]).strip().lower()
    if said not in _MEANS:
        raise BadRequest(
            f"row {number} of {spec.table} has the label {said[:40]!r} in {spec.columns[0]}: write next, true or 1 "
            "where the second sentence follows the first, and not next, false or 0 where it does not."
        )
    return _MEANS[said]


def _loaded(folder: Path, seed: int) -> Classifier:
    """Load a classifier of pairs; a head that the model was pretrained with for this very question is kept."""
    base = load_classifier(folder, LABELS, None, seed)
    stored = _stored_head(folder)
    head = getattr(base.model, "classifier", None)
    shape = getattr(getattr(head, "weight", None), "shape", None)
    if base.old_note is None or stored is None or shape != stored[0].shape:
        return base
    import torch

    with torch.no_grad():
        head.weight.copy_(stored[0])  # type: ignore[union-attr]
        head.bias.copy_(stored[1])  # type: ignore[union-attr]
    return replace(base, old_note=None, notes=("the head is the one that the model was pretrained with.",))


def _stored_head(folder: Path) -> tuple[Any, Any] | None:
    """Return weight and bias of BERT's own head for this question, where the files have it."""
    from safetensors import safe_open

    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as weights:
            names = ("cls.seq_relationship.weight", "cls.seq_relationship.bias")
            if set(names) <= set(weights.keys()):
                return weights.get_tensor(names[0]), weights.get_tensor(names[1])
    return None


@dataclass(frozen=True)
class PairLearner:
    """A classifier of pairs beside its rows."""

    base: Classifier
    rows: PairRows | DocumentRows
    seed: int
    rows_at_once: int = BATCH_MAX

    def encode(self, positions: Sequence[int], *, held_out: bool) -> Encoded:
        """Tokenise pairs, with the number of their label."""
        found = self.rows.pairs_of(positions, self.seed)
        pairs = [pair for _, pair in found]
        coded = self.base.encode([pair.first for pair in pairs], [pair.second for pair in pairs])
        rows = [{**row, "labels": pair.label} for row, pair in zip(coded, pairs, strict=True)]
        made = f"{len(pairs)} pairs were made from {len(positions)} documents of two sentences or more."
        return Encoded(
            rows, tuple(row for row, _ in found), tuple(len(row["input_ids"]) for row in coded),
            (made,) if isinstance(self.rows, DocumentRows) else (),
        )  # fmt: skip

    def answers(self, encoded: Encoded) -> Answers:
        """Return what the model says of each pair."""
        bare = [{name: row[name] for name in row if name != "labels"} for row in encoded.rows]
        predicted = predict(self.base.model, self.base.collate, bare, EVAL_BATCH)
        truth = [row["labels"] for row in encoded.rows]
        return Answers(classification_metrics(truth, predicted), tuple((one,) for one in predicted))

    def score(self, truth: Any, predicted: Any) -> TrainMetrics:
        """Return accuracy, and precision, recall and F1 weighted by class."""
        return classification_metrics(truth.tolist(), predicted.tolist())

    def changed(self, encoded: Encoded, old: Answers, new: Answers) -> list[ChangedExample]:
        """Return the rows of which a pair gets another answer."""
        return [
            ChangedExample(
                row=self.rows.row_numbers[row],
                text=shown(self.base.reader.decode(encoded.rows[number]["input_ids"])),
                label=self.base.labels[encoded.rows[number]["labels"]],
                old=self.base.labels[old.predicted[number][0]],
                new=self.base.labels[new.predicted[number][0]],
            )
            for row, number, _ in changed_places(encoded, old, new)
        ]
