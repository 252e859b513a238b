"""Answers at many places of a row: the likeliest of each place that has a truth, and the loss over all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wattbus.ml.loading import Loaded
from wattbus.ml.objectives.base import IGNORED, Answers, Encoded
from wattbus.ml.train_spec import TrainMetrics

LARGEST_EXPONENT = 700.0  # of a float


@dataclass(frozen=True)
class PlaceAnswers:
    """What a model says at the places that have a truth, a tuple for each encoded row; the loss in nats a place."""

    truth: tuple[tuple[int, ...], ...]
    predicted: tuple[tuple[int, ...], ...]
    loss: float


def answer_places(base: Loaded, encoded: Encoded, batch_size: int, *, shifted: bool = False) -> PlaceAnswers:
    """Ask ``base`` row by row; ``shifted``: the answer at a place is to the truth of the next one."""
    import torch

    by_length = sorted(range(len(encoded.rows)), key=lambda row: encoded.lengths[row])
    truth: list[tuple[int, ...]] = [()] * len(encoded.rows)
    predicted = list(truth)
    total = 0.0
    base.model.eval()
    with torch.inference_mode():
        for start in range(0, len(by_length), batch_size):
            numbers = by_length[start : start + batch_size]
            batch = base.collate([encoded.rows[number] for number in numbers]).to(base.model.device)
            labels = batch.pop("labels")
            logits = base.model(**batch).logits
            if shifted:
                logits, labels = logits[:, :-1], labels[:, 1:]
            known = labels != IGNORED
            scores = logits[known].float()
            total += float(torch.nn.functional.cross_entropy(scores, labels[known], reduction="sum"))
            counts = known.sum(1).tolist()
            for number, right, said in zip(
                numbers, labels[known].split(counts), scores.argmax(-1).split(counts), strict=True
            ):
                truth[number], predicted[number] = tuple(right.tolist()), tuple(said.tolist())
    return PlaceAnswers(tuple(truth), tuple(predicted), total / max(1, sum(map(len, truth))))


def language_answers(found: PlaceAnswers) -> Answers:
    """Return the answers of a language model with its loss, perplexity and the share of tokens that it names."""
    pairs = zip(found.truth, found.predicted, strict=True)
    right = [a == b for one, two in pairs for a, b in zip(one, two, strict=True)]
    metrics = TrainMetrics(
        accuracy=sum(right) / max(1, len(right)),
        loss=found.loss,
        perplexity=math.exp(found.loss) if found.loss < LARGEST_EXPONENT else None,
    )
    return Answers(metrics, found.predicted)


def share_right(truth: Any, predicted: Any) -> TrainMetrics:
    """Return the accuracy over the places of two arrays that have a truth."""
    known = truth != IGNORED
    return TrainMetrics(accuracy=float((truth[known] == predicted[known]).mean()) if known.any() else 0.0)


def places_of(row: Sequence[int], *, first: int = 0) -> list[int]:
    """Return the places of a row of truths that have one, from ``first`` on."""
    return [place for place in range(first, len(row)) if row[place] != IGNORED]
