"""Batches of rows of different lengths: each name padded to the longest row of the batch, on the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wattbus.ml.objectives.base import IGNORED


@dataclass(frozen=True)
class PadRight:
    """A collator; ``pad_id`` fills the tokens, IGNORED the truth, 0 everything else."""

    pad_id: int

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """Return a batch of tensors, each of (rows, longest row)."""
        import torch
        from transformers import BatchEncoding

        fills = {"input_ids": self.pad_id, "labels": IGNORED}
        longest = max(len(row["input_ids"]) for row in rows)
        return BatchEncoding(
            {
                name: torch.tensor(
                    [[*row[name], *[fills.get(name, 0)] * (longest - len(row[name]))] for row in rows]
                )
                for name in rows[0]
            }
        )
