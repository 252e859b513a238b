"""Figures of an analysis in words: with as many digits as they are worth, their units, and the user's currency."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from wattbus.roi.formulas import Answer
from wattbus.roi.outcome import Bounded

#: A guess does not get better with more digits; what somebody typed is as exact as it was typed.
TYPED_DIGITS, MEASURED_DIGITS, OTHER_DIGITS = 6, 3, 2
#: A ratio is looked at, and seldom reckoned with.
_MOST_RATIO_DIGITS = 4

Shown = Callable[[float], str]


def figure(value: float, digits: int) -> str:
    """Show a figure with so many significant digits.

    >>> [figure(one, 3) for one in (0, 1234567, 12.345, 0.00012345, -305.5556, 1.5e21, 2.5)]
    ['0', '1,230,000', '12.3', '0.000123', '-306', '1.50e+21', '2.50']
    """
    if value == 0:
        return "0"
    if not 1e-9 <= abs(value) < 1e15:
        return f"{value:.{digits - 1}e}"
    rounded = float(f"{value:.{digits - 1}e}")
    places = max(0, digits - 1 - math.floor(math.log10(abs(rounded)) + 1e-12))
    return f"{rounded:,.{places}f}"


def plain(value: float, digits: int) -> str:
    """Show a figure with at most so many significant digits, without zeros at its end.

    >>> plain(0.25, 6), plain(1000, 6), plain(0.0000277778, 6), plain(-0.0990991, 4)
    ('0.25', '1,000', '0.0000277778', '-0.0991')
    """
    text = figure(value, digits)
    if "e" in text or "." not in text:
        return text
    return text.rstrip("0").rstrip(".")


def money(value: float, currency: str, digits: int) -> str:
    """Show an amount.

    >>> money(-305.5556, "EUR", 6), money(0.0000277778, "EUR", 2), money(0.075, "CHF", 6)
    ('-305.56 EUR', '0.000028 EUR', '0.075 CHF')
    """
    if digits > MEASURED_DIGITS and 10 <= abs(value) < 1e13:
        return f"{value:,.2f} {currency}"
    return f"{plain(value, min(digits, _MOST_RATIO_DIGITS))} {currency}"


def ratio(value: float, digits: int) -> str:
    """Show a return, as a number and in per cent.

    >>> ratio(0.7647058823, 6), ratio(-0.0990991, 2)
    ('0.7647 (76.47 %)', '-0.099 (-9.9 %)')
    """
    digits = min(digits, _MOST_RATIO_DIGITS)
    return f"{plain(value, digits)} ({plain(100 * value, digits)} %)"


def energy(joules: float, digits: int) -> str:
    """Show an energy in its own unit.

    >>> energy(500, 6), energy(1.8e6, 2), energy(0.0173, 2), energy(1.25e10, 3)
    ('500 J', '0.5 kWh', '0.017 J', '3,470 kWh')
    """
    if abs(joules) >= 3.6e5:
        return f"{plain(joules / 3.6e6, digits)} kWh"
    return f"{plain(joules, digits)} J"


def grams(value: float, digits: int) -> str:
    """Show carbon.

    >>> grams(31250, 3), grams(2.5e6, 2), grams(0.5, 3)
    ('31.2 kg CO₂e', '2.5 t CO₂e', '0.5 g CO₂e')
    """
    for unit, factor in (("t", 1e6), ("kg", 1e3)):
        if abs(value) >= factor:
            return f"{plain(value / factor, digits)} {unit} CO₂e"
    return f"{plain(value, digits)} g CO₂e"


def count(value: float, noun: str, digits: int) -> str:
    """Show a number of units; one that is made of a guess is rounded and says so.

    >>> count(134, "inference", 6), count(1234567, "inference", 2), count(1, "training", 2)
    ('134 inferences', 'about 1,200,000 inferences', '1 training')
    """
    plural = noun if value == 1 else f"{noun}s"
    if abs(value) >= 1e15:
        return f"{value:.{digits - 1}e} {plural}"
    if digits > MEASURED_DIGITS or abs(value) < 10**digits:
        return f"{int(value):,} {plural}"
    return f"about {float(f'{value:.{digits - 1}e}'):,.0f} {plural}"


def days(value: float, digits: int) -> str:
    """Show a number of days, in years where they are many, in minutes where they are few.

    >>> days(13.4, 3), days(1, 3), days(4000, 3), days(0.01, 3)
    ('13.4 days', '1 day', '11 years', '14.4 minutes')
    """
    spans = (("year", 365.25, 731.0), ("day", 1.0, 1.0), ("hour", 1 / 24, 1 / 24), ("minute", 1 / 1440, 0.0))
    unit, size = next((unit, size) for unit, size, least in spans if value >= least)
    shown = plain(value / size, min(digits, MEASURED_DIGITS))
    return f"{shown} {unit}" if shown == "1" else f"{shown} {unit}s"


def _points(value: float) -> str:
    shown = plain(value, _MOST_RATIO_DIGITS)
    return f"{'+' if value > 0 else ''}{shown} {'point' if abs(value) == 1 else 'points'}"


def told(answer: Answer, shown: Shown) -> str:
    """Show an answer: its figure, or in words why there is none."""
    if answer.value is None:
        return f"{answer.state}: {answer.why}"
    text = shown(answer.value)
    return f"{text}, {answer.why}" if answer.why else text


def span(bounded: Bounded, shown: Shown) -> str:
    """Show the bounds of a figure; empty where it has none."""
    if bounded.low is None or bounded.high is None:
        return ""
    # A return is told once more in per cent where it stands alone, and not in its bounds.
    ends = [
        str(one.state) if one.value is None else re.sub(r" \(.*%\)", "", shown(one.value))
        for one in (bounded.low, bounded.high)
    ]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


@dataclass(frozen=True)
class Shower:
    """Shows the figures of one analysis: each kind in its way, all with the digits that they are worth."""

    digits: int
    currency: str
    unit: str

    def of(self, kind: str) -> Shown:
        """Return how a kind of figure is shown."""
        ways: dict[str, Shown] = {
            "ratio": lambda value: ratio(value, self.digits),
            "money": lambda value: money(value, self.currency, self.digits),
            "count": lambda value: count(value, self.unit, self.digits),
            "days": lambda value: days(value, self.digits),
            "joules": lambda value: energy(value, self.digits),
            "grams": lambda value: grams(value, self.digits),
            "points": _points,
        }
        return ways[kind]

    def unit_of(self, kind: str) -> str:
        """Return the unit of the bare number of a kind."""
        units = {"money": self.currency, "count": f"{self.unit}s", "joules": "J", "grams": "g CO2e"}
        return units.get(kind, kind)
