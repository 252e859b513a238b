"""The label of a model: watt-hours for 1,000 inferences, with the spread of its runs and what the figure is worth.

The default profile of wattbus: an absolute headline with its interval from repeats; coverage and tier stand on the
face of the label; no letter without a reference: ``wattbus.labels.headline`` gives those.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wattbus.energy.record import EnergyRecord, EnergyStatus, Scope

JOULES_PER_WH = 3600.0
FEWEST_RUNS = 3
NO_LETTER = "no reference, no letter"
# Student's t, 97.5 %, by degrees of freedom; beyond the table the normal distribution is near enough.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL = 1.960


@dataclass(frozen=True)
class ModelLabel:
    """What one version of a model uses for 1,000 inferences, on one tier and in one scope.

    ``wh`` is None with a sentence in ``missing``; ``low_wh`` and ``high_wh`` are the 95 % interval of the mean from the
    spread of the runs, ``tier_low_wh`` and ``tier_high_wh`` the bounds of the tier.
    """

    model: str
    revision: str | None
    scope: str
    tier: str
    runs: int
    attempts: int
    requests: int
    wh: float | None
    low_wh: float | None
    high_wh: float | None
    tier_low_wh: float | None
    tier_high_wh: float | None
    cpu_seconds: float | None
    precision: str | None
    newest_us: int
    missing: str
    letter: str = NO_LETTER
    task: str | None = None  # of the newest attempt that names one
    tokens: int | None = None  # that all runs together wrote; None where one of them does not say

    @property
    def coverage(self) -> float:
        """Return the share of the attempts whose energy is known."""
        return self.runs / self.attempts if self.attempts else 0.0


def labels_of(model: str, records: Iterable[EnergyRecord]) -> list[ModelLabel]:
    """Return a label for each version, scope and tier of a model's inferences, the newest first.

    An attempt without a figure has no tier: it counts to the coverage of each label of its version and scope.
    """
    asked = [
        one
        for one in records
        if one.model == model and one.facts is not None and one.facts.stage == "inference"
    ]
    asked = [one for one in asked if one.status is not EnergyStatus.PENDING]
    groups: dict[tuple[str | None, Scope, str], list[EnergyRecord]] = {}
    unknown: dict[tuple[str | None, Scope], list[EnergyRecord]] = {}
    for one in asked:
        if one.energy_joules is None:
            unknown.setdefault((one.revision, one.scope), []).append(one)
        else:
            groups.setdefault((one.revision, one.scope, one.tier), []).append(one)
    for revision, scope in unknown:
        if not any(key[:2] == (revision, scope) for key in groups):
            groups[revision, scope, "none"] = []
    labels = [_label(model, *key, known, unknown.get(key[:2], [])) for key, known in groups.items()]
    return sorted(labels, key=lambda label: label.newest_us, reverse=True)


def _label(
    model: str,
    revision: str | None,
    scope: Scope,
    tier: str,
    known: list[EnergyRecord],
    unknown: list[EnergyRecord],
) -> ModelLabel:
    requests = sum(_requests(one) for one in known)
    enough = len(known) >= FEWEST_RUNS
    wh = _per_thousand(sum(one.energy_joules or 0.0 for one in known), requests) if enough else None
    spread = _spread(known, wh)
    bounds = [
        _bound([getattr(one, name) for one in known], requests) for name in ("low_joules", "high_joules")
    ]
    seconds = [one.cpu_seconds for one in known if one.cpu_seconds is not None]
    everything = [*known, *unknown]
    return ModelLabel(
        model=model,
        revision=revision,
        scope=scope,
        tier=tier,
        runs=len(known),
        attempts=len(everything),
        requests=requests,
        wh=wh,
        low_wh=None if wh is None or spread is None else max(0.0, wh - spread),
        high_wh=None if wh is None or spread is None else wh + spread,
        tier_low_wh=bounds[0] if enough else None,
        tier_high_wh=bounds[1] if enough else None,
        cpu_seconds=sum(seconds) / requests * 1000 if enough and len(seconds) == len(known) else None,
        precision=next((one.facts.precision for one in reversed(everything) if one.facts), None),
        newest_us=max(one.started_at_us for one in everything),
        missing="" if enough else _too_few(len(known)),
        task=next((one.operation_kind for one in reversed(everything) if one.operation_kind), None),
        tokens=_tokens(known),
    )


def tokens_of(record: EnergyRecord) -> int | None:
    """Return how many tokens an attempt wrote; None where it does not say."""
    if record.facts is None:
        return None
    written = [one.items for one in record.facts.data if (one.usage, one.kind) == ("output", "token")]
    return sum(one or 0 for one in written) or None


def _tokens(records: list[EnergyRecord]) -> int | None:
    found = [tokens_of(one) for one in records]
    return sum(one or 0 for one in found) if found and None not in found else None


def _too_few(runs: int) -> str:
    return f"not enough runs: {runs} of known energy, {FEWEST_RUNS} are needed"


def _requests(record: EnergyRecord) -> int:
    return (record.facts.requests if record.facts is not None else None) or 1


def _per_thousand(joules: float, requests: int) -> float:
    return joules / JOULES_PER_WH / requests * 1000


def _bound(values: list[float | None], requests: int) -> float | None:
    known = [value for value in values if value is not None]
    return _per_thousand(sum(known), requests) if known and len(known) == len(values) else None


def _spread(records: list[EnergyRecord], mean: float | None) -> float | None:
    """Return half the width of the 95 % interval of the mean, each run weighted by its requests."""
    if mean is None:
        return None
    values = [_per_thousand(one.energy_joules or 0.0, _requests(one)) for one in records]
    return half_width(values, [float(_requests(one)) for one in records], mean)


def half_width(values: Sequence[float], weights: Sequence[float], mean: float) -> float:
    """Return half the width of the 95 % interval of a weighted mean, from the spread of two values or more."""
    total, runs = sum(weights), len(values)
    squares = sum(
        (weight / total * (value - mean)) ** 2 for value, weight in zip(values, weights, strict=True)
    )
    factor = _T[runs - 2] if runs - 2 < len(_T) else _NORMAL
    return factor * math.sqrt(squares * runs / (runs - 1))
