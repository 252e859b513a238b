"""A label profile: which metrics are graded, by which intervals and weights, as data that a person can edit."""

from __future__ import annotations

import itertools
import math
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from wattbus.energy.figures import Stage
from wattbus.errors import BadRequest, UnknownName

#: The scales that a profile may grade on, best class first.
SCALES = ("ABCDE", "ABCDEFG")
MOST_METRICS = 200
LARGEST_WEIGHT = 1_000_000

_Id = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
_Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=120)]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2_000)]


class Rule(StrEnum):
    """How a profile comes to its letter."""

    COMPOUND = "compound"  # GAISSA's: the weighted mean of the classes of all metrics
    HEADLINE = "headline"  # the class of the one figure that the task of the model is known for


class Direction(StrEnum):
    """Which values of a metric are the good ones."""

    LOWER = "lower"
    HIGHER = "higher"


class Interval(BaseModel):
    """The values of one class: above ``lower``, up to and with ``upper``; None is without a bound."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    letter: str
    lower: float | None = None
    upper: float | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """Return both bounds; what has none is infinite."""
        return (
            -math.inf if self.lower is None else self.lower,
            math.inf if self.upper is None else self.upper,
        )

    @property
    def in_words(self) -> str:
        """Say which values it holds."""
        if self.lower is None:
            return "all values" if self.upper is None else f"up to {grouped(self.upper)}"
        return f"above {grouped(self.lower)}" + ("" if self.upper is None else f" to {grouped(self.upper)}")


class Metric(BaseModel):
    """One thing that is graded. With a ``task`` it counts only for models of that task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: _Id
    name: _Line
    unit: _Line = ""
    direction: Direction
    weight: float = 1.0
    task: _Line = ""
    intervals: tuple[Interval, ...]
    text: _Text = ""
    recommendation: _Text = ""

    @property
    def key(self) -> str:
        """Return what tells it from the other metrics of its profile."""
        return f"{self.id} ({self.task})" if self.task else self.id

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if not 0 <= self.weight <= LARGEST_WEIGHT:
            raise ValueError(
                f"the weight of {self.key} is {number(self.weight)}: give a number from 0 to {LARGEST_WEIGHT:,}; "
                "0 shows the metric and leaves it out of the compound."
            )
        bounds = [bound for one in self.intervals for bound in (one.lower, one.upper) if bound is not None]
        if not all(math.isfinite(bound) for bound in bounds):
            raise ValueError(
                f"a bound of {self.key} is not a finite number: leave the field empty where a class has no bound."
            )
        for one in self.intervals:
            low, high = one.bounds
            if low >= high:
                raise ValueError(
                    f"the interval {one.letter} of {self.key} ends at {number(high)} and begins at {number(low)}: its "
                    "upper bound must be the larger one."
                )
        self._check_neighbours()
        return self

    def _check_neighbours(self) -> None:
        """Refuse gaps, overlaps, and classes that do not stand in the order of the direction."""
        rising = sorted(self.intervals, key=lambda one: one.bounds)
        for one, other in itertools.pairwise(rising):
            (_, end), (begin, _) = one.bounds, other.bounds
            if begin < end:
                raise ValueError(
                    f"the intervals {one.letter} and {other.letter} of {self.key} overlap between {number(begin)} and "
                    f"{number(end)}: let one begin where the other ends."
                )
            if begin > end:
                raise ValueError(
                    f"the intervals {one.letter} and {other.letter} of {self.key} leave a gap between "
                    f"{number(end)} and {number(begin)}: let one begin where the other ends."
                )
        letters = "".join(one.letter for one in rising)
        wanted = "".join(sorted(letters, reverse=self.direction is Direction.HIGHER))
        if letters != wanted:
            raise ValueError(
                f"{self.key} is better where it is {self.direction}, and its classes stand as {letters} from small to "
                f"large values: they have to stand as {wanted}."
            )


class LabelProfile(BaseModel):
    """A profile. A stored version of it never changes, so what was graded with it can be told again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    rule: Rule = Rule.COMPOUND
    stage: Stage | None = Field(default=None, description="None: for both")
    classes: str = SCALES[0]
    metrics: tuple[Metric, ...] = Field(min_length=1, max_length=MOST_METRICS)
    source: _Text = ""

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.classes not in SCALES:
            raise ValueError(f"the classes are {self.classes!r}: use {' or '.join(SCALES)}.")
        seen: set[str] = set()
        for metric in self.metrics:
            if metric.key in seen:
                raise ValueError(f"the metric {metric.key} is there twice: keep one of them.")
            seen.add(metric.key)
            letters = sorted(one.letter for one in metric.intervals)
            if letters != list(self.classes):
                raise ValueError(
                    f"the metric {metric.key} has intervals for {', '.join(letters) or 'no class'}: it needs one "
                    f"for each of {', '.join(self.classes)}."
                )
        if not any(metric.weight > 0 for metric in self.metrics):
            raise ValueError("every metric has the weight 0: give at least one a weight above 0.")
        return self

    def metrics_for(self, task: str | None) -> list[Metric]:
        """Return the metrics that count for a model of this task."""
        return [metric for metric in self.metrics if not metric.task or metric.task == task]

    def metric(self, name: str) -> Metric:
        """Return a metric by its id."""
        for one in self.metrics:
            if one.id == name:
                return one
        raise UnknownName(f"metric of the profile {self.name}", name, {one.id for one in self.metrics})


def profile_from(content: Any) -> LabelProfile:
    """Read a profile; BadRequest says in one sentence what is wrong with it."""
    try:
        return LabelProfile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "value_error":
            raise BadRequest(f"the profile was not kept: {first['ctx']['error']}") from None
        where = ".".join(str(part) for part in first["loc"]) or "it"
        shown = repr(first["input"])[:60]
        raise BadRequest(f"the profile was not kept: {where} is {shown}: {first['msg']}.") from None


def number(value: float) -> str:
    """Show a bound or a weight, short and exact enough to be typed again.

    >>> number(0.5), number(1e6), number(621520.4974319822), number(3.0), number(float("inf"))
    ('0.5', '1000000', '621520.4974319822', '3', 'infinity')
    """
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("infinity" if value > 0 else "minus infinity")
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def grouped(value: float) -> str:
    """Show a bound for reading.

    >>> grouped(1e9), grouped(0.112), grouped(1.47e9), grouped(2.5e15)
    ('1,000,000,000', '0.112', '1,470,000,000', '2.5e+15')
    """
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e12 else f"{value:.6g}"
