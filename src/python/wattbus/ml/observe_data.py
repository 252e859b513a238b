"""The data of an observed task, in counts: items, bytes, shapes and kinds, never content."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from wattbus.energy.record import DataFacts

_PICTURE_CHANNELS = (1, 3, 4)


@dataclass
class Tally:
    """What went in or came out over any number of calls: items and bytes added up, an axis that varies as a range."""

    items: int | None = None
    bytes: int | None = None
    kinds: set[str] = field(default_factory=set)
    axes: list[tuple[int, int]] | None = None
    calls: int = 0

    def add(
        self, kind: str, items: int | None, bytes: int | None, shape: tuple[int, ...] | None = None
    ) -> None:
        """Count the data of one call."""
        first, self.calls = self.calls == 0, self.calls + 1
        self.kinds.add(kind)
        self.items = items if first else _sum(self.items, items)
        self.bytes = bytes if first else _sum(self.bytes, bytes)
        if first and shape is not None:
            self.axes = [(length, length) for length in shape]
        elif self.axes is not None:
            self.axes = (
                [
                    (min(low, length), max(high, length))
                    for (low, high), length in zip(self.axes, shape, strict=True)
                ]
                if shape is not None and len(shape) == len(self.axes)
                else None
            )

    def shape(self, rows: int | None = None) -> str | None:
        """Return the shape in words, ranges as ``7..40``; ``rows`` stands for the first axis when given."""
        if self.axes is None:
            return None
        axes = [(rows, rows), *self.axes[1:]] if rows is not None and self.axes else self.axes
        return "(" + ", ".join(f"{low}" if low == high else f"{low}..{high}" for low, high in axes) + ")"

    def facts(self, usage: str, format: str | None = None) -> DataFacts:
        """Return the counts as the facts of a report."""
        kind = next(iter(self.kinds)) if len(self.kinds) == 1 else "other"
        return DataFacts(usage, kind, self.items, self.bytes, self.shape(), format)


def count_array(tally: Tally, value: Any) -> None:
    """Count an array, a tensor or a table of any library; what has no shape counts as a call only."""
    shape = shape_of(value)
    if shape is None:
        tally.add("other", length_of(value), None)
        return
    kind = kind_of_array(shape, str(getattr(value, "dtype", "")), tabular=is_table(value))
    items = math.prod(shape) if kind == "token" else (shape[0] if shape else 1)
    tally.add(kind, items, bytes_of(value), shape)


def kind_of_array(shape: tuple[int, ...], dtype: str, *, tabular: bool = False) -> str:
    """Guess the kind of data from its form, as the words of a report name it.

    >>> kind_of_array((32, 3, 224, 224), "torch.float32"), kind_of_array((8, 128), "torch.int64")
    ('image', 'token')
    """
    if tabular:
        return "tabular"
    if len(shape) == 4 and (shape[1] in _PICTURE_CHANNELS or shape[3] in _PICTURE_CHANNELS):
        return "image"
    if len(shape) == 2 and "int" in dtype:
        return "token"
    return "tabular" if len(shape) <= 2 else "other"


def is_table(value: Any) -> bool:
    """Return whether a value has named columns, as the tables of pandas and polars have."""
    return hasattr(value, "columns")


def shape_of(value: Any) -> tuple[int, ...] | None:
    """Return the shape of an array, tensor, table, or list of rows of one length."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        try:
            return tuple(int(length) for length in shape)
        except (TypeError, ValueError):
            return None
    if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
        widths = {len(row) for row in value if isinstance(row, list | tuple)}
        return (len(value), widths.pop()) if len(widths) == 1 else None
    return None


def bytes_of(value: Any) -> int | None:
    """Return the bytes that an array, tensor or table holds."""
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size
    usage = getattr(value, "memory_usage", None)  # a table of pandas
    return int(usage(index=False).sum()) if callable(usage) and is_table(value) else None


def length_of(value: Any) -> int | None:
    """Return the number of items, where a value tells."""
    try:
        return len(value)
    except TypeError:
        return None


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
