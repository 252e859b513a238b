"""Where the electricity of a tracker comes from: kilograms of CO2 equivalent a kWh, by codecarbon's own tables.

Only what was stated is used. Nothing asks the network where the machine is, and no country is assumed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wattbus.energy.carbon import check_country
from wattbus.energy.tracker_settings import TrackerSettings

if TYPE_CHECKING:
    from wattbus.energy.carbon import CarbonIntensity

logger = logging.getLogger("wattbus.codecarbon")

CURE = (
    "the emissions stay unknown, because no country was stated: give country_iso_code='FRA' (or yours), set "
    "CODECARBON_COUNTRY_ISO_CODE or WATTBUS_COUNTRY, or give force_carbon_intensity_g_co2e_kwh"
)


@dataclass(frozen=True)
class Grid:
    """A place and its emissions; ``kg_per_kwh`` is None when no place was stated."""

    kg_per_kwh: float | None = None
    country_name: str | None = None
    country_iso_code: str | None = None
    region: str | None = None
    cloud_provider: str = ""
    cloud_region: str = ""

    @property
    def on_cloud(self) -> str:
        """Y or N, as the column has it."""
        return "Y" if self.cloud_provider else "N"


def grid_of(settings: TrackerSettings, configured: CarbonIntensity | None = None) -> Grid:
    """Return the place that the settings state; else what wattbus is ``configured`` with; else an unknown one.

    Raises UnknownName for a country that there is not.
    """
    place = Grid(region=settings.region.lower() if settings.region else None)
    if settings.country_iso_code:
        place = replace(place, country_iso_code=check_country(settings.country_iso_code))
    forced = settings.force_carbon_intensity_g_co2e_kwh
    if forced is not None:
        place = replace(place, kg_per_kwh=forced / 1000.0)
    if place.country_iso_code or settings.cloud_provider:
        return _of_codecarbon(place, settings)
    if place.kg_per_kwh is None and configured is not None:
        return replace(place, kg_per_kwh=configured.g_per_kwh / 1000.0, country_iso_code=configured.country)
    return place


def _of_codecarbon(place: Grid, settings: TrackerSettings) -> Grid:
    """Let codecarbon's arithmetic say the emissions of one kWh, so that they are the same."""
    from codecarbon.core.emissions import Emissions
    from codecarbon.core.units import Energy
    from codecarbon.external.geography import CloudMetadata, GeoMetadata
    from codecarbon.input import DataSource

    source = DataSource()
    emissions = Emissions(
        source, force_carbon_intensity_g_co2e_kwh=settings.force_carbon_intensity_g_co2e_kwh
    )
    one = Energy.from_energy(kWh=1.0)
    if settings.cloud_provider:
        cloud = CloudMetadata(settings.cloud_provider, settings.cloud_region)
        try:
            country, code = (
                emissions.get_cloud_country_name(cloud),
                emissions.get_cloud_country_iso_code(cloud),
            )
        except ValueError:
            logger.warning(
                "codecarbon has no figures for the region %s of %s: the country counts, where one is stated.",
                settings.cloud_region,
                settings.cloud_provider,
            )
        else:
            return replace(
                place,
                kg_per_kwh=float(emissions.get_cloud_emissions(one, cloud)),
                country_name=country,
                country_iso_code=code,
                region=emissions.get_cloud_geo_region(cloud),
                cloud_provider=settings.cloud_provider,
                cloud_region=settings.cloud_region or "",
            )
    if place.country_iso_code is None:
        return place
    name = source.get_global_energy_mix_data()[place.country_iso_code]["country_name"]
    geo = GeoMetadata(place.country_iso_code, name, place.region)
    return replace(
        place, country_name=name, kg_per_kwh=float(emissions.get_private_infra_emissions(one, geo))
    )
