"""Which weights of a classifier a rung trains: adapters beside them, the last layers, or all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wattbus.errors import ModelError
from wattbus.ml.classifier import Classifier
from wattbus.ml.fit import default_learning_rate
from wattbus.ml.kept_states import keep_states

LORA_RANK = 8
LORA_SCALE = 16
LORA_DROPOUT = 0.0  # of 512 reviews of five labels, 0.05 got fewer right (0.641, 0.650), in a third more time
#: Adapters begin at nothing, and take larger steps than weights do.
LORA_STEPS = 10
LAST_SHARE = 1 / 3
Rows = list[dict[str, Any]]


def _as_they_are(rows: Rows) -> Rows:
    return rows


@dataclass(frozen=True)
class Trainable:
    """A classifier set up for a rung, and what makes an ordinary one of it again when it is trained."""

    base: Classifier
    finish: Callable[[], Classifier]
    learning_rate: float | None  # None: that of a training in full
    words: str
    mark: str = ""  # of its checkpoints: those of another part of the model are of no use
    rows: Callable[[Rows], Rows] = _as_they_are


def trainable(
    base: Classifier, rung: str, seed: int, rows: Sequence[dict[str, Any]], go_on: Callable[[int, int], bool]
) -> Trainable:
    """Set ``base`` up for lora, last-layers or full; ModelError where the model has no such parts.

    ``rows`` are all that will be trained on and evaluated; where they are read beforehand, ``go_on`` is told how many
    of how many were, and says whether the budget lasts.
    """
    if rung == "lora":
        return _lora(base, seed)
    if rung == "last-layers":
        return _last_layers(base, rows, go_on)
    return Trainable(base, lambda: base, None, "all weights were trained")


def _lora(base: Classifier, seed: int) -> Trainable:
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    model = base.model
    targets = _linear_names(_layers(model), model)
    if not targets:
        raise ModelError("the model has no linear layers that an adapter could stand beside.")
    set_seed(seed)
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=LORA_RANK,
            lora_alpha=LORA_SCALE,
            lora_dropout=LORA_DROPOUT,
            target_modules=targets,
            modules_to_save=_head_names(model),
            task_type="SEQ_CLS",
        ),
    )
    trained, whole = adapted.get_nb_trainable_parameters()

    def merged() -> Classifier:
        plain = adapted.merge_and_unload()
        plain.requires_grad_(True)
        return dataclasses.replace(base, model=plain)

    return Trainable(
        dataclasses.replace(base, model=adapted),
        merged,
        LORA_STEPS * default_learning_rate(getattr(model.config, "hidden_size", None)),
        f"adapters of rank {LORA_RANK} and the head, {trained:,} of {whole:,} weights, were trained and merged",
    )


def _last_layers(
    base: Classifier, rows: Sequence[dict[str, Any]], go_on: Callable[[int, int], bool]
) -> Trainable:
    model = base.model
    layers = _layers(model)
    if layers is None:
        raise ModelError("the layers of the model cannot be told apart.")
    model.requires_grad_(False)
    frozen = len(layers) - math.ceil(LAST_SHARE * len(layers))
    for part in (*list(layers)[frozen:], *(model.get_submodule(name) for name in _head_names(model))):
        part.requires_grad_(True)
    kept = keep_states(base, layers, frozen, rows, go_on) if frozen else None
    words = f"the last {len(layers) - frozen} of {len(layers)} layers and the head were trained"

    def thawed() -> Classifier:
        if kept is not None:
            kept.join()
        model.requires_grad_(True)
        return base

    if kept is None:
        return Trainable(base, thawed, None, words)
    told = f"{words}, on what the others make of each row, read once"
    return Trainable(kept.base, thawed, None, told, mark="upper", rows=kept.rows)


def _layers(model: Any) -> Any | None:
    """Return the list of the encoder's layers."""
    import torch

    encoder = getattr(model, model.base_model_prefix)
    count = getattr(model.config, "num_hidden_layers", None)
    lists = (part for part in encoder.modules() if isinstance(part, torch.nn.ModuleList))
    return next((part for part in lists if len(part) == count), None)


def _linear_names(layers: Any | None, model: Any) -> list[str]:
    import torch
    from transformers.pytorch_utils import Conv1D

    if layers is None:
        return []
    inside = {id(part) for part in layers.modules() if isinstance(part, torch.nn.Linear | Conv1D)}
    return [name for name, part in model.named_modules() if id(part) in inside]


def _head_names(model: Any) -> list[str]:
    """Return the parts outside of the encoder that have weights, and the pooler, which is often new as well."""
    prefix = model.base_model_prefix
    names = [
        name
        for name, part in model.named_children()
        if name != prefix and any(True for _ in part.parameters())
    ]
    pooler = getattr(getattr(model, prefix), "pooler", None)
    return [*names, *([f"{prefix}.pooler"] if pooler is not None else [])]
