"""The carbon intensity comes from configuration, with country, year and source; unknown stays unknown."""

import subprocess
import sys

import pytest

from wattbus.energy.carbon import CarbonIntensity, carbon_intensity
from wattbus.errors import BadSettings, UnknownName


@pytest.mark.parametrize("country", [None, "", "  "])
def test_a_country_that_nobody_gave_is_unknown(country: str | None) -> None:
    assert carbon_intensity(country=country) is None


@pytest.mark.parametrize("country", ["FRA", "fra", " Fra "])
def test_a_country_has_its_figure_year_and_source(country: str) -> None:
    found = carbon_intensity(country=country)

    assert found is not None
    assert found.country == "FRA"
    assert 1 < found.g_per_kwh < 200
    assert found.year is not None
    assert found.year > 2015
    assert "codecarbon" in found.source
    assert found.label.startswith(f"FRA, {found.year}, codecarbon")


def test_a_stated_figure_wins_over_the_average_of_the_country() -> None:
    found = carbon_intensity(g_per_kwh=12.5, country="FRA", year=2026, source="our supplier")

    assert found == CarbonIntensity(12.5, "FRA", 2026, "our supplier")


def test_an_unknown_country_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'FRA'"):
        carbon_intensity(country="FRAN")


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf"), 20_000, True, "56"])
def test_a_figure_that_is_no_intensity_is_refused_in_words(wrong: float) -> None:
    with pytest.raises(BadSettings, match=r"carbon intensity .* grams of CO2e a kWh"):
        carbon_intensity(g_per_kwh=wrong)


def test_looking_a_country_up_imports_neither_codecarbon_nor_pandas() -> None:
    program = (
        "import sys; from wattbus.energy import carbon_intensity; carbon_intensity(country='DEU'); "
        "print([name for name in ('codecarbon', 'pandas') if name in sys.modules])"
    )

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"
