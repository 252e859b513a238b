"""Compare models: energy against quality, by groups that can be compared, with the Pareto front of each marked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from sqlalchemy import Engine

from wattbus.energy.advice import machine_in_words
from wattbus.energy.figures import RunFigures
from wattbus.energy.hardware import read_machine
from wattbus.energy.label import labels_of
from wattbus.energy.record import Tier
from wattbus.labels.headline import UNITS, figures_of_label, headline_of
from wattbus.labels.history import list_evaluations
from wattbus.labels.own_runs import completed
from wattbus.store.energy_queries import newest_records

if TYPE_CHECKING:
    from wattbus.ml.models import ModelStore

_LISTED_RECORDS = 2_000

APART = (
    "Figures of unlike tasks, tiers, hardware or batch are not comparable: "
    + "each group stands for itself, with a front of its own."
)


@dataclass(frozen=True)
class Compared:
    """One model in a comparison; ``front``: no other one of its group is better in one and as good in the other."""

    name: str
    address: str
    energy: float | None
    low: float | None
    high: float | None
    unit: str
    quality: float | None
    tier: str
    task: str
    hardware: str
    batch: str
    source: str
    front: bool = False
    missing: str = ""

    @property
    def group(self) -> tuple[str, str, str, str, str, str]:
        """Return what has to be the same for two to be compared."""
        return self.task, self.unit, self.tier, self.hardware, self.batch, self.source


@dataclass(frozen=True)
class ComparedGroup:
    """Models that can be compared, the most frugal first."""

    title: str
    unit: str
    tier: str
    points: tuple[Compared, ...]


@dataclass(frozen=True)
class Comparison:
    """The groups, and apart from them what cannot be placed, each with its reason."""

    groups: tuple[ComparedGroup, ...]
    unplaced: tuple[Compared, ...]
    note: str = APART


def compared(name: str, address: str, figures: RunFigures) -> Compared:
    """Return a run as it stands in a comparison."""
    headline = headline_of(figures)
    reasons = []
    if headline.value is None:
        reasons.append(f"its energy is not known ({headline.missing})")
    elif headline.value <= 0:
        reasons.append("its energy is not above 0")
    elif figures.tier is Tier.NONE:
        reasons.append("its energy has no tier")
    if figures.accuracy is None:
        reasons.append("its quality is not known")
    return Compared(
        name, address, headline.value, headline.tier_low, headline.tier_high, UNITS[headline.metric],
        figures.accuracy, figures.tier.value, figures.task or "", figures.hardware or "",
        "" if figures.batch_size is None else str(figures.batch_size), figures.source.value,
        missing=" and ".join(reasons),
    )  # fmt: skip


def compared_models(engine: Engine | None, models: ModelStore) -> list[Compared]:
    """Return what stands in the comparison: our models by their stored attempts, and the kept evaluations."""
    if engine is None:
        return []
    records = newest_records(engine, limit=_LISTED_RECORDS)
    hardware = machine_in_words(read_machine())
    found = []
    for name in sorted({one.model for one in records if one.model}):
        for label in labels_of(name, records):
            figures = completed(figures_of_label(label, hardware), models)
            found.append(compared(figures.name, f"/energy/models/{quote(name, safe='/')}", figures))
    return found + [
        compared(one.name, one.address, one.evaluation.figures) for one in list_evaluations(engine)
    ]


def compare(models: Iterable[Compared]) -> Comparison:
    """Place models in groups and mark the front of each."""
    groups: dict[tuple[str, ...], list[Compared]] = {}
    unplaced = []
    for one in models:
        if one.missing:
            unplaced.append(one)
        else:
            groups.setdefault(one.group, []).append(one)
    return Comparison(tuple(_group(points) for points in groups.values()), tuple(unplaced))


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Tell of each (energy, quality) whether no other is at least as good in both and better in one.

    >>> pareto([(1.0, 0.8), (2.0, 0.9), (2.0, 0.8), (1.0, 0.8)])
    [True, True, False, True]
    """
    front = set()
    best = float("-inf")
    for energy, quality in sorted(set(points), key=lambda one: (one[0], -one[1])):
        if quality > best:
            front.add((energy, quality))
            best = quality
    return [point in front for point in points]


def _group(points: list[Compared]) -> ComparedGroup:
    marks = pareto([(one.energy or 0.0, one.quality or 0.0) for one in points])
    marked = [replace(one, front=mark) for one, mark in zip(points, marks, strict=True)]
    first = points[0]
    parts = (
        first.task or "task not stated", f"tier {first.tier}", first.hardware or "hardware not stated",
        f"batch of {first.batch}" if first.batch else "", "" if first.source == "ledger" else f"source: {first.source}",
    )  # fmt: skip
    return ComparedGroup(
        ", ".join(part for part in parts if part), first.unit, first.tier,
        tuple(sorted(marked, key=lambda one: (one.energy or 0.0, -(one.quality or 0.0), one.name))),
    )  # fmt: skip
