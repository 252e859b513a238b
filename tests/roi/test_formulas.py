"""The formulas: GAISSA's own cases, every edge of them, and what must hold for any figures."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wattbus.errors import BadRequest
from wattbus.roi.formulas import (
    Answer,
    State,
    accuracy_value,
    break_even,
    energy_cost,
    exact,
    gaissa_roi,
    infinite_roi,
    infinite_roi_of_costs,
    ordinary_return,
    payback_days,
)

#: Amounts as people write them: up to six decimals.
AMOUNTS = st.decimals(min_value=0, max_value=10**9, places=6).map(float)
COUNTS = st.integers(min_value=0, max_value=10**12)


def costs(joules: float, price: float, reduction: float, count: int) -> tuple[Fraction, Fraction]:
    """Return what the old and the new way cost together."""
    old = energy_cost(joules, price) * count
    return old, old * (1 - exact(reduction, "the reduction", signed=True))


@pytest.mark.parametrize(
    ("joules", "price", "cost", "reduction", "count", "gaissa", "ordinary"),
    [
        (500, 0.20, 1000, 0.25, 10**8, -0.0990990990990991, -0.3055555555555556),
        (3.6e6, 0.15, 10, 0.5, 1000, 0.7647058823529411, 6.5),
        (3.6e6, 0.15, 10, 0.5, 0, -1.0, -1.0),
        (3.6e6, 0.15, 10, 0.0, 1000, -0.0625, -1.0),
        (3.6e6, 0.15, 10, -0.5, 1000, -0.3617021276595745, -8.5),
        (3.6e6, 0.0, 10, 0.5, 1000, -1.0, -1.0),
        (3.6e6, 0.15, 10, 1, 1000, 14.0, 14.0),
        (3.6e6, 0.15, 10, 0.5, 10**18, 1.0, 7.5e15),
    ],
)
def test_both_returns_of_typed_figures(
    joules: float, price: float, cost: float, reduction: float, count: int, gaissa: float, ordinary: float
) -> None:
    old, new = costs(joules, price, reduction, count)

    assert gaissa_roi(old, new, cost).value == pytest.approx(gaissa, rel=1e-12)
    assert ordinary_return(old, new, cost).value == pytest.approx(ordinary, rel=1e-12)


def test_without_an_investment_the_ordinary_return_is_told_in_words() -> None:
    saves, nothing, loses = (ordinary_return(old, 75, 0) for old in (150, 75, 10))

    assert (saves.value, saves.state) == (None, State.INFINITE)
    assert (nothing.state, nothing.why) == (
        State.UNDEFINED,
        "nothing was invested, and nothing is saved",
    )
    assert (loses.state, loses.why) == (
        State.UNDEFINED,
        "nothing was invested, and more is spent than before",
    )
    assert gaissa_roi(150, 75, 0).value == 1.0


def test_where_nothing_is_spent_any_more_the_gaissa_roi_has_no_figure() -> None:
    assert gaissa_roi(150, 0, 0).state is State.INFINITE
    assert gaissa_roi(0, 0, 0).state is State.UNDEFINED


@pytest.mark.parametrize(
    ("reduction", "value"), [(0, 0.0), (0.25, 1 / 3), (0.5, 1.0), (0.9, 9.0), (-1, -0.5), (-3, -0.75)]
)
def test_the_infinite_roi_is_r_over_one_less_r(reduction: float, value: float) -> None:
    assert infinite_roi(reduction).value == pytest.approx(value)


def test_all_saved_is_an_infinite_roi_and_more_than_all_is_refused() -> None:
    assert infinite_roi(1).state is State.INFINITE
    with pytest.raises(BadRequest, match="more than all cannot be saved"):
        infinite_roi(1.0000001)


@pytest.mark.parametrize(
    ("cost", "old", "new", "count"),
    [
        (10, 0.15, 0.075, 134),
        (1, 0.3, 0.2, 10),  # in binary 0.3 - 0.2 is less than 0.1, and the answer would be 11
        (3, 1, 0, 3),
        (0.3, 0.1, 0, 3),  # in binary 0.3 / 0.1 is less than 3
        (1000, 500 / 3.6e6 * 0.2, 0, 36_000_000),
        (1e-9, 1e-9, 0, 1),
        (0, 2, 1, 0),
        (0, 1, 1, 0),
    ],
)
def test_break_even_is_the_first_count_that_covers_the_cost(
    cost: float, old: float, new: float, count: int
) -> None:
    assert break_even(cost, old, new).value == count


@given(cost=AMOUNTS, old=AMOUNTS, new=AMOUNTS)
def test_at_the_break_even_nothing_is_lost_and_one_before_it_something_is(
    cost: float, old: float, new: float
) -> None:
    found = break_even(cost, old, new)
    saved = exact(old, "old") - exact(new, "new")

    if found.value is None:
        assert found.state is State.NEVER and found.why
        assert saved < 0 or (saved == 0 and cost > 0)
        return
    count = int(found.value)
    assert saved * count >= exact(cost, "cost")
    assert count == 0 or saved * (count - 1) < exact(cost, "cost")
    if count and cost:
        # the returns change their sign there
        assert ordinary_return(old * Fraction(count), new * Fraction(count), cost).value >= 0  # type: ignore[operator]


@given(old=AMOUNTS, new=AMOUNTS, cost=AMOUNTS)
def test_both_returns_have_the_sign_of_the_net_saving(old: float, new: float, cost: float) -> None:
    assume(cost > 0)
    net = exact(old, "old") - exact(new, "new") - exact(cost, "cost")
    gaissa, ordinary = gaissa_roi(old, new, cost).value, ordinary_return(old, new, cost).value

    assert gaissa is not None and ordinary is not None
    assert gaissa >= -1
    for value in (gaissa, ordinary):
        assert (value > 0) == (net > 0) and (value < 0) == (net < 0)


@given(
    joules=st.floats(min_value=1e-3, max_value=1e9),
    price=st.floats(min_value=1e-3, max_value=10),
    reduction=st.decimals(min_value=-5, max_value="0.99", places=6).map(float),
    cost=AMOUNTS,
)
def test_the_gaissa_roi_nears_the_infinite_one(
    joules: float, price: float, reduction: float, cost: float
) -> None:
    old, new = costs(joules, price, reduction, 10**30)

    assert gaissa_roi(old, new, cost).value == pytest.approx(
        infinite_roi(reduction).value, rel=1e-6, abs=1e-6
    )
    assert infinite_roi_of_costs(old, new).value == pytest.approx(infinite_roi(reduction).value)


@given(old=AMOUNTS, new=AMOUNTS, cost=AMOUNTS, count=COUNTS)
def test_more_inferences_never_lower_the_return_of_what_saves(
    old: float, new: float, cost: float, count: int
) -> None:
    assume(old > new and cost > 0)
    few, many = (gaissa_roi(exact(old, "") * n, exact(new, "") * n, cost).value for n in (count, count + 1))

    assert few is not None and many is not None and few <= many


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "the cost is nan: give a finite number"),
        (math.inf, "the cost is inf: give a finite number"),
        (Decimal("NaN"), "the cost is NaN: give a finite number"),
        (-1, "the cost is -1: it cannot be below 0"),
        (-1e-300, "cannot be below 0"),
        (1e200, "check its unit"),
        (10**400, "check its unit"),
        (1e-200, "check its unit"),
        (True, "the cost is True: give a number"),
        ("10", "the cost is '10': give a number"),
        (None, "the cost is None: give a number"),
    ],
)
def test_what_is_no_amount_is_refused_in_a_sentence(value: object, said: str) -> None:
    for formula in (gaissa_roi, ordinary_return):
        with pytest.raises(BadRequest, match=said):
            formula(150, 75, value)  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match=said):
        break_even(value, 2, 1)  # type: ignore[arg-type]


def test_days_follow_from_the_traffic() -> None:
    assert payback_days(Answer(134), 20).value == 6.7
    assert payback_days(Answer(134), 0).why == "there is no traffic"
    assert payback_days(Answer(0, why="at once"), 0) == Answer(0.0, why="at once")
    never = Answer(None, State.NEVER, "each inference takes more than before")
    assert payback_days(never, 20) is never
    with pytest.raises(BadRequest, match="the traffic per day is -1"):
        payback_days(Answer(134), -1)


def test_a_change_of_accuracy_is_worth_its_points() -> None:
    assert accuracy_value(0.9, 0.93, 5) == Fraction(15, 1000)
    assert accuracy_value(0.93, 0.9, 5) == Fraction(-15, 1000)
    with pytest.raises(BadRequest, match="the accuracy is 93: write a share of 1"):
        accuracy_value(0.9, 93, 5)
