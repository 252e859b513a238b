"""The outcome of an analysis: what it comes to, within which bounds, and what it cannot tell."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from roi_samples import LOSES, PAYS, typed
from wattbus.energy.figures import Source
from wattbus.energy.record import Tier
from wattbus.errors import BadRequest
from wattbus.roi.analysis import Analysis, Energy, case_of, corners_of
from wattbus.roi.curves import cost_curve, return_curve
from wattbus.roi.formulas import State
from wattbus.roi.given import Draft
from wattbus.roi.outcome import outcome_of
from wattbus.roi.sensitivity import grid, net, tornado
from wattbus.roi.sources import analysed


def measured(before: float, after: float, *, spread: float = 2.0, **changes: Any) -> Analysis:
    """Return an analysis of two sides that one meter read, each off by up to a factor."""
    base = typed(**{"after": {"joules": 1}, **changes})

    def side(joules: float) -> Energy:
        return Energy(
            joules=joules, low_joules=joules / spread, high_joules=joules * spread, tier=Tier.MODELLED_GENERIC,
            source=Source.LEDGER, origin="message 1", method="cpu load",
        )  # fmt: skip

    return base.model_copy(update={"before": side(before), "after": side(after)})


def test_the_known_cases_come_out() -> None:
    loses, pays = outcome_of(typed(**LOSES)), outcome_of(typed())

    assert round(loses.gaissa_roi.at.value or 0, 4) == -0.0991
    assert round(pays.gaissa_roi.at.value or 0, 4) == 0.7647
    assert pays.ordinary_return.at.value == 6.5
    assert (loses.verdict, pays.verdict) == ("loses", "saves")
    assert (loses.break_even.at.value, pays.break_even.at.value) == (144_000_000, 134)
    assert pays.sentence == "It pays over 1,000 inferences."


def test_typed_figures_without_bounds_have_no_interval_and_say_that_they_are_taken_as_exact() -> None:
    out = outcome_of(typed())

    assert (out.gaissa_roi.low, out.gaissa_roi.high) == (None, None)
    assert "The energies were typed and are taken as exact." in out.notes


def test_the_electricity_of_the_tactic_itself_is_part_of_the_investment() -> None:
    out = outcome_of(typed(own={"joules": 36e6}))

    assert out.investment.at.value == 10 + 10 * 0.15
    assert out.energy_break_even.at.value == 20
    assert out.energy_saved.at.value == 1.8e9
    assert out.energy_saved_net.at.value == 1.8e9 - 36e6


def test_carbon_breaks_even_once_the_tactics_own_carbon_is_saved() -> None:
    same_grid = outcome_of(typed(own={"joules": 36e6}, carbon_g_per_kwh=50, per_day=4))
    dirtier = outcome_of(typed(own={"joules": 36e6, "carbon_grams": 5000}, carbon_g_per_kwh=50))

    assert same_grid.carbon_break_even.at.value == 20  # 500 g, and 25 g each
    assert same_grid.carbon_payback_days.at.value == 5.0
    assert same_grid.carbon_saved_net.at.value == 25 * 1000 - 500
    assert dirtier.carbon_break_even.at.value == 200


def test_what_is_not_given_is_unknown_and_never_0() -> None:
    out = outcome_of(typed())
    only_carbon_lacks = outcome_of(typed(own={"joules": 0}))

    assert [out.energy_saved_net.at.value, out.carbon_saved.at.value, out.payback_days.at.value] == [None] * 3
    assert out.energy_saved_net.at.why == "the energy of the tactic itself is not given"
    assert only_carbon_lacks.energy_saved_net.at.value == 1.8e9
    assert only_carbon_lacks.carbon_saved_net.at.why == "no carbon intensity is given, and none is guessed"


def test_more_energy_than_before_never_breaks_even() -> None:
    out = outcome_of(typed(after={"reduction": -0.5}))

    assert (out.verdict, out.break_even.at.state) == ("loses", State.NEVER)
    assert out.break_even.at.why == "each inference takes more than before"
    assert (out.energy_saved.at.value or 0) < 0


@pytest.mark.parametrize(
    ("changes", "verdict", "roi"),
    [
        ({"units": 0}, "loses", -1.0),
        ({"price_per_kwh": 0}, "loses", -1.0),
        ({"cost": 0}, "saves", 1.0),
        ({"after": {"reduction": 1}}, "saves", 14.0),
        ({"cost": 75}, "breaks even", 0.0),
        ({"units": 10**18}, "saves", 1.0),
    ],
)
def test_every_edge_has_an_outcome(changes: dict[str, Any], verdict: str, roi: float) -> None:
    out = outcome_of(typed(**changes))

    assert out.verdict == verdict
    assert out.gaissa_roi.at.value == pytest.approx(roi)


def test_a_reduction_errs_with_the_energy_before_so_its_sign_is_sure() -> None:
    out = outcome_of(typed(before={"joules": 3.6e6, "low_joules": 7.2e5, "high_joules": 1.8e7}))

    assert out.energy_reduction.at.value == 0.5
    assert (out.energy_reduction.low, out.energy_reduction.high) == (None, None)
    assert out.net_saving.low is not None and out.net_saving.high is not None
    assert (out.net_saving.low.value, out.net_saving.high.value) == (5.0, 365.0)
    assert out.verdict == "saves"


def test_where_the_bounds_hold_both_signs_it_cannot_tell() -> None:
    out = outcome_of(measured(3.6e6, 2.4e6))

    assert out.verdict == "cannot tell"
    assert out.sentence.startswith("Cannot tell over 1,000 inferences")
    assert "If the same meter erred alike on both sides, it pays." in out.sentence
    assert out.net_saving_alike is not None and not out.net_saving_alike.crosses_zero
    assert out.break_even.high is not None and out.break_even.high.state is State.NEVER


def test_a_difference_beyond_the_bounds_is_told() -> None:
    out = outcome_of(measured(3.6e6, 3.6e5))

    assert out.verdict == "saves"
    assert out.gaissa_roi.low is not None and (out.gaissa_roi.low.value or 0) > 0


def test_a_measured_side_without_bounds_has_no_interval_and_says_so() -> None:
    analysis = measured(3.6e6, 1.8e6)
    bare = analysis.model_copy(update={"before": analysis.before.model_copy(update={"low_joules": None})})

    out = outcome_of(bare)

    assert out.gaissa_roi.low is None and corners_of(bare) is None
    assert "by figures whose bounds are unknown" in out.sentence
    assert any("No bounds are known of the energy of before" in note for note in out.notes)


@given(
    before=st.floats(min_value=1, max_value=1e9),
    after=st.floats(min_value=1, max_value=1e9),
    spread=st.floats(min_value=1, max_value=10),
    cost=st.floats(min_value=0.01, max_value=1e6),
    units=st.integers(min_value=0, max_value=10**9),
    share=st.floats(min_value=0, max_value=1),
    other=st.floats(min_value=0, max_value=1),
)
def test_every_true_energy_within_the_bounds_gives_a_return_within_its_bounds(
    before: float, after: float, spread: float, cost: float, units: int, share: float, other: float
) -> None:
    analysis = measured(before, after, spread=spread, cost=cost, units=units)
    out = outcome_of(analysis)
    at = [
        side.low_joules + part * (side.high_joules - side.low_joules)  # type: ignore[operator]
        for side, part in ((analysis.before, share), (analysis.after, other))
    ]
    inside = case_of(analysis, before=at[0], after=at[1])
    true = float(net(inside))

    ends = [out.net_saving.low or out.net_saving.at, out.net_saving.high or out.net_saving.at]
    low, high = (end.value or 0.0 for end in ends)
    assert low - 1e-9 * abs(low) <= true <= high + 1e-9 * abs(high)


def test_a_fee_and_no_electricity_stand_for_a_remote_service() -> None:
    out = outcome_of(
        typed(
            tactic="remote-to-local", before={"fee": 0.25, "price_per_kwh": 0}, after={"joules": 3.6e6},
            cost=10, units=1000,
        )
    )  # fmt: skip

    assert (out.old_per_unit.at.value, out.new_per_unit.at.value) == (0.25, 0.15)
    assert out.break_even.at.value == 100
    assert out.energy_saved.at.why == "the energy of one side is unknown"


def test_accuracy_is_priced_only_where_it_has_a_price() -> None:
    sides = {"before": {"joules": 3.6e6, "accuracy": 0.91}, "after": {"joules": 1.8e6, "accuracy": 0.90}}
    beside, priced = outcome_of(typed(**sides)), outcome_of(typed(**sides, point_price=5))
    better = outcome_of(typed(**{**sides, "after": {"joules": 1.8e6, "accuracy": 0.92}}, point_price=5))

    assert beside.priced is None and beside.accuracy_points.at.value == -1.0
    assert any("has no price" in note for note in beside.notes)
    assert priced.priced is not None and better.priced is not None
    assert priced.priced.worth_per_unit.at.value == -0.005
    assert (priced.net_saving.at.value, priced.priced.net_saving.at.value) == (65.0, 60.0)
    assert better.priced.net_saving.at.value == 70.0
    assert priced.priced.break_even.at.value == 143  # 10 / (0.075 - 0.005)
    assert priced.gaissa_roi == beside.gaissa_roi


def test_a_fine_tune_counts_trainings() -> None:
    out = outcome_of(typed(tactic="fine-tune", per_day=0.5))

    assert out.sentence == "It pays over 1,000 trainings."
    assert out.payback_days.at.value == 268.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"before": {}}, "before: the energy is unknown"),
        ({"after": {"joules": 1, "reduction": 0.5}}, "after: joules and reduction are both given"),
        ({"before": {"joules": 1, "run": "a"}}, "before: run and joules are both given"),
        ({"before": {"joules": 1, "low_joules": 0.5}}, "before: give both bounds"),
        ({"before": {"joules": 3, "low_joules": 1, "high_joules": 2}}, "must lie between their bounds"),
        ({"before": {"joules": 1, "requests": 5}}, "before: a number of requests is for a run"),
        ({"units": None}, "how far to look is needed once"),
        ({"days": 3}, "how far to look is needed once"),
        ({"units": None, "days": 3}, "needs the traffic per day"),
        ({"units": None, "days": 1e15, "per_day": 1e15}, "more than 1e18"),
        ({"country": "FRA", "carbon_g_per_kwh": 5}, "by its country"),
        ({"country": "XXX"}, "unknown country code 'XXX'"),
        ({"tactic": "quantize"}, "did you mean 'quantise'"),
        ({"own": {"model": "a"}}, "own: a model has many inferences"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_sentence(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        typed(**changes)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("cost", -1, "cannot be below 0"),
        ("cost", float("nan"), "give a finite number"),
        ("cost", float("inf"), "give a finite number"),
        ("cost", "1,5", "write a point for the decimals"),
        ("cost", "ten", "a number is needed"),
        ("cost", True, "give a number"),
        ("cost", 1e300, "check its unit"),
        ("units", 1.5, "a whole number is needed"),
        ("units", 10**19, "between 0 and 1e18"),
        ("units", -1, "between 0 and 1e18"),
        ("carbon_g_per_kwh", 56_000, "grams of CO2e a kWh"),
        ("currency", "E1", "1 to 8 letters"),
        ("name", "a/b", "no /"),
        ("name", "new", "address of a page"),
        ("name", "a\nb", "letters, digits or signs"),
        ("after", {"reduction": 1.01}, "more than all cannot be saved"),
        ("before", {"joules": 1, "accuracy": 93}, "a share of 0 to 1"),
        ("colour", "red", "Extra inputs"),
    ],
)
def test_a_field_that_is_wrong_is_refused_with_the_reason(field: str, value: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Draft.model_validate({**PAYS, field: value})


def test_a_form_may_write_figures_as_people_do() -> None:
    draft = Draft.model_validate(
        {
            "name": " int8 ", "tactic": "quantise", "before.joules": "3.6e6", "after.reduction": "0.5", "cost": "10",
            "price_per_kwh": "0.15", "units": "1e3", "currency": "eur",
        }
    )  # fmt: skip

    assert (draft.name, draft.currency, draft.units, draft.before.joules) == ("int8", "EUR", 1000, 3.6e6)
    assert outcome_of(analysed(draft)).ordinary_return.at.value == 6.5


# -- sensitivity and curves ---------------------------------------------------------------------------------------


def test_the_tornado_moves_each_figure_by_a_quarter_with_the_widest_first() -> None:
    found = tornado(typed())

    assert found.net == 65.0
    assert [one.figure for one in found.swings][-1] == "cost of implementing"
    by_name = {one.figure: one for one in found.swings}
    price = by_name["price of electricity per kWh"]
    assert (price.low_value, price.high_value) == (0.1125, 0.1875)
    assert (price.net_at_low, price.net_at_high) == (46.25, 83.75)
    cost = by_name["cost of implementing"]
    assert (cost.net_at_low, cost.net_at_high) == (67.5, 62.5)


def test_the_grid_holds_the_analysis_itself_and_never_saves_more_than_all() -> None:
    analysis = typed(after={"reduction": 0.95})
    table = grid(analysis)
    row, column = table.reductions.index(0.95), table.prices.index(0.15)

    assert table.rows[row][column].gaissa_roi == outcome_of(analysis).gaissa_roi.at
    assert table.rows[row][column].net_saving == outcome_of(analysis).net_saving.at.value
    assert table.reductions[-1] == 1.0


def test_figures_of_0_move_nothing() -> None:
    found = tornado(typed(cost=0, price_per_kwh=0, units=0, after={"reduction": 0}))
    table = grid(typed(price_per_kwh=0))

    assert found.swings == ()
    assert table.prices == (0.0,)


def test_the_curve_of_the_return_begins_at_a_loss_and_nears_the_infinite_roi() -> None:
    curve = return_curve(typed())

    assert curve.gaissa_roi[0][1] < 0 < curve.gaissa_roi[-1][1] < (curve.infinite_roi or 0)
    assert curve.break_even == 134
    values = dict(curve.gaissa_roi)
    assert values[1000.0] == pytest.approx(0.7647058823529411)
    assert curve.low == curve.high == ()


def test_the_bounds_of_the_curve_hold_it() -> None:
    curve = return_curve(measured(3.6e6, 2.4e6))

    for (_, low), (_, at), (_, high) in zip(curve.low, curve.gaissa_roi, curve.high, strict=True):
        assert low <= at <= high


def test_the_costs_meet_at_the_break_even() -> None:
    curve = cost_curve(typed())
    case = case_of(typed())

    assert curve.break_even == 134
    assert curve.old[0] == (0.0, 0.0) and curve.new[0] == (0.0, 10.0)
    assert net(replace(case, units=134)) >= Fraction(0) > net(replace(case, units=133))
