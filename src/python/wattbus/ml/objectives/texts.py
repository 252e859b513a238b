"""Rows of one text each, as language models learn them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from wattbus.errors import BadRequest
from wattbus.ml.train_spec import TrainSpec

ROWS_LEAST = 4


@dataclass(frozen=True)
class Texts:
    """The texts of a column, those that are empty left out."""

    texts: tuple[str, ...]
    row_numbers: tuple[int, ...]  # as read, from 1
    dropped: int
    digest: str
    bytes: int

    @property
    def strata(self) -> tuple[str, ...]:
        return ("",) * len(self.texts)


def read_texts(rows: Iterable[tuple[Any, ...]], spec: TrainSpec) -> Texts:
    """Read rows of (text,); BadRequest when a value is no text or too few are left."""
    texts: list[str] = []
    numbers: list[int] = []
    digest = hashlib.sha256()
    size = number = 0
    for number, (text,) in enumerate(rows, start=1):
        if text is None or (isinstance(text, str) and not text.strip()):
            continue
        if not isinstance(text, str):
            raise BadRequest(
                f"column {spec.columns[0]} of {spec.table} holds {type(text).__name__} in row {number}: "
                f"{spec.objective} takes a column of texts."
            )
        texts.append(text)
        numbers.append(number)
        coded = text.encode("utf-8", "surrogatepass")
        size += len(coded)
        digest.update(f"{len(coded)}\x00".encode() + coded)
    check_enough(len(texts), number, spec)
    return Texts(tuple(texts), tuple(numbers), number - len(texts), digest.hexdigest(), size)


def check_enough(usable: int, read: int, spec: TrainSpec) -> None:
    """Raise BadRequest when there are too few rows to train and to test."""
    if not read:
        raise BadRequest(f"table {spec.table} is empty: there is nothing to train on.")
    if usable < ROWS_LEAST:
        raise BadRequest(
            f"{spec.table} has {usable} usable rows ({read - usable} dropped): at least {ROWS_LEAST} are needed."
        )
