"""Ready examples: bodies that the seed's text gives, and others of its kind, by message type and task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Example:
    """A body that can be sent as it stands; ``tasks`` are those it fits, none: every one."""

    title: str
    body: Mapping[str, Any]
    tasks: tuple[str, ...] = ()


_TRAINING = {
    "columns": "ReviewLabel,ReviewText",
    "table": "iris.Review",
    "limit": 20,
    "p_of_train": 0.8,
    "output_dir": "/irisdev/app/src/model/checkpoints",
    "evaluation_strategy": "steps",
    "learning_rate": 0.01,
    "num_train_epochs": 1,
}

#: By the class name of the message type.
EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "HFRequest": (
        Example(
            "GPT2 by the Hugging Face API",
            {
                "api_url": "https://api-inference.huggingface.co/models/gpt2",
                "payload": "Can you please let us know more details about your ",
                "api_key": "----------------------",
            },
        ),
    ),
    "MLRequest": (
        Example("A review", {"inputs": "This was a really bad experience"}, ("text-classification",)),
        Example(
            "GPT2, three sequences",
            {"text_inputs": "George Washington lived", "max_length": 30, "num_return_sequences": 3},
            ("text-generation",),
        ),
        Example(
            "A model of your own",
            {"text_inputs": "Unfortunately, the outcome", "max_length": 100, "num_return_sequences": 3},
            ("text-generation",),
        ),
        Example(
            "Camembert-ner", {"inputs": "George Washington lived in washington"}, ("token-classification",)
        ),
        Example("Bert, fill the mask", {"inputs": "George Washington lived in [MASK]."}, ("fill-mask",)),
        Example(
            "Detr, a picture by its address",
            {"url": "http://images.cocodataset.org/val2017/000000039769.jpg"},
            ("object-detection", "image-classification", "image-segmentation"),
        ),
        Example(
            "Detr panoptic, a file of the upload folder",
            {"url": "/irisdev/app/misc/000000039769.jpg"},
            ("image-segmentation", "object-detection", "image-classification"),
        ),
        Example("One vector for a text", {"inputs": "Two cats sleep.", "pooling": "mean", "normalize": True},
                ("feature-extraction",)),
    ),
    "TrainRequest": (
        Example("Twenty rows, one epoch", _TRAINING),
        Example(
            "Cheapest first, to a target within a budget",
            {
                "columns": "ReviewLabel,ReviewText",
                "table": "iris.Review",
                "limit": 512,
                "target": 0.5,
                "energy_budget_wh": 2.0,
            },
        ),
    ),
    "OverrideRequest": (Example("Publish what was trained", {}),),
    "OptimiseRequest": (
        Example("All candidates, on a table", {"table": "iris.Review", "text_column": "ReviewText", "limit": 100}),
        Example("One, on what was asked", {"to": "fp32", "requests": 100}),
    ),
}  # fmt: skip


def examples_of(class_name: str, task: str | None = None) -> tuple[Example, ...]:
    """Return the examples for a type; with a task, those that fit it, or all where none does."""
    known = EXAMPLES.get(class_name, ())
    fitting = tuple(one for one in known if task is None or not one.tasks or task in one.tasks)
    return fitting or known
