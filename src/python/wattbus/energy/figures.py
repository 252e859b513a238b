"""The figures of one training or inference run, from any source: what labels, comparisons and returns are made of.

A stored run of ours, an ``emissions.csv``, a BoAmps report, an endpoint that was asked, a form that was filled in:
each becomes one :class:`RunFigures`, which says where it came from and how far it can be trusted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from wattbus.energy.record import Tier


class Stage(StrEnum):
    """What the run did with the model."""

    TRAINING = "training"
    INFERENCE = "inference"


class Source(StrEnum):
    """Who says so. Only ``LEDGER`` was metered by wattbus; what a provider or a person declares is kept apart."""

    LEDGER = "ledger"
    IMPORTED = "imported"
    ENDPOINT = "endpoint"
    PROVIDER = "provider"
    TYPED = "typed"


@dataclass(frozen=True)
class RunFigures:
    """One run. Unknown is None, never 0; a figure of a whole run is not divided by its requests.

    ``extra`` holds what else was measured, by the id of a metric of a label profile.
    """

    name: str
    stage: Stage
    source: Source
    origin: str  # in words: "message 12", "emissions.csv, run 5b0f", "typed by ann"
    model: str | None = None
    revision: str | None = None
    task: str | None = None  # a pipeline's task, such as text-classification
    measured_at_us: int | None = None  # UTC, microseconds since the epoch
    energy_joules: float | None = None
    low_joules: float | None = None
    high_joules: float | None = None
    tier: Tier = Tier.NONE
    method: str | None = None
    carbon_grams: float | None = None
    carbon_intensity_g_per_kwh: float | None = None
    country: str | None = None  # ISO 3166 alpha-3
    carbon_source: str | None = None  # where the intensity is from, with its year
    duration_seconds: float | None = None
    cpu_seconds: float | None = None
    requests: int | None = None  # inferences answered
    tokens: int | None = None
    parameters: int | None = None
    size_bytes: int | None = None
    flops: float | None = None  # floating-point operations of one inference
    accuracy: float | None = None  # 0..1
    hardware: str | None = None
    precision: str | None = None
    batch_size: int | None = None
    extra: dict[str, float] = field(default_factory=dict)

    def to_content(self) -> dict[str, Any]:
        """Return the figures as JSON values, without what is unknown."""
        return {name: value for name, value in asdict(self).items() if value is not None and value != {}}


def figures_from_content(content: dict[str, Any]) -> RunFigures:
    """Rebuild the figures that :meth:`RunFigures.to_content` gave; a field of a later release is left out."""
    known = {one.name for one in fields(RunFigures)}
    values = {name: value for name, value in content.items() if name in known}
    values["stage"], values["source"] = Stage(values["stage"]), Source(values["source"])
    values["tier"] = Tier(values.get("tier", Tier.NONE))
    return RunFigures(**values)
