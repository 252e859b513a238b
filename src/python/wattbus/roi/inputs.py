"""What went into an analysis: each figure in words, with its tier, its bounds and where it came from."""

from __future__ import annotations

from dataclasses import dataclass

from wattbus import words
from wattbus.energy.figures import Source
from wattbus.energy.record import Tier
from wattbus.roi.analysis import Analysis, Energy
from wattbus.roi.shown import MEASURED_DIGITS, OTHER_DIGITS, TYPED_DIGITS, energy, grams, plain

_SOURCES = {
    Source.LEDGER: "metered by wattbus",
    Source.IMPORTED: "imported",
    Source.ENDPOINT: "measured at the endpoint",
    Source.PROVIDER: "declared by the provider",
    Source.TYPED: "typed",
}


@dataclass(frozen=True)
class Input:
    """One figure that went in: its value in words, and where it came from."""

    name: str
    text: str
    origin: str


def inputs_of(analysis: Analysis) -> list[Input]:
    """Return what went in, each figure with its origin."""
    given, tactic = analysis.given, analysis.tactic
    noun = tactic.unit
    found = [
        Input(f"energy of one {noun} before", energy_text(analysis.before), origin_text(analysis.before)),
        Input(f"energy of one {noun} after", energy_text(analysis.after), origin_text(analysis.after)),
        Input("energy of the tactic itself", *_own_text(analysis)),
        Input("cost of implementing", _amount(given.cost, given.currency), "typed"),
        Input("price of electricity", f"{_amount(given.price_per_kwh, given.currency)}/kWh", "typed"),
        Input(
            "carbon intensity",
            words.UNKNOWN if analysis.carbon is None else f"{plain(analysis.carbon.g_per_kwh, 4)} g/kWh",
            "not given, and none is guessed" if analysis.carbon is None else analysis.carbon.source,
        ),
        Input(f"number of {tactic.units}", f"{given.count:,}", "typed" if given.days is None else
              f"typed: {plain(given.days, 6)} days at the traffic"),
        Input(
            "traffic", words.UNKNOWN if given.per_day is None else f"{plain(given.per_day, 6)} {tactic.units} a day",
            "not given" if given.per_day is None else "typed",
        ),
    ]  # fmt: skip
    for name, side in (("before", given.before), ("after", given.after)):
        if side.fee:
            found.append(
                Input(f"fee of one {noun} {name}", f"{plain(side.fee, 6)} {given.currency}", "typed")
            )
        if side.price_per_kwh is not None:
            found.append(
                Input(
                    f"price of electricity {name}",
                    f"{_amount(side.price_per_kwh, given.currency)}/kWh",
                    "typed",
                )
            )
        if side.carbon_g_per_kwh is not None:
            found.append(
                Input(f"carbon intensity {name}", f"{plain(side.carbon_g_per_kwh, 4)} g/kWh", "typed")
            )
    for name, value, side, run in zip(
        ("before", "after"), analysis.accuracies, (given.before, given.after), (analysis.before, analysis.after),
        strict=True,
    ):  # fmt: skip
        if value is not None:
            origin = "typed" if side.accuracy is not None else origin_text(run)
            found.append(Input(f"accuracy {name}", plain(value, 6), origin))
    if given.point_price is not None:
        price = f"{plain(given.point_price, 6)} {given.currency} over 1,000 {tactic.units}"
        found.append(Input("price of a point of accuracy", price, "typed"))
    return found


def energy_text(one: Energy) -> str:
    """Show the energy of a side with its tier and bounds."""
    if one.joules is None:
        return words.UNKNOWN
    typed = one.source is Source.TYPED and one.tier is Tier.NONE
    digits = TYPED_DIGITS if typed else MEASURED_DIGITS if one.tier is Tier.MEASURED else OTHER_DIGITS
    text = energy(one.joules, digits)
    if not typed:
        text += " of unknown tier" if one.tier is Tier.NONE else f" {one.tier}"
    bounds = one.bounds
    if bounds is not None and bounds[0] != bounds[1]:
        text += f" ({energy(bounds[0], min(digits, 3))} to {energy(bounds[1], min(digits, 3))})"
    return text


def origin_text(one: Energy) -> str:
    """Say where an energy comes from."""
    if one.joules is None:
        return one.origin
    parts = [] if one.source is Source.TYPED and one.origin.startswith("typed") else [_SOURCES[one.source]]
    parts.append(one.origin)
    if one.model is not None:
        parts.append(f"{one.model}{f' {one.revision}' if one.revision else ''}")
    if one.counted is not None and one.counted != 1:
        parts.append(f"{one.counted:,} inferences")
    return words.clean(", ".join(parts), 200)


def _own_text(analysis: Analysis) -> tuple[str, str]:
    own, grams_given = analysis.own, analysis.given.own.carbon_grams
    if own is None:
        text, origin = words.UNKNOWN, "not given"
    else:
        text, origin = energy_text(own), origin_text(own)
    if grams_given is not None:
        text += f"; {grams(grams_given, 4)} typed"
    return text, origin


def _amount(value: float, currency: str) -> str:
    return f"{plain(value, 8)} {currency}"
