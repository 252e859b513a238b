"""The label of a model as a picture: SVG by a pure function, every text escaped."""

from __future__ import annotations

from html import escape

from markupsafe import Markup

from wattbus import words
from wattbus.energy.label import ModelLabel
from wattbus.energy.tiers import SCOPES

_WIDTH, _HEIGHT = 420, 312
_LONGEST_NAME, _LONGEST_LINE = 34, 60


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


def draw_label(label: ModelLabel, hardware: str) -> Markup:
    """Draw the label."""
    known = label.wh is not None
    spread = interval(label.low_wh, label.high_wh, label.tier)
    bounds = interval(label.tier_low_wh, label.tier_high_wh, label.tier)
    covered = f"energy known of {label.runs:,} of {label.attempts:,} attempts ({100 * label.coverage:.0f} %)"
    lines = [
        (
            74,
            "small",
            f"version {label.revision or 'not stated'}" + (f", {label.precision}" if label.precision else ""),
        ),
        (128, "big", wh(label.wh, label.tier) if known else "not enough runs"),
        (152, "plain", "for 1,000 inferences" if known else label.missing.removeprefix("not enough runs: ")),
        (176, "small", f"95 % interval of {label.runs:,} runs: {spread}" if spread else ""),
        (194, "small", f"bounds of the tier: {bounds}" if bounds else ""),
        (252, "small", covered),
        (270, "small", f"{SCOPES.get(label.scope, label.scope)}: {hardware}"),
        (294, "small", f"{label.letter} · {words.utc_time(label.newest_us)[:10]} · wattbus"),
    ]
    out = [
        f'<svg class="label-picture" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(in_words(label, hardware))}">',
        f'<rect class="paper" x="1" y="1" width="{_WIDTH - 2}" height="{_HEIGHT - 2}" rx="12"></rect>',
        '<rect class="band" x="1" y="1" width="418" height="24" rx="12"></rect>',
        '<text class="band-text" x="20" y="18">ENERGY OF A MODEL</text>',
        _text(54, "name", label.model, _LONGEST_NAME),
        *(_text(y, kind, text, _LONGEST_LINE) for y, kind, text in lines if text),
        '<rect class="tier-back" x="20" y="206" width="380" height="26" rx="6"></rect>',
        f'<text class="tier-text" x="30" y="224">tier: {escape(label.tier)}</text>',
        "</svg>",
    ]
    return Markup("".join(out))  # noqa: S704 - every text was escaped above


def _text(y: int, kind: str, text: str, longest: int) -> str:
    return f'<text class="{kind}" x="20" y="{y}">{escape(words.clean(text, longest))}</text>'
