"""Stated factors: nothing is assumed, each figure has its source, and none is added to the energy."""

from __future__ import annotations

from typing import Any

import pytest

from wattbus.config import read_config
from wattbus.energy.carbon import configured_intensity
from wattbus.energy.factors import Factors, configured_factors
from wattbus.errors import BadSettings

KWH = 3_600_000.0


def test_without_a_factor_there_is_no_figure() -> None:
    factors = configured_factors(read_config())

    assert factors.figures(KWH, 3600.0) == []
    assert factors.stated() == []
    assert factors.facility_joules(1.0) is None
    assert factors.water_litres(1.0) is None
    assert factors.embodied_share_grams(1.0) is None


def test_an_unknown_energy_stays_unknown() -> None:
    factors = Factors(pue=1.5, water_l_per_kwh=1.8, embodied_grams=1000.0, embodied_hours=100.0)

    assert factors.figures(None, None) == []


def test_each_factor_says_its_arithmetic_and_its_source() -> None:
    config = read_config(
        pue=1.2,
        pue_source="operator, 2025",
        water_l_per_kwh=1.8,
        embodied_g=1_200_000,
        embodied_hours=35_040,
        embodied_source="the maker's sheet",
    )

    figures = configured_factors(config).figures(KWH, 3600.0)

    assert [(one.name, one.unit, one.how, one.source) for one in figures] == [
        ("with the data centre", "Wh", "PUE 1.2", "operator, 2025"),
        ("water", "L", "1.8 L/kWh", "no source is given"),
        ("making of the machine", "g CO2e", "1,200,000 g over 35,040 h of use", "the maker's sheet"),
    ]
    assert [one.value for one in figures] == pytest.approx([1200.0, 1.8, 1_200_000 / 35_040])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pue": 0.9}, "WATTBUS_PUE is"),
        ({"pue": float("inf")}, "WATTBUS_PUE is"),
        ({"pue": "x"}, 'WATTBUS_PUE is "x"'),
        ({"water_l_per_kwh": -1}, "WATTBUS_WATER_L_PER_KWH is"),
        ({"water_l_per_kwh": float("nan")}, "WATTBUS_WATER_L_PER_KWH is"),
        ({"embodied_g": 5.0}, "WATTBUS_EMBODIED_G and WATTBUS_EMBODIED_HOURS belong together"),
        ({"embodied_g": 5.0, "embodied_hours": 0}, "WATTBUS_EMBODIED_HOURS is"),
        ({"carbon_year": 1}, "WATTBUS_CARBON_YEAR is"),
    ],
)
def test_a_factor_that_is_none_is_refused_in_a_sentence(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSettings, match=said):
        read_config(**given)


def test_a_stated_carbon_figure_has_its_place_year_and_source() -> None:
    config = read_config(country="FRA", carbon_g_per_kwh=12.0, carbon_year=2025, carbon_source="our contract")

    intensity = configured_intensity(config)

    assert intensity is not None
    assert (intensity.g_per_kwh, intensity.label) == (12.0, "FRA, 2025, our contract")
    assert configured_intensity(read_config()) is None
