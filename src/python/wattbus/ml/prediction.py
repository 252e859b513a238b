"""What a predictor gives, whatever runs it: one answer, and what kind of model gave it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wattbus.ml.results import Picture


@dataclass(frozen=True)
class ModelFacts:
    """What kind of model answers, read from the objects that do the work; None where they do not say."""

    task: str
    family: str  # the task in camel case: textClassification
    model_type: str | None  # bert, gpt2, detr
    architecture: str  # BertForSequenceClassification
    class_path: str
    framework: str
    framework_version: str
    parameters: int
    layers: int | None
    precision: str | None  # fp32, bf16, fp16, int8
    foundation_model: str | None
    device: str
    head_untrained: bool


@dataclass(frozen=True)
class Prediction:
    """One answer: plain JSON values, its pictures, remarks for the user, counts of what went in and out."""

    output: Any
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]
    input_kind: str  # text, image or audio
    input_items: int
    input_bytes: int
    input_tokens: int | None
    output_items: int
    output_tokens: int | None
