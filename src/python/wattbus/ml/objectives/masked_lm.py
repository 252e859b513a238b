"""Masked language modelling: the model names tokens that were taken out of a text (BERT, arXiv:1810.04805)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.errors import ModelError
from wattbus.ml.loading import Loaded, load_config, load_tokenizer, longest_input, set_padding
from wattbus.ml.objectives.base import IGNORED, Answers, Encoded, changed_places
from wattbus.ml.objectives.language import ROWS_AT_ONCE, load_language_model
from wattbus.ml.objectives.padding import PadRight
from wattbus.ml.objectives.places import answer_places, language_answers, places_of, share_right
from wattbus.ml.objectives.texts import Texts, read_texts
from wattbus.ml.train_spec import ChangedExample, TrainMetrics, TrainSpec

SHARE = 0.15  # of the tokens of a text that are asked for
# of those: replaced by the mask, by a token of the vocabulary; the rest stays. Held-out tokens are all masked.
AS_MASK, AS_ANY = 0.8, 0.1
TOKENS_SHOWN = 20  # on each side of an answer


@dataclass(frozen=True)
class MaskedRows(Texts):
    """Texts to take tokens out of."""

    def load(self, folder: Path, num_labels: int | None, seed: int) -> MaskedLearner:
        """Load an encoder that names tokens; ModelError where the model has no mask."""
        tokenizer = load_tokenizer(folder)
        config = load_config(folder)
        model, old_note, notes = load_language_model(folder, config, "masked-lm", seed)
        if tokenizer.mask_token_id is None:
            raise ModelError(f"the tokenizer in {folder} has no mask token: masked-lm needs one.")
        set_padding(model, tokenizer)
        base = Loaded(
            model=model, reader=tokenizer, collate=PadRight(tokenizer.pad_token_id), labels=(), label_ids={},
            max_tokens=longest_input(config, tokenizer), old_note=old_note, notes=notes,
        )  # fmt: skip
        return MaskedLearner(base, self, seed)


def read(rows: Iterable[tuple[Any, ...]], spec: TrainSpec) -> MaskedRows:
    """Read rows of one text each; BadRequest when they teach nothing."""
    return MaskedRows(**vars(read_texts(rows, spec)))


class MaskedPieces(Sequence[dict[str, list[int]]]):
    """Pieces of texts with other tokens taken out in each epoch; the same seed and epoch take out the same ones."""

    def __init__(
        self, pieces: Sequence[dict[str, list[int]]], tokenizer: Any, seed: int, *, held_out: bool
    ) -> None:
        self._pieces = pieces
        self._mask = int(tokenizer.mask_token_id)
        self._vocabulary = len(tokenizer)
        self._key = (seed, int(held_out))
        self._held_out = held_out
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, number: Any) -> Any:
        """Return a piece with its tokens under ``labels`` where they were taken out, and IGNORED elsewhere."""
        import numpy

        piece = self._pieces[number]
        chance = numpy.random.default_rng((*self._key, self.epoch, number))
        free = [place for place, special in enumerate(piece["special_tokens_mask"]) if not special]
        count = min(len(free), max(1, round(SHARE * len(free))))
        taken = chance.choice(free, size=count, replace=False).tolist() if free else []
        inputs, labels = list(piece["input_ids"]), [IGNORED] * len(piece["input_ids"])
        for place in taken:
            labels[place] = inputs[place]
            fate = 0.0 if self._held_out else chance.random()
            if fate < AS_MASK:
                inputs[place] = self._mask
            elif fate < AS_MASK + AS_ANY:
                inputs[place] = int(chance.integers(self._vocabulary))
        kept = {name: ids for name, ids in piece.items() if name not in ("input_ids", "special_tokens_mask")}
        return {"input_ids": inputs, **kept, "labels": labels}

    def begin_epoch(self, epoch: int) -> None:
        """Take out other tokens from now on."""
        self.epoch = epoch


@dataclass(frozen=True)
class MaskedLearner:
    """An encoder beside the texts that it is to fill."""

    base: Loaded
    rows: MaskedRows
    seed: int
    rows_at_once: int = ROWS_AT_ONCE

    def encode(self, positions: Sequence[int], *, held_out: bool) -> Encoded:
        """Cut texts into pieces as long as the model reads, and take tokens out of them."""
        coded = self.base.reader(
            [self.rows.texts[row] for row in positions],
            truncation=True, max_length=self.base.max_tokens, padding=False,
            return_overflowing_tokens=True, return_special_tokens_mask=True,
        )  # fmt: skip
        origins = coded.pop("overflow_to_sample_mapping")
        names = list(coded)
        pieces = [
            dict(zip(names, row, strict=True)) for row in zip(*(coded[name] for name in names), strict=True)
        ]
        masked = MaskedPieces(pieces, self.base.reader, self.seed, held_out=held_out)
        cut = len(pieces) - len(positions)
        return Encoded(
            masked,
            tuple(positions[one] for one in origins),
            tuple(len(piece["input_ids"]) for piece in pieces),
            (f"texts longer than {self.base.max_tokens} tokens were cut into pieces.",) if cut else (),
            masked.begin_epoch,
        )

    def answers(self, encoded: Encoded) -> Answers:
        """Return the token that the model puts into each place."""
        return language_answers(answer_places(self.base, encoded, self.rows_at_once))

    def score(self, truth: Any, predicted: Any) -> TrainMetrics:
        """Return the share of the places that get their token back."""
        return share_right(truth, predicted)

    def changed(self, encoded: Encoded, old: Answers, new: Answers) -> list[ChangedExample]:
        """Return for each text the first place that is filled with another token, with what stands around it."""
        name = self.base.reader.decode
        found = []
        for row, number, place in changed_places(encoded, old, new):
            piece = encoded.rows[number]
            at = places_of(piece["labels"])[place]
            around = piece["input_ids"][max(0, at - TOKENS_SHOWN) : at + TOKENS_SHOWN]
            found.append(
                ChangedExample(
                    row=self.rows.row_numbers[row],
                    text=name(around),
                    label=name([piece["labels"][at]]),
                    old=name([old.predicted[number][place]]),
                    new=name([new.predicted[number][place]]),
                )
            )
        return found
