"""An evaluation: one run graded with one version of a profile; it is kept, and shown again as it was graded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from wattbus.energy.figures import RunFigures, Source, Stage, figures_from_content
from wattbus.errors import BadRequest
from wattbus.labels import gaissa
from wattbus.labels.headline import Headline, headline_of, letter_of
from wattbus.labels.profile import Direction, LabelProfile, Metric, Rule, number
from wattbus.labels.profiles import KeptProfile
from wattbus.labels.values import Value, values_of

#: So large a value is a wrong unit, and no chart can show it.
LARGEST_VALUE = 1e30


@dataclass(frozen=True)
class Grade:
    """One metric of an evaluation; without a value there is no letter, and ``missing`` says why."""

    metric: str
    name: str
    unit: str
    direction: str
    weight: float
    value: float | None
    letter: str | None
    missing: str
    interval: str  # the values of its class, in words
    text: str
    recommendation: str


@dataclass(frozen=True)
class Evaluation:
    """What a profile says of a run. ``measurement`` holds how a measurement of ours went, where it was one."""

    profile: str
    profile_version: int
    rule: str
    classes: str
    figures: RunFigures
    letter: str | None
    reason: str
    span: str
    grades: tuple[Grade, ...]
    headline: Headline | None = None
    measurement: dict[str, Any] | None = None

    @property
    def missing(self) -> list[str]:
        """Return the names of the metrics that have no value."""
        return [one.name for one in self.grades if one.value is None]

    def to_content(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "figures": self.figures.to_content()}


def evaluation_from_content(content: Mapping[str, Any]) -> Evaluation:
    """Rebuild a kept evaluation, graded as it was then."""
    headline = content.get("headline")
    return Evaluation(
        **{
            **content,
            "figures": figures_from_content(content["figures"]),
            "grades": tuple(Grade(**one) for one in content["grades"]),
            "headline": None if headline is None else Headline(**headline),
        }
    )


def evaluate(kept: KeptProfile, figures: RunFigures, repeats: Sequence[RunFigures] = ()) -> Evaluation:
    """Grade a run; BadRequest for a value that cannot be, such as emissions of 0."""
    profile = kept.profile
    check_stage(kept, figures)
    check(figures)
    if profile.rule is Rule.HEADLINE:
        return _headlined(kept, figures, repeats)
    values = values_of(figures)
    grades = tuple(
        _grade(profile, metric, values.get(metric.id, Value(None, "no value was given")))
        for metric in profile.metrics_for(figures.task)
    )
    letter = gaissa.compound_of([(one.letter, one.weight) for one in grades if one.letter], profile.classes)
    return Evaluation(
        profile.name, kept.version, profile.rule.value, profile.classes, figures,
        letter, _why_none(profile, grades, letter), letter or "", grades,
    )  # fmt: skip


def _why_none(profile: LabelProfile, grades: Sequence[Grade], letter: str | None) -> str:
    missing = sum(one.value is None for one in grades)
    if letter is not None:
        return f"made of {len(grades) - missing} of {len(grades)} metrics" if missing else ""
    if missing == len(grades):
        return f"no value is known of any of the {len(grades)} metrics of {profile.name}"
    return "only metrics of the weight 0 have a value"


def _headlined(kept: KeptProfile, figures: RunFigures, repeats: Sequence[RunFigures]) -> Evaluation:
    profile, headline = kept.profile, headline_of(figures, repeats)
    letter = letter_of(profile, headline, figures.task)
    return Evaluation(
        profile.name, kept.version, profile.rule.value, profile.classes, figures,
        letter.letter, letter.reason, letter.span, (), headline,
    )  # fmt: skip


def _grade(profile: LabelProfile, metric: Metric, found: Value) -> Grade:
    letter, interval = None, ""
    if found.value is not None:
        check_value(metric, found.value)
        letter = gaissa.class_of(metric, found.value, profile.classes)
        interval = next(one.in_words for one in metric.intervals if one.letter == letter)
    return Grade(
        metric.key, metric.name, metric.unit, metric.direction.value, metric.weight,
        found.value, letter, "" if found.value is not None else found.missing, interval, metric.text,
        "" if letter in (None, profile.classes[0]) else metric.recommendation,
    )  # fmt: skip


def check_stage(kept: KeptProfile, figures: RunFigures) -> None:
    """Refuse to grade a training as an inference, or the other way round."""
    stage = kept.profile.stage
    if stage is not None and stage is not figures.stage:
        raise BadRequest(
            f"the profile {kept.profile.name} grades a model's {stage}, and this is about its {figures.stage}: choose "
            "another profile."
        )


def check(figures: RunFigures) -> None:
    """Refuse figures that cannot be: not a number, negative, or 0 where work was done."""
    for name in (
        "energy_joules",
        "carbon_grams",
        "duration_seconds",
        "requests",
        "parameters",
        "size_bytes",
        "flops",
    ):
        value = getattr(figures, name)
        if value is not None and not 0 < value <= LARGEST_VALUE:
            shown = name.replace("_", " ")
            raise BadRequest(
                f"{shown} of {figures.name} is {number(value)}, and has to be above 0: "
                "leave it out where it is not known."
            )
    if figures.accuracy is not None and not 0 <= figures.accuracy <= 1:
        raise BadRequest(
            f"the accuracy of {figures.name} is {number(figures.accuracy)}: give it from 0 to 1."
        )


def check_value(metric: Metric, value: float) -> None:
    """Refuse no number, and a value off the good end: GAISSA's rule would grade it as the worst."""
    shown = f"{metric.key} is {number(value)}{' ' + metric.unit if metric.unit else ''}"
    if not abs(value) <= LARGEST_VALUE:
        raise BadRequest(f"{shown}: give a finite number, or leave it out where it is not known.")
    low = min(one.bounds[0] for one in metric.intervals)
    high = max(one.bounds[1] for one in metric.intervals)
    if metric.direction is Direction.LOWER and value <= low:
        raise BadRequest(
            f"{shown}, and the values of this metric lie above {number(low)}: leave it out where it is not known."
        )
    if metric.direction is Direction.HIGHER and (value > high or value < low):
        raise BadRequest(
            f"{shown}, and the values of this metric lie between {number(low)} and {number(high)}: check the unit, or "
            "leave it out where it is not known."
        )


def typed_values(kept: KeptProfile, given: Mapping[str, str]) -> dict[str, float]:
    """Read the metrics that somebody typed; an empty one is left out."""
    known = {metric.id: metric for metric in kept.profile.metrics}
    values: dict[str, float] = {}
    for name, text in given.items():
        metric = known.get(name) or kept.profile.metric(name)
        if not text.strip():
            continue
        try:
            values[name] = float(text.strip().replace("_", ""))
        except ValueError:
            raise BadRequest(
                f"{name} is {text.strip()[:40]!r}: give a number, with a point for the decimals."
            ) from None
        check_value(metric, values[name])
    return values


def typed_figures(
    kept: KeptProfile, given: Mapping[str, str], by: str, *, name: str = "", model: str = "", task: str = ""
) -> RunFigures:
    """Return the figures that somebody typed for a profile."""
    values = typed_values(kept, given)
    if not values:
        raise BadRequest("no value was given: type at least one metric, or choose a run.")
    return RunFigures(
        name=name.strip() or model.strip() or "typed figures",
        stage=kept.profile.stage or Stage.INFERENCE,
        source=Source.TYPED,
        origin=f"typed by {by}" if by else "typed",
        model=model.strip() or None,
        task=task.strip() or None,
        extra=values,
    )


def with_measurement(evaluation: Evaluation, measurement: dict[str, Any]) -> Evaluation:
    """Return the evaluation with how its figures were measured."""
    return replace(evaluation, measurement=measurement)
