"""What the frozen layers of an encoder make of each row: read once, so that training goes through the others alone.

The layers that are trained, behind a model whose embeddings hand on what they are given, are a model of their own. A
batch of it that answers as the whole model does is the proof; where it does not, the whole model is trained.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wattbus.errors import TrainingFailed
from wattbus.ml.classifier import Classifier

BATCH = 32
#: Of the states of all rows, in fp16, in memory; above, every step goes through the frozen layers.
MOST_BYTES = 1 << 30
#: By how much a chance may differ where the upper layers are asked what the whole model is asked.
SAME_CHANCE = 0.02
#: What comes of taking a model apart whose parts are called in another way, or that pads rows by itself.
_OTHER_BUILD = (TypeError, ValueError, RuntimeError, AttributeError, LookupError)
Row = dict[str, Any]


@dataclass(frozen=True)
class KeptStates:
    """The upper layers as a model of their own, its rows, and what joins it to the frozen layers again."""

    base: Classifier
    rows: Callable[[Sequence[Row]], list[Row]]
    join: Callable[[], None]


class _Reached(Exception):
    """The first trained layer was reached: what lies above is not asked."""


def keep_states(
    base: Classifier, layers: Any, frozen: int, rows: Sequence[Row], go_on: Callable[[int, int], bool]
) -> KeptStates | None:
    """Read ``rows`` through the first ``frozen`` of ``layers``; None where the model cannot be parted there.

    ``go_on`` is told before each batch how many rows of how many were read; TrainingFailed where it says no, for
    then the energy budget is spent.
    """
    import torch

    size = getattr(base.model.config, "hidden_size", None)
    if not isinstance(size, int) or 2 * size * sum(len(row["input_ids"]) for row in rows) > MOST_BYTES:
        return None
    encoder = getattr(base.model, base.model.base_model_prefix)
    place = _place_of(encoder, layers)
    if place is None or not isinstance(getattr(encoder, "embeddings", None), torch.nn.Module):
        return None
    some = list(rows[:BATCH])
    whole = _chances(base.model, base.collate(_without_labels(some)))
    try:
        states = _states(base, layers[frozen], rows, go_on)
    except _OTHER_BUILD:
        return None
    holder, name = place
    embeddings = encoder.embeddings

    def join() -> None:
        setattr(holder, name, layers)
        encoder.embeddings = embeddings

    setattr(holder, name, torch.nn.ModuleList(list(layers)[frozen:]))
    encoder.embeddings = _given()
    try:
        upper = _chances(base.model, _padded([{"inputs_embeds": states[id(row)]} for row in some]))
        same = float((upper - whole).abs().max()) <= SAME_CHANCE
    except _OTHER_BUILD:
        same = False
    if not same:
        join()
        return None
    return KeptStates(
        base=dataclasses.replace(base, collate=_padded),
        rows=lambda asked: [{"inputs_embeds": states[id(row)], "labels": row["labels"]} for row in asked],
        join=join,
    )


def _states(
    base: Classifier, first_trained: Any, rows: Sequence[Row], go_on: Callable[[int, int], bool]
) -> dict[int, Any]:
    """Return what the first trained layer is given for each row, (tokens, size) in fp16."""
    import torch

    seen: list[Any] = []

    def reached(_layer: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append(given[0] if given else named["hidden_states"])
        raise _Reached

    by_length = sorted(rows, key=lambda row: len(row["input_ids"]))
    found: dict[int, Any] = {}
    hook = first_trained.register_forward_pre_hook(reached, with_kwargs=True)
    try:
        with torch.inference_mode():
            for start in range(0, len(by_length), BATCH):
                if not go_on(start, len(rows)):
                    raise TrainingFailed(
                        "the energy budget was spent before the frozen layers had read all rows: raise "
                        "energy_budget_wh."
                    )
                part = by_length[start : start + BATCH]
                batch = base.collate(_without_labels(part)).to(base.model.device)
                with contextlib.suppress(_Reached):
                    base.model.eval()(**batch)
                for row, state, real in zip(part, seen.pop(), batch["attention_mask"], strict=True):
                    found[id(row)] = state[real.bool()].half().cpu()
    finally:
        hook.remove()
    return found


def _without_labels(rows: Sequence[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name != "labels"} for row in rows]


def _chances(model: Any, batch: Any) -> Any:
    import torch

    with torch.inference_mode():
        inputs = {name: value.to(model.device) for name, value in batch.items()}
        return model.eval()(**inputs).logits.float().softmax(-1).cpu()


def _padded(rows: Sequence[Row]) -> dict[str, Any]:
    """Return a batch of states, padded to its longest row, as the embeddings would hand it on."""
    import torch

    longest = max(len(row["inputs_embeds"]) for row in rows)
    size = rows[0]["inputs_embeds"].shape[1]
    states = torch.zeros(len(rows), longest, size)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for place, row in enumerate(rows):
        real = len(row["inputs_embeds"])
        states[place, :real] = row["inputs_embeds"]
        mask[place, :real] = 1
    batch: dict[str, Any] = {"inputs_embeds": states, "attention_mask": mask}
    if "labels" in rows[0]:
        batch["labels"] = torch.tensor([row["labels"] for row in rows])
    return batch


def _given() -> Any:
    """Return embeddings that hand on the states they are given."""
    import torch

    class Given(torch.nn.Module):  # type: ignore[misc]  # torch is not typed here
        def forward(self, *given: Any, **named: Any) -> Any:
            return next(one for one in (*given, *named.values()) if getattr(one, "ndim", 0) == 3)

    return Given()


def _place_of(encoder: Any, layers: Any) -> tuple[Any, str] | None:
    """Return the module that holds the list of layers, and under which name."""
    pairs: Iterator[tuple[Any, str]] = (
        (module, name)
        for module in encoder.modules()
        for name, part in module.named_children()
        if part is layers
    )
    return next(pairs, None)
