"""Sensitivity: how a return moves with each figure by itself, and with the price and the reduction together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

from wattbus.roi.analysis import Analysis, Case, case_of
from wattbus.roi.formulas import Answer, gaissa_of

#: By how much each figure moves in the tornado, down and up.
SPREAD = Fraction(1, 4)
#: The prices of the grid, as multiples of that of the analysis.
PRICE_FACTORS = tuple(Fraction(n, 4) for n in (2, 3, 4, 5, 6, 8))
#: The reductions of the grid, in points (0.01) beside that of the analysis.
REDUCTION_STEPS = tuple(Fraction(n, 100) for n in (-20, -10, -5, 0, 5, 10, 20))


@dataclass(frozen=True)
class Swing:
    """A bar of the tornado: the net saving where one figure is a quarter lower, and a quarter higher."""

    figure: str
    low_value: float
    high_value: float
    net_at_low: float
    net_at_high: float

    @property
    def width(self) -> float:
        return abs(self.net_at_high - self.net_at_low)


class _Move(NamedTuple):
    figure: str
    low: Fraction
    high: Fraction
    at_low: Case
    at_high: Case


@dataclass(frozen=True)
class Tornado:
    """The swings, the widest first, about the net saving of the analysis."""

    net: float
    spread: float
    swings: tuple[Swing, ...]


@dataclass(frozen=True)
class Cell:
    """One place of the grid."""

    gaissa_roi: Answer
    net_saving: float


@dataclass(frozen=True)
class Grid:
    """Returns by price of electricity (columns) and energy reduction (rows); no rows where no reduction is known."""

    prices: tuple[float, ...]
    reductions: tuple[float, ...]
    base_price: float
    base_reduction: float | None
    rows: tuple[tuple[Cell, ...], ...]


def tornado(analysis: Analysis) -> Tornado:
    """Move each figure by a quarter of itself, the others as they are."""
    base = case_of(analysis)
    lower, higher = 1 - SPREAD, 1 + SPREAD
    reduction = base.reduction
    price = base.price
    moves: list[_Move] = []
    if price:
        low, high = price * lower, price * higher
        cases = replace(base, price=low), replace(base, price=high)
        moves.append(_Move("price of electricity per kWh", low, high, *cases))
    if reduction:
        low, high = reduction * lower, min(Fraction(1), reduction * higher)
        cases = base.reduced(low), base.reduced(high)
        moves.append(_Move("energy reduction", low, high, *cases))
    if base.cost:
        low, high = base.cost * lower, base.cost * higher
        cases = replace(base, cost=low), replace(base, cost=high)
        moves.append(_Move("cost of implementing", low, high, *cases))
    if base.units:
        fewer, more = round(base.units * lower), round(base.units * higher)
        cases = replace(base, units=fewer), replace(base, units=more)
        moves.append(_Move(f"number of {analysis.tactic.units}", Fraction(fewer), Fraction(more), *cases))
    swings = [
        Swing(one.figure, float(one.low), float(one.high), float(net(one.at_low)), float(net(one.at_high)))
        for one in moves
    ]
    return Tornado(
        float(net(base)), float(SPREAD), tuple(sorted(swings, key=lambda one: one.width, reverse=True))
    )


def grid(analysis: Analysis) -> Grid:
    """Return both figures at other prices and other reductions."""
    base = case_of(analysis)
    reduction, price = base.reduction, base.price
    prices = [price * factor for factor in PRICE_FACTORS] if price else [price]
    if reduction is None:
        return Grid(tuple(map(float, prices)), (), float(price), None, ())
    reductions = sorted({min(Fraction(1), reduction + step) for step in REDUCTION_STEPS})
    rows = tuple(
        tuple(_cell(replace(base.reduced(at), price=at_price)) for at_price in prices) for at in reductions
    )
    return Grid(
        tuple(map(float, prices)), tuple(map(float, reductions)), float(price), float(reduction), rows
    )


def net(case: Case) -> Fraction:
    """Return the net saving of a case: ``old - new - I``."""
    return (case.old - case.new) * case.units - case.investment


def _cell(case: Case) -> Cell:
    roi = gaissa_of(case.old * case.units, case.new * case.units, case.investment)
    return Cell(roi, float(net(case)))
