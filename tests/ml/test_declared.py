"""The emissions that a card declares are read as they are meant, or not at all and with the reason."""

from __future__ import annotations

import doctest
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattbus.ml import declared
from wattbus.ml.declared import declared_emissions, doubts_of

BERT = 110_000_000


@pytest.mark.parametrize(
    ("said", "grams"),
    [
        (12, 12.0),
        (0.05, 0.05),
        ("0.5 kg", 500.0),
        ("1,234.5 g", 1234.5),
        ("5e-3", 0.005),
        ("~20 g", 20.0),
        ("12 kg CO2eq", 12_000.0),
        ("12kgCO2eq", 12_000.0),
        ("12 kg CO₂eq.", 12_000.0),
        ("0.07 g CO2-eq", 0.07),
        ("0.5 kg of CO2", 500.0),
        ("approximately 3 metric tons CO2 equivalent", 3e6),
        ("2.5 tCO2e", 2.5e6),
        ("1,5 kg", 1500.0),
        ("1 234 567 g", 1_234_567.0),
        ("1.234,5 g", 1234.5),
        ("<1 g", 1.0),
        ("+4.2", 4.2),
        ("350 lbs", 350 * 453.59237),
        ({"emissions": 7.5, "source": "codecarbon"}, 7.5),
        ({"emissions": "7.5 kg"}, 7500.0),
    ],
)
def test_a_figure_is_read_in_grams(said: Any, grams: float) -> None:
    found = declared_emissions(said)

    assert found.grams == pytest.approx(grams)
    assert found.missing == ""


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (None, "declares no emissions"),
        ({}, "without a figure"),
        ({"source": "codecarbon"}, "without a figure"),
        (math.nan, "not a finite number"),
        (math.inf, "not a finite number"),
        ("nan", "not a finite number"),
        ("1e400", "not a finite number"),
        (10**400, "not a finite number"),
        (-3, "negative"),
        ("-3 g", "negative"),
        (0, "no training emits nothing"),
        ("0.0 kg", "no training emits nothing"),
        ("10-20 g", "more than one number"),
        ("10 to 20 kg", "more than one number"),
        ("5 kWh", "no mass"),
        ("7 gCO2/kWh", "no mass"),
        ("two grams", "without a number"),
        ("", "without a number"),
        ("1.2.3", "several numbers"),
        (True, "a bool"),
        ([1.0], "a list"),
        ({"emissions": {"emissions": -1}}, "negative"),
    ],
)
def test_what_is_no_figure_says_why(said: Any, why: str) -> None:
    found = declared_emissions(said)

    assert found.grams is None
    assert why in found.missing


def test_what_else_a_card_says_is_kept() -> None:
    found = declared_emissions(
        {
            "emissions": 41100,
            "source": ["CodeCarbon", "a paper"],
            "training_type": "pre-training",
            "geographical_location": "Germany",
            "hardware_used": "NVIDIA A100-SXM4-40GB",
        }
    )

    assert (found.source, found.training_type) == ("CodeCarbon a paper", "pre-training")
    assert (found.location, found.hardware) == ("Germany", "NVIDIA A100-SXM4-40GB")


@pytest.mark.parametrize(
    ("said", "parameters", "doubt"),
    [
        (2e9, None, "more than 1,000 tonnes"),
        ("~20 g", None, "rough figure"),
        ("1,234", None, "decimal comma"),
        (1e9, BERT, "more than any known training took"),
        (1e-6, BERT, "less than loading the model takes"),
        ({"emissions": 41.1, "training_type": "pre-training"}, 460_000_000, "may mean kilograms"),
    ],
)
def test_what_can_hardly_be_is_doubted(said: Any, parameters: int | None, doubt: str) -> None:
    found = declared_emissions(said)

    assert found.grams is not None
    assert doubt in " ".join(doubts_of(found, parameters))


@pytest.mark.parametrize(
    ("said", "parameters"),
    [
        ({"emissions": 41_100, "training_type": "pre-training"}, 460_000_000),
        ({"emissions": 0.05, "training_type": "fine-tuning"}, BERT),
        (390e6, 8_000_000_000),
        (1460, None),
    ],
)
def test_what_is_known_to_be_so_is_not_doubted(said: Any, parameters: int | None) -> None:
    assert doubts_of(declared_emissions(said), parameters) == ()


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
cards = st.recursive(
    plain, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["emissions", "source"]), inner)
)


@given(cards)
def test_whatever_a_card_holds_gives_a_positive_figure_or_a_reason(value: Any) -> None:
    found = declared_emissions(value)

    assert (found.grams is None) == bool(found.missing)
    assert found.grams is None or (found.grams > 0 and math.isfinite(found.grams))


def test_the_examples_of_the_docstrings_hold() -> None:
    failed, tried = doctest.testmod(declared)

    assert tried > 1 and failed == 0
