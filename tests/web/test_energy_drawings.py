"""Charts are pure functions: same figures, same picture; all text is escaped; no style inside. Labels in words."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattbus.energy.label import ModelLabel
from wattbus.web.bar_charts import Bar, scale, stacked_bars
from wattbus.web.label_words import in_words

HEIGHT = 204.0  # of the drawing area


def svg_of(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{text}</div>")


def label(**changes: object) -> ModelLabel:
    values: dict[str, object] = {
        "model": "m", "revision": "v1", "scope": "local", "tier": "modelled", "runs": 3, "attempts": 4, "requests": 3,
        "wh": 0.123456, "low_wh": 0.1, "high_wh": 0.15, "tier_low_wh": 0.05, "tier_high_wh": 0.2, "cpu_seconds": 1.0,
        "precision": "fp32", "newest_us": 1_700_000_000_000_000, "missing": "",
    }  # fmt: skip
    return ModelLabel(**{**values, **changes})  # type: ignore[arg-type]


@given(st.lists(st.tuples(*[st.floats(0, 1e9)] * 4), min_size=1, max_size=40))
def test_the_parts_of_a_bar_are_as_tall_as_their_share_of_the_axis(bars: list[tuple[float, ...]]) -> None:
    highest = max(sum(bar) for bar in bars)

    drawn = str(
        stacked_bars([Bar("x", "said", bar) for bar in bars], ("a", "b", "c", "d"), "Wh", "described")
    )

    if not highest > 0:
        assert drawn == ""
        return
    top, step = scale(highest)
    assert top >= highest * 0.999 and top / step < 12
    groups = svg_of(drawn).findall("svg/g")
    assert len(groups) == len(bars)
    for group, bar in zip(groups, bars, strict=True):
        tall = sum(float(rect.attrib["height"]) for rect in group.findall("rect"))
        assert tall == pytest.approx(sum(bar) / top * HEIGHT, abs=0.05)


def test_text_in_drawings_is_escaped_and_no_style_is_inline() -> None:
    evil = '"><script>alert(1)</script>'

    chart = str(stacked_bars([Bar(evil, evil, (1.0,))], (evil,), evil, evil))

    assert "<script" not in chart and "style=" not in chart
    svg_of(chart)


def test_a_label_shows_two_digits_of_what_is_not_measured_and_three_of_what_is() -> None:
    assert "0.12 Wh for" in in_words(label(), "a machine")
    assert "0.123 Wh for" in in_words(label(tier="measured"), "a machine")


def test_a_label_in_words_says_what_the_picture_shows() -> None:
    said = in_words(label(), "a machine")

    for part in (
        "0.12 Wh",
        "modelled",
        "0.1 Wh to 0.15 Wh",
        "3 of 4 attempts",
        "a machine",
        "no reference, no letter",
    ):
        assert part in said
    assert "not enough runs" in in_words(
        label(wh=None, missing="not enough runs: 1 of known energy"), "a machine"
    )
