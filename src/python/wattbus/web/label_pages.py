"""Labels: what each model uses for 1,000 inferences, as a list and as the label of one model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from wattbus.energy.advice import machine_in_words
from wattbus.energy.hardware import read_machine
from wattbus.energy.label import FEWEST_RUNS, ModelLabel, labels_of
from wattbus.errors import UnknownName
from wattbus.labels.builtin import DEFAULT
from wattbus.labels.faces import face_of_label
from wattbus.labels.profiles import get_profile
from wattbus.store.energy_queries import newest_records, newest_records_of
from wattbus.web.desk import Desk
from wattbus.web.label_words import in_words, interval, wh
from wattbus.web.twin import Twins

#: The labels of the list are made of so many of the newest records.
_LISTED_RECORDS = 2_000


@dataclass(frozen=True)
class LabelsView:
    """The labels of all models that were at work, the newest first."""

    hardware: str
    labels: list[ModelLabel]
    fewest_runs: int


@dataclass(frozen=True)
class LabelView:
    """The label of one model: its newest version first; ``accuracy`` is that of the version's evaluation."""

    name: str
    hardware: str
    labels: list[ModelLabel]
    accuracy: dict[str, float]
    fewest_runs: int


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages."""

    def labels() -> LabelsView:
        """Return the label of each model among the newest records."""
        with desk.reading() as engine:
            records = [] if engine is None else newest_records(engine, limit=_LISTED_RECORDS)
        names = sorted({one.model for one in records if one.model})
        found = [_graded(label) for name in names for label in labels_of(name, records)]
        found.sort(key=lambda label: label.newest_us, reverse=True)
        return LabelsView(machine_in_words(read_machine()), found, FEWEST_RUNS)

    def label(name: str) -> LabelView:
        """Return the label of a model, of each version, tier and side."""
        with desk.reading() as engine:
            records = [] if engine is None else newest_records_of(engine, name)
        models = desk.models()
        known = name in models.names()
        if not records and not known:
            raise UnknownName("model", name, models.names(), "`wattbus models ls` lists those that are here.")
        accuracy = {
            version.id: float(version.metrics["accuracy"])
            for version in (models.versions(name) if known else ())
            if version.metrics.get("accuracy") is not None
        }
        return LabelView(
            name,
            machine_in_words(read_machine()),
            [_graded(label) for label in labels_of(name, records)],
            accuracy,
            FEWEST_RUNS,
        )

    twins.share(label_words=in_words, wh=wh, wh_interval=interval)
    twins.view("/energy/models", "energy_models.html", labels, tag="energy")
    twins.view("/energy/models/{name:path}", "energy_label.html", label, tag="energy")


def _graded(label: ModelLabel) -> ModelLabel:
    """Return the label with what the default profile says of its letter."""
    face = face_of_label(label, get_profile(None, DEFAULT), "")
    letter = f"class {face.letter} of {face.scale[0]} to {face.scale[-1]}" if face.letter else ""
    reach = f"classes reached: {face.span}" if face.span else ""
    return replace(label, letter="; ".join(part for part in (letter, face.reason, reach) if part))
