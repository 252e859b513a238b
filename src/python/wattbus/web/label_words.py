"""The figures of a model's label in words, for its pages."""

from __future__ import annotations

from wattbus import words
from wattbus.energy.label import ModelLabel
from wattbus.energy.tiers import SCOPES


def wh(value: float | None, tier: str) -> str:
    """Show watt-hours; what is not measured gets two significant digits.

    >>> wh(0.0482731, "modelled-generic"), wh(1234.5, "modelled"), wh(0.0482731, "measured"), wh(None, "none")
    ('0.048 Wh', '1,200 Wh', '0.0483 Wh', '—')
    """
    if value is None:
        return words.UNKNOWN
    digits = 3 if tier == "measured" else 2
    rounded = float(f"{value:.{digits}g}")
    shown = f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:.{digits}g}"
    return f"{shown} Wh"


def interval(low: float | None, high: float | None, tier: str) -> str:
    """Show two bounds in watt-hours; empty where one is not known."""
    return "" if low is None or high is None else f"{wh(low, tier)} to {wh(high, tier)}"


def in_words(label: ModelLabel, hardware: str) -> str:
    """Say all that the picture shows: its text for who does not see it."""
    if label.wh is None:
        headline = label.missing
    else:
        headline = f"{wh(label.wh, label.tier)} for 1,000 inferences, {label.tier}"
        if spread := interval(label.low_wh, label.high_wh, label.tier):
            headline += f", runs say {spread}"
    return (
        f"Energy label of {words.clean(label.model)}, "
        f"version {words.clean(label.revision or 'not stated')}: {headline}; "
        f"energy known of {label.runs} of {label.attempts} attempts; {SCOPES.get(label.scope, label.scope)}: "
        f"{words.clean(hardware)}; {label.letter}."
    )
