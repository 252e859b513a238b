"""How each objective without a ladder reads its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wattbus.ml.objectives import (
    causal_lm,
    image_classification,
    masked_lm,
    next_sentence,
    token_classification,
)
from wattbus.ml.objectives.base import UsableRows
from wattbus.ml.train_spec import TrainSpec

_READERS: Mapping[str, Callable[[Iterable[tuple[Any, ...]], TrainSpec], UsableRows]] = {
    "token-classification": token_classification.read,
    "masked-lm": masked_lm.read,
    "causal-lm": causal_lm.read,
    "next-sentence": next_sentence.read,
    "image-classification": image_classification.read,
}


def read_rows(rows: Iterable[tuple[Any, ...]], spec: TrainSpec) -> UsableRows:
    """Read rows as the objective of ``spec`` takes them; BadRequest when they teach nothing."""
    return _READERS[spec.objective](rows, spec)
