"""Rows as labelled examples: what is dropped, how labels are ordered, how rows are split and batched."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from wattbus.errors import BadRequest

BATCH_MAX = 32
LABELS_MAX = 1000
NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?\Z")


@dataclass(frozen=True)
class Examples:
    """The usable rows of a table: texts, their labels as text, and where each row stood."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    row_numbers: tuple[int, ...]  # as read, from 1
    dropped: int
    digest: str  # sha256 over labels and texts in order
    bytes: int


def read_examples(rows: Iterable[tuple[Any, ...]], table: str, columns: Sequence[str]) -> Examples:
    """Read rows of (label, text) and drop those that lack one; BadRequest when the rest teaches nothing."""
    label_column, text_column = columns
    texts: list[str] = []
    labels: list[str] = []
    numbers: list[int] = []
    digest = hashlib.sha256()
    size = number = 0
    for number, (label, text) in enumerate(rows, start=1):
        if text is not None and not isinstance(text, str):
            raise BadRequest(
                f"column {text_column} of {table} holds {type(text).__name__} in row {number}: the text "
                "column must "
                "hold text. Name the label column first and the text column second."
            )
        if label is None or label == "" or text is None or not text.strip():
            continue
        labels.append(label_text(label, table, label_column))
        texts.append(text)
        numbers.append(number)
        coded = text.encode("utf-8", "surrogatepass")
        size += len(coded)
        digest.update(f"{labels[-1]}\x00{len(coded)}\x00".encode("utf-8", "surrogatepass") + coded)
    dropped = number - len(texts)
    _check_enough(labels, number, dropped, table, columns)
    return Examples(tuple(texts), tuple(labels), tuple(numbers), dropped, digest.hexdigest(), size)


def _check_enough(labels: list[str], read: int, dropped: int, table: str, columns: Sequence[str]) -> None:
    if not read:
        raise BadRequest(f"table {table} is empty: there is nothing to train on.")
    if not labels:
        raise BadRequest(f"none of the {read} rows of {table} has both {columns[0]} and {columns[1]} filled.")
    distinct = len(set(labels))
    if distinct == 1:
        raise BadRequest(
            f"all {len(labels)} rows of {table} have the same {columns[0]} {labels[0]!r}: at least two "
            "different labels "
            "are needed. Read more rows, or check the label column."
        )
    if distinct > LABELS_MAX or (len(labels) > 10 and distinct > len(labels) / 2):
        raise BadRequest(
            f"column {columns[0]} of {table} has {distinct} different values in {len(labels)} rows, too "
            "many to be "
            "labels: name the label column first and the text column second."
        )
    if len(labels) < 4:
        raise BadRequest(f"{table} has {len(labels)} usable rows ({dropped} dropped): at least 4 are needed.")


def label_text(value: object, table: str = "the table", column: str = "label") -> str:
    """Return the name of a label of any type; 1.0 is 1.

    >>> label_text(4.0), label_text(True), label_text("good")
    ('4', 'True', 'good')
    """
    if isinstance(value, bytes | bytearray | memoryview):
        raise BadRequest(
            f"column {column} of {table} holds bytes: a label must be text, a number or a truth value."
        )
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)


def label_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct labels, sorted as numbers where all are numbers, else as text.

    >>> label_order(["10", "2", "2"]), label_order(["b", "10", "a"])
    (('2', '10'), ('10', 'a', 'b'))
    """
    distinct = set(labels)
    if all(NUMBER.match(label) for label in distinct):
        return tuple(sorted(distinct, key=lambda label: (float(label), label)))
    return tuple(sorted(distinct))


def batch_size_for(rows: int, most: int = BATCH_MAX) -> int:
    """Return the seed's batch size: the biggest divisor of ``rows`` that is at most its square root, and at most 32.

    >>> [batch_size_for(rows) for rows in (20, 512, 509)]
    [4, 16, 1]
    """
    return next(size for size in range(min(math.isqrt(max(rows, 1)), most), 0, -1) if rows % size == 0)


@dataclass(frozen=True)
class Split:
    """Positions of the rows that train and of those that test."""

    train: tuple[int, ...]
    test: tuple[int, ...]
    note: str | None


def split_rows(labels: Sequence[str], p_of_train: float, seed: int) -> Split:
    """Split positions by ``p_of_train``, each label in the same share where the rows allow it; seeded."""
    from sklearn.model_selection import train_test_split

    train_rows = math.floor(len(labels) * p_of_train)
    test_rows = len(labels) - train_rows
    if train_rows < 2 or test_rows < 1:
        raise BadRequest(
            f"p_of_train {p_of_train:g} of {len(labels)} rows leaves {train_rows} to train and {test_rows} "
            "to test: "
            "read more rows or change p_of_train."
        )
    counts = Counter(labels)
    even = min(counts.values()) >= 2 and min(train_rows, test_rows) >= len(counts)
    train, test = train_test_split(
        range(len(labels)), train_size=train_rows, random_state=seed, stratify=labels if even else None
    )
    note = (
        None
        if even
        else "too few rows a label to keep each label's share in both parts: split by chance alone."
    )
    return Split(tuple(train), tuple(test), note)
