"""Causal language modelling: the model names the next token of a text; texts are packed into full blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.ml.loading import Loaded, load_config, load_tokenizer, longest_input, set_padding
from wattbus.ml.objectives.base import IGNORED, Answers, Encoded, changed_places
from wattbus.ml.objectives.language import ROWS_AT_ONCE, load_language_model
from wattbus.ml.objectives.padding import PadRight
from wattbus.ml.objectives.places import answer_places, language_answers, places_of, share_right
from wattbus.ml.objectives.texts import Texts, read_texts
from wattbus.ml.train_spec import ChangedExample, TrainMetrics, TrainSpec

TOKENS_SHOWN = 40  # before an answer
LIKE = 1e-3  # how near the scores of a text alone and in a block must be


@dataclass(frozen=True)
class CausalModel(Loaded):
    """A decoder that is told at each call to keep no cache, which training has no use for."""

    keeps_texts_apart: bool = False  # in a block, by the positions
    use_cache: bool | None = None  # as it was stored

    def save(self, folder: Path) -> None:
        """Write the model as it serves: with its cache."""
        training = self.model.config.use_cache
        self.model.config.use_cache = self.use_cache
        try:
            super().save(folder)
        finally:
            self.model.config.use_cache = training


@dataclass(frozen=True)
class CausalRows(Texts):
    """Texts to go on with."""

    def load(self, folder: Path, num_labels: int | None, seed: int) -> CausalLearner:
        """Load a decoder; ModelError where the model reads both sides."""
        tokenizer = load_tokenizer(folder)
        config = load_config(folder)
        model, old_note, notes = load_language_model(folder, config, "causal-lm", seed)
        set_padding(model, tokenizer)
        stored = getattr(model.config, "use_cache", None)
        model.config.use_cache = False
        apart = keeps_texts_apart(model)
        if not apart:
            notes += ("this model cannot keep the texts of a block apart: the end token alone divides them.",)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        base = CausalModel(
            model=model, reader=tokenizer, collate=PadRight(pad), labels=(), label_ids={},
            max_tokens=longest_input(config, tokenizer), old_note=old_note, notes=notes,
            keeps_texts_apart=apart, use_cache=stored,
        )  # fmt: skip
        return CausalLearner(base, self)


def read(rows: Iterable[tuple[Any, ...]], spec: TrainSpec) -> CausalRows:
    """Read rows of one text each; BadRequest when they teach nothing."""
    return CausalRows(**vars(read_texts(rows, spec)))


def keeps_texts_apart(model: Any) -> bool:
    """Tell whether positions that begin anew hide what stands before them: asked of the model itself."""
    import torch

    model.eval()
    ids = torch.arange(8).remainder(model.config.vocab_size).unsqueeze(0)
    with torch.inference_mode():
        try:
            packed = model(input_ids=ids, position_ids=torch.arange(4).repeat(2).unsqueeze(0)).logits[0, 4:]
        except TypeError:
            return False
        alone = model(input_ids=ids[:, 4:]).logits[0]
    return bool(torch.allclose(packed, alone, atol=LIKE, rtol=LIKE))


@dataclass(frozen=True)
class CausalLearner:
    """A decoder beside the texts that it is to go on with."""

    base: CausalModel
    rows: CausalRows
    rows_at_once: int = ROWS_AT_ONCE

    def encode(self, positions: Sequence[int], *, held_out: bool) -> Encoded:
        """Tokenise texts, each with an end; those that train share blocks, held-out ones stand alone."""
        end = self.base.reader.eos_token_id
        coded = self.base.reader([self.rows.texts[row] for row in positions], truncation=False)["input_ids"]
        ended = [ids if end is None or ids[-1:] == [end] else [*ids, end] for ids in coded]
        most = self.base.max_tokens
        pieces = [
            (row, ids[start : start + most])
            for row, ids in zip(positions, ended, strict=True)
            for start in range(0, len(ids), most)
            if len(ids[start : start + most]) > 1  # nothing follows a single token
        ]
        if held_out:
            rows = [
                {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": list(ids)} for _, ids in pieces
            ]
            owners = tuple(row for row, _ in pieces)
            return Encoded(rows, owners, tuple(len(row["input_ids"]) for row in rows))
        blocks = packed([ids for _, ids in pieces], most)
        rows = [self._block(block) for block in blocks]
        note = f"{len(positions)} texts were packed into {len(rows)} blocks of up to {most} tokens."
        return Encoded(rows, (), tuple(len(row["input_ids"]) for row in rows), (note,))

    def _block(self, texts: Sequence[Sequence[int]]) -> dict[str, list[int]]:
        ids = [token for text in texts for token in text]
        # the first token of a text is no answer to the end of the one before it
        labels = [token for text in texts for token in (IGNORED, *text[1:])]
        if not self.base.keeps_texts_apart:
            return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}
        places = [place for text in texts for place in range(len(text))]
        return {"input_ids": ids, "position_ids": places, "labels": labels}

    def answers(self, encoded: Encoded) -> Answers:
        """Return the token that the model puts after each one."""
        return language_answers(answer_places(self.base, encoded, self.rows_at_once, shifted=True))

    def score(self, truth: Any, predicted: Any) -> TrainMetrics:
        """Return the share of the next tokens that are named."""
        return share_right(truth[:, 1:], predicted[:, :-1])

    def changed(self, encoded: Encoded, old: Answers, new: Answers) -> list[ChangedExample]:
        """Return for each text the first token that is named otherwise, after what stands before it."""
        name = self.base.reader.decode
        found = []
        for row, number, place in changed_places(encoded, old, new):
            ids = encoded.rows[number]["input_ids"]
            at = places_of(encoded.rows[number]["labels"], first=1)[place]
            found.append(
                ChangedExample(
                    row=self.rows.row_numbers[row],
                    text=name(ids[max(0, at - TOKENS_SHOWN) : at]),
                    label=name([ids[at]]),
                    old=name([old.predicted[number][place]]),
                    new=name([new.predicted[number][place]]),
                )
            )
        return found


def packed(texts: Sequence[Sequence[int]], most: int) -> list[list[Sequence[int]]]:
    """Put whole texts into blocks of at most ``most`` tokens, in their order.

    >>> packed([[1, 2], [3], [4, 5, 6]], 4)
    [[[1, 2], [3]], [[4, 5, 6]]]
    """
    blocks: list[list[Sequence[int]]] = []
    room = 0
    for text in texts:
        if len(text) > room:
            blocks.append([])
            room = most
        blocks[-1].append(text)
        room -= len(text)
    return blocks
