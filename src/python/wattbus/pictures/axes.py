"""Axes: from values to shares of a length, with ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Scale:
    """One axis: its ends and its ticks, straight or logarithmic."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def share(self, value: float) -> float | None:
        """Return where a value stands between the ends, 0 to 1; None where it is outside or cannot be shown."""
        if not math.isfinite(value) or (self.log and value <= 0):
            return None
        low, high, at = (
            (math.log10(self.low), math.log10(self.high), math.log10(value))
            if self.log
            else (self.low, self.high, value)
        )
        share = (at - low) / (high - low)
        return min(1.0, max(0.0, share)) if -1e-9 <= share <= 1 + 1e-9 else None


def scale_of(
    values: Sequence[float], low: float | None = None, high: float | None = None, *, log: bool = False
) -> Scale:
    """Return an axis that holds the values, its ends at round numbers.

    >>> scale_of([3, 47]).ticks
    (0.0, 10.0, 20.0, 30.0, 40.0, 50.0)
    >>> scale_of([0.02, 300], log=True).ticks
    (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
    """
    known = [*values, *(end for end in (low, high) if end is not None and (end > 0 or not log))]
    if log:
        return _log_scale(known)
    first, last = (min(known), max(known)) if known else (0.0, 1.0)
    if first == last:
        first, last = (min(0.0, first), max(0.0, last)) if first else (0.0, 1.0)
    if 0 < first < last / 2 or last < 0:
        first, last = min(first, 0.0), max(last, 0.0)  # far from each other: then from zero
    # halves: the difference of the ends of all floats is more than a float holds
    rough = (last / 2 - first / 2) / 2.5
    if rough <= 0 or not math.isfinite(rough):
        rough = max(abs(first), 1.0) * 1e-3
    step = _round_step(rough)
    begin, end = math.floor(first / step + 1e-9), math.ceil(last / step - 1e-9)
    ticks = tuple(number * step for number in range(begin, max(end, begin + 1) + 1))
    if not all(math.isfinite(tick) for tick in ticks):
        ticks = (first, last)
    return Scale(ticks[0], ticks[-1], tuple(float(f"{tick:.12g}") for tick in ticks))


def _log_scale(known: Sequence[float]) -> Scale:
    first, last = (min(known), max(known)) if known else (1.0, 10.0)
    begin, end = math.floor(math.log10(first) + 1e-9), math.ceil(math.log10(last) - 1e-9)
    begin, end = max(begin, -300), min(max(end, begin + 1), 300)
    if end - begin == 1:
        ticks = [factor * 10.0**begin for factor in _STEPS]
    else:
        step = max(1, math.ceil((end - begin) / 12))
        end = begin + math.ceil((end - begin) / step) * step
        ticks = [10.0**power for power in range(begin, end + 1, step)]
    return Scale(10.0**begin, 10.0**end, tuple(float(f"{tick:.12g}") for tick in ticks), log=True)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in _STEPS if factor * power >= rough * 0.999)


def shown_number(value: float) -> str:
    """Write a tick: short, with a prefix where it is long.

    >>> [shown_number(value) for value in (0, 0.05, 2.5, -40, 1200, 250_000, 3_000_000, 1e-7, 4e15)]
    ['0', '0.05', '2.5', '-40', '1,200', '250k', '3M', '1e-7', '4e15']
    """
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-4 or size >= 1e15:
        digits, _, power = f"{value:.3e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
    for unit, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if size >= factor * (10 if unit == "k" else 1):
            return f"{value / factor:.4g}{unit}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.4g}"
