"""Evaluations: values by metric, what is missing, what is refused, and the letter that bounds allow."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from wattbus.energy.figures import RunFigures, Source, Stage
from wattbus.energy.record import Tier
from wattbus.errors import BadRequest
from wattbus.labels.evaluate import evaluate, evaluation_from_content, typed_values
from wattbus.labels.profiles import get_profile

INFERENCE, TRAINING, DEFAULT = (
    get_profile(None, name) for name in ("gaissa-inference", "gaissa-training", "default")
)


def run(**changes: Any) -> RunFigures:
    """Return the figures of 1,000 inferences of text classification that took 2 Wh, measured."""
    values: dict[str, Any] = {
        "name": "a run", "stage": Stage.INFERENCE, "source": Source.LEDGER, "origin": "a test", "model": "m",
        "task": "text-classification", "energy_joules": 7200.0, "low_joules": 6480.0, "high_joules": 7920.0,
        "tier": Tier.MEASURED, "requests": 1000, "duration_seconds": 50.0, "accuracy": 0.9, "parameters": 66_000_000,
        "size_bytes": 268_000_000,
    }  # fmt: skip
    return RunFigures(**{**values, **changes})


def test_the_values_of_a_run_are_graded_and_what_is_not_known_is_named() -> None:
    found = evaluate(INFERENCE, run())

    graded = {one.metric: (one.value, one.letter) for one in found.grades}
    assert graded == {
        "performance_score": (0.9, "B"),
        "power_draw": (7.2, "C"),
        "running_time": (0.05, "B"),
        "model_size": (66_000_000.0, "B"),
        "file_size": (268.0, "C"),
        "flops": (None, None),
    }
    assert found.missing == ["FLOPs"]
    # (6*1 + 3*2 + 3*1 + 2*1 + 2*2) / 16 = 1.31
    assert (found.letter, found.reason) == ("B", "made of 5 of 6 metrics")


def test_the_weights_of_missing_metrics_are_shared_by_the_others() -> None:
    only = run(
        energy_joules=None, duration_seconds=None, parameters=None, size_bytes=None, extra={"flops": 1e12}
    )

    found = evaluate(INFERENCE, only)

    # performance B with 6, flops E with 2: (6 + 8) / 8 = 1.75
    assert found.letter == "C"


def test_without_any_value_there_is_no_letter_and_no_figure() -> None:
    nothing = RunFigures("a run", Stage.INFERENCE, Source.TYPED, "typed")

    found = evaluate(INFERENCE, nothing)

    assert (found.letter, found.reason) == (
        None,
        "no value is known of any of the 6 metrics of gaissa-inference",
    )
    assert all(one.value is None and one.missing for one in found.grades)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"carbon_grams": 0.0}, "carbon grams of a run is 0, and has to be above 0"),
        ({"carbon_grams": -3.0}, "carbon grams of a run is -3"),
        ({"energy_joules": math.nan}, "energy joules of a run is not a number"),
        ({"energy_joules": math.inf}, "energy joules of a run is infinity"),
        ({"requests": 0}, "requests of a run is 0"),
        ({"accuracy": 91.0}, "give it from 0 to 1"),
        ({"accuracy": math.nan}, "give it from 0 to 1"),
        ({"extra": {"flops": math.nan}}, "flops is not a number: give a finite number"),
        ({"extra": {"flops": 0.0}}, "flops is 0, and the values of this metric lie above 0"),
        ({"extra": {"power_draw": -1.0}}, "power_draw is -1 Ws, and the values of this metric lie above 0"),
        ({"extra": {"performance_score": 91.0}}, "lie between 0 and 1: check the unit"),
        ({"stage": Stage.TRAINING}, "grades a model's inference, and this is about its training"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_in_a_sentence(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        evaluate(INFERENCE, run(**changes))

    assert said in str(refused.value)


def test_efficiencies_are_made_of_the_emissions_and_never_divided_by_zero() -> None:
    training = run(stage=Stage.TRAINING, carbon_grams=100.0, extra={"dataset_bytes": 5e8, "downloads": 0.0})

    graded = {one.metric: (one.value, one.letter) for one in evaluate(TRAINING, training).grades}

    assert graded["size_efficency"] == (2_680_000.0, "E")
    assert graded["datasets_size_efficency"] == (5_000_000.0, "C")
    assert graded["downloads"] == (0.0, "E")
    unknown = evaluate(TRAINING, replace(training, carbon_grams=None))
    reasons = {one.metric: one.missing for one in unknown.grades}
    assert reasons["size_efficency"] == "needs the emissions"
    assert reasons["datasets_size_efficency"] == "needs the emissions"


def test_an_evaluation_is_shown_again_as_it_was_graded() -> None:
    for kept in (INFERENCE, DEFAULT):
        found = evaluate(kept, run())

        assert evaluation_from_content(json.loads(json.dumps(found.to_content()))) == found


# -- the default profile -------------------------------------------------------------------------------------------


def test_the_default_profile_gives_an_absolute_figure_with_a_letter() -> None:
    found = evaluate(DEFAULT, run())

    assert found.headline is not None
    assert (found.headline.value, found.headline.unit) == (2.0, "Wh for 1,000 inferences")
    assert (found.headline.tier_low, found.headline.tier_high) == pytest.approx((1.8, 2.2))
    assert (found.letter, found.reason) == ("D", "")


@pytest.mark.parametrize(
    ("changes", "letter", "reason", "span"),
    [
        ({"task": "a-task-of-our-own"}, None, "no reference, no letter", ""),
        ({"task": None}, None, "no reference, no letter", ""),
        ({"energy_joules": None}, None, "needs the energy", ""),
        ({"requests": None}, None, "needs the number of inferences", ""),
        ({"tier": Tier.NONE}, None, "the figure has no tier, so nothing says how far to trust it", ""),
        ({"low_joules": None}, None, "the bounds of the figure are not known, so it has no letter", "D"),
        ({"high_joules": 18_000.0}, "D", "the bounds reach into E", "D to E"),
        ({"low_joules": 720.0}, None, "the bounds reach from B to D, too far for a letter", "B to D"),
        (
            {"tier": Tier.MODELLED_GENERIC}, None,
            "no letter on the tier modelled-generic: its bounds are around a guessed rated power", "D",
        ),
        (
            {"tier": Tier.ESTIMATED_REMOTE, "low_joules": 100.0}, None,
            "no letter on the tier estimated-remote: it is estimated for somebody else's machine", "A to D",
        ),
    ],
)  # fmt: skip
def test_a_letter_needs_a_reference_a_tier_and_bounds_that_do_not_reach_too_far(
    changes: dict[str, Any], letter: str | None, reason: str, span: str
) -> None:
    found = evaluate(DEFAULT, run(**changes))

    assert (found.letter, found.reason, found.span) == (letter, reason, span)


def test_generated_text_is_graded_by_the_token_and_a_training_by_itself() -> None:
    text = evaluate(DEFAULT, run(task="text-generation", tokens=10_000))
    training = evaluate(DEFAULT, run(stage=Stage.TRAINING, energy_joules=7.2e6))

    assert text.headline is not None and training.headline is not None
    assert (text.headline.value, text.headline.unit, text.letter) == (0.2, "Wh for 1,000 tokens", "A")
    assert (training.headline.value, training.headline.unit) == (2.0, "kWh for the training")
    assert training.reason == "no reference, no letter"


def test_the_interval_comes_from_the_spread_of_three_runs_or_more() -> None:
    three = [run(energy_joules=joules, requests=100) for joules in (600.0, 720.0, 840.0)]
    whole = run(energy_joules=2160.0, low_joules=2000.0, high_joules=2300.0, requests=300)

    found = evaluate(DEFAULT, whole, three).headline
    two = evaluate(DEFAULT, whole, three[:2]).headline

    assert found is not None and two is not None
    # mean 2.0, standard error 0.3333 / sqrt(3), Student's t of 2 degrees of freedom 4.303
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2 - 0.828112, 2 + 0.828112), rel=1e-5)
    assert (two.low, two.high) == (None, None)


# -- what is typed -------------------------------------------------------------------------------------------------


def test_typed_values_are_read_by_the_metrics_of_the_profile() -> None:
    assert typed_values(INFERENCE, {"flops": " 2e9 ", "file_size": "", "model_size": "66_000_000"}) == {
        "flops": 2e9,
        "model_size": 66e6,
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"flops": "a lot"}, "flops is 'a lot': give a number"),
        ({"flops": "1,5"}, "flops is '1,5': give a number, with a point for the decimals"),
        ({"flops": "nan"}, "flops is not a number"),
        ({"flops": "inf"}, "flops is infinity"),
        ({"flop": "1"}, "did you mean 'flops'"),
    ],
)
def test_what_is_typed_and_is_no_value_is_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        typed_values(INFERENCE, given)

    assert said in str(refused.value).replace("Did", "did")
