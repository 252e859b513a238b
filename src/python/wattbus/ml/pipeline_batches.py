"""Several requests to a pipeline as few: their texts sorted by length and run together, each answered as if alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wattbus.errors import WattbusError
from wattbus.ml.length_groups import length_groups
from wattbus.ml.pipeline_tasks import Call, Task
from wattbus.ml.prediction import Prediction
from wattbus.ml.results import make_plain

#: Tasks whose texts may be padded: a mask keeps what is added out of the answers.
BATCHED = frozenset({"text-classification", "token-classification", "fill-mask", "feature-extraction"})
# A token of a text is about so long; nearly enough to sort by, and known before the text is cut into tokens.
_LETTERS_A_TOKEN = 4


@dataclass(frozen=True)
class TextAnswer:
    """What the pipeline answered to one text, and how many tokens it read of it."""

    raw: Any
    tokens: int


def goes_together(task: Task, call: Call) -> bool:
    """Tell whether a request is one of plain texts, each read in one piece."""
    whole = call.options.get("stride") is None
    return task.name in BATCHED and whole and all(isinstance(one, str) for one in call.inputs)


def answers_together(
    calls: Mapping[int, Call], run: Callable[[Sequence[str], Mapping[str, Any]], list[TextAnswer]]
) -> dict[int, list[TextAnswer]]:
    """Return the answers to the texts of each request, by its place; a request that fails with others is left out.

    ``run`` answers texts together, all with the same options.
    """
    answers: dict[int, list[TextAnswer]] = {}
    for places in _with_like_options(calls):
        texts = [(place, number, text) for place in places for number, text in enumerate(calls[place].inputs)]
        found: dict[tuple[int, int], TextAnswer] = {}
        failed: set[int] = set()
        for group in length_groups([len(text) // _LETTERS_A_TOKEN for _, _, text in texts]):
            chosen = [texts[at] for at in group]
            if len(chosen) == 1:
                failed.add(chosen[0][0])  # nothing to share: it is answered alone
                continue
            try:
                each = run([text for _, _, text in chosen], calls[places[0]].options)
            except WattbusError:
                failed.update(place for place, _, _ in chosen)
                continue
            found.update({(place, number): one for (place, number, _), one in zip(chosen, each, strict=True)})
        for place in places:
            if place not in failed:
                answers[place] = [found[place, number] for number in range(len(calls[place].inputs))]
    return answers


def prediction_of(
    task: Task, call: Call, answers: Sequence[TextAnswer], notes: tuple[str, ...]
) -> Prediction:
    """Return the answer to a request as the pipeline gives it to that request alone."""
    plain = make_plain(_shaped(task, call, [one.raw for one in answers]))
    return Prediction(
        output=plain.value,
        pictures=plain.pictures,
        notes=tuple(dict.fromkeys(notes + plain.notes)),
        input_kind=task.feed.value,
        input_items=len(call.inputs),
        input_bytes=sum(len(one.encode()) for one in call.inputs),
        input_tokens=sum(one.tokens for one in answers),
        output_items=len(plain.value) if isinstance(plain.value, list) else 1,
        output_tokens=None,
    )


def _with_like_options(calls: Mapping[int, Call]) -> list[list[int]]:
    alike: dict[str, list[int]] = {}
    for place, call in calls.items():
        alike.setdefault(json.dumps(call.options, sort_keys=True, default=str), []).append(place)
    return list(alike.values())


def _shaped(task: Task, call: Call, each: list[Any]) -> Any:
    """Return the answers as a pipeline gives them: a list for a list, and its own exceptions from that."""
    if task.name == "fill-mask":
        return each if call.listed and len(each) > 1 else each[0]
    if task.name == "text-classification" and not call.listed:
        return each[0] if "top_k" in call.options else each
    return each if call.listed else each[0]
