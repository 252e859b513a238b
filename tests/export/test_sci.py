"""The SCI score by its formula; consumer, provider and the sides of a call apart; unknown stays unknown."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boamps_samples import FACTS, record
from wattbus.energy.record import EnergyStatus, Scope, Tier
from wattbus.errors import BadRequest
from wattbus.export.sci import Embodied, sci, sci_scores

KNOWN = {"carbon_intensity_g_per_kwh": 56.0, "carbon_grams": 36 / 3.6e6 * 56}


@pytest.mark.parametrize(
    ("energy", "intensity", "embodied", "units", "score"),
    [
        (1.0, 100.0, 0.0, 1, 100.0),
        (0.05, 200.0, 2.0, 4, 3.0),
        (0.0, 0.0, 0.0, 1, 0.0),
        (2.0, 50.0, 100.0, 200, 1.0),
    ],
)
def test_the_formula_is_that_of_the_standard(
    energy: float, intensity: float, embodied: float, units: float, score: float
) -> None:
    assert sci(energy, intensity, embodied, units) == pytest.approx(score)


@given(st.floats(0, 1e6), st.floats(0, 5e3), st.floats(0, 1e9), st.integers(1, 10**9), st.integers(1, 1000))
def test_serving_more_with_the_same_divides_the_score(
    energy: float, intensity: float, embodied: float, units: int, times: int
) -> None:
    once, many = sci(energy, intensity, embodied, units), sci(energy, intensity, embodied, units * times)

    assert many * times == pytest.approx(once)


@pytest.mark.parametrize(
    "values", [(-1, 1, 1, 1), (1, float("nan"), 1, 1), (1, 1, float("inf"), 1), (1, 1, 1, 0)]
)
def test_figures_that_cannot_be_are_refused(values: tuple[float, float, float, float]) -> None:
    with pytest.raises(BadRequest):
        sci(*values)


def test_requests_of_one_model_are_one_score_a_request() -> None:
    records = [record(message_id=number, started_at_us=number * 10**7, **KNOWN) for number in range(1, 5)]

    (score,), skipped = sci_scores(records, embodied=Embodied(grams=36_000.0, hours=1_000.0))

    assert (score.boundary, score.units, score.unit) == ("consumer", 4, "request")
    assert score.energy_kwh == pytest.approx(4 * 36 / 3.6e6)
    assert score.embodied_grams == pytest.approx(36_000 * 8 / 3600 / 1_000)
    assert score.grams == pytest.approx((score.energy_kwh * 56 + score.embodied_grams) / 4)
    assert score.reason is None and skipped == {}


def test_training_and_answering_are_apart() -> None:
    training = record(message_id=9, facts=replace(FACTS, stage="finetuning", requests=None), **KNOWN)

    scores, _ = sci_scores([record(**KNOWN), training], embodied=Embodied(1.0, 1.0))

    assert sorted((one.boundary, one.unit, one.units) for one in scores) == [
        ("consumer", "request", 1),
        ("provider", "training", 1),
    ]


def test_the_sides_of_a_remote_call_are_apart_and_the_other_side_has_no_score() -> None:
    ours = record(scope=Scope.CLIENT, **KNOWN)
    theirs = record(
        scope=Scope.REMOTE, tier=Tier.ESTIMATED_REMOTE, status=EnergyStatus.ESTIMATED, energy_joules=89.0
    )

    scores, _ = sci_scores([ours, theirs], embodied=Embodied(1.0, 1.0), intensity_g_per_kwh=56.0)

    found = {one.scope: one for one in scores}
    assert found["client"].grams is not None
    assert found["remote"].grams is None and found["remote"].operational_grams is None
    assert "remote service" in str(found["remote"].reason)


@pytest.mark.parametrize(
    ("known", "embodied", "said"),
    [
        ({}, None, "unknown I: .* and M: "),
        (KNOWN, None, "unknown M: give"),
        ({}, Embodied(1.0, 1.0), "unknown I: set WATTBUS_COUNTRY"),
    ],
)
def test_what_is_unknown_leaves_no_score_and_says_so(
    known: dict[str, float], embodied: Embodied | None, said: str
) -> None:
    ((score,), _) = sci_scores([record(**known)], embodied=embodied)

    assert score.grams is None
    assert score.reason is not None
    assert re.search(said, score.reason)
    assert (score.operational_grams is None) == (known == {})


def test_attempts_of_unknown_energy_are_left_out_with_their_reason() -> None:
    unknown = record(energy_joules=None, status=EnergyStatus.NOT_MEASURED, reason="no counter here")

    assert sci_scores([unknown]) == ([], {"no counter here": 1})
