"""The scores of a classifier: per class, its confusion matrix, and whether it is as sure as it is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wattbus.training_report import CALIBRATION_BINS, CalibrationBin, ClassScore, Scores

#: Labels that are told one by one, those with the most rows first; past it there is no confusion matrix.
MOST_LABELS = 100


def probabilities(logits: Any) -> Any:
    """Return the softmax of logits, (rows, labels), in float64."""
    import numpy

    powers = numpy.exp(logits - logits.max(axis=1, keepdims=True), dtype=numpy.float64)
    return powers / powers.sum(axis=1, keepdims=True)


def score(truth: Sequence[int], chances: Any, labels: Sequence[str]) -> Scores:
    """Return the scores of ``chances``, the probabilities (rows, labels), against the true classes."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    answers = chances.argmax(axis=1)
    numbers = list(range(len(labels)))
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, answers, labels=numbers, zero_division=0
    )
    bins = calibration_bins(
        [int(t) == int(a) for t, a in zip(truth, answers, strict=True)], chances.max(axis=1)
    )
    shown = sorted(sorted(numbers, key=lambda n: -int(support[n]))[:MOST_LABELS])
    matrix = confusion_matrix(truth, answers, labels=numbers).tolist()
    return Scores(
        classes=[
            ClassScore(
                label=labels[n],
                precision=round(float(precision[n]), 6),
                recall=round(float(recall[n]), 6),
                f1=round(float(f1[n]), 6),
                support=int(support[n]),
            )
            for n in shown
        ],
        confusion=matrix if len(labels) <= MOST_LABELS else [],
        calibration_error=calibration_error(bins),
        calibration=bins,
    )


def calibration_bins(right: Sequence[bool], confidences: Sequence[float]) -> list[CalibrationBin]:
    """Sort answers into bins of like confidence; one on an edge counts to the bin below it.

    As in Guo et al., On Calibration of Modern Neural Networks, 2017, section 2.
    """
    width = 1.0 / CALIBRATION_BINS
    members: list[list[int]] = [[] for _ in range(CALIBRATION_BINS)]
    for row, confidence in enumerate(confidences):
        number = -int(-float(confidence) // width) - 1  # ceiling less 1: (low, high]
        members[min(max(number, 0), CALIBRATION_BINS - 1)].append(row)
    return [
        CalibrationBin(
            low=round(number * width, 6),
            high=round((number + 1) * width, 6),
            rows=len(rows),
            confidence=round(sum(float(confidences[row]) for row in rows) / len(rows), 6) if rows else None,
            accuracy=round(sum(right[row] for row in rows) / len(rows), 6) if rows else None,
        )
        for number, rows in enumerate(members)
    ]


def calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """Return the mean distance between confidence and accuracy, each bin by its rows."""
    rows = sum(one.rows for one in bins)
    apart = sum(
        one.rows * abs(one.confidence - one.accuracy)
        for one in bins
        if one.confidence is not None and one.accuracy is not None
    )
    return round(apart / rows, 6) if rows else 0.0
