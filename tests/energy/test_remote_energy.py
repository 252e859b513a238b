"""The estimate of a remote call: EcoLogits' formula, its bounds, and the reasons when there is none."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wattbus.energy.remote as remote
from wattbus.energy.remote import estimate_remote, text_generation_joules


@pytest.mark.parametrize(("billions", "joules"), [(7, 89), (70, 663)])
def test_300_tokens_cost_what_ecologits_publishes(billions: float, joules: int) -> None:
    estimate = estimate_remote("text-generation", parameters=billions * 1e9, output_tokens=300)

    assert round(estimate.energy_joules or 0) == joules


def test_the_examples_in_the_docstrings_are_right() -> None:
    assert doctest.testmod(remote).failed == 0


@given(billions=st.floats(0.1, 500), tokens=st.integers(1, 5000))
def test_the_bounds_hold_the_estimate_and_span_the_batch_of_the_provider(
    billions: float, tokens: int
) -> None:
    estimate = estimate_remote("text-generation", parameters=billions * 1e9, output_tokens=tokens)

    assert estimate.energy_joules is not None
    assert estimate.low_joules is not None
    assert estimate.high_joules is not None
    assert estimate.low_joules < estimate.energy_joules < estimate.high_joules
    assert 15 < estimate.high_joules / estimate.low_joules < 110


def test_a_short_latency_caps_the_time_of_the_server() -> None:
    free = text_generation_joules(300, 7e9, 7e9)
    capped = text_generation_joules(300, 7e9, 7e9, latency_seconds=1.0)

    assert capped < free


def test_a_mixture_of_experts_computes_with_its_active_parameters() -> None:
    dense = estimate_remote("text-generation", parameters=47e9, output_tokens=300)
    mixture = estimate_remote("text-generation", parameters=47e9, active_parameters=13e9, output_tokens=300)

    assert (mixture.energy_joules or 0) < (dense.energy_joules or 0)


@pytest.mark.parametrize(
    ("task", "parameters", "tokens", "words"),
    [
        (None, 7e9, 10, "task of the remote model is unknown"),
        ("fill-mask", 1e8, 10, "remote fill-mask"),
        ("object-detection", 1e8, 10, "remote object-detection"),
        ("automatic-speech-recognition", 1e8, 10, "only text generation"),
        ("text-to-image", 1e9, 10, "only text generation"),
        ("text-generation", None, 10, "number of parameters"),
        ("text-generation", float("nan"), 10, "number of parameters"),
        ("text-generation", -1.0, 10, "number of parameters"),
        ("text-generation", 7e9, None, "number of tokens"),
        ("text-generation", 7e9, 0, "generated 0 tokens"),
    ],
)
def test_what_cannot_be_estimated_is_unknown_and_says_why(
    task: str | None, parameters: float | None, tokens: int | None, words: str
) -> None:
    estimate = estimate_remote(task, parameters=parameters, output_tokens=tokens)

    assert (estimate.energy_joules, estimate.low_joules, estimate.high_joules) == (None, None, None)
    assert words in (estimate.reason or "")
