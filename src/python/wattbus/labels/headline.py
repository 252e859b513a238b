"""The headline of the default profile: one absolute figure with its bounds, and the letter that these allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from wattbus.energy.figures import RunFigures, Source, Stage
from wattbus.energy.label import FEWEST_RUNS, JOULES_PER_WH, ModelLabel, half_width
from wattbus.energy.record import Scope, Tier
from wattbus.energy.tiers import SCOPES
from wattbus.labels.builtin import KWH_PER_TRAINING, WH_PER_1000, WH_PER_1000_TOKENS
from wattbus.labels.face import NO_REFERENCE
from wattbus.labels.gaissa import class_of
from wattbus.labels.profile import LabelProfile, Metric
from wattbus.labels.values import values_of

UNITS = {
    WH_PER_1000: "Wh for 1,000 inferences",
    WH_PER_1000_TOKENS: "Wh for 1,000 tokens",
    KWH_PER_TRAINING: "kWh for the training",
}
#: Tasks whose inferences differ so much in length that a token is the unit.
BY_TOKENS = frozenset({"text-generation"})
#: Their bounds are around a guess, so that they say which order of magnitude it is, and not which class.
NO_LETTER_TIERS = {
    Tier.MODELLED_GENERIC: "its bounds are around a guessed rated power",
    Tier.ESTIMATED_REMOTE: "it is estimated for somebody else's machine",
}


@dataclass(frozen=True)
class Headline:
    """The figure. ``low`` and ``high`` are the 95 % interval of the mean of the runs, the others the tier's bounds."""

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    tier_low: float | None = None
    tier_high: float | None = None
    tier: str = Tier.NONE.value
    runs: int = 1
    attempts: int = 1
    missing: str = ""

    @property
    def unit(self) -> str:
        return UNITS[self.metric]


@dataclass(frozen=True)
class Letter:
    """A letter, or why there is none; ``span`` are the classes that the bounds reach, such as C to E."""

    letter: str | None
    reason: str = ""
    span: str = ""


def metric_of(stage: Stage, task: str | None) -> str:
    """Return which metric is the headline of a task."""
    if stage is Stage.TRAINING:
        return KWH_PER_TRAINING
    return WH_PER_1000_TOKENS if task in BY_TOKENS else WH_PER_1000


def headline_of(run: RunFigures, repeats: Sequence[RunFigures] = ()) -> Headline:
    """Return the headline of a run; with repeats of it, their spread gives the interval."""
    metric = metric_of(run.stage, run.task)
    found = values_of(run)[metric]
    scale = _scale(metric, run)
    low = high = None
    if found.value is not None and len(repeats) >= FEWEST_RUNS:
        values = [values_of(one)[metric].value for one in repeats]
        weights = [
            float((one.tokens if metric == WH_PER_1000_TOKENS else one.requests) or 1) for one in repeats
        ]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            half = half_width(known, weights, found.value)
            low, high = max(0.0, found.value - half), found.value + half
    return Headline(
        metric, found.value, low, high,
        _times(run.low_joules, scale), _times(run.high_joules, scale), run.tier.value,
        max(1, len(repeats)), max(1, len(repeats)), found.missing,
    )  # fmt: skip


def headline_of_label(label: ModelLabel) -> Headline:
    """Return the headline of a model's stored attempts."""
    metric = metric_of(Stage.INFERENCE, label.task)
    scale: float | None = 1.0
    missing = label.missing
    if metric == WH_PER_1000_TOKENS:
        scale = label.requests / label.tokens if label.tokens else None
        if scale is None and not missing:
            missing = "its attempts do not say how many tokens they wrote"
    value, low, high, tier_low, tier_high = (
        _times(one, scale)
        for one in (label.wh, label.low_wh, label.high_wh, label.tier_low_wh, label.tier_high_wh)
    )
    return Headline(
        metric, value, low, high, tier_low, tier_high, label.tier, label.runs, label.attempts, missing
    )


def figures_of_label(label: ModelLabel, hardware: str) -> RunFigures:
    """Return a model's stored attempts together as the figures of one run."""
    joules = JOULES_PER_WH / 1000 * label.requests
    return RunFigures(
        name=f"{label.model} {label.revision or ''}".strip(),
        stage=Stage.INFERENCE,
        source=Source.LEDGER,
        origin=f"{label.runs} attempts of {label.model}, metered by wattbus",
        model=label.model,
        revision=label.revision,
        task=label.task,
        measured_at_us=label.newest_us,
        energy_joules=_times(label.wh, joules),
        low_joules=_times(label.tier_low_wh, joules),
        high_joules=_times(label.tier_high_wh, joules),
        tier=Tier(label.tier),
        cpu_seconds=_times(label.cpu_seconds, label.requests / 1000),
        requests=label.requests or None,
        tokens=label.tokens,
        hardware=hardware
        if label.scope == Scope.LOCAL
        else f"{SCOPES.get(label.scope, label.scope)}, {hardware}",
        precision=label.precision,
    )


def letter_of(profile: LabelProfile, headline: Headline, task: str | None) -> Letter:
    """Return the letter that a headline figure gets.

    Its bounds, those of the runs and those of the tier together, may touch one class more than its own: then the
    reason names it. Where they reach further, there is no letter, and the classes that they reach are told.
    """
    if headline.value is None:
        return Letter(None, headline.missing)
    metric = next((one for one in profile.metrics_for(task) if one.id == headline.metric and one.task), None)
    metric = metric or next((one for one in profile.metrics_for(task) if one.id == headline.metric), None)
    if metric is None:
        return Letter(None, NO_REFERENCE)
    if headline.value <= 0:
        return Letter(None, "the figure is not above 0, and no work takes no energy")
    if headline.tier == Tier.NONE:
        return Letter(None, "the figure has no tier, so nothing says how far to trust it")
    return _bounded_letter(profile, metric, headline)


def _bounded_letter(profile: LabelProfile, metric: Metric, headline: Headline) -> Letter:
    assert headline.value is not None
    known = [
        one
        for one in (headline.value, headline.low, headline.high, headline.tier_low, headline.tier_high)
        if one is not None and one > 0
    ]
    best, own, worst = (
        class_of(metric, one, profile.classes) for one in (min(known), headline.value, max(known))
    )
    span = own if best == worst else f"{best} to {worst}"
    if headline.tier in NO_LETTER_TIERS:
        return Letter(
            None, f"no letter on the tier {headline.tier}: {NO_LETTER_TIERS[Tier(headline.tier)]}", span
        )
    if headline.tier_low is None or headline.tier_high is None:
        return Letter(None, "the bounds of the figure are not known, so it has no letter", span)
    if best == worst:
        return Letter(own, "", span)
    reached = profile.classes[profile.classes.index(best) : profile.classes.index(worst) + 1]
    if len(reached) > 2:
        return Letter(None, f"the bounds reach from {best} to {worst}, too far for a letter", span)
    return Letter(own, f"the bounds reach into {reached.replace(own, '')}", span)


def _scale(metric: str, run: RunFigures) -> float | None:
    """Return what makes joules of the run into the unit of the metric."""
    if metric == KWH_PER_TRAINING:
        return 1 / (JOULES_PER_WH * 1000)
    count = run.tokens if metric == WH_PER_1000_TOKENS else run.requests
    return 1000 / JOULES_PER_WH / count if count else None


def _times(value: float | None, scale: float | None) -> float | None:
    if value is None or scale is None:
        return None
    found = value * scale
    return found if math.isfinite(found) else None
