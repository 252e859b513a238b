"""What an energy record says of an answer: the model that gave it and the sizes of what went in and out."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from wattbus.energy.record import CACHE_STAGE, DataFacts, TaskFacts

if TYPE_CHECKING:
    from wattbus.ml.prediction import ModelFacts, Prediction


def facts_of_answer(name: str, page: str | None, model: ModelFacts, prediction: Prediction) -> TaskFacts:
    """Return the facts of an answer that the model has given; ``page`` is the model's public address."""
    return dataclasses.replace(facts_of_model(name, page, model), data=data_of_answer(prediction))


def facts_of_model(name: str, page: str | None, model: ModelFacts) -> TaskFacts:
    """Return the facts of a request that the model has begun to answer."""
    return TaskFacts(
        stage="inference",
        family=model.family,
        requests=1,
        algorithm_type="llm" if model.task == "text-generation" else "neural network",
        algorithm_name=model.architecture,
        algorithm_uri=page,
        foundation_model=model.foundation_model or name,
        foundation_model_uri=page,
        parameters=model.parameters,
        framework=model.framework,
        framework_version=model.framework_version,
        class_path=model.class_path,
        layers=model.layers,
        precision=model.precision,
    )


def data_of_answer(prediction: Prediction) -> tuple[DataFacts, DataFacts]:
    """Return the sizes of what went in and of what came out."""
    inputs = DataFacts(
        usage="input",
        kind="token" if prediction.input_tokens is not None else prediction.input_kind,
        items=prediction.input_tokens or prediction.input_items,
        bytes=prediction.input_bytes,
        shape=f"(1, {prediction.input_tokens or prediction.input_items})",
        format="json",
        source="private",
    )
    outputs = DataFacts(
        usage="output",
        kind="token" if prediction.output_tokens is not None else "object",
        items=prediction.output_tokens or prediction.output_items,
        bytes=len(json.dumps(prediction.output)),
        shape=f"(1, {prediction.output_tokens or prediction.output_items})",
        format="json",
        source="private",
    )
    return inputs, outputs


def facts_of_hit(family: str) -> TaskFacts:
    """Return the facts of an answer from the cache: no model has worked, so it is no inference."""
    return TaskFacts(
        stage=CACHE_STAGE, family=family, requests=1, description="answered from the cache of answers"
    )
