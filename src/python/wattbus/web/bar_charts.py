"""Charts as SVG: pure functions of figures; colours are classes of the style sheet, every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

_WIDTH, _HEIGHT = 760, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 8, 10, 26
_MOST_LABELS = 8


@dataclass(frozen=True)
class Bar:
    """One bar: what stands under it, what it says when pointed at, and its parts from the bottom up."""

    label: str
    said: str
    parts: tuple[float, ...]


def stacked_bars(bars: Sequence[Bar], names: Sequence[str], unit: str, described: str) -> Markup:
    """Draw bars of stacked parts; ``described`` says in words what is to be seen. Nothing to draw: nothing."""
    highest = max((sum(bar.parts) for bar in bars), default=0.0)
    if not highest > 0 or not math.isfinite(highest):
        return Markup("")
    top, step = scale(highest)
    height, width = _HEIGHT - _TOP - _BOTTOM, _WIDTH - _LEFT - _RIGHT
    out = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(described)}">'
    ]
    for number in range(round(top / step) + 1):
        value = number * step
        y = _TOP + height * (1 - value / top)
        out.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"></line>'
        )
        out.append(
            f'<text class="axis end" x="{_LEFT - 6}" y="{y + 4:.1f}">{escape(short(value))} {escape(unit)}</text>'
        )
    place = width / len(bars)
    wide = min(60.0, place * 0.8)
    each = math.ceil(len(bars) / _MOST_LABELS)
    for number, bar in enumerate(bars):
        x = _LEFT + place * number + (place - wide) / 2
        out.append(f"<g><title>{escape(bar.said)}</title>")
        y = float(_TOP + height)
        for part, value in enumerate(bar.parts):
            tall = max(0.0, value) / top * height
            y -= tall
            out.append(
                f'<rect class="part{part}" x="{x:.1f}" y="{y:.2f}" width="{wide:.1f}" height="{tall:.2f}"></rect>'
            )
        out.append("</g>")
        if number % each == 0:
            middle = x + wide / 2
            out.append(
                f'<text class="axis middle" x="{middle:.1f}" y="{_HEIGHT - 8}">{escape(bar.label)}</text>'
            )
    out.append("</svg>")
    out.append('<ul class="legend" role="list">')
    out += [
        f'<li><svg class="swatch" viewBox="0 0 10 10" aria-hidden="true"><rect class="part{part}" width="10" '
        f'height="10"></rect></svg> {escape(name)}</li>'
        for part, name in enumerate(names)
    ]
    out.append("</ul>")
    return Markup("".join(out))  # noqa: S704 - every text was escaped above


def scale(highest: float) -> tuple[float, float]:
    """Return where an axis ends and the step of its marks: 1, 2 or 5 and zeros.

    >>> scale(27.9), scale(0.0031), scale(100)
    ((30.0, 10.0), (0.004, 0.001), (100.0, 50.0))
    """
    raw = highest / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    marks = math.ceil(highest / step - 1e-9)
    return float(f"{marks * step:.12g}"), float(f"{step:.12g}")


def short(value: float) -> str:
    """Show a figure in few signs.

    >>> short(0), short(1500), short(0.002), short(12.5), short(2_000_000)
    ('0', '1.5k', '0.002', '12.5', '2M')
    """
    for factor, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{sign}"
    return f"{value:.3g}"
