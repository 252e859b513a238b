"""Factors that the configuration may state beside the joules: the data centre, water, making the machine.

Nothing is assumed: a factor that nobody stated is absent. What a factor gives stands beside the measured energy with
its source, and is never added to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wattbus.config import Config

JOULES_PER_WH = 3600.0
_NO_SOURCE = "no source is given"


@dataclass(frozen=True, slots=True)
class FactorFigure:
    """What one factor makes of an energy or a time; ``how`` is the arithmetic, ``source`` who says the factor."""

    name: str
    value: float
    unit: str
    how: str
    source: str


@dataclass(frozen=True, slots=True)
class Factors:
    """The factors of one machine; None where nobody stated one.

    Sources: PUE is ISO/IEC 30134-2, WUE is ISO/IEC 30134-9 (litres a kWh of the IT equipment), and the share of the
    making of a machine by time is that of SCI (ISO/IEC 21031: M = TE * TS * RS, with all of its resources).
    """

    pue: float | None = None
    pue_source: str = _NO_SOURCE
    water_l_per_kwh: float | None = None
    water_source: str = _NO_SOURCE
    embodied_grams: float | None = None
    embodied_hours: float | None = None
    embodied_source: str = _NO_SOURCE

    def facility_joules(self, joules: float | None) -> float | None:
        """Return the energy of the data centre for that of the machine."""
        return None if self.pue is None or joules is None else joules * self.pue

    def water_litres(self, joules: float | None) -> float | None:
        """Return the water for an energy of the machine."""
        if self.water_l_per_kwh is None or joules is None:
            return None
        return joules / JOULES_PER_WH / 1000 * self.water_l_per_kwh

    def embodied_share_grams(self, seconds: float | None) -> float | None:
        """Return the part of the making of the whole machine that a time of its life stands for."""
        if self.embodied_grams is None or self.embodied_hours is None or seconds is None:
            return None
        return self.embodied_grams * seconds / 3600 / self.embodied_hours

    def stated(self) -> list[tuple[str, str, str]]:
        """Return the name, the value in words and the source of each factor that is stated."""
        found = []
        if self.pue is not None:
            found.append(("PUE", f"{self.pue:g}", self.pue_source))
        if self.water_l_per_kwh is not None:
            found.append(("Water", f"{self.water_l_per_kwh:g} L/kWh", self.water_source))
        if self.embodied_grams is not None and self.embodied_hours is not None:
            value = f"{_plain(self.embodied_grams)} g CO2e over {_plain(self.embodied_hours)} h of use"
            found.append(("Making of the machine", value, self.embodied_source))
        return found

    def figures(self, joules: float | None, seconds: float | None = None) -> list[FactorFigure]:
        """Return what each stated factor gives for an energy, and for a time of the whole machine."""
        found = []
        if (facility := self.facility_joules(joules)) is not None:
            found.append(
                FactorFigure(
                    "with the data centre",
                    facility / JOULES_PER_WH,
                    "Wh",
                    f"PUE {self.pue:g}",
                    self.pue_source,
                )
            )
        if (water := self.water_litres(joules)) is not None:
            how = f"{self.water_l_per_kwh:g} L/kWh"
            found.append(FactorFigure("water", water, "L", how, self.water_source))
        if (grams := self.embodied_share_grams(seconds)) is not None:
            how = f"{_plain(self.embodied_grams or 0)} g over {_plain(self.embodied_hours or 0)} h of use"
            found.append(FactorFigure("making of the machine", grams, "g CO2e", how, self.embodied_source))
        return found


def _plain(value: float) -> str:
    """Show a stated figure as it was stated.

    >>> _plain(1_200_000.0), _plain(0.25)
    ('1,200,000', '0.25')
    """
    return f"{value:,.6f}".rstrip("0").rstrip(".")


def configured_factors(config: Config) -> Factors:
    """Return the factors that the configuration states."""
    return Factors(
        pue=config.pue,
        pue_source=config.pue_source or _NO_SOURCE,
        water_l_per_kwh=config.water_l_per_kwh,
        water_source=config.water_source or _NO_SOURCE,
        embodied_grams=config.embodied_g,
        embodied_hours=config.embodied_hours,
        embodied_source=config.embodied_source or _NO_SOURCE,
    )
