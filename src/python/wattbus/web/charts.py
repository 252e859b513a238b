"""Line charts as SVG, drawn by a pure function: what a page shows where no script runs, and on paper."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 220, 56, 26, 10

Line = tuple[str, Sequence[tuple[float, float]]]


def line_chart(lines: Sequence[Line], label: str, x_word: str) -> Markup:
    """Draw lines, each a name with its points; ``label`` says in words what is to be seen.

    >>> "polyline" in line_chart([("loss", [(1, 2.0), (2, 1.0)])], "the loss falls", "step")
    True
    """
    points = [(x, y) for _, part in lines for x, y in part if math.isfinite(x) and math.isfinite(y)]
    if not points:
        return Markup("")
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(0.0, min(y for _, y in points)), max(y for _, y in points)
    wide, tall = (right - left) or 1.0, (high - low) or 1.0

    def at(x: float, y: float) -> str:
        across = _LEFT + (x - left) / wide * (_WIDTH - _LEFT - 8)
        down = _TOP + (high - y) / tall * (_HEIGHT - _TOP - _BOTTOM)
        return f"{across:.1f},{down:.1f}"

    parts = [
        Markup('<svg class="curve-chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            _WIDTH, _HEIGHT, label
        )
    ]
    for value in (low, (low + high) / 2, high):
        across, down = at(left, value).split(",")
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"></line>').format(
                across, _WIDTH - 8, down, down
            )
        )
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
                _LEFT - 6, float(down) + 4, f"{value:.3g}"
            )
        )
    ends = ((left, "start"), (right, "end"))
    for value, anchor in ends:
        across = at(value, low).split(",")[0]
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="{}">{} {}</text>').format(
                across, _HEIGHT - 6, anchor, x_word, f"{value:.4g}"
            )
        )
    for number, (name, part) in enumerate(lines):
        drawn = [(x, y) for x, y in part if math.isfinite(x) and math.isfinite(y)]
        shape = Markup('<polyline class="line-{}" points="{}"><title>{}</title></polyline>').format(
            number, " ".join(at(x, y) for x, y in drawn), name
        )
        parts.append(shape)
        parts += [
            Markup('<circle class="dot-{}" cx="{}" cy="{}" r="3"></circle>').format(
                number, *at(x, y).split(",")
            )
            for x, y in (drawn if len(drawn) <= 20 else ())
        ]
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)
