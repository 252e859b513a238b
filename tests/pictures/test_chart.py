"""Charts: round ticks, series told apart without colour, and nothing drawn outside of its place."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattbus.pictures.axes import Scale, scale_of, shown_number
from wattbus.pictures.bars import Bar, draw_bars
from wattbus.pictures.chart import Axis, Box, Reference, Series, draw_chart, look
from wattbus.pictures.pdf import draw_pdf
from wattbus.pictures.png import draw_png
from wattbus.pictures.sheet import Circle, Path, Rectangle, Sketch, Text
from wattbus.pictures.svg import draw_svg

BOX = Box(10, 10, 580, 300)
numbers = st.floats(allow_nan=True, allow_infinity=True)


def sketch() -> Sketch:
    return Sketch(600, 320, title="a chart", alt="a chart of figures")


def spots(one: Sketch) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for item in one.sheet().items:
        if isinstance(item, Path):
            found += item.points
        elif isinstance(item, Circle):
            found.append((item.x, item.y))
        elif isinstance(item, Rectangle):
            found += [(item.x, item.y), (item.x + item.width, item.y + item.height)]
        elif isinstance(item, Text):
            begin = item.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[item.anchor] * item.width
            found += [(begin, item.y), (begin + item.width, item.y)]
    return found


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0], (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        ([], (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        ([0.81, 0.93], (0.8, 0.85, 0.9, 0.95)),
        ([-3, 12], (-5, 0, 5, 10, 15)),
        ([-7, -1], (-8, -6, -4, -2, 0)),
    ],
)
def test_ticks_are_round_and_hold_the_values(values: list[float], ticks: tuple[float, ...]) -> None:
    assert scale_of(values).ticks == pytest.approx(ticks)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=6), st.booleans())
def test_every_value_has_its_place_on_the_axis(values: list[float], log: bool) -> None:
    known = [value for value in values if value > 1e-290 and value < 1e290] if log else values

    scale = scale_of(known, log=log)

    assert scale.low < scale.high or known
    assert all(share is not None and 0 <= share <= 1 for share in map(scale.share, known))
    assert list(scale.ticks) == sorted(set(scale.ticks))
    assert 2 <= len(scale.ticks) <= 16


def test_a_logarithmic_axis_has_no_place_for_zero() -> None:
    scale = scale_of([0.1, 100], log=True)

    assert [scale.share(value) for value in (0, -1, math.nan, math.inf)] == [None] * 4
    assert scale.share(1.0) == pytest.approx(1 / 3)
    assert isinstance(scale, Scale)


def test_series_are_told_apart_by_dash_and_mark_too() -> None:
    looks = [look(number) for number in range(6)]

    assert len({colour.light for colour, _, _ in looks}) == 6
    assert len({dash for _, dash, _ in looks}) == 6
    assert len({mark for _, _, mark in looks}) == 6


def test_points_that_cannot_be_shown_make_a_gap_and_are_counted() -> None:
    drawing = sketch()
    points = ((1.0, 1.0), (2.0, 2.0), (3.0, math.nan), (4.0, 0.0), (5.0, 3.0), (6.0, 4.0))

    missing = draw_chart(drawing, BOX, Axis("x"), Axis("y", log=True), [Series("s", points)])

    curve = [item for item in drawing.sheet().items if isinstance(item, Path) and item.stroke_width == 2]
    assert missing == 2
    assert [len(path.points) for path in curve] == [2, 2]


def test_a_reference_has_its_label_and_several_series_a_legend() -> None:
    drawing = sketch()
    lines = [Series(name, ((1, 1), (10, 5))) for name in ("before", "after")]

    draw_chart(
        drawing,
        BOX,
        Axis("inferences", log=True),
        Axis("return"),
        lines,
        [Reference(0, "break-even"), Reference(4, "4 inferences", upright=True)],
    )

    said = {item.said for item in drawing.sheet().items if isinstance(item, Text)}
    assert {"before", "after", "break-even", "4 inferences", "return", "inferences (logarithmic)"} <= said


def test_the_names_of_points_do_not_lie_on_each_other() -> None:
    drawing = sketch()
    points = tuple((1.0 + number / 100, 1.0) for number in range(12))
    names = tuple(f"model number {number}" for number in range(12))

    draw_chart(drawing, BOX, Axis("x"), Axis("y"), [Series("", points, line=False, labels=names)])

    shown = [item for item in drawing.sheet().items if isinstance(item, Text) and item.said in names]
    boxes = [(item.x, item.y, item.x + item.width) for item in shown]
    assert shown
    assert not [
        (one, other)
        for number, one in enumerate(boxes)
        for other in boxes[:number]
        if abs(one[1] - other[1]) < 10 and one[0] < other[2] and other[0] < one[2]
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(numbers, numbers), max_size=8), max_size=3),
    st.booleans(),
    st.booleans(),
    st.text(max_size=80),
)
def test_any_chart_is_drawn_within_its_sheet(
    series: list[list[tuple[float, float]]], log_x: bool, log_y: bool, name: str
) -> None:
    drawing = sketch()

    lines = [Series(name, tuple(points), labels=(name,) * len(points)) for points in series]
    references = [Reference(1.0, name), Reference(2.0, name, upright=True)]
    draw_chart(
        drawing,
        BOX,
        Axis(name, log=log_x),
        Axis(name, log=log_y),
        lines,
        references,
    )

    outside = [(x, y) for x, y in spots(drawing) if not (-1 <= x <= 601 and -1 <= y <= 321)]
    assert outside == []


def test_bars_show_bounds_and_an_unknown_value_has_no_length() -> None:
    drawing = sketch()

    bars = [Bar("tiny", 0.05, "0.05 Wh", 0.01, 0.2), Bar("unknown", None, "—"), Bar("base", 2.0, "2.0 Wh")]
    draw_bars(drawing, BOX, Axis("Wh for 1,000"), bars)

    lengths = [item.width for item in drawing.sheet().items if isinstance(item, Rectangle)]
    said = {item.said for item in drawing.sheet().items if isinstance(item, Text)}
    assert len(lengths) == 2 and lengths[1] == pytest.approx(40 * lengths[0])
    assert {"tiny", "unknown", "base", "—", "0.05 Wh"} <= said


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=40), st.none() | numbers, st.none() | numbers), max_size=5),
    st.booleans(),
)
def test_any_bars_are_drawn_within_their_sheet(
    rows: list[tuple[str, float | None, float | None]], log: bool
) -> None:
    drawing = sketch()

    draw_bars(
        drawing, BOX, Axis("t", log=log), [Bar(name, value, name, low, value) for name, value, low in rows]
    )

    assert [(x, y) for x, y in spots(drawing) if not (-1 <= x <= 601 and -1 <= y <= 321)] == []


def test_a_chart_comes_out_of_every_back_end() -> None:
    drawing = sketch()
    lines = [Series(f"line {number}", ((1, number), (2, number + 1.5), (3, 2))) for number in range(7)]
    draw_chart(drawing, BOX, Axis("x"), Axis("y"), lines)

    finished = drawing.sheet()
    assert draw_svg(finished).count("stroke-dasharray") >= 5
    assert draw_png(finished).startswith(b"\x89PNG")
    assert draw_pdf(finished).startswith(b"%PDF")


def test_numbers_on_an_axis_are_short() -> None:
    assert max(len(shown_number(value)) for value in (1e-300, 123456789.0, -0.000123, 9.99e14, 1e300)) <= 10
