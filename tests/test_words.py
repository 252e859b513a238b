"""Figures and texts as they are shown to people."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattbus import words


def test_the_examples_in_the_docstrings_are_true() -> None:
    failed, tried = doctest.testmod(words)

    assert tried > 5
    assert failed == 0


@given(st.text())
def test_cleaned_text_is_one_line_of_printable_characters(text: str) -> None:
    shown = words.clean(text)

    assert shown.isprintable()


@given(st.floats(min_value=1e-9, max_value=1e9))
def test_a_modelled_figure_has_two_significant_digits_at_most(value: float) -> None:
    figure = words.joules(value, "modelled").split()[0]

    digits = figure.replace(".", "").lstrip("0").rstrip("0")
    assert len(digits) <= 2
    assert words.joules(value, "modelled").endswith("J modelled")


@given(st.floats(min_value=1e-9, max_value=1e9))
def test_a_figure_is_shown_close_to_what_it_is(value: float) -> None:
    figure, unit, _ = words.joules(value, "measured").split()
    factor = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6}[unit.removesuffix("J")]

    assert float(figure) * factor == pytest.approx(value, rel=0.006)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_unknown_is_a_dash_and_never_zero(value: float | None) -> None:
    assert words.seconds(value) == "—"
    assert words.joules(value, "modelled") == "—"
