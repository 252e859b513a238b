"""The drawing of a trace: every message has one box, whatever its texts the SVG is well formed, nothing of it runs."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattbus.trace.views import (
    AttemptView,
    EnergyTotal,
    EnergyView,
    EventLine,
    Lane,
    Step,
    Totals,
    Trace,
)
from wattbus.web import diagram, waterfall

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE messages;--",
    "]]><svg onload=alert(1)>",
    "a\x00b\x1b[31m\u202e\ud800\ufffe",
    "&lt;b&gt; &amp; &#x3c;script&#x3e;",
    "x" * 5_000,
    "\r\n\t",
]
NS = "{http://www.w3.org/2000/svg}"
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40))


def step(number: int, source: str, target: str, **more: object) -> Step:
    one = Step(
        number=number, id=100 + number, type="Request", source=source, target=target, body_class="app.Text",
        body_bytes=12, body=None, description="", status="Completed", error=None, created_us=1_000 * number,
        parent=None, answers=None, depth=0,
        attempts=(
            AttemptView(1, "job", 1_000 * number + 100, 1_000 * number + 600, 0.0001, 0.0, 0.0004, "completed", None),
        ),
        energy=(EnergyView(1, "local", 0.017, "modelled", "settled", None, None, None, 0.001, None, None, False),),
        waiting_because=None,
    )  # fmt: skip
    return replace(one, **more)  # type: ignore[arg-type]


def trace_of(steps: list[Step], events: tuple[EventLine, ...] = ()) -> Trace:
    items = dict.fromkeys(name for one in steps for name in (one.source, one.target))
    kinds = ("service", "process", "operation")
    lanes = [Lane(item, kinds[min(place, 2)]) for place, item in enumerate(items)]
    totals = Totals((EnergyTotal("local", "modelled", 0.017, None, None, 1),), len(steps), 0, 0, 0)
    return Trace(7, 1_000, 99_000, 0.05, 0, tuple(lanes), tuple(steps), events, totals)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    names = draw(st.lists(texts, min_size=1, max_size=4, unique=True))
    count = draw(st.integers(1, 12))
    steps = [
        step(
            number,
            draw(st.sampled_from(names)),
            draw(st.sampled_from(names)),
            type=draw(st.sampled_from(["Request", "Response"])),
            body_class=draw(texts),
            status=draw(st.sampled_from(["Completed", "Error", "Queued", "Suspended"])),
            error=draw(st.none() | texts),
            parent=draw(st.none() | st.integers(1, count)),
            waiting_because=draw(st.none() | texts),
            attempts=() if draw(st.booleans()) else step(number, "a", "b").attempts,
        )
        for number in range(1, count + 1)
    ]
    lines = draw(st.lists(st.tuples(st.integers(0, 20_000), texts, st.sampled_from(names)), max_size=4))
    events = tuple(EventLine(at, "Error", item, "job", None, text) for at, text, item in lines)
    return trace_of(steps, events)


@settings(max_examples=60, deadline=None)
@given(traces())
def test_every_message_has_one_box_and_the_drawing_is_well_formed_whatever_the_texts(trace: Trace) -> None:
    drawn = diagram.sequence(trace, link=lambda number: f"/trace/7?step={number}#pane", chosen=1)

    root = ElementTree.fromstring(drawn)
    ids = [one.get("id") for one in root.iter() if one.get("id")]
    assert sorted(ids) == sorted(f"step-{one.number}" for one in trace.steps)
    assert_inert(root)


@settings(max_examples=40, deadline=None)
@given(traces())
def test_the_file_has_all_messages_and_its_waterfall_and_is_inert(trace: Trace) -> None:
    root = ElementTree.fromstring(diagram.standalone(trace))

    assert len([one for one in root.iter() if one.get("id")]) == len(trace.steps)
    assert len([one for one in root.iter(f"{NS}style")]) == 1
    assert_inert(root)
    bars = waterfall.waterfall(trace, trace.steps)
    if bars:
        assert_inert(ElementTree.fromstring(bars))


def assert_inert(root: ElementTree.Element) -> None:
    """Hold that nothing in a drawing runs, is fetched, or is styled inline."""
    known = {"svg", "g", "a", "rect", "line", "path", "text", "title", "style"}
    for one in root.iter():
        assert one.tag.removeprefix(NS) in known
        for name, value in one.attrib.items():
            assert not name.lower().startswith("on")
            assert name != "style"
            if name.endswith("href"):
                assert value.startswith("/trace/")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_stands_in_the_drawing_as_text(text: str) -> None:
    drawn = diagram.sequence(trace_of([step(1, text, "Echo", body_class=text, error=text, status="Error")]))

    assert "<script" not in drawn
    assert "<img" not in drawn
    assert drawn.count("<svg") == 1


def test_an_error_has_a_sign_beside_its_colour_and_its_text_in_the_row() -> None:
    drawn = diagram.sequence(trace_of([step(1, "A", "B", status="Error", error="no such model")]))

    assert "✕ 1 Text" in drawn
    assert "✕ Error: no such model" in drawn


def test_a_box_shows_its_energy_with_its_tier_and_unknown_as_a_dash() -> None:
    unknown = EnergyView(1, "local", None, "none", "pending", None, None, None, None, None, None, False)

    drawn = diagram.sequence(trace_of([step(1, "A", "B"), step(2, "A", "B", energy=(unknown,))]))

    assert "400 µs · 17 mJ modelled<" in drawn
    assert "400 µs · —<" in drawn


def test_unlike_tiers_stand_apart_in_a_box() -> None:
    one = step(1, "A", "B")
    other = replace(one.energy[0], attempt=2, tier="measured", joules=1.5)

    assert (
        diagram.energy_words(replace(one, energy=(*one.energy, other))) == "17 mJ modelled + 1.50 J measured"
    )


def test_lanes_stand_in_groups_under_their_kind() -> None:
    drawn = diagram.sequence(trace_of([step(1, "Door.Portal", "Router"), step(2, "Router", "Echo")]))

    found = re.findall(r'class="group"[^>]*>([^<]+)<', drawn)
    assert found == ["services", "processes", "operations"]


def test_lines_of_the_event_log_stand_between_the_messages_they_came_between() -> None:
    line = EventLine(1_500, "Info", "Echo", "job", 1, "in between")

    drawn = diagram.sequence(trace_of([step(1, "A", "Echo"), step(2, "A", "Echo")], (line,)))

    assert drawn.index("step-1") < drawn.index("in between") < drawn.index("step-2")


def test_a_part_of_a_long_session_has_its_own_boxes_and_lines_only() -> None:
    steps = [step(number, "A", "Echo") for number in range(1, 9)]
    lines = tuple(
        EventLine(1_000 * number + 1, "Info", "Echo", "job", number, f"line {number}.")
        for number in range(1, 9)
    )

    drawn = diagram.sequence(trace_of(steps, lines), steps=steps[2:4])

    assert re.findall(r'id="step-(\d+)"', drawn) == ["3", "4"]
    assert re.findall(r"line (\d)\.", drawn) == ["3", "4"]


def test_the_waterfall_takes_the_time_of_the_children_out_of_the_work_of_an_item() -> None:
    attempt = AttemptView(1, "job", 1_000, 11_000, 0.0, 0.0, 0.01, "completed", None)
    parent = step(1, "Door", "Relay", attempts=(attempt,), created_us=1_000)
    inner = replace(attempt, started_us=3_000, ended_us=7_000, duration_seconds=0.004)
    child = step(2, "Relay", "Echo", parent=1, attempts=(inner,), created_us=3_000)

    bar = waterfall.bars_of(trace_of([parent, child]), [parent])[0]

    assert bar.compute_seconds == pytest.approx(0.006)
    assert bar.children == ((3_000, 7_000),)
