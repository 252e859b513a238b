"""The formulas of a return on investment, each a pure function of figures, in exact arithmetic.

``old`` and ``new`` are what the work costs before and after a tactic, ``I`` is what the tactic costs. Two returns go by
one name in the field, so each has its own here:

- **GAISSA ROI**, ``(old - new - I) / (new + I)``: the net saving for each unit of money that is still spent. It is the
  formula of the GAISSA ROI Analyzer (UPC, github.com/GAISSA-UPC/ML-GAISSALabel, ``roi_calculator.py``).
- **ordinary return**, ``(old - new - I) / I``: the net saving for each unit of money that was invested.

A float is taken for the decimal that it prints as, so 0.3 - 0.2 is 0.1 and a break-even is the first count that breaks
even, not its neighbour. What has no figure (nothing was invested, nothing is ever saved) is said in words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import TypeVar

from wattbus.errors import BadRequest

Number = int | float | Decimal | Fraction
_Checked = TypeVar("_Checked", Fraction, float)

JOULES_PER_KWH = 3_600_000
#: 1e60: a figure beyond is a wrong unit or a slip of the keyboard.
_LARGEST_BITS = 200

GAISSA_ROI = "GAISSA ROI"
ORDINARY_RETURN = "ordinary return"
INFINITE_ROI = "infinite ROI"


class State(StrEnum):
    """Whether a formula gave a figure; ``why`` of an answer says more."""

    FIGURE = "figure"
    INFINITE = "infinite"
    NEVER = "never"
    UNDEFINED = "undefined"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """What a formula gives: a figure, or in words why there is none."""

    value: float | int | None
    state: State = State.FIGURE
    why: str = ""

    @property
    def order(self) -> float | None:
        """Return where it stands among answers to the same question; None where that cannot be said."""
        if self.value is not None:
            return self.value
        return math.inf if self.state in (State.INFINITE, State.NEVER) else None


def unknown(why: str) -> Answer:
    """Answer that a figure is missing."""
    return Answer(None, State.UNKNOWN, why)


def exact(value: Number, name: str, *, signed: bool = False) -> Fraction:
    """Return a figure exactly as it was written; refuse what is no figure, and what is below 0 unless ``signed``.

    >>> exact(0.3, "a") - exact(0.2, "b") == exact(0.1, "c")
    True
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | Fraction):
        raise BadRequest(f"{name} is {value!r}: give a number.")
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        raise BadRequest(f"{name} is {value}: give a finite number.")
    if isinstance(value, Fraction):
        written = value
    else:
        written = Fraction(float.__repr__(value)) if isinstance(value, float) else Fraction(value)
    if written.numerator < 0 and not signed:
        raise BadRequest(f"{name} is {value}: it cannot be below 0.")
    if written and abs(written.numerator.bit_length() - written.denominator.bit_length()) > _LARGEST_BITS:
        raise BadRequest(
            f"{name} is beyond 1e60 or within 1e-60 of 0: nothing that is measured is; check its unit."
        )
    return written


# -- money ------------------------------------------------------------------------------------------------------------


def energy_cost(joules: Number, price_per_kwh: Number) -> Fraction:
    """Return what an energy costs.

    >>> float(energy_cost(3_600_000, 0.15))
    0.15
    """
    return exact(joules, "the energy") * exact(price_per_kwh, "the price per kWh") / JOULES_PER_KWH


def gaissa_roi(old: Number, new: Number, cost: Number) -> Answer:
    """Return ``(old - new - I) / (new + I)``, the formula of the GAISSA ROI Analyzer.

    >>> gaissa_roi(150, 75, 10).value
    0.7647058823529411
    >>> gaissa_roi(0, 0, 1000).value
    -1.0
    """
    return gaissa_of(exact(old, "the old cost"), exact(new, "the new cost"), exact(cost, "the cost"))


def gaissa_of(old: _Checked, new: _Checked, cost: _Checked) -> Answer:
    """Return the GAISSA ROI of figures that were checked."""
    total = new + cost
    if total == 0:
        if old == 0:
            return Answer(None, State.UNDEFINED, "nothing was spent before, and nothing is spent now")
        return Answer(None, State.INFINITE, "nothing is spent any more, and all of the old cost is saved")
    return Answer(float((old - total) / total))


def ordinary_return(old: Number, new: Number, cost: Number) -> Answer:
    """Return ``(old - new - I) / I``, the net saving for each unit of money invested.

    >>> ordinary_return(150, 75, 10).value
    6.5
    >>> ordinary_return(150, 75, 0).state, ordinary_return(75, 150, 0).state
    (<State.INFINITE: 'infinite'>, <State.UNDEFINED: 'undefined'>)
    """
    return ordinary_of(exact(old, "the old cost"), exact(new, "the new cost"), exact(cost, "the cost"))


def ordinary_of(old: _Checked, new: _Checked, cost: _Checked) -> Answer:
    """Return the ordinary return of figures that were checked."""
    saved = old - new
    if cost == 0:
        if saved > 0:
            return Answer(None, State.INFINITE, "nothing was invested, and money is saved")
        what = "nothing is saved" if saved == 0 else "more is spent than before"
        return Answer(None, State.UNDEFINED, f"nothing was invested, and {what}")
    return Answer(float((saved - cost) / cost))


def infinite_roi(reduction: Number) -> Answer:
    """Return ``r / (1 - r)``: what the GAISSA ROI comes to when the count of inferences grows for ever.

    ``reduction`` is the share of the cost that is saved; below 0 the work costs more than before.

    >>> infinite_roi(0.25).value, infinite_roi(-1).value
    (0.3333333333333333, -0.5)
    """
    share = exact_reduction(reduction)
    if share == 1:
        return Answer(None, State.INFINITE, "nothing is spent any more, and all of the old cost is saved")
    return Answer(float(share / (1 - share)))


def infinite_roi_of_costs(old_per_unit: Number, new_per_unit: Number) -> Answer:
    """Return the infinite ROI of two costs of one inference, also where the old one is 0 and no share of it is saved.

    >>> infinite_roi_of_costs(4, 3) == infinite_roi(0.25), infinite_roi_of_costs(0, 3).value
    (True, -1.0)
    """
    return gaissa_roi(old_per_unit, new_per_unit, 0)


def exact_reduction(reduction: Number) -> Fraction:
    """Return a reduction exactly; refuse one above 1, which would use less than nothing."""
    share = exact(reduction, "the reduction", signed=True)
    if share > 1:
        raise BadRequest(
            f"the reduction is {float(share):g}: more than all cannot be saved; "
            "write a share of 1, such as 0.25 for 25 %."
        )
    return share


# -- break-even -------------------------------------------------------------------------------------------------------


def break_even(cost: Number, old_per_unit: Number, new_per_unit: Number, unit: str = "inference") -> Answer:
    """Return the first count of inferences at which what was saved covers the cost: ``ceil(I / (c0 - c1))``.

    The same holds for energy and for carbon: the cost is then what the tactic itself used.

    >>> break_even(1, 0.3, 0.2).value, break_even(10, 0.15, 0.075).value
    (10, 134)
    >>> break_even(10, 1, 2).why
    'each inference takes more than before'
    """
    spent = exact(cost, "the cost")
    saved = exact(old_per_unit, "the old cost") - exact(new_per_unit, "the new cost")
    if saved < 0:
        return Answer(None, State.NEVER, f"each {unit} takes more than before")
    if spent == 0:
        nothing = "nothing is spent, and nothing is saved" if saved == 0 else "nothing is spent"
        return Answer(0, why=f"at once: {nothing}")
    if saved == 0:
        return Answer(None, State.NEVER, f"no {unit} saves anything")
    return Answer(math.ceil(spent / saved))


def payback_days(units: Answer, per_day: Number) -> Answer:
    """Return after how many days a break-even is reached at a traffic.

    >>> payback_days(Answer(134), 10).value, payback_days(Answer(134), 0).state
    (13.4, <State.NEVER: 'never'>)
    """
    traffic = exact(per_day, "the traffic per day")
    if units.value is None or units.value == 0:
        return units if units.value is None else Answer(0.0, why=units.why)
    if traffic == 0:
        return Answer(None, State.NEVER, "there is no traffic")
    return Answer(float(Fraction(units.value) / traffic))


# -- accuracy ---------------------------------------------------------------------------------------------------------


def accuracy_value(before: Number, after: Number, point_price: Number) -> Fraction:
    """Return what a change of accuracy is worth for one inference; below 0 where the new model is worse.

    ``point_price`` is what one point (0.01) of accuracy is worth over 1,000 inferences.

    >>> float(accuracy_value(0.90, 0.93, 5)), float(accuracy_value(0.90, 0.89, 5))
    (0.015, -0.005)
    """
    shares = [exact(before, "the accuracy before"), exact(after, "the accuracy after")]
    for share in shares:
        if share > 1:
            raise BadRequest(f"the accuracy is {float(share):g}: write a share of 1, such as 0.93 for 93 %.")
    return (shares[1] - shares[0]) * 100 * exact(point_price, "the price of a point") / 1000
