"""Faces: what stands on the label of an evaluation, and on that of a model's stored attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from wattbus import words
from wattbus.energy.figures import RunFigures, Source, Stage
from wattbus.energy.label import ModelLabel
from wattbus.energy.tiers import SCOPES
from wattbus.labels.evaluate import Evaluation, Grade
from wattbus.labels.face import FaceClass, LabelFace
from wattbus.labels.headline import Headline, headline_of, headline_of_label, letter_of
from wattbus.labels.history import KeptEvaluation
from wattbus.labels.profiles import KeptProfile

#: A label has room for so many metrics; those with the most weight stand on it.
MOST_CLASSES = 8
_SOURCES = {
    Source.LEDGER: "metered by wattbus",
    Source.IMPORTED: "imported, not metered by wattbus",
    Source.ENDPOINT: "the response time of an endpoint; energy only where it says so",
    Source.PROVIDER: "declared by its provider, not measured here",
    Source.TYPED: "typed in, not measured here",
}


def face_of(kept: KeptEvaluation) -> LabelFace:
    """Return the face of a kept evaluation."""
    one = kept.evaluation
    figures = one.figures
    headline = one.headline or headline_of(figures)
    return LabelFace(
        model=figures.model or figures.name,
        version=figures.revision or "",
        stage=figures.stage.value,
        task=figures.task or "",
        profile=f"{one.profile}@{one.profile_version}",
        headline=_figure(headline),
        unit="" if headline.value is None else headline.unit,
        interval=_interval(headline),
        bounds=_bounds(headline),
        letter=one.letter,
        reason=one.reason,
        scale=one.classes,
        span=one.span if one.letter is None else "",
        tier=headline.tier,
        coverage=_coverage(one),
        classes=tuple(_class(grade) for grade in _weightiest(one.grades)),
        lines=_lines(figures, one.measurement),
        quality=_quality(figures.accuracy),
        record=f"label {kept.name}@{kept.version}",
        address=kept.address,
        machine=_machine(one, headline, kept),
    )


def face_of_label(
    label: ModelLabel, kept: KeptProfile, hardware: str, accuracy: float | None = None
) -> LabelFace:
    """Return the face of what a model's stored attempts say."""
    headline = headline_of_label(label)
    letter = letter_of(kept.profile, headline, label.task)
    covered = f"energy known of {label.runs:,} of {label.attempts:,} attempts ({100 * label.coverage:.0f} %)"
    lines = (
        (SCOPES.get(label.scope, label.scope), hardware),
        ("precision", label.precision or ""),
        ("newest attempt", words.utc_time(label.newest_us)[:10]),
    )
    return LabelFace(
        model=label.model,
        version=label.revision or "",
        stage=Stage.INFERENCE.value,
        task=label.task or "",
        profile=kept.title,
        headline=_figure(headline),
        unit="" if headline.value is None else headline.unit,
        interval=_interval(headline),
        bounds=_bounds(headline),
        letter=letter.letter,
        reason=letter.reason,
        scale=kept.profile.classes,
        span=letter.span if letter.letter is None else "",
        tier=label.tier,
        coverage=covered,
        lines=tuple(line for line in lines if line[1]),
        quality=_quality(accuracy),
        record=f"model {label.model}",
        address=f"/energy/models/{quote(label.model, safe='/')}",
        machine={
            "model": label.model, "revision": label.revision, "task": label.task, "profile": kept.title,
            "metric": headline.metric, "unit": headline.unit, "value": headline.value, "low": headline.low,
            "high": headline.high, "tier_low": headline.tier_low, "tier_high": headline.tier_high, "tier": label.tier,
            "letter": letter.letter, "span": letter.span, "reason": letter.reason, "runs": label.runs,
            "attempts": label.attempts, "requests": label.requests, "scope": label.scope, "hardware": hardware,
            "precision": label.precision, "accuracy": accuracy, "newest_us": label.newest_us,
        },
    )  # fmt: skip


def amount(value: float | None, tier: str) -> str:
    """Show a figure: three significant digits where it was measured, else two.

    >>> amount(0.0482731, "modelled-generic"), amount(1234.5, "modelled"), amount(2.0, "measured"), amount(None, "none")
    ('0.048', '1,200', '2', '—')
    """
    if value is None:
        return words.UNKNOWN
    rounded = float(f"{value:.{3 if tier == 'measured' else 2}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:.3g}"


def plain_number(value: float | None) -> str:
    """Show the value of a metric.

    >>> plain_number(66_000_000.0), plain_number(0.05), plain_number(2.5e12), plain_number(None)
    ('66,000,000', '0.05', '2.5e+12', '—')
    """
    if value is None:
        return words.UNKNOWN
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e12 else f"{value:.4g}"


def _coverage(one: Evaluation) -> str:
    """Say whose figures they are, and of how many repeats of a measurement the energy is known."""
    repeats = (one.measurement or {}).get("repeats", ())
    if not repeats or one.figures.source is not Source.LEDGER:
        return _SOURCES[one.figures.source]
    known = sum("energy_joules" in repeat for repeat in repeats)
    return f"energy known of {known} of {len(repeats)} repeats; {_SOURCES[one.figures.source]}"


def _figure(headline: Headline) -> str:
    return headline.missing if headline.value is None else amount(headline.value, headline.tier)


def _interval(headline: Headline) -> str:
    if headline.low is None or headline.high is None:
        return ""
    low, high = (amount(one, headline.tier) for one in (headline.low, headline.high))
    return f"95 % interval of {words.counted(headline.runs, 'run')}: {low} to {high}"


def _bounds(headline: Headline) -> str:
    if headline.tier_low is None or headline.tier_high is None:
        return ""
    low, high = (amount(one, headline.tier) for one in (headline.tier_low, headline.tier_high))
    return f"bounds of the tier: {low} to {high}"


def _class(grade: Grade) -> FaceClass:
    value = f"{plain_number(grade.value)} {grade.unit}".strip() if grade.value is not None else words.UNKNOWN
    return FaceClass(grade.name, value, grade.letter, grade.missing)


def _weightiest(grades: Sequence[Grade]) -> list[Grade]:
    heaviest = sorted(grades, key=lambda one: (one.value is None, -one.weight))[:MOST_CLASSES]
    return [one for one in grades if one in heaviest]


def _quality(accuracy: float | None) -> tuple[tuple[str, str], ...]:
    return () if accuracy is None else (("accuracy", f"{accuracy:.3f}"),)


def _lines(figures: RunFigures, measurement: dict[str, Any] | None) -> tuple[tuple[str, str], ...]:
    grams = figures.carbon_grams
    found = (
        ("hardware", figures.hardware),
        ("precision", figures.precision),
        ("batch", None if figures.batch_size is None else str(figures.batch_size)),
        ("inferences", None if figures.requests is None else f"{figures.requests:,}"),
        ("measured", None if figures.measured_at_us is None else words.utc_time(figures.measured_at_us)[:10]),
        ("emissions", None if grams is None else f"{plain_number(grams)} g CO2e"),
        ("electricity", figures.carbon_source or figures.country),
        ("source", figures.origin),
        *((str(name), str(value)) for name, value in (measurement or {}).get("lines", ())),
    )
    return tuple((name, value) for name, value in found if value)


def _machine(one: Evaluation, headline: Headline, kept: KeptEvaluation) -> dict[str, Any]:
    return {
        "record": {"name": kept.name, "version": kept.version, "made_us": kept.made_us},
        "profile": {"name": one.profile, "version": one.profile_version},
        "letter": one.letter,
        "reason": one.reason,
        "span": one.span,
        "headline": {
            "metric": headline.metric, "unit": headline.unit, "value": headline.value, "low": headline.low,
            "high": headline.high, "tier_low": headline.tier_low, "tier_high": headline.tier_high,
            "tier": headline.tier, "runs": headline.runs,
        },
        "metrics": {
            grade.metric: {"value": grade.value, "unit": grade.unit, "letter": grade.letter, "weight": grade.weight}
            for grade in one.grades
        },
        "figures": one.figures.to_content(),
    }  # fmt: skip
