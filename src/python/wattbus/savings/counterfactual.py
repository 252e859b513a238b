"""The other way, as it was measured on a sample: kept as a document, and used for runs of the same model size."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import Engine

from wattbus.energy.record import EnergyRecord, Tier
from wattbus.store.documents import LONGEST_NAME, list_documents

#: The kind of the documents.
KIND = "savings-sample"
#: Figures of a hardware counter: they stand beside each other, whether the work ran alone or not.
COUNTED = frozenset({Tier.MEASURED, Tier.ATTRIBUTED})
_HASH = 8


@dataclass(frozen=True)
class Cost:
    """What one unit costs, the median of the repeats with the least and the most; joules None where one is unknown."""

    seconds: float
    low_seconds: float
    high_seconds: float
    joules: float | None = None
    low_joules: float | None = None
    high_joules: float | None = None


@dataclass(frozen=True)
class Counterfactual:
    """One sample: what was measured, where, on how much, how often, and what a unit of each part costs."""

    shape: str
    machine: str
    way: str  # in words, what was done
    sample: str  # in words, on what
    rows: int
    repeats: int
    tier: Tier
    costs: dict[str, Cost]  # by part
    why_no_joules: str = ""

    def to_content(self) -> dict[str, Any]:
        """Return the sample as JSON values."""
        return asdict(self)

    @property
    def name(self) -> str:
        """The name of its document: the shape on this machine."""
        return document_name(self.shape, self.machine)


def from_content(content: dict[str, Any]) -> Counterfactual:
    """Rebuild what :meth:`Counterfactual.to_content` gave; a field of a later release is left out."""
    known = {one.name for one in fields(Counterfactual)}
    values = {name: value for name, value in content.items() if name in known}
    values["tier"] = Tier(values["tier"])
    values["costs"] = {part: Cost(**cost) for part, cost in values["costs"].items()}
    return Counterfactual(**values)


def document_name(shape: str, machine: str) -> str:
    """Return the name under which a shape is kept for a machine: another machine's figures are not this one's."""
    mark = hashlib.sha256(f"{shape}\n{machine}".encode()).hexdigest()[:_HASH]
    return f"{shape[: LONGEST_NAME - _HASH - 3]} @ {mark}"


@dataclass(frozen=True)
class KeptSample:
    """A sample with its date and version."""

    found: Counterfactual
    version: int
    made_us: int


def kept_samples(engine: Engine | None, machine: str) -> dict[str, KeptSample]:
    """Return the newest sample of each shape that was measured on this machine, by shape."""
    if engine is None:
        return {}
    kept = [
        KeptSample(from_content(one.content), one.version, one.made_us)
        for one in list_documents(engine, KIND)
    ]
    return {one.found.shape: one for one in kept if one.found.machine == machine}


def cost_of(records: Sequence[EnergyRecord], units: int) -> Cost:
    """Return the cost of a unit from the records of the repeats, each of so many units.

    >>> cost_of([EnergyRecord(0, n, "", 0, float(n), energy_joules=10.0 * n, tier=Tier.MODELLED) for n in (1, 2, 6)], 2)
    Cost(seconds=1.0, low_seconds=0.5, high_seconds=3.0, joules=10.0, low_joules=5.0, high_joules=30.0)
    """
    seconds = [(one.duration_seconds or 0.0) / units for one in records]
    joules = [one.energy_joules / units for one in records if one.energy_joules is not None]
    if len(joules) < len(records) or tier_of(records) is Tier.NONE:
        return Cost(*_spread(seconds))
    return Cost(*_spread(seconds), *_spread(joules))


def tier_of(records: Sequence[EnergyRecord]) -> Tier:
    """Return the tier of repeats; of those that a counter read, alone and shared, the weaker; NONE for unlike ones."""
    tiers = {one.tier for one in records}
    if len(tiers) == 1:
        return tiers.pop()
    return Tier.ATTRIBUTED if tiers and tiers <= COUNTED else Tier.NONE


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)
