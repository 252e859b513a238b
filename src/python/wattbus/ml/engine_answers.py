"""What an engine's numbers mean, a class a task: how an input is read, and the answer that a pipeline would give."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from wattbus.errors import BadRequest
from wattbus.ml.engine_files import EngineCard
from wattbus.ml.engine_images import ImageReader
from wattbus.ml.engine_objects import ObjectDetection
from wattbus.ml.engine_texts import TextReader, Tokens
from wattbus.ml.engine_tokens import EntityFinder, softmax
from wattbus.ml.pipeline_tasks import Call
from wattbus.ml.pooling import Pooling
from wattbus.ml.runner import Runner


class Answering(Protocol):
    """One task on an engine."""

    def read(self, given: Any, options: Mapping[str, Any]) -> Any:
        """Return an input (a text, a picture) as the engine reads it; BadRequest for one that it cannot."""
        ...

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Return the outputs for each of what :meth:`read` gave, in order."""
        ...

    def answer(self, read: Any, outputs: Any, options: Mapping[str, Any]) -> Any:
        """Return the answer to one input, of JSON values."""
        ...

    def shaped(self, answers: list[Any], call: Call) -> Any:
        """Return the answer to the request: the list, or the one that is in it."""
        ...

    def tokens(self, read: Any) -> int | None:
        """Return the tokens of an input; None where there are none to count."""
        ...

    def notes(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        """Return what the user should know of the inputs."""
        ...


class _Texts:
    """What the tasks on texts share."""

    def __init__(self, folder: Path, card: EngineCard, runner: Runner, labels: Mapping[int, str]) -> None:
        self.reader = TextReader(folder, card, runner)
        self._card = card
        self._labels = labels
        self._problem = json.loads((folder / "config.json").read_bytes()).get("problem_type")

    def read(self, given: Any, options: Mapping[str, Any]) -> Any:
        if isinstance(given, Mapping):
            return self.reader.tokens(given["text"], given["text_pair"])
        return self.reader.tokens(given)

    def run(self, inputs: Sequence[Tokens]) -> list[Any]:
        return [outputs[0] for outputs in self.reader.run(inputs)]

    def shaped(self, answers: list[Any], call: Call) -> Any:
        return answers if call.listed else answers[0]

    def tokens(self, read: Any) -> int | None:
        return len(read.ids)

    def notes(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        longest, limit = max(one.whole for one in inputs), self.reader.max_tokens
        if limit is None or longest <= limit:
            return ()
        return (f"the text has {longest} tokens and the model reads {limit}: the rest was left out.",)


class TextClassification(_Texts):
    """Labels of a text."""

    def answer(self, read: Tokens, outputs: Any, options: Mapping[str, Any]) -> Any:
        scores = scored(outputs, options.get("function_to_apply"), self._problem, len(self._labels))
        found = ranked(scores, self._labels)
        return found[: options["top_k"]] if "top_k" in options else found[0]

    def shaped(self, answers: list[Any], call: Call) -> Any:
        # A pipeline gives one text a list, unless it has a pair: then it gives what it gives one of a list.
        if call.listed:
            return answers
        alone = "top_k" in call.options or isinstance(call.inputs[0], Mapping)
        return answers[0] if alone else answers


class TokenClassification(_Texts):
    """Names in a text."""

    def __init__(self, folder: Path, card: EngineCard, runner: Runner, labels: Mapping[int, str]) -> None:
        super().__init__(folder, card, runner, labels)
        self._finder = EntityFinder(self.reader, labels)

    def read(self, given: Any, options: Mapping[str, Any]) -> Any:
        stride, strategy = options.get("stride"), options.get("aggregation_strategy")
        if stride is not None and strategy == "none":
            raise BadRequest(
                "token-classification cannot answer: 'stride' reads a long text in pieces, whose tokens have no place "
                "of their own: ask for another aggregation_strategy than 'none'."
            )
        pieces = self.reader.pieces(given, None, stride or 0)
        return (given, pieces if stride is not None else pieces[:1])

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        logits = iter(super().run([piece for _, pieces in inputs for piece in pieces]))
        return [[next(logits) for _ in pieces] for _, pieces in inputs]

    def answer(self, read: Any, outputs: Any, options: Mapping[str, Any]) -> Any:
        text, pieces = read
        strategy, ignored = options.get("aggregation_strategy", "none"), options.get("ignore_labels", ["O"])
        return self._finder.entities(text, pieces, outputs, strategy, ignored)

    def tokens(self, read: Any) -> int | None:
        return sum(len(piece.ids) for piece in read[1])

    def notes(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        cut = [pieces[0] for _, pieces in inputs if len(pieces) == 1]
        return super().notes(cut) if cut else ()


class FillMask(_Texts):
    """Words for the place that is left open."""

    def read(self, given: Any, options: Mapping[str, Any]) -> Any:
        mask = self.reader.specials.mask
        if mask is None or mask not in given:
            raise BadRequest(f"the text has no {mask}, the place to fill: 'George lived in {mask}.'")
        read = self.reader.tokens(given)
        if self._mask_id() not in read.ids:
            raise BadRequest(
                f"fill-mask cannot answer: no {mask} is left in what the model reads of the text."
            )
        return read

    def answer(self, read: Tokens, outputs: Any, options: Mapping[str, Any]) -> Any:
        import numpy

        targets = self._targets(options["targets"]) if "targets" in options else None
        places = [place for place, token in enumerate(read.ids) if token == self._mask_id()]
        rows = []
        for place in places:
            shares = softmax(outputs[place].astype(numpy.float32))
            shares = shares if targets is None else shares[targets]
            count = min(options.get("top_k", 5), len(shares))
            best = numpy.argsort(-shares, kind="stable")[:count]
            rows.append(
                [
                    self._proposal(
                        read, place, int(one) if targets is None else targets[int(one)], shares[one], places
                    )
                    for one in best
                ]
            )
        return rows[0] if len(rows) == 1 else rows

    def shaped(self, answers: list[Any], call: Call) -> Any:
        return answers if call.listed and len(answers) > 1 else answers[0]

    def _proposal(
        self, read: Tokens, place: int, token: int, share: Any, places: list[int]
    ) -> dict[str, Any]:
        ids = [token if at == place else one for at, one in enumerate(read.ids)]
        kept = [one for one in ids if one != self._card.pad_token_id]
        return {
            "score": float(share),
            "token": token,
            "token_str": self.reader.decode([token], skip_special=False),
            "sequence": self.reader.decode(kept, skip_special=len(places) == 1),
        }

    def _mask_id(self) -> int | None:
        mask = self.reader.specials.mask
        return None if mask is None else self.reader.tokenizer.token_to_id(mask)

    def _targets(self, words: Sequence[str]) -> list[int]:
        found: dict[int, None] = {}
        for word in words:
            number = self.reader.tokenizer.token_to_id(word)
            if number is None:
                pieces = self.reader.tokenizer.encode(word, add_special_tokens=False).ids
                number = pieces[0] if pieces else None
            if number is not None:
                found[number] = None
        if not found:
            raise BadRequest("fill-mask cannot answer: none of the targets is a word that the model knows.")
        return list(found)


class FeatureExtraction(_Texts):
    """Vectors of a text: one a token, or one in all."""

    def answer(self, read: Tokens, outputs: Any, options: Mapping[str, Any]) -> Any:
        pooling = Pooling.of(dict(options), self._card.pooling)
        if pooling is None:
            return [outputs.tolist()]
        return pooling.of_tokens(outputs).tolist()


class ImageClassification:
    """Labels of a picture."""

    def __init__(self, folder: Path, card: EngineCard, runner: Runner, labels: Mapping[int, str]) -> None:
        self._images = ImageReader(folder)
        self._runner = runner
        self._labels = labels
        self._problem = json.loads((folder / "config.json").read_bytes()).get("problem_type")

    def read(self, given: Any, options: Mapping[str, Any]) -> Any:
        return self._images.pixels(given)

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        return [self._runner.run({"pixel_values": pixels})[0][0] for pixels in inputs]

    def answer(self, read: Any, outputs: Any, options: Mapping[str, Any]) -> Any:
        scores = scored(outputs, options.get("function_to_apply"), self._problem, len(self._labels))
        return ranked(scores, self._labels)[: options.get("top_k", 5)]

    def shaped(self, answers: list[Any], call: Call) -> Any:
        return answers if call.listed else answers[0]

    def tokens(self, read: Any) -> int | None:
        return None

    def notes(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        return ()


ANSWERS: Mapping[str, Callable[[Path, EngineCard, Runner, Mapping[int, str]], Answering]] = {
    "text-classification": TextClassification,
    "token-classification": TokenClassification,
    "fill-mask": FillMask,
    "feature-extraction": FeatureExtraction,
    "image-classification": ImageClassification,
    "object-detection": ObjectDetection,
}


def scored(logits: Any, function: str | None, problem: str | None, labels: int) -> Any:
    """Return the scores of a classifier, by the function that is asked for, or that its kind of problem has."""
    import numpy

    if function is None:
        if problem == "regression":
            function = "none"
        elif problem == "multi_label_classification" or labels == 1:
            function = "sigmoid"
        else:
            function = "softmax"
    logits = logits.astype(numpy.float32)
    if function == "sigmoid":
        return 1.0 / (1.0 + numpy.exp(-logits))
    return softmax(logits) if function == "softmax" else logits


def ranked(scores: Any, labels: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the labels with their scores, the best first."""
    found = [{"label": labels[number], "score": float(score)} for number, score in enumerate(scores)]
    return sorted(found, key=lambda one: one["score"], reverse=True)
