"""Texts for an engine: tokens by the ``tokenizers`` library alone, sorted by length, in batches of few."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.errors import BadRequest, ModelCorrupt
from wattbus.ml.engine_files import EngineCard
from wattbus.ml.length_groups import TEXTS_AT_ONCE, length_groups
from wattbus.ml.runner import Runner

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Tokens:
    """One text as the model reads it, or one piece of a long one."""

    ids: tuple[int, ...]
    types: tuple[int, ...]
    special: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    whole: int  # tokens that the text had before it was cut


@dataclass(frozen=True)
class Specials:
    """The names that the tokenizer's settings give to its special tokens, and how it writes text."""

    mask: str | None
    unknown: str | None
    cleans_up: bool
    cut_side: str  # right or left

    @classmethod
    def of(cls, folder: Path) -> Specials:
        """Read ``tokenizer_config.json``; a special token is a text, or an object with one."""
        try:
            told = json.loads((folder / "tokenizer_config.json").read_bytes())
        except FileNotFoundError:
            told = {}
        return cls(
            _content(told.get("mask_token")),
            _content(told.get("unk_token")),
            told.get("clean_up_tokenization_spaces") is True,
            "left" if told.get("truncation_side") == "left" else "right",
        )


def _content(token: Any) -> str | None:
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None


class TextReader:
    """Cuts texts into tokens as transformers' fast tokenizers do, and runs them on an engine."""

    def __init__(self, folder: Path, card: EngineCard, runner: Runner) -> None:
        from tokenizers import Tokenizer

        try:
            self.tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # the library raises Exception itself
            raise ModelCorrupt(
                f"{TOKENIZER} of {folder.name!r} cannot be read ({str(error)[:200]}): optimise the model again."
            ) from error
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.specials = Specials.of(folder)
        self.max_tokens = card.max_tokens
        self._cutters: dict[int, Any] = {}
        self._card = card
        self._runner = runner

    def tokens(self, text: str, pair: str | None = None) -> Tokens:
        """Return the tokens of a text, cut to what the model reads."""
        return self.pieces(text, pair, stride=0)[0]

    def pieces(self, text: str, pair: str | None, stride: int) -> list[Tokens]:
        """Return the tokens of a text in as many pieces as the model needs, each ``stride`` tokens into the next."""
        encoded = self.tokenizer.encode(text, pair)
        whole = len(encoded.ids)
        if self.max_tokens is not None and whole > self.max_tokens:
            encoded = self._cutter(stride).encode(text, pair)
        return [_tokens(one, whole) for one in (encoded, *encoded.overflowing)]

    def run(self, several: Sequence[Tokens]) -> list[list[Any]]:
        """Return the outputs for each text, in order, without what padding added; like lengths go together.

        Few at once: an engine prepares anew for each number of texts with each length, which costs several calls.
        """
        answers: list[list[Any]] = [[]] * len(several)
        for group in length_groups([len(one.ids) for one in several], TEXTS_AT_ONCE):
            outputs = self._runner.run(self._feeds([several[place] for place in group]))
            for row, place in enumerate(group):
                length = len(several[place].ids)
                answers[place] = [out[row][:length] if out.ndim == 3 else out[row] for out in outputs]
        return answers

    def decode(self, ids: Iterable[int], *, skip_special: bool) -> str:
        """Return the text of tokens, as transformers' ``decode`` writes it."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=skip_special)
        if not self.specials.cleans_up or type(self.tokenizer.model).__name__ == "BPE":
            return text
        for spaced, joined in _CLEANED:
            text = text.replace(spaced, joined)
        return text

    def join(self, words: list[str]) -> str:
        """Return the text of tokens that are given as words."""
        decoder = self.tokenizer.decoder
        return str(decoder.decode(words)) if decoder is not None else " ".join(words)

    def _cutter(self, stride: int) -> Any:
        """Return a tokenizer that cuts texts to what the model reads; each is set up once, for all threads."""
        if stride not in self._cutters:
            room = (self.max_tokens or 0) - self.tokenizer.num_special_tokens_to_add(False)
            if stride >= room:
                raise BadRequest(
                    f"stride={stride} leaves nothing new in a piece: the model reads {room} tokens of text at once."
                )
            cutter = type(self.tokenizer).from_str(self.tokenizer.to_str())
            cutter.enable_truncation(self.max_tokens or 0, stride=stride, direction=self.specials.cut_side)
            self._cutters[stride] = cutter
        return self._cutters[stride]

    def _feeds(self, group: list[Tokens]) -> dict[str, Any]:
        import numpy

        longest = max(len(one.ids) for one in group)
        shape = (len(group), longest)
        feeds = {
            "input_ids": numpy.full(shape, self._card.pad_token_id, dtype=numpy.int64),
            "attention_mask": numpy.zeros(shape, dtype=numpy.int64),
            "token_type_ids": numpy.full(shape, self._card.pad_type_id, dtype=numpy.int64),
        }
        for row, one in enumerate(group):
            length = len(one.ids)
            feeds["input_ids"][row, :length] = one.ids
            feeds["attention_mask"][row, :length] = 1
            feeds["token_type_ids"][row, :length] = one.types
        return {name: feeds[name] for name in self._card.inputs}


# What transformers takes out of the text that WordPiece has put together.
_CLEANED = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"),
    (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


def _tokens(encoded: Any, whole: int) -> Tokens:
    return Tokens(
        tuple(encoded.ids),
        tuple(encoded.type_ids),
        tuple(encoded.special_tokens_mask),
        tuple(encoded.offsets),
        whole,
    )
