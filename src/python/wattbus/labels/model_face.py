"""The face of one label among those that a model has: of a version, a tier and a side, by default the newest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine

from wattbus.energy.advice import machine_in_words
from wattbus.energy.hardware import read_machine
from wattbus.energy.label import ModelLabel, labels_of
from wattbus.errors import BadRequest, UnknownName
from wattbus.labels.builtin import DEFAULT
from wattbus.labels.face import LabelFace
from wattbus.labels.faces import face_of_label
from wattbus.labels.profiles import get_profile
from wattbus.store.energy_queries import newest_records_of

if TYPE_CHECKING:
    from wattbus.ml.models import ModelStore


def model_face(
    engine: Engine | None,
    models: ModelStore,
    name: str,
    *,
    revision: str = "",
    tier: str = "",
    profile: str = DEFAULT,
) -> LabelFace:
    """Return the face of a model's label, graded by a profile; BadRequest where it has answered nothing yet."""
    records = [] if engine is None else newest_records_of(engine, name)
    known = name in models.names()
    labels = labels_of(name, records)
    if not labels and not known:
        raise UnknownName("model", name, models.names(), "`wattbus models ls` lists those that are here.")
    if not labels:
        raise BadRequest(
            f"{name} has answered nothing yet, so it has no label: send it a request, or measure it."
        )
    label = _chosen(labels, revision, tier)
    return face_of_label(
        label, get_profile(engine, profile), machine_in_words(read_machine()), _accuracy(models, label)
    )


def _chosen(labels: list[ModelLabel], revision: str, tier: str) -> ModelLabel:
    found = [one for one in labels if not revision or one.revision == revision]
    if not found:
        raise UnknownName(
            f"version of {labels[0].model}", revision, {one.revision for one in labels if one.revision}
        )
    chosen = [one for one in found if not tier or one.tier == tier]
    if not chosen:
        raise UnknownName(f"tier among the labels of {labels[0].model}", tier, {one.tier for one in found})
    return chosen[0]


def _accuracy(models: ModelStore, label: ModelLabel) -> float | None:
    """Return the accuracy of the version's evaluation, where there was one."""
    if label.model not in models.names():
        return None
    found = (
        version.metrics.get("accuracy")
        for version in models.versions(label.model)
        if label.revision in (version.id, version.revision)
    )
    return next((float(one) for one in found if one is not None), None)
