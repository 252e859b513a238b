"""GAISSA's arithmetic: the class of a value, and the compound of several, as its rating calculator reckons them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattbus.labels.builtin import BUILT_IN, edges_around, graded
from wattbus.labels.gaissa import class_of, compound_of
from wattbus.labels.profile import Direction, Interval, Metric

LOWER = Metric(
    id="grams", name="Grams", direction=Direction.LOWER, intervals=graded(Direction.LOWER, (1, 10, 100, 1000))
)
HIGHER = Metric(
    id="score", name="Score", direction=Direction.HIGHER,
    intervals=graded(Direction.HIGHER, (0.9, 0.8, 0.6, 0.4), end=1.0),
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "letter"),
    [
        (0.5, "A"), (1.0, "A"), (1.0000001, "B"), (10, "B"), (100, "C"), (1000, "D"), (1000.5, "E"), (1e20, "E"),
        (0.0, "E"), (-1.0, "E"),  # in no interval: the worst
    ],
)  # fmt: skip
def test_a_value_on_an_edge_belongs_to_the_class_that_ends_there(value: float, letter: str) -> None:
    assert class_of(LOWER, value, "ABCDE") == letter


@pytest.mark.parametrize(
    ("value", "letter"),
    [
        (1.0, "A"), (0.91, "A"), (0.9, "B"), (0.8, "C"), (0.6, "D"), (0.4, "E"), (0.1, "E"), (0.0, "E"),
        (1.5, "E"),  # above every interval: the worst, so that an evaluation refuses it first
    ],
)  # fmt: skip
def test_where_higher_is_better_a_lower_edge_is_outside(value: float, letter: str) -> None:
    assert class_of(HIGHER, value, "ABCDE") == letter


@pytest.mark.parametrize(
    ("letters", "compound"),
    [
        ("AB", "A"), ("BC", "C"), ("CD", "C"), ("DE", "E"), ("AC", "B"), ("AE", "C"), ("A", "A"), ("EEEE", "E"),
        ("ABC", "B"), ("AAB", "A"), ("ABB", "B"), ("AABB", "A"), ("BBCC", "C"), ("EBBBBB", "C"), ("ABCDE", "C"),
    ],
)  # fmt: skip
def test_the_compound_rounds_a_half_to_the_even_class(letters: str, compound: str) -> None:
    assert compound_of([(letter, 1.0) for letter in letters], "ABCDE") == compound


@pytest.mark.parametrize(
    ("grades", "compound"),
    [
        ([("A", 0.35), ("E", 0.1)], "B"),  # 0.4 / 0.45 = 0.89
        ([("A", 3), ("E", 1)], "B"),
        ([("A", 5), ("B", 0)], "A"),  # a weight of 0 is not mixed in
        ([("C", 0.2)], "C"),  # whatever the weight, alone it is all
        ([("A", 0.1), ("B", 0.1)], "A"),
        ([("A", 0.1), ("D", 0.2), ("B", 0.3)], "C"),  # (0 + 0.6 + 0.3) / 0.6 = 1.5 exactly, to the even 2
    ],
)
def test_weights_are_shared_among_the_metrics_that_have_a_value(
    grades: list[tuple[str, float]], compound: str
) -> None:
    assert compound_of(grades, "ABCDE") == compound


@pytest.mark.parametrize("grades", [[], [("A", 0.0)], [("A", 0.0), ("E", 0.0)]])
def test_without_any_weight_there_is_no_compound(grades: list[tuple[str, float]]) -> None:
    assert compound_of(grades, "ABCDE") is None


LETTERS = st.lists(
    st.tuples(st.sampled_from("ABCDE"), st.floats(0, 1e6, allow_nan=False)), min_size=1, max_size=12
)


@given(LETTERS)
def test_a_compound_is_the_nearest_class_to_the_mean(grades: list[tuple[str, float]]) -> None:
    found = compound_of(grades, "ABCDE")

    weights = [Fraction(repr(weight)) for _, weight in grades]
    if not sum(weights):
        assert found is None
        return
    places = ["ABCDE".index(letter) for letter, _ in grades]
    mean = sum(place * weight for place, weight in zip(places, weights, strict=True)) / sum(weights)
    assert found is not None
    place = "ABCDE".index(found)
    assert abs(place - mean) <= Fraction(1, 2)
    assert abs(place - mean) < Fraction(1, 2) or place % 2 == 0
    known = [letter for letter, weight in grades if weight]
    assert min(known) <= found <= max(known)


@given(LETTERS, st.sampled_from([0.5, 2.0, 8.0]))
def test_a_compound_does_not_change_when_all_weights_grow_alike(
    grades: list[tuple[str, float]], times: float
) -> None:
    grown = [(letter, weight * times) for letter, weight in grades if weight * times >= 1e-300]
    same = [(letter, weight) for letter, weight in grades if weight * times >= 1e-300]

    assert compound_of(grown, "ABCDE") == compound_of(same, "ABCDE")


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_what_is_better_never_has_the_worse_class(one: float, other: float) -> None:
    better, worse = sorted((one, other))

    assert class_of(LOWER, better, "ABCDE") <= class_of(LOWER, worse, "ABCDE")
    if worse <= 1:
        assert class_of(HIGHER, worse, "ABCDE") <= class_of(HIGHER, better, "ABCDE")


@given(st.lists(st.floats(1e-3, 1e9), min_size=4, max_size=4, unique=True), st.floats(1e-3, 1e9))
def test_every_value_lies_in_the_one_interval_of_its_class(edges: list[float], value: float) -> None:
    metric = LOWER.model_copy(update={"intervals": graded(Direction.LOWER, edges)})

    letter = class_of(metric, value, "ABCDE")

    holding = [one.letter for one in metric.intervals if one.bounds[0] < value <= one.bounds[1]]
    assert holding == [letter]


def test_the_intervals_of_the_default_profile_are_half_decades_around_the_reference() -> None:
    edges = edges_around(2.0)

    assert edges == (0.112, 0.356, 1.12, 3.56, 11.2, 35.6)
    metric = BUILT_IN["default"].metrics_for("text-classification")[0]
    assert [class_of(metric, value, "ABCDEFG") for value in (0.1, 2.0, 36.0)] == ["A", "D", "G"]


def test_an_interval_says_which_values_it_holds() -> None:
    shown = [
        Interval(letter="A", lower=low, upper=high).in_words for low, high in ((None, 1), (1, 2.5), (3, None))
    ]

    assert shown == ["up to 1", "above 1 to 2.5", "above 3"]
