"""The pictures of an analysis: returns over the count, what both ways cost, and the tornado; each on a sheet."""

from __future__ import annotations

from collections.abc import Sequence

from wattbus.pictures.axes import scale_of, shown_number
from wattbus.pictures.chart import Axis, Box, Reference, Series, draw_chart
from wattbus.pictures.colours import INK, PAPER, QUIET, RULE, SERIES
from wattbus.pictures.sheet import Sheet, Sketch, text_width
from wattbus.roi.analysis import Analysis
from wattbus.roi.curves import Point, cost_curve, return_curve
from wattbus.roi.lines import digits_of
from wattbus.roi.outcome import outcome_of
from wattbus.roi.sensitivity import Tornado, tornado
from wattbus.roi.shown import count, money, plain

WIDTH, HEIGHT = 760.0, 400.0
_NAME, _SMALL = 11.5, 10.5
_LOWER, _HIGHER = SERIES[1], SERIES[0]


def return_sheet(analysis: Analysis) -> Sheet:
    """Draw both returns over the count."""
    outcome = outcome_of(analysis)
    alt = (
        f"{analysis.given.name}: the GAISSA ROI and the ordinary return by the number of {analysis.tactic.units}. "
        f"{outcome.sentence}"
    )
    sketch = _sketch(f"Return of {analysis.given.name}", alt, HEIGHT)
    draw_returns(sketch, _box(HEIGHT), analysis)
    return sketch.sheet()


def cost_sheet(analysis: Analysis) -> Sheet:
    """Draw what was spent both ways, with the break-even marked."""
    curve, noun = cost_curve(analysis), analysis.tactic.unit
    where = (
        "they do not meet"
        if curve.break_even is None
        else f"they meet at {count(curve.break_even, noun, digits_of(analysis))}"
    )
    alt = f"{analysis.given.name}: what is spent before and after, by the number of {noun}s; {where}."
    sketch = _sketch(f"Costs of {analysis.given.name}", alt, HEIGHT)
    draw_costs(sketch, _box(HEIGHT), analysis)
    return sketch.sheet()


def tornado_sheet(analysis: Analysis) -> Sheet:
    """Draw how far the net saving moves with each figure."""
    found = tornado(analysis)
    height = 80.0 + 46 * max(1, len(found.swings))
    digits = digits_of(analysis)
    told = "; ".join(
        f"{one.figure}: {money(one.net_at_low, analysis.given.currency, digits)} to "
        f"{money(one.net_at_high, analysis.given.currency, digits)}"
        for one in found.swings
    )
    alt = f"{analysis.given.name}: net saving where one figure is {100 * found.spread:.0f} % lower or higher. {told}."
    sketch = _sketch(f"Sensitivity of {analysis.given.name}", alt, height)
    draw_tornado(sketch, _box(height), analysis, found)
    return sketch.sheet()


# -- into a part of a sheet ---------------------------------------------------------------------------------------


def draw_returns(sketch: Sketch, box: Box, analysis: Analysis) -> None:
    """Draw returns over a logarithmic count; the ordinary return is cut where it leaves the other far below."""
    curve, noun = return_curve(analysis), analysis.tactic.unit
    digits = min(digits_of(analysis), 3)
    reach = [value for _, value in (*curve.gaissa_roi, *curve.high)]
    top = max(1.0, *(value * 1.25 for value in reach)) if reach else 1.0
    bottom = min(-1.0, *(value for _, value in (*curve.gaissa_roi, *curve.low))) if reach else -1.0
    series = [
        Series("GAISSA ROI", curve.gaissa_roi, marks=False),
        Series("ordinary return", _between(curve.ordinary_return, bottom, top), marks=False),
    ]
    if curve.low:
        series += [
            Series("GAISSA ROI, lower bound", curve.low, marks=False),
            Series("upper bound", curve.high, marks=False),
        ]
    references = [Reference(0.0, "")]
    if curve.infinite_roi is not None and bottom <= curve.infinite_roi <= top:
        label = f"infinite ROI {plain(curve.infinite_roi, digits)}"
        references.append(Reference(curve.infinite_roi, label))
    if curve.break_even:
        label = f"break-even {_short(curve.break_even, analysis)}"
        references.append(Reference(float(curve.break_even), label, upright=True))
    at = curve.at_units
    if at is not None and curve.units:
        name = f"GAISSA ROI at {shown_number(curve.units)}: {plain(at, digits)}"
        series.append(Series(name, ((float(curve.units), at),), line=False, ringed=frozenset({0})))
    draw_chart(
        sketch,
        box,
        Axis(f"number of {noun}s", log=True),
        Axis("return", low=bottom, high=top),
        [one for one in series if one.points],
        references,
    )


def draw_costs(sketch: Sketch, box: Box, analysis: Analysis) -> None:
    """Draw what was spent both ways up to a count."""
    curve, noun = cost_curve(analysis), analysis.tactic.unit
    references: list[Reference] = []
    series = [Series("before", curve.old, marks=False), Series("after, with I", curve.new, marks=False)]
    if curve.break_even is not None:
        label = f"break-even {_short(curve.break_even, analysis)}"
        references.append(Reference(float(curve.break_even), label, upright=True))
    draw_chart(
        sketch,
        box,
        Axis(f"number of {noun}s", low=0.0),
        Axis(f"spent, {analysis.given.currency}", low=0.0),
        series,
        references,
    )


def draw_tornado(sketch: Sketch, box: Box, analysis: Analysis, found: Tornado) -> None:
    """Draw a bar for each figure, from the net saving where it is lower to that where it is higher."""
    currency = analysis.given.currency
    names = max((text_width(one.figure, _NAME) for one in found.swings), default=0.0)
    left, top = box.x + names + 12, box.y + 26
    width, bottom = box.width - names - 24, box.y + box.height - 24
    title = f"net saving, {currency}, where one figure is {100 * found.spread:.0f} % lower or higher"
    sketch.text(box.x, box.y + 9, title, _NAME, bold=True, fit=box.width)
    ends = [end for one in found.swings for end in (one.net_at_low, one.net_at_high)]
    room = 0.25 * (max(found.net, *ends) - min(found.net, *ends)) if ends else 0.0
    scale = scale_of(
        [found.net, min(found.net, *ends) - room, max(found.net, *ends) + room] if ends else [found.net]
    )

    def across(value: float) -> float:
        return left + (scale.share(value) or 0.0) * width

    _draw_ticks(sketch, [(across(tick), shown_number(tick)) for tick in scale.ticks], top, bottom)
    row = (bottom - top) / max(1, len(found.swings))
    for number, one in enumerate(found.swings):
        middle = top + (number + 0.5) * row
        sketch.text(left - 12, middle + 4, one.figure, _NAME, anchor="end", fit=names + 1)
        for net, value, colour, word in (
            (one.net_at_low, one.low_value, _LOWER, "lower"),
            (one.net_at_high, one.high_value, _HIGHER, "higher"),
        ):
            begin, end = sorted((across(found.net), across(net)))
            sketch.rectangle(begin, middle - 9, end - begin, 18, fill=colour, radius=2)
            said = f"{word}: {_swing_value(one.figure, value)}"
            _beside(sketch, said, across(net), net < found.net or (net == found.net and word == "lower"), middle,
                    (left, left + width))  # fmt: skip
    sketch.line([(across(found.net), top), (across(found.net), bottom)], colour=INK, width=1.2)
    if not found.swings:
        sketch.text(left, top + 20, "every figure is 0: nothing moves", _NAME, colour=QUIET)


def _beside(
    sketch: Sketch, said: str, x: float, on_left: bool, middle: float, between: tuple[float, float]
) -> None:
    """Write beside the end of a bar; on the bar's ground where there is no room beside it."""
    wide = text_width(said, _SMALL)
    fits = x - wide - 6 >= between[0] if on_left else x + wide + 6 <= between[1]
    on_left = on_left if fits else not on_left
    start = x - wide - 4 if on_left else x + 4
    if not fits:
        sketch.rectangle(start - 2, middle - 7, wide + 4, 14, fill=PAPER, radius=2)
    sketch.text(start, middle + 4, said, _SMALL, colour=INK)


def _swing_value(figure: str, value: float) -> str:
    return shown_number(value) if figure.startswith("number of") else plain(value, 3)


def _draw_ticks(sketch: Sketch, ticks: Sequence[tuple[float, str]], top: float, bottom: float) -> None:
    free = float("-inf")
    for x, name in ticks:
        sketch.line([(x, top), (x, bottom)], colour=RULE)
        half = text_width(name, _SMALL) / 2
        if x - half > free:
            sketch.text(x, bottom + 14, name, _SMALL, colour=QUIET, anchor="middle")
            free = x + half + 6


def _sketch(title: str, alt: str, height: float) -> Sketch:
    sketch = Sketch(WIDTH, height, title=title, alt=alt)
    sketch.rectangle(0, 0, WIDTH, height, fill=PAPER)
    return sketch


def _box(height: float) -> Box:
    return Box(16, 14, WIDTH - 32, height - 26)


def _between(points: Sequence[Point], low: float, high: float) -> tuple[Point, ...]:
    return tuple((n, value) for n, value in points if low <= value <= high)


def _short(count: int, analysis: Analysis) -> str:
    """Show a count in few signs, with no more digits than it is worth."""
    return shown_number(float(f"{count:.{min(digits_of(analysis), 4) - 1}e}"))
