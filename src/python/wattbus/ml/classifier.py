"""A text classifier made of a model folder: tokenizer, labels and head, loaded from local safetensors only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.ml.loading import TEXT_HEAD, Loaded, load_headed, load_tokenizer, longest_input, set_padding


@dataclass(frozen=True)
class Classifier(Loaded):
    """A model with a head for ``labels``, and what turns texts into its inputs."""

    @property
    def tokenizer(self) -> Any:
        return self.reader

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[dict[str, list[int]]]:
        """Tokenise texts, cut at ``max_tokens``, unpadded: a batch is padded to its own longest row.

        With ``pairs``, each row is a text and the one that stands beside it.
        """
        second = None if pairs is None else list(pairs)
        coded = self.reader(list(texts), second, truncation=True, max_length=self.max_tokens, padding=False)
        names = list(coded)
        return [
            dict(zip(names, row, strict=True)) for row in zip(*(coded[name] for name in names), strict=True)
        ]


def load_classifier(folder: Path, labels: tuple[str, ...], num_labels: int | None, seed: int) -> Classifier:
    """Load ``folder`` with a head for ``labels``: its own where it knows them all, else a fresh seeded one.

    ``num_labels`` may ask for more outputs than there are labels. Raises ModelError on a model that is no
    text encoder.
    """
    from transformers import DataCollatorWithPadding

    tokenizer = load_tokenizer(folder)
    headed = load_headed(folder, TEXT_HEAD, labels, num_labels, seed)
    set_padding(headed.model, tokenizer)
    return Classifier(
        model=headed.model,
        reader=tokenizer,
        collate=DataCollatorWithPadding(tokenizer),
        labels=headed.labels,
        label_ids={label: number for number, label in enumerate(headed.labels)},
        max_tokens=longest_input(headed.config, tokenizer),
        old_note=headed.old_note,
        notes=headed.notes,
    )
