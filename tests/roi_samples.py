"""Analyses and runs for the tests of returns on investment."""

from __future__ import annotations

from typing import Any

from wattbus.energy.figures import RunFigures, Source, Stage
from wattbus.energy.record import Tier
from wattbus.roi.analysis import Analysis
from wattbus.roi.given import Draft
from wattbus.roi.sources import analysed

#: The two cases of GAISSA's analyzer that are known by their results.
LOSES: dict[str, Any] = {
    "name": "loses", "tactic": "quantise", "before": {"joules": 500}, "after": {"reduction": 0.25},
    "cost": 1000, "price_per_kwh": 0.20, "units": 10**8,
}  # fmt: skip
PAYS: dict[str, Any] = {
    "name": "pays", "tactic": "quantise", "before": {"joules": 3.6e6}, "after": {"reduction": 0.5},
    "cost": 10, "price_per_kwh": 0.15, "units": 1000,
}  # fmt: skip


def typed(**changes: Any) -> Analysis:
    """Return the analysis that pays, with some fields changed; it needs no store."""
    return analysed(Draft.model_validate({**PAYS, **changes}))


def run(name: str, joules: float | None, **changes: Any) -> RunFigures:
    """Return a run of 1,000 inferences of ours."""
    values: dict[str, Any] = {
        "name": name, "stage": Stage.INFERENCE, "source": Source.LEDGER, "origin": f"the run {name}",
        "energy_joules": joules, "tier": Tier.MODELLED, "method": "cpu load", "requests": 1000,
    }  # fmt: skip
    if joules is not None:
        values |= {"low_joules": joules / 4, "high_joules": joules * 2}
    return RunFigures(**{**values, **changes})
