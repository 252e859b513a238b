"""The SCI score of ISO/IEC 21031: ``(E * I + M) / R``, grams of CO2 equivalent a functional unit.

E is the energy in kWh, I the carbon intensity in g/kWh, M the share of the making of the machine in grams, R how many
functional units were served. Consumer (answering requests) and provider (training the model) are apart, and so are our
side and the remote side of a call: they are never added up. What is unknown stays unknown: without I or M there is no
score, and the reason says which; the part that is known is named apart and is no SCI score.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wattbus.energy.record import EnergyRecord, Scope
from wattbus.errors import BadRequest
from wattbus.export.boamps_groups import TRAINING_STAGES, Totals, add_up, group_records

CONSUMER, PROVIDER = "consumer", "provider"
JOULES_PER_KWH = 3_600_000
ALL_TIME_SECONDS = 10**9
_UNITS = {CONSUMER: "request", PROVIDER: "training"}


@dataclass(frozen=True)
class Embodied:
    """What the making of the machine cost, and over how many hours of use that is spread."""

    grams: float
    hours: float

    def share_grams(self, seconds: float) -> float:
        return self.grams * seconds / 3600 / self.hours


@dataclass(frozen=True)
class SciScore:
    """One score, or why there is none; ``operational_grams`` is ``E * I / R``, and no SCI score by itself."""

    boundary: str  # consumer or provider
    item: str
    model: str
    scope: str
    tier: str
    unit: str  # what R counts
    units: int
    energy_kwh: float
    intensity_g_per_kwh: float | None
    embodied_grams: float | None
    operational_grams: float | None
    grams: float | None
    reason: str | None = None


def sci(energy_kwh: float, intensity_g_per_kwh: float, embodied_grams: float, units: float) -> float:
    """Return the SCI score.

    >>> sci(0.05, 200.0, 2.0, 4)
    3.0
    """
    for name, value in (
        ("E", energy_kwh), ("I", intensity_g_per_kwh), ("M", embodied_grams)
    ):  # fmt: skip
        if not 0 <= value < float("inf"):
            raise BadRequest(f"{name} is {value}: the SCI score takes a figure of 0 or more.")
    if not 0 < units < float("inf"):
        raise BadRequest(f"R is {units}: the SCI score needs at least a part of one functional unit.")
    return (energy_kwh * intensity_g_per_kwh + embodied_grams) / units


def sci_scores(
    records: Iterable[EnergyRecord],
    *,
    embodied: Embodied | None = None,
    intensity_g_per_kwh: float | None = None,
) -> tuple[list[SciScore], dict[str, int]]:
    """Return a score an item, model, side and tier, and how many records are in none for which reason.

    ``intensity_g_per_kwh`` stands where the ledger reckoned with none. Of a remote side the machine is unknown, and
    with it M.
    """
    grouping = group_records(records, period_seconds=ALL_TIME_SECONDS)
    scores = []
    for group in grouping.groups:
        first = group.records[0]
        boundary = PROVIDER if group.facts.stage in TRAINING_STAGES else CONSUMER
        units = 1 if boundary == PROVIDER else group.facts.requests or len(group.records)
        totals = add_up(group.records)
        scores.append(_score(first, boundary, units, totals, embodied, intensity_g_per_kwh))
    skipped: dict[str, int] = {}
    for _, reason in grouping.skipped:
        skipped[reason] = skipped.get(reason, 0) + 1
    return scores, skipped


def _score(
    record: EnergyRecord,
    boundary: str,
    units: int,
    totals: Totals,
    embodied: Embodied | None,
    intensity_g_per_kwh: float | None,
) -> SciScore:
    energy = totals.energy_joules / JOULES_PER_KWH
    intensity = totals.carbon_intensity_g_per_kwh
    if intensity is None and totals.scope is not Scope.REMOTE:
        intensity = intensity_g_per_kwh
    made = None
    if embodied is not None and totals.busy_seconds is not None and totals.scope is not Scope.REMOTE:
        made = embodied.share_grams(totals.busy_seconds)
    known = intensity is not None and made is not None
    return SciScore(
        boundary=boundary,
        item=record.item,
        model=record.model or "",
        scope=totals.scope.value,
        tier=totals.tier.value,
        unit=_UNITS[boundary],
        units=units,
        energy_kwh=energy,
        intensity_g_per_kwh=intensity,
        embodied_grams=made,
        operational_grams=None if intensity is None else energy * intensity / units,
        grams=sci(energy, intensity, made, units) if intensity is not None and made is not None else None,
        reason=None if known else _why(totals.scope, intensity, made),
    )


def _why(scope: Scope, intensity: float | None, made: float | None) -> str:
    if scope is Scope.REMOTE:
        return "the machine and the power of a remote service are not known"
    missing = []
    if intensity is None:
        missing.append("I: set WATTBUS_COUNTRY or WATTBUS_CARBON_G_PER_KWH")
    if made is None:
        missing.append("M: give --embodied-grams and --embodied-hours")
    return "unknown " + " and ".join(missing)
