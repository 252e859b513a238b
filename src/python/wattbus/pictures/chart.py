"""Charts on a sheet: lines or points over two axes, the series told apart by dash and mark as well as by colour."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wattbus.pictures.axes import Scale, scale_of, shown_number
from wattbus.pictures.colours import ACCENT, INK, PAPER, QUIET, RULE, SERIES, Colour
from wattbus.pictures.sheet import Point, Sketch, text_width

DASHES: tuple[tuple[float, ...], ...] = ((), (7, 3), (2, 2.5), (9, 3, 2, 3), (4, 2), (12, 4))
MARKS = ("circle", "square", "triangle", "diamond", "cross", "plus")
_MARKED = 24  # a line through more points than these has marks only on some
_SMALL, _LABEL = 10.5, 11.5


@dataclass(frozen=True)
class Axis:
    """What one axis says; ``low`` and ``high`` widen it beyond the points, ``shown`` writes a tick."""

    title: str
    log: bool = False
    low: float | None = None
    high: float | None = None
    shown: Callable[[float], str] = shown_number


@dataclass(frozen=True)
class Series:
    """Points in the order of the line; one that is not finite, or not positive on a log axis, makes a gap."""

    name: str
    points: tuple[Point, ...]
    line: bool = True
    marks: bool = True
    labels: tuple[str, ...] = ()  # beside the points, as many as there are
    ringed: frozenset[int] = frozenset()  # the numbers of the points that are marked out


@dataclass(frozen=True)
class Reference:
    """A line right across, at a place of the y axis (or of the x axis), with its label."""

    at: float
    label: str
    upright: bool = False


@dataclass(frozen=True)
class Box:
    """A part of a sheet."""

    x: float
    y: float
    width: float
    height: float


def draw_chart(
    sketch: Sketch,
    box: Box,
    x_axis: Axis,
    y_axis: Axis,
    series: Sequence[Series],
    references: Sequence[Reference] = (),
) -> int:
    """Draw a chart into ``box``; return how many points could not be drawn."""
    legend = _legend_rows(series, box.width - 60)
    top = box.y + 22 + 18 * len(legend)
    scales = (
        scale_of(_values(x_axis, series, references, 0), x_axis.low, x_axis.high, log=x_axis.log),
        scale_of(_values(y_axis, series, references, 1), y_axis.low, y_axis.high, log=y_axis.log),
    )
    names = [y_axis.shown(tick) for tick in scales[1].ticks]
    left = box.x + 14 + max((text_width(name, _SMALL) for name in names), default=0.0)
    last = text_width(x_axis.shown(scales[0].ticks[-1]), _SMALL) / 2
    plot = Box(left, top, box.x + box.width - max(8, last) - left, box.y + box.height - 42 - top)
    _draw_legend(sketch, box.x, box.y + 28, legend)
    _draw_axes(sketch, box, plot, x_axis, y_axis, scales)
    place = _Place(plot, *scales)
    missing = 0
    for number, one in enumerate(series):
        missing += _draw_series(sketch, place, number, one)
    for reference in references:
        _draw_reference(sketch, place, reference)
    for number, one in enumerate(series):
        _draw_labels(sketch, place, number, one)
    return missing


@dataclass(frozen=True)
class _Place:
    """Where values stand on the sheet."""

    plot: Box
    x: Scale
    y: Scale

    def __call__(self, point: Point) -> Point | None:
        across, up = self.x.share(point[0]), self.y.share(point[1])
        if across is None or up is None:
            return None
        return self.plot.x + across * self.plot.width, self.plot.y + (1 - up) * self.plot.height


def _values(axis: Axis, series: Sequence[Series], references: Sequence[Reference], part: int) -> list[float]:
    values = [point[part] for one in series for point in one.points]
    values += [one.at for one in references if one.upright == (part == 0)]
    return [value for value in values if math.isfinite(value) and (value > 0 or not axis.log)]


def _draw_axes(
    sketch: Sketch, box: Box, plot: Box, x_axis: Axis, y_axis: Axis, scales: tuple[Scale, Scale]
) -> None:
    right, bottom = plot.x + plot.width, plot.y + plot.height
    for tick in scales[1].ticks:
        y = bottom - (scales[1].share(tick) or 0.0) * plot.height
        sketch.line([(plot.x, y), (right, y)], colour=RULE)
        sketch.text(plot.x - 6, y + 3.5, y_axis.shown(tick), _SMALL, colour=QUIET, anchor="end")
    free = -math.inf
    for tick in scales[0].ticks:
        x = plot.x + (scales[0].share(tick) or 0.0) * plot.width
        sketch.line([(x, bottom), (x, bottom + 4)], colour=QUIET)
        name = x_axis.shown(tick)
        half = text_width(name, _SMALL) / 2
        if x - half > free:
            sketch.text(x, bottom + 16, name, _SMALL, colour=QUIET, anchor="middle")
            free = x + half + 6
    sketch.line([(plot.x, bottom), (right, bottom)], colour=QUIET)
    sketch.text(box.x, box.y + 9, _titled(y_axis), _LABEL, bold=True, fit=box.width)
    sketch.text(right, bottom + 35, _titled(x_axis), _LABEL, bold=True, anchor="end", fit=plot.width)


def _titled(axis: Axis) -> str:
    return f"{axis.title} (logarithmic)" if axis.log else axis.title


def _draw_series(sketch: Sketch, place: _Place, number: int, series: Series) -> int:
    colour, dash, mark = look(number)
    runs: list[list[Point]] = [[]]
    missing = 0
    spots: list[tuple[int, Point]] = []
    for index, point in enumerate(series.points):
        spot = place(point)
        if spot is None:
            missing += 1
            runs.append([])
        else:
            runs[-1].append(spot)
            spots.append((index, spot))
    if series.line:
        for run in runs:
            if len(run) > 1:
                sketch.line(run, colour=colour, width=2, dash=dash)
    step = max(1, round(len(spots) / _MARKED)) if series.line else 1
    for place_, (index, (x, y)) in enumerate(spots):
        if index in series.ringed:
            sketch.circle(x, y, 8, stroke=ACCENT, stroke_width=1.6)
        if series.marks and (place_ % step == 0 or index in series.ringed):
            draw_mark(sketch, mark, x, y, colour)
    return missing


def _draw_labels(sketch: Sketch, place: _Place, number: int, series: Series) -> None:
    """Write the names of points, each where no other name stands yet: right of the point, left, below or above."""
    taken: list[tuple[float, float, float, float]] = []
    plot = place.plot
    for point, label in zip(series.points, series.labels, strict=False):
        spot = place(point)
        if spot is None or not label:
            continue
        width = min(text_width(label, _SMALL), plot.width * 0.45)
        x, y = spot
        choices = (
            (x + 11, y + 3.5),
            (x - 11 - width, y + 3.5),
            (x - width / 2, y + 20),
            (x - width / 2, y - 12),
        )
        for left, baseline in choices:
            area = (left, baseline - 10, left + width, baseline + 3)
            inside = (
                area[0] >= plot.x
                and area[2] <= plot.x + plot.width + 8
                and area[1] >= plot.y - 10
                and area[3] <= plot.y + plot.height
            )
            if inside and not any(_overlap(area, other) for other in taken):
                taken.append(area)
                sketch.text(left, baseline, label, _SMALL, colour=INK, fit=width + 0.1)
                break


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _draw_reference(sketch: Sketch, place: _Place, reference: Reference) -> None:
    plot = place.plot
    share = (place.x if reference.upright else place.y).share(reference.at)
    if share is None:
        return
    if reference.upright:
        x = plot.x + share * plot.width
        sketch.line([(x, plot.y), (x, plot.y + plot.height)], colour=INK, width=1.2, dash=(3, 3))
        on_left = x > plot.x + plot.width * 0.6
        room = (x - plot.x if on_left else plot.x + plot.width - x) - 8
        at, y = (x - 5 if on_left else x + 5), plot.y + 11
        anchor = "end" if on_left else "start"
    else:
        line_y = plot.y + (1 - share) * plot.height
        sketch.line([(plot.x, line_y), (plot.x + plot.width, line_y)], colour=INK, width=1.2, dash=(3, 3))
        at, anchor, room = plot.x + plot.width - 4, "end", plot.width - 8
        y = line_y - 5 if line_y - 16 > plot.y else line_y + 14
    width = min(text_width(reference.label, _SMALL, bold=True), room)
    left = at - width if anchor == "end" else at
    sketch.rectangle(left - 2, y - 10, width + 4, 13, fill=PAPER)
    sketch.text(left, y, reference.label, _SMALL, bold=True, fit=room)


def look(number: int) -> tuple[Colour, tuple[float, ...], str]:
    """Return colour, dash and mark of a series by its number."""
    return SERIES[number % len(SERIES)], DASHES[number % len(DASHES)], MARKS[number % len(MARKS)]


def draw_mark(sketch: Sketch, mark: str, x: float, y: float, colour: Colour, reach: float = 4.0) -> None:
    """Draw the mark of a series."""
    match mark:
        case "circle":
            sketch.circle(x, y, reach, fill=colour, stroke=PAPER)
        case "square":
            sketch.rectangle(x - reach, y - reach, 2 * reach, 2 * reach, fill=colour, stroke=PAPER)
        case "triangle":
            corners = [(x, y - reach * 1.2), (x + reach * 1.1, y + reach), (x - reach * 1.1, y + reach)]
            sketch.polygon(corners, fill=colour, stroke=PAPER)
        case "diamond":
            far = reach * 1.25
            sketch.polygon(
                [(x, y - far), (x + far, y), (x, y + far), (x - far, y)], fill=colour, stroke=PAPER
            )
        case "cross":
            sketch.line([(x - reach, y - reach), (x + reach, y + reach)], colour=colour, width=2)
            sketch.line([(x - reach, y + reach), (x + reach, y - reach)], colour=colour, width=2)
        case _:
            sketch.line([(x - reach, y), (x + reach, y)], colour=colour, width=2)
            sketch.line([(x, y - reach), (x, y + reach)], colour=colour, width=2)


def _legend_rows(series: Sequence[Series], width: float) -> list[list[tuple[int, Series, float]]]:
    """Return the rows of the legend: number, series and place from the left; one series alone needs none."""
    rows: list[list[tuple[int, Series, float]]] = []
    x = math.inf
    for number, one in enumerate(series):
        if len(series) == 1 or not one.name:
            continue
        takes = 34 + min(text_width(one.name, _LABEL), width - 34) + 18
        if x + takes > width + 18:
            rows.append([])
            x = 0.0
        rows[-1].append((number, one, x))
        x += takes
    return rows


def _draw_legend(
    sketch: Sketch, left: float, top: float, rows: Sequence[Sequence[tuple[int, Series, float]]]
) -> None:
    for row, entries in enumerate(rows):
        y = top + 18 * row
        for number, one, x in entries:
            colour, dash, mark = look(number)
            if one.line:
                sketch.line([(left + x, y - 4), (left + x + 28, y - 4)], colour=colour, width=2, dash=dash)
            if one.marks:
                draw_mark(sketch, mark, left + x + 14, y - 4, colour)
            sketch.text(left + x + 34, y, one.name, _LABEL, fit=sketch.width - left - x - 40)


__all__ = ["Axis", "Box", "Reference", "Series", "draw_chart", "draw_mark", "look"]
