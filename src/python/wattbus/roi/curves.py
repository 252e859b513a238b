"""The curves of an analysis: returns over the count on a logarithmic axis, and what both ways cost together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wattbus.roi.analysis import Analysis, Case, case_of, corners_of
from wattbus.roi.formulas import Answer, break_even, gaissa_of, infinite_roi_of_costs, ordinary_of
from wattbus.roi.given import MOST_UNITS

POINTS = 60

Point = tuple[float, float]
_Formula = Callable[[float, float, float], Answer]


class _Costs(NamedTuple):
    old: float
    new: float
    investment: float


@dataclass(frozen=True)
class ReturnCurve:
    """Returns over a count; ``low`` and ``high`` are the bounds of the GAISSA ROI, empty where it has none."""

    gaissa_roi: tuple[Point, ...]
    ordinary_return: tuple[Point, ...]
    low: tuple[Point, ...]
    high: tuple[Point, ...]
    infinite_roi: float | None
    units: int
    at_units: float | None  # the GAISSA ROI at the count that is looked at
    break_even: int | None


@dataclass(frozen=True)
class CostCurve:
    """What was spent up to a count, the old way and the new, with the investment at the beginning."""

    old: tuple[Point, ...]
    new: tuple[Point, ...]
    units: int
    break_even: int | None


def return_curve(analysis: Analysis) -> ReturnCurve:
    """Return both returns from well before the break-even and the count that is looked at to well beyond."""
    base = case_of(analysis)
    even, costs = _even(base), _costs(base)
    corners = list(dict.fromkeys(_costs(case) for case in corners_of(analysis) or ()))
    counts = _counts([count for count in (base.units, even or 0) if count])
    spans = [
        [roi for roi in (_at(gaissa_of, corner, n) for corner in corners) if roi is not None]
        for n in (counts if len(corners) > 1 else ())
    ]
    full = [(n, span) for n, span in zip(counts, spans, strict=False) if len(span) == len(corners)]
    limit = infinite_roi_of_costs(base.old, base.new)
    return ReturnCurve(
        gaissa_roi=_points(gaissa_of, costs, counts),
        ordinary_return=_points(ordinary_of, costs, counts),
        low=tuple((float(n), min(span)) for n, span in full),
        high=tuple((float(n), max(span)) for n, span in full),
        infinite_roi=limit.value,
        units=base.units,
        at_units=_at(gaissa_of, costs, base.units),
        break_even=even,
    )


def cost_curve(analysis: Analysis) -> CostCurve:
    """Return what both ways cost together up to twice the break-even, or up to the count where there is none."""
    base = case_of(analysis)
    even = _even(base)
    near = even is not None and even > 0 and (not base.units or even <= 20 * base.units)
    last = max(base.units, 2 * even if near and even is not None else 0, 1)
    counts = [round(last * step / 20) for step in range(21)] if last >= 20 else list(range(last + 1))
    return CostCurve(
        old=tuple((float(n), float(base.old * n)) for n in counts),
        new=tuple((float(n), float(base.new * n + base.investment)) for n in counts),
        units=base.units,
        break_even=even if near else None,
    )


def _costs(case: Case) -> _Costs:
    return _Costs(float(case.old), float(case.new), float(case.investment))


def _even(case: Case) -> int | None:
    value = break_even(case.investment, case.old, case.new).value
    return None if value is None else int(value)


def _counts(of_interest: Sequence[int]) -> list[int]:
    """Return counts from well before the first of interest to ten times the last, evenly spaced on a log axis."""
    last = math.log10(min(max(10 * max(of_interest, default=1), 1000), MOST_UNITS))
    first = min(last - 3, max(0.0, math.log10(min(of_interest, default=1)) - 3))
    return sorted({round(10 ** (first + (last - first) * step / POINTS)) for step in range(POINTS + 1)})


def _at(formula: _Formula, costs: _Costs, n: int) -> float | None:
    # Floats: a picture shows no sixteenth digit, and exact figures take ten times as long.
    return formula(costs.old * n, costs.new * n, costs.investment).value


def _points(formula: _Formula, costs: _Costs, counts: list[int]) -> tuple[Point, ...]:
    found = ((float(n), _at(formula, costs, n)) for n in counts)
    return tuple((n, value) for n, value in found if value is not None)
