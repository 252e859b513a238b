"""What somebody gives for an analysis: figures that are typed, or the names of runs that were measured."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from wattbus.energy.carbon import HIGHEST_G_PER_KWH
from wattbus.errors import BadRequest
from wattbus.roi.formulas import exact
from wattbus.roi.tactics import tactic_of

MOST_UNITS = 10**18
LARGEST, SMALLEST = Fraction(10**15), Fraction(1, 10**15)
LONGEST_NAME = 80
#: Addresses of pages, so no names of analyses.
RESERVED = ("new", "compare")
_PARTS = ("before", "after", "own")


def _number(value: Any) -> Any:
    """Read what a form sends, such as 1e8; say what is wrong in words."""
    if isinstance(value, str):
        text = value.strip().replace("_", "")
        if "," in text:
            raise ValueError("write a point for the decimals and nothing between thousands, such as 1234.5")
        try:
            value = Decimal(text)
        except InvalidOperation:
            raise ValueError("a number is needed, such as 0.25 or 1e8") from None
    try:
        size = abs(exact(value, "it", signed=True))
    except BadRequest as error:
        raise ValueError(str(error)) from None
    if size and not SMALLEST <= size <= LARGEST:
        raise ValueError(
            "nothing that is paid or measured is above 1e15 or within 1e-15 of 0; check its unit"
        )
    return value


def _bounded(low: float | None, high: float | None, why: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value is None:
            return None
        number = _number(value)
        if (low is not None and number < low) or (high is not None and number > high):
            raise ValueError(why)
        return float(number)

    return read


def _whole(value: Any) -> Any:
    if value is None:
        return None
    number = value if isinstance(value, int) and not isinstance(value, bool) else _number(value)
    if number != int(number):
        raise ValueError("a whole number is needed")
    if not 0 <= number <= MOST_UNITS:
        raise ValueError("it must lie between 0 and 1e18")
    return int(number)


Amount = Annotated[float, BeforeValidator(_bounded(0, None, "it cannot be below 0"))]
Share = Annotated[
    float, BeforeValidator(_bounded(0, 1, "a share of 0 to 1 is needed, such as 0.93 for 93 %"))
]
Reduction = Annotated[
    float,
    BeforeValidator(
        _bounded(None, 1, "more than all cannot be saved; write a share of 1, such as 0.25 for 25 %")
    ),
]
Intensity = Annotated[
    float,
    BeforeValidator(
        _bounded(0, HIGHEST_G_PER_KWH, f"grams of CO2e a kWh are needed, 0 to {HIGHEST_G_PER_KWH:,.0f}")
    ),
]
Count = Annotated[int, BeforeValidator(_whole)]
Text = Annotated[str, Field(max_length=200)]


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GivenEnergy(_Given):
    """Where an energy comes from: one of a stored run, a message of the ledger, a model of the ledger, or typed."""

    run: Text | None = Field(default=None, description="name of a stored run")
    message: Count | None = Field(default=None, description="id of a message whose attempts were metered")
    model: Text | None = Field(default=None, description="a model whose inferences were metered")
    revision: Text | None = Field(default=None, description="one version of that model")
    scope: Literal["local", "client", "remote"] | None = Field(
        default=None, description="which side of a remote call, where a message or a model has several"
    )
    joules: Amount | None = Field(default=None, description="typed, in joules, for one inference or training")
    low_joules: Amount | None = Field(default=None, description="its lower bound, where you know one")
    high_joules: Amount | None = Field(default=None, description="its upper bound, where you know one")

    @property
    def ways(self) -> list[str]:
        """Return the ways that are given; one is right."""
        return [name for name in ("run", "message", "model", "joules") if getattr(self, name) is not None]

    def fault(self) -> str:
        """Say what does not go together; empty where all is well."""
        if len(self.ways) > 1:
            return f"{' and '.join(self.ways)} are both given: say once where the energy comes from"
        if self.revision is not None and self.model is None:
            return "a revision needs its model"
        if self.scope is not None and self.model is None and self.message is None:
            return "a scope is for a message or a model"
        if (self.low_joules is None) != (self.high_joules is None):
            return "give both bounds, or none"
        if self.low_joules is None or self.high_joules is None:
            return ""
        if self.joules is None:
            return "bounds are for joules that are typed: what was metered has its own"
        if not self.low_joules <= self.joules <= self.high_joules:
            return "the joules must lie between their bounds"
        return ""


class GivenSide(GivenEnergy):
    """The work before or after: its energy, and what else it costs."""

    requests: Count | None = Field(
        default=None, description="inferences that a run or message answered, if unsaid"
    )
    accuracy: Share | None = Field(default=None, description="0 to 1; by default that of the run")
    fee: Amount = Field(
        default=0.0, description="money for one inference beside its electricity, such as a provider's fee"
    )
    price_per_kwh: Amount | None = Field(
        default=None, description="another price than the analysis has; 0 where the fee holds the electricity"
    )
    carbon_g_per_kwh: Intensity | None = Field(
        default=None, description="another carbon intensity than the analysis has, such as the provider's"
    )


class GivenAfter(GivenSide):
    """The work after the tactic; instead of an energy a reduction may be given."""

    reduction: Reduction | None = Field(
        default=None,
        description="share of the energy before that is saved, such as 0.25; below 0 it takes more",
    )

    @property
    def ways(self) -> list[str]:
        """Return the ways that are given; one is right."""
        return [*super().ways, *(["reduction"] if self.reduction is not None else [])]


class GivenOwn(GivenEnergy):
    """What the tactic itself used, once: such as the energy of a conversion or a fine-tune."""

    carbon_grams: Amount | None = Field(
        default=None, description="its carbon, where it was not made of this grid"
    )


class Draft(_Given):
    """An analysis as it is given; the figures of runs are read when it is saved, and kept with it."""

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    tactic: str = Field(description="name of a tactic, such as quantise")
    before: GivenSide = GivenSide()
    after: GivenAfter = GivenAfter()
    own: GivenOwn = GivenOwn()
    cost: Amount = Field(description="money that implementing the tactic takes, without its electricity")
    price_per_kwh: Amount = Field(description="price of electricity")
    currency: str = Field(default="EUR", description="of all amounts")
    carbon_g_per_kwh: Intensity | None = Field(
        default=None, description="carbon intensity of the electricity"
    )
    carbon_source: Text | None = Field(default=None, description="who says so, and of which year")
    country: Annotated[str, Field(max_length=3)] | None = Field(
        default=None, description="ISO 3166, three letters: its average, where no figure is given"
    )
    units: Count | None = Field(
        default=None, description="inferences (or trainings) that the return is told for"
    )
    days: Amount | None = Field(default=None, description="instead of a count: so many days at the traffic")
    per_day: Amount | None = Field(default=None, description="inferences (or trainings) a day")
    point_price: Amount | None = Field(
        None,
        description="what 0.01 of accuracy is worth over 1,000 inferences; without it accuracy has no price",
    )
    note: Annotated[str, Field(max_length=2_000)] = ""

    @model_validator(mode="before")
    @classmethod
    def _from_form(cls, values: Any) -> Any:
        """Take the dotted names of a form, such as ``before.joules``."""
        if not isinstance(values, dict) or not any("." in str(name) for name in values):
            return values
        plain: dict[str, Any] = {}
        parts: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            part, dot, field = str(name).partition(".")
            if dot and part in _PARTS:
                parts.setdefault(part, {})[field] = value
            else:
                plain[str(name)] = value
        return {**plain, **parts}

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        name = value.strip()
        if not name or not name.isprintable() or "/" in name or name in (".", ".."):
            raise ValueError(f"1 to {LONGEST_NAME} letters, digits or signs are needed, and no /")
        if name.lower() in RESERVED:
            raise ValueError(f"{name!r} is the address of a page: choose another name")
        return name

    @field_validator("currency")
    @classmethod
    def _currency(cls, value: str) -> str:
        text = value.strip()
        if not 1 <= len(text) <= 8 or not text.isprintable() or any(char.isdigit() for char in text):
            raise ValueError("1 to 8 letters or a sign are needed, such as EUR")
        return text.upper() if text.isascii() and text.isalpha() else text

    @field_validator("tactic")
    @classmethod
    def _tactic(cls, value: str) -> str:
        return tactic_of(value).name

    @model_validator(mode="after")
    def _goes_together(self) -> Draft:
        for name in _PARTS:
            fault = getattr(self, name).fault()
            if fault:
                raise BadRequest(f"{name}: {fault}.")
        if (self.units is None) == (self.days is None):
            raise BadRequest(
                "how far to look is needed once: a count (units), or a number of days (days) at a traffic (per_day)."
            )
        if self.days is not None and self.per_day is None:
            raise BadRequest("a number of days needs the traffic per day (per_day).")
        if self.days is not None and self.count > MOST_UNITS:
            raise BadRequest("the days at this traffic are more than 1e18: look less far.")
        if self.carbon_g_per_kwh is not None and self.country is not None:
            raise BadRequest(
                "the carbon intensity is given as a figure and by its country: one says the other."
            )
        return self

    @property
    def count(self) -> int:
        """Return how many inferences the return is told for."""
        if self.units is not None:
            return self.units
        assert self.days is not None and self.per_day is not None
        return round(Decimal(repr(self.days)) * Decimal(repr(self.per_day)))
