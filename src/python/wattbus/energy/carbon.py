"""The carbon intensity of the electricity, as configuration states it: never guessed from an address.

A figure comes with its country, year and source. A country code is looked up in the data file that ships with
codecarbon, read directly: no import of codecarbon, no network.
"""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattbus.errors import BadSettings, UnknownName

if TYPE_CHECKING:
    from wattbus.config import Config

# The dirtiest grids lie near 1,000 g/kWh; ten times that is a wrong unit.
HIGHEST_G_PER_KWH = 10_000.0


@dataclass(frozen=True, slots=True)
class CarbonIntensity:
    """Grams of CO2 equivalent a kWh, with where, when and who says so."""

    g_per_kwh: float
    country: str | None
    year: int | None
    source: str

    @property
    def label(self) -> str:
        """One line for a record: country, year and source."""
        parts = [self.country, None if self.year is None else str(self.year), self.source]
        return ", ".join(part for part in parts if part)


def carbon_intensity(
    *,
    g_per_kwh: float | None = None,
    country: str | None = None,
    year: int | None = None,
    source: str | None = None,
) -> CarbonIntensity | None:
    """Return the intensity that is configured, or None when neither a figure nor a country is.

    A figure wins over the country's average. Raises BadSettings for a figure that is none, UnknownName for
    a country.
    """
    code = country.strip().upper() if country and country.strip() else None
    if g_per_kwh is not None:
        if isinstance(g_per_kwh, bool) or not isinstance(g_per_kwh, int | float):
            raise BadSettings(
                f"the carbon intensity {g_per_kwh!r} is not a number: give grams of CO2e a kWh, e.g. 56."
            )
        if not (math.isfinite(g_per_kwh) and 0 <= g_per_kwh <= HIGHEST_G_PER_KWH):
            raise BadSettings(
                f"the carbon intensity {g_per_kwh} is not between 0 and {HIGHEST_G_PER_KWH:g}: "
                "give grams of CO2e a kWh, e.g. 56."
            )
        return CarbonIntensity(float(g_per_kwh), code, year, source or "configuration")
    if code is None:
        return None
    check_country(code)
    entry = _countries()[code]
    if not entry.get("carbon_intensity"):
        raise BadSettings(f"codecarbon has no carbon intensity for {code}: set the figure in g/kWh instead.")
    return CarbonIntensity(float(entry["carbon_intensity"]), code, int(entry["year"]), _source())


def check_country(country: str) -> str:
    """Return the three letters of a country that codecarbon knows; raises UnknownName for others."""
    code = country.strip().upper()
    countries = _countries()
    if code not in countries:
        raise UnknownName(
            "country code", country, countries, hint="Use the three letters of ISO 3166, e.g. FRA."
        )
    return code


def country_code(country: str) -> str | None:
    """Return the three letters for a country's code or English name; None for one that is not known.

    >>> country_code("france"), country_code("FRA"), country_code("Atlantis")
    ('FRA', 'FRA', None)
    """
    wanted = country.strip().casefold()
    for code, entry in _countries().items():
        if wanted in (code.casefold(), str(entry["country_name"]).casefold()):
            return code
    return None


def configured_intensity(config: Config) -> CarbonIntensity | None:
    """Return the intensity that the configuration states, or None."""
    return carbon_intensity(
        g_per_kwh=config.carbon_g_per_kwh,
        country=config.country,
        year=config.carbon_year,
        source=config.carbon_source,
    )


@lru_cache(maxsize=1)
def _countries() -> dict[str, dict[str, Any]]:
    spec = importlib.util.find_spec("codecarbon")  # finds the folder without running the package
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        file = Path(folder) / "data" / "private_infra" / "global_energy_mix.json"
        if file.is_file():
            found: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
            return found
    raise BadSettings(
        "the carbon intensity of a country needs codecarbon's data file, which is not installed: "
        "pip install codecarbon, or set the figure in g/kWh."
    )


def _source() -> str:
    try:
        return f"codecarbon {version('codecarbon')}, global_energy_mix.json"
    except PackageNotFoundError:
        return "codecarbon, global_energy_mix.json"
