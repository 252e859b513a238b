"""An analysis: what a tactic costs and changes, with every figure in place and where it came from.

It holds the figures of its runs as they were when it was saved, so it says the same when the runs are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from pydantic import BaseModel, ConfigDict

from wattbus.energy.figures import Source
from wattbus.energy.record import Tier
from wattbus.roi.formulas import JOULES_PER_KWH, accuracy_value, exact
from wattbus.roi.given import Draft
from wattbus.roi.tactics import Tactic, tactic_of

#: The kind of the document that an analysis is kept as.
KIND = "roi-analysis"


class Energy(BaseModel):
    """The energy of one inference or training, or of the tactic itself: a figure with its origin."""

    model_config = ConfigDict(frozen=True)

    joules: float | None = None  # None: unknown, and `origin` says why
    low_joules: float | None = None
    high_joules: float | None = None
    tier: Tier = Tier.NONE
    source: Source = Source.TYPED
    origin: str = "typed"
    counted: int | None = None  # how many inferences it is the mean of
    model: str | None = None
    revision: str | None = None
    method: str | None = None
    hardware: str | None = None
    accuracy: float | None = None
    carbon_grams: float | None = None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Return its bounds; a typed figure without any is taken as exact, a measured one is not."""
        if self.low_joules is not None and self.high_joules is not None:
            return self.low_joules, self.high_joules
        return (self.joules, self.joules) if self.joules is not None and self.source is Source.TYPED else None


class Carbon(BaseModel):
    """A carbon intensity and who says so."""

    model_config = ConfigDict(frozen=True)

    g_per_kwh: float
    source: str


class Analysis(BaseModel):
    """What was given, with the figures of its runs read."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    given: Draft
    before: Energy
    after: Energy
    own: Energy | None = None  # None: not given
    carbon: Carbon | None = None

    @property
    def tactic(self) -> Tactic:
        return tactic_of(self.given.tactic)

    @property
    def tied(self) -> bool:
        """Tell whether the energy after is a share of that before, and so errs with it."""
        return self.given.after.reduction is not None

    @property
    def accuracies(self) -> tuple[float | None, float | None]:
        """Return the accuracy before and after: as given, else that of the runs."""
        sides = ((self.given.before, self.before), (self.given.after, self.after))
        before, after = (
            given.accuracy if given.accuracy is not None else energy.accuracy for given, energy in sides
        )
        return before, after


@dataclass(frozen=True)
class Case:
    """One set of exact figures that returns are made of; an energy that is unknown is None."""

    before_joules: Fraction | None
    after_joules: Fraction | None
    own_joules: Fraction | None
    price: Fraction  # of a kWh
    before_price: Fraction | None  # of its own; None: the same
    after_price: Fraction | None
    before_fee: Fraction
    after_fee: Fraction
    cost: Fraction
    units: int
    worth: Fraction  # of the change of accuracy, for one inference
    before_g: Fraction | None  # grams per kWh
    after_g: Fraction | None
    own_grams: Fraction | None

    @property
    def old(self) -> Fraction:
        """Return what one inference cost before."""
        return self.before_fee + _electricity(
            self.before_joules, self.price if self.before_price is None else self.before_price
        )

    @property
    def new(self) -> Fraction:
        """Return what one inference costs after."""
        return self.after_fee + _electricity(
            self.after_joules, self.price if self.after_price is None else self.after_price
        )

    def _price(self, own: Fraction | None) -> Fraction:
        return self.price if own is None else own

    @property
    def old_priced(self) -> Fraction:
        """Return the old cost, with what its lower accuracy forgoes."""
        return self.old + max(self.worth, Fraction(0))

    @property
    def new_priced(self) -> Fraction:
        """Return the new cost, with what its lower accuracy forgoes."""
        return self.new + max(-self.worth, Fraction(0))

    @property
    def investment(self) -> Fraction:
        """Return what the tactic costs: the work, and the electricity that it used as far as that is known."""
        return self.cost + _electricity(self.own_joules, self.price)

    @property
    def reduction(self) -> Fraction | None:
        """Return the share of the energy that is saved; None where it is unknown, or nothing was used before."""
        if not self.before_joules or self.after_joules is None:
            return None
        return 1 - self.after_joules / self.before_joules

    def reduced(self, reduction: Fraction) -> Case:
        """Return the same case with another reduction."""
        assert self.before_joules is not None
        return replace(self, after_joules=self.before_joules * (1 - reduction))

    @property
    def old_grams(self) -> Fraction | None:
        return _grams(self.before_joules, self.before_g)

    @property
    def new_grams(self) -> Fraction | None:
        return _grams(self.after_joules, self.after_g)


def case_of(
    analysis: Analysis, *, before: float | None = None, after: float | None = None, own: float | None = None
) -> Case:
    """Return the figures of an analysis, with some of its energies replaced."""
    given = analysis.given
    price = _sure(given.price_per_kwh)
    before_joules = _known(analysis.before.joules if before is None else before, "the energy before")
    after_joules = _known(analysis.after.joules if after is None else after, "the energy after")
    if given.after.reduction is not None and before_joules is not None:
        after_joules = before_joules * (1 - exact(given.after.reduction, "the reduction", signed=True))
    used = own if own is not None else analysis.own.joules if analysis.own else None
    own_joules = _known(used, "the energy of the tactic itself")
    general = None if analysis.carbon is None else _sure(analysis.carbon.g_per_kwh)
    own_grams = given.own.carbon_grams
    if own_grams is None and analysis.own is not None:
        own_grams = analysis.own.carbon_grams
    old, new = analysis.accuracies
    priced = given.point_price is not None and old is not None and new is not None
    return Case(
        before_joules=before_joules,
        after_joules=after_joules,
        own_joules=own_joules,
        price=price,
        before_price=_known(given.before.price_per_kwh),
        after_price=_known(given.after.price_per_kwh),
        before_fee=_sure(given.before.fee),
        after_fee=_sure(given.after.fee),
        cost=_sure(given.cost),
        units=given.count,
        worth=accuracy_value(old or 0, new or 0, given.point_price or 0) if priced else Fraction(0),
        before_g=general if given.before.carbon_g_per_kwh is None else _sure(given.before.carbon_g_per_kwh),
        after_g=general if given.after.carbon_g_per_kwh is None else _sure(given.after.carbon_g_per_kwh),
        own_grams=_grams(own_joules, general) if own_grams is None else _sure(own_grams),
    )


def corners_of(analysis: Analysis) -> Sequence[Case] | None:
    """Return the cases at all ends of the bounds; None where a bound is unknown.

    The errors of two measured sides are taken as independent, which is the widest that the bounds allow.
    """
    befores = _ends(analysis.before)
    afters = [None] if analysis.tied else _ends(analysis.after)
    owns = [None] if analysis.own is None else _ends(analysis.own)
    if befores is None or afters is None or owns is None:
        return None
    return [
        case_of(analysis, before=before, after=after, own=own)
        for before in befores
        for after in afters
        for own in owns
    ]


def alike_corners_of(analysis: Analysis) -> Sequence[Case] | None:
    """Return the cases where both sides err by the same factor; None unless the same meter read both.

    A guessed power of a processor is wrong by one factor for all that ran on it: the share that is saved stays.
    """
    before, after = analysis.before, analysis.after
    same = before.source is after.source is Source.LEDGER and (before.tier, before.method) == (
        after.tier,
        after.method,
    )
    if analysis.tied or not same or not before.joules or not after.joules or before.bounds is None:
        return None
    return [case_of(analysis, before=end, after=after.joules * end / before.joules) for end in before.bounds]


def _ends(energy: Energy) -> list[float | None] | None:
    if energy.joules is None:
        return [None]
    bounds = energy.bounds
    return None if bounds is None else list(dict.fromkeys(bounds))


def _electricity(joules: Fraction | None, price: Fraction) -> Fraction:
    # An unknown energy is only let in where it costs nothing: its price is 0, or it is the tactic's own and not given.
    return Fraction(0) if joules is None else joules * price / JOULES_PER_KWH


def _grams(joules: Fraction | None, g_per_kwh: Fraction | None) -> Fraction | None:
    return None if joules is None or g_per_kwh is None else joules * g_per_kwh / JOULES_PER_KWH


def _known(value: float | None, name: str = "the figure") -> Fraction | None:
    return None if value is None else exact(value, name)


def _sure(value: float) -> Fraction:
    return exact(value, "the figure")
