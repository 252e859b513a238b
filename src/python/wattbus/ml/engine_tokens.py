"""Names in a text from the scores of its tokens: token by token, or put together as transformers puts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wattbus.ml.engine_texts import TextReader, Tokens


@dataclass(frozen=True)
class _Piece:
    """One token that is not a special one: its scores, and where it stands."""

    word: str
    scores: Any
    start: int
    end: int
    index: int
    goes_on: bool  # it is not the first of its word


class EntityFinder:
    """Turns the logits of tokens into entities; ``strategy`` is transformers' ``aggregation_strategy``."""

    def __init__(self, reader: TextReader, labels: Mapping[int, str]) -> None:
        self._reader = reader
        self._labels = labels
        self._knows_words = bool(getattr(reader.tokenizer.model, "continuing_subword_prefix", None))

    def entities(
        self,
        text: str,
        pieces: Sequence[Tokens],
        logits: Sequence[Any],
        strategy: str,
        ignored: Sequence[str],
    ) -> list[dict[str, Any]]:
        """Return the entities of one text that may have been read in several pieces."""
        found: list[dict[str, Any]] = []
        for tokens, scores in zip(pieces, logits, strict=True):
            each = self._aggregated(self._pieces(text, tokens, softmax(scores)), strategy)
            found += [
                one
                for one in each
                if one.get("entity") not in ignored and one.get("entity_group") not in ignored
            ]
        return _without_overlaps(found) if len(pieces) > 1 else found

    def _pieces(self, text: str, tokens: Tokens, scores: Any) -> list[_Piece]:
        unknown = self._reader.specials.unknown
        pieces = []
        for index, special in enumerate(tokens.special):
            if special:
                continue
            word = self._reader.tokenizer.id_to_token(tokens.ids[index]) or ""
            start, end = tokens.offsets[index]
            shown = text[start:end]
            if self._knows_words:
                goes_on = len(word) != len(shown)
            else:
                goes_on = start > 0 and " " not in text[start - 1 : start + 1]
            if word == unknown:
                word, goes_on = shown, False
            pieces.append(_Piece(word, scores[index], start, end, index, goes_on))
        return pieces

    def _aggregated(self, pieces: list[_Piece], strategy: str) -> list[dict[str, Any]]:
        if strategy in ("none", "simple"):
            entities = [self._entity(piece) for piece in pieces]
            return entities if strategy == "none" else self._groups(entities)
        return self._groups([self._word(word, strategy) for word in _words(pieces)])

    def _entity(self, piece: _Piece) -> dict[str, Any]:
        best = int(piece.scores.argmax())
        return {
            "entity": self._labels[best],
            "score": float(piece.scores[best]),
            "index": piece.index,
            "word": piece.word,
            "start": piece.start,
            "end": piece.end,
        }

    def _word(self, pieces: list[_Piece], strategy: str) -> dict[str, Any]:
        import numpy

        if strategy == "first":
            scores = pieces[0].scores
        elif strategy == "max":
            scores = max(pieces, key=lambda piece: piece.scores.max()).scores
        else:
            scores = numpy.nanmean(numpy.stack([piece.scores for piece in pieces]), axis=0)
        best = int(scores.argmax())
        return {
            "entity": self._labels[best],
            "score": float(scores[best]),
            "word": self._reader.join([piece.word for piece in pieces]),
            "start": pieces[0].start,
            "end": pieces[-1].end,
        }

    def _groups(self, entities: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Put neighbours of one kind together; ``B-`` begins a new one."""
        groups: list[list[dict[str, Any]]] = []
        for entity in entities:
            begins, tag = _tag(entity["entity"])
            if groups and not begins and _tag(groups[-1][-1]["entity"])[1] == tag:
                groups[-1].append(entity)
            else:
                groups.append([entity])
        return [self._group(group) for group in groups]

    def _group(self, entities: list[dict[str, Any]]) -> dict[str, Any]:
        import numpy

        return {
            "entity_group": entities[0]["entity"].split("-", 1)[-1],
            "score": float(numpy.nanmean([one["score"] for one in entities])),
            "word": self._reader.join([one["word"] for one in entities]),
            "start": entities[0]["start"],
            "end": entities[-1]["end"],
        }


def softmax(values: Any) -> Any:
    """Return the shares of scores along the last axis."""
    import numpy

    raised = numpy.exp(values - numpy.max(values, axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def _words(pieces: list[_Piece]) -> list[list[_Piece]]:
    words: list[list[_Piece]] = []
    for piece in pieces:
        if words and piece.goes_on:
            words[-1].append(piece)
        else:
            words.append([piece])
    return words


def _tag(entity: str) -> tuple[bool, str]:
    if entity.startswith(("B-", "I-")):
        return entity[0] == "B", entity[2:]
    return False, entity


def _without_overlaps(entities: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep of entities that two pieces of a text share the longer one, of equal ones the surer one."""
    kept: list[dict[str, Any]] = []
    for entity in sorted(entities, key=lambda one: one["start"]):
        last = kept[-1] if kept else None
        if last is None or not last["start"] <= entity["start"] < last["end"]:
            kept.append(entity)
            continue
        if (entity["end"] - entity["start"], entity["score"]) > (last["end"] - last["start"], last["score"]):
            kept[-1] = entity
    return kept
