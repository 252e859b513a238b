"""The task of a BoAmps report: stage, algorithm and data, from the facts that the operation stated."""

from __future__ import annotations

import re

from wattbus.energy.record import DataFacts, EnergyRecord, TaskFacts
from wattbus.export.boamps_draft import Draft, data_address, public_address, share, significant, word
from wattbus.export.boamps_fields import Origin
from wattbus.export.boamps_groups import SHAPE, TRAINING_STAGES
from wattbus.export.boamps_model import DATA_FORMATS
from wattbus.export.organisation import Organisation

DATA_TYPES = ("tabular", "audio", "boolean", "image", "video", "object", "text", "token", "word", "other")
FORMAT_ALIASES = {"jpg": "jpeg", "tif": "tiff", "htm": "html", "yml": "yaml", "txt": "text", "plain": "text"}
FAMILY = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,63}")


def put_task(
    draft: Draft, facts: TaskFacts, records: tuple[EnergyRecord, ...], organisation: Organisation
) -> None:
    """Fill ``task``. The description is made here: a fact's free text could hold a message's."""
    training = facts.stage in TRAINING_STAGES
    requests = None if training else (len(records) if facts.requests is None else facts.requests)
    if word(facts.stage):
        draft.put("task.taskStage", word(facts.stage))
    else:
        draft.put("task.taskStage", "other", Origin.DEFAULT, "the operation did not state its stage")
    family = family_words(facts.family)
    if family:
        draft.put("task.taskFamily", family)
    else:
        draft.put("task.taskFamily", "generic task", Origin.DEFAULT, "the operation did not state its family")
    draft.put("task.nbRequest", requests)
    _put_algorithm(draft, facts, training)
    for index, data in enumerate(facts.data):
        _put_data(draft, f"task.dataset[{index}].", data, requests, organisation)
    if not facts.data:
        nothing = "the operation did not state its data"
        draft.put("task.dataset[0].dataUsage", "input", Origin.DEFAULT, nothing)
        draft.put("task.dataset[0].dataType", "other", Origin.DEFAULT, nothing)
    draft.put("task.measuredAccuracy", share(facts.accuracy))
    draft.put("task.estimatedAccuracy", organisation.estimated_accuracy)
    draft.put("task.taskDescription", describe(facts, records, requests))


def family_words(family: str | None) -> str | None:
    """Return a task's family as words.

    >>> family_words("textClassification"), family_words("text-classification")
    ('text classification', 'text classification')
    """
    if not family or not FAMILY.fullmatch(family):
        return None
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", family)
    return " ".join(re.split(r"[\s_-]+", spaced)).lower().strip()


def describe(facts: TaskFacts, records: tuple[EnergyRecord, ...], requests: int | None) -> str:
    """Return a sentence on the task, made of names and counts only."""
    first = records[0]
    model = word(first.model) or "a model that was not named"
    revision = f", revision {word(first.revision)}" if word(first.revision) else ""
    counted = f"{requests} request(s) in " if requests is not None else ""
    return (
        f"{word(facts.stage) or 'task'} of {family_words(facts.family) or 'a generic task'} "
        f"by {model}{revision}, item {word(first.item) or 'not named'}; "
        f"{counted}{len(records)} attempt(s), scope {first.scope.value}"
    )


def _put_algorithm(draft: Draft, facts: TaskFacts, training: bool) -> None:
    here = "task.algorithms[0]."
    draft.place(here.rstrip("."))  # the format wants one, also of a task that has no more to say
    draft.put(here + "algorithmType", word(facts.algorithm_type))
    draft.put(here + "algorithmName", word(facts.algorithm_name))
    draft.put(here + "algorithmUri", public_address(facts.algorithm_uri))
    draft.put(here + "foundationModelName", word(facts.foundation_model))
    draft.put(here + "foundationModelUri", public_address(facts.foundation_model_uri))
    draft.put(here + "parametersNumber", _positive(facts.parameters, 1e9))
    draft.put(here + "framework", word(facts.framework))
    draft.put(here + "frameworkVersion", word(facts.framework_version))
    draft.put(here + "classPath", word(facts.class_path))
    draft.put(here + "layersNumber", _positive(facts.layers))
    draft.put(here + "quantization", word(facts.precision))
    if not training:
        return
    draft.put(here + "trainingType", word(facts.training_type))
    draft.put(here + "epochsNumber", _positive(facts.epochs))
    draft.put(here + "optimizer", word(facts.optimizer))


def _put_data(
    draft: Draft, here: str, data: DataFacts, requests: int | None, organisation: Organisation
) -> None:
    per_request = requests or 1
    known = data.kind if data.kind in DATA_TYPES else "other"
    draft.put(here + "dataUsage", data.usage)
    draft.put(here + "dataType", known)
    draft.put(here + "dataFormat", file_format(data.format))
    draft.put(here + "dataSize", _positive(data.bytes, 1e9 * per_request))
    draft.put(here + "dataQuantity", _positive(data.items, per_request))
    draft.put(here + "shape", data.shape if data.shape and SHAPE.fullmatch(data.shape) else None)
    draft.put(here + "source", data.source if data.source in ("public", "private", "other") else None)
    draft.put(here + "sourceUri", data_address(data.source_uri))
    owner = word(data.owner)
    if owner:
        draft.put(here + "owner", owner, Origin.READ, "stated by the operation")
    elif data.source == "private":
        draft.put(here + "owner", organisation.data_owner or organisation.name)


def file_format(name: str | None) -> str | None:
    """Return the format's word for a file format; one that it does not know is ``other``.

    >>> file_format("JPG"), file_format("safetensors"), file_format(None)
    ('jpeg', 'other', None)
    """
    if not name:
        return None
    plain = name.casefold().strip().lstrip(".")
    plain = FORMAT_ALIASES.get(plain, plain)
    return plain if plain in DATA_FORMATS else "other"


def _positive(value: float | None, divisor: float = 1) -> float | int | None:
    """Return value / divisor, whole where it is whole; 0 of something that there must be is unknown."""
    if value is None or value <= 0:
        return None
    quotient = significant(value / divisor)
    return int(quotient) if quotient is not None and quotient.is_integer() else quotient
