"""Bars on a sheet: one row for each value, with its name, its bounds and its figure in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from wattbus.pictures.axes import scale_of
from wattbus.pictures.chart import Axis, Box
from wattbus.pictures.colours import INK, QUIET, RULE, SERIES, Colour
from wattbus.pictures.sheet import Sketch, text_width

_NAME, _SMALL = 11.5, 10.5


@dataclass(frozen=True)
class Bar:
    """One value, None where it is not known; ``shown`` is its figure in words, such as "0.048 Wh modelled"."""

    name: str
    value: float | None
    shown: str
    low: float | None = None
    high: float | None = None
    colour: Colour = SERIES[0]


def draw_bars(sketch: Sketch, box: Box, axis: Axis, bars: Sequence[Bar]) -> None:
    """Draw the bars into ``box``; one without a value says so and has no length."""
    names = min(max((text_width(bar.name, _NAME) for bar in bars), default=0.0), box.width * 0.34)
    figures = min(
        max((text_width(bar.shown, _SMALL, bold=True) for bar in bars), default=0.0), box.width * 0.3
    )
    left, top = box.x + names + 10, box.y + 24
    width, bottom = box.width - names - figures - 24, box.y + box.height - 24
    reaches = [value for bar in bars for value in (bar.value, bar.low, bar.high)]
    known = [value for value in reaches if value is not None and math.isfinite(value)]
    if axis.log:
        known = [value for value in known if value > 0]
    scale = scale_of(known if axis.log else [0.0, *known], axis.low, axis.high, log=axis.log)
    origin = scale.low if axis.log else 0.0
    title = f"{axis.title} (logarithmic)" if axis.log else axis.title
    sketch.text(box.x, box.y + 9, title, _NAME, bold=True, fit=box.width)
    free = -math.inf
    for tick in scale.ticks:
        x = left + (scale.share(tick) or 0.0) * width
        sketch.line([(x, top), (x, bottom)], colour=RULE)
        name = axis.shown(tick)
        half = text_width(name, _SMALL) / 2
        if x - half > free:
            sketch.text(x, bottom + 14, name, _SMALL, colour=QUIET, anchor="middle")
            free = x + half + 6
    row = (bottom - top) / max(1, len(bars))
    for number, bar in enumerate(bars):
        middle = top + (number + 0.5) * row
        thick = min(22.0, row * 0.6)
        sketch.text(left - 10, middle + 4, bar.name, _NAME, anchor="end", fit=names)
        sketch.text(left + width + 10, middle + 4, bar.shown, _SMALL, bold=True, fit=figures)
        share, zero = (None if bar.value is None else scale.share(bar.value)), scale.share(origin)
        if share is None or zero is None:
            continue
        begin, end = sorted((zero, share))
        sketch.rectangle(
            left + begin * width, middle - thick / 2, (end - begin) * width, thick, fill=bar.colour, radius=2
        )
        _draw_bounds(
            sketch,
            [None if value is None else scale.share(value) for value in (bar.low, bar.high)],
            left,
            width,
            middle,
        )
    x = left + (scale.share(origin) or 0.0) * width
    sketch.line([(x, top), (x, bottom)], colour=QUIET)


def _draw_bounds(sketch: Sketch, shares: Sequence[float | None], left: float, width: float, y: float) -> None:
    low, high = shares
    if low is None or high is None:
        return
    ends = [left + low * width, left + high * width]
    sketch.line([(ends[0], y), (ends[1], y)], colour=INK, width=1.2)
    for x in ends:
        sketch.line([(x, y - 4), (x, y + 4)], colour=INK, width=1.2)
