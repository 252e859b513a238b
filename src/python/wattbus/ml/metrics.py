"""How well a classifier does on rows: its predictions, and accuracy, precision, recall and F1 of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wattbus.ml.train_spec import TrainMetrics


def classification_metrics(truth: Sequence[int], predicted: Sequence[int]) -> TrainMetrics:
    """Return accuracy, and precision, recall and F1 weighted by class; a class never predicted counts as 0."""
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, predicted, average="weighted", zero_division=0
    )
    return TrainMetrics(
        accuracy=float(accuracy_score(truth, predicted)),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
    )


def predict(model: Any, collate: Any, encoded: Sequence[dict[str, list[int]]], batch_size: int) -> list[int]:
    """Return the class that ``model`` gives each tokenised row."""
    return [int(answer) for answer in predict_logits(model, collate, encoded, batch_size).argmax(axis=1)]


def predict_logits(model: Any, collate: Any, encoded: Sequence[dict[str, list[int]]], batch_size: int) -> Any:
    """Return the logits of each tokenised row, (rows, labels), in float32; rows of like length share a batch."""
    import numpy
    import torch

    by_length = sorted(range(len(encoded)), key=lambda row: len(encoded[row]["input_ids"]))
    logits: list[Any] = [None] * len(encoded)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(by_length), batch_size):
            rows = by_length[start : start + batch_size]
            batch = collate([encoded[row] for row in rows]).to(model.device)
            for row, answer in zip(rows, model(**batch).logits.float().cpu().numpy(), strict=True):
                logits[row] = answer
    return numpy.stack(logits)
