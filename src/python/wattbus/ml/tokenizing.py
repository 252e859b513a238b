"""A new tokenizer of the same kind, trained on texts, and the model with embeddings for its tokens.

A token that the old vocabulary has keeps its embedding; any other begins as the mean of those of the old tokens that
spell it (fast vocabulary transfer, arXiv:2402.09977). What the model answers is arbitrary until it is trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from wattbus.errors import BadRequest, ModelError
from wattbus.ml.loading import first_line, load_config, load_model, load_tokenizer

VOCABULARY_LEAST, VOCABULARY_MOST = 100, 500_000
TEXTS_AT_ONCE = 1000
_SPECIAL = ("pad", "bos", "eos", "cls", "sep", "mask", "unk")


@dataclass(frozen=True)
class NewTokenizer:
    """What came of it: how many tokens there are now, and how many of them the old vocabulary had."""

    tokens: int
    shared: int

    @property
    def note(self) -> str:
        """What the version must say of itself."""
        return (
            f"a new tokenizer of {self.tokens} tokens, {self.shared} of them known before: the answers of the model "
            "are arbitrary until it is trained."
        )


def check_vocabulary(size: int) -> int:
    """Return the size of a vocabulary; BadRequest out of bounds."""
    if not VOCABULARY_LEAST <= size <= VOCABULARY_MOST:
        raise BadRequest(
            f"a vocabulary of {size} tokens cannot be trained: choose {VOCABULARY_LEAST} to {VOCABULARY_MOST}."
        )
    return size


def retokenise(folder: Path, texts: Iterable[str], vocabulary: int, into: Path) -> NewTokenizer:
    """Train a tokenizer like that of ``folder`` on ``texts``, and write it with the adapted model into ``into``.

    The texts are read once, a thousand at a time. Raises BadRequest when there are none, ModelError when the
    tokenizer cannot be trained anew.
    """
    check_vocabulary(vocabulary)
    old = load_tokenizer(folder)
    first = next(stream := iter(texts), None)
    if first is None:
        raise BadRequest("there are no texts to train a tokenizer on.")
    try:
        new = old.train_new_from_iterator(_batches(chain((first,), stream)), vocabulary, show_progress=False)
    except (AttributeError, NotImplementedError, ValueError) as error:
        raise ModelError(
            f"the tokenizer in {folder} cannot be trained anew ({first_line(error)}): it must be a fast one."
        ) from error
    config = load_config(folder)
    named = (config.architectures or ["AutoModel"])[0]
    model, _ = load_model(folder, named, 0, f"the model in {folder} cannot be loaded ({{why}}).")
    shared = _fit(model, old, new)
    model.save_pretrained(into)
    new.save_pretrained(into)
    return NewTokenizer(len(new), shared)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    stream = iter(texts)
    return iter(lambda: list(islice(stream, TEXTS_AT_ONCE)), [])


def _fit(model: Any, old: Any, new: Any) -> int:
    """Give ``model`` a row for each token of ``new``; return how many were kept."""
    import torch

    known, vocabulary = old.get_vocab(), new.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    others = [token for token in tokens if token not in known]
    spelt = old([new.convert_tokens_to_string([token]).strip() for token in others], add_special_tokens=False)
    spelling = dict(zip(others, spelt["input_ids"], strict=True)) if others else {}
    sources = [[known[token]] if token in known else spelling[token] for token in tokens]
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    tied = outputs is not None and outputs.weight is inputs.weight
    rows = _rows(inputs.weight, sources)
    own = None if outputs is None or tied else _rows(outputs.weight, sources)
    bias = None if getattr(outputs, "bias", None) is None else _rows(outputs.bias, sources)
    model.resize_token_embeddings(len(new), mean_resizing=False)
    outputs = model.get_output_embeddings()
    with torch.no_grad():
        model.get_input_embeddings().weight[: len(rows)] = rows
        if own is not None:
            outputs.weight[: len(own)] = own
        if bias is not None:
            outputs.bias[: len(bias)] = bias
    for settings in (model.config, getattr(model, "generation_config", None)):
        for name in _SPECIAL:
            if getattr(settings, f"{name}_token_id", None) is not None:
                setattr(settings, f"{name}_token_id", getattr(new, f"{name}_token_id"))
    return len(tokens) - len(others)


def _rows(weight: Any, sources: list[list[int]]) -> Any:
    """Return for each token the mean of its sources, and of all rows where it has none."""
    import torch

    with torch.no_grad():
        everywhere = weight.mean(0)
        return torch.stack([weight[ids].mean(0) if ids else everywhere for ids in sources])
