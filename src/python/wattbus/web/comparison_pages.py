"""Compare models: a chart of energy against quality for each group that can be compared, and the table beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from wattbus.labels.compare import Compared, ComparedGroup, Comparison, compare, compared_models
from wattbus.labels.faces import amount
from wattbus.web.desk import Desk
from wattbus.web.svg import element, text, title
from wattbus.web.twin import Twins

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640.0, 310.0, 62.0, 24.0, 30.0, 40.0
_LONGEST_NAME = 28


@dataclass(frozen=True)
class CompareModelsView:
    """Our own models by their stored attempts, and the evaluations that are kept."""

    comparison: Comparison


def add(twins: Twins, desk: Desk) -> None:
    """Open the page."""

    def models() -> CompareModelsView:
        """Compare models by energy and quality; what cannot be compared stands apart."""
        with desk.reading() as engine:
            return CompareModelsView(compare(compared_models(engine, desk.models())))

    twins.share(compare_chart=draw_group, amount=amount)
    twins.view("/energy/labels/compare", "label_compare.html", models, tag="labels")


def draw_group(group: ComparedGroup) -> Markup:
    """Draw a group: energy to the right on a logarithmic scale, quality upwards, the front joined by a line.

    >>> "circle" in draw_group(ComparedGroup("t", "Wh", "measured", (Compared("m", "", 2.0, None, None, "Wh", 0.9,
    ...     "measured", "", "", "", "ledger", True),)))
    True
    """
    points = [one for one in group.points if one.energy is not None and one.quality is not None]
    left, right = _span([math.log10(one.energy or 1.0) for one in points], 0.3)
    low, high = _span([one.quality or 0.0 for one in points], 0.05)

    def at(one: Compared) -> tuple[float, float]:
        across = (math.log10(one.energy or 1.0) - left) / (right - left)
        up = ((one.quality or 0.0) - low) / (high - low)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    front = [at(one) for one in points if one.front]
    said = f"{len(points)} models by energy and quality; on the front: " + ", ".join(
        one.name for one in points if one.front
    )
    parts = [*_axes(group, (left, right), (low, high))]
    if len(front) > 1:
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in front)
        parts.append(element("polyline", class_="front", points=way))
    for one in points:
        x, y = at(one)
        words = f"{one.name}: {one.energy:.3g} {group.unit}, quality {one.quality:.3f}" + (
            ", on the front" if one.front else ""
        )
        kind, radius = ("best", 6) if one.front else ("", 4)
        parts.append(element("circle", title(words), class_=kind, cx=x, cy=y, r=radius))
    parts += _names(points, at)
    drawn = element(
        "svg",
        *parts,
        class_="pareto-chart",
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        role="img",
        aria_label=said,
    )
    return Markup(drawn)  # noqa: S704 - every text was escaped by web.svg


def _axes(group: ComparedGroup, across: tuple[float, float], up: tuple[float, float]) -> list[str]:
    bottom, end = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [
        element("line", class_="grid", x1=_LEFT, x2=end, y1=bottom, y2=bottom),
        element("line", class_="grid", x1=_LEFT, x2=_LEFT, y1=_TOP, y2=bottom),
        text(f"{group.unit}, logarithmic", (_LEFT + end) / 2, _HEIGHT - 6, "", text_anchor="middle"),
        text("accuracy", 6, 12, ""),
    ]
    for share in (0.0, 0.5, 1.0):
        x = _LEFT + share * (end - _LEFT)
        y = bottom - share * (bottom - _TOP)
        energy = 10 ** (across[0] + share * (across[1] - across[0]))
        quality = up[0] + share * (up[1] - up[0])
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        parts.append(text(f"{energy:.2g}", x, bottom + 16, "", text_anchor=anchor))
        parts.append(text(f"{quality:.2f}", _LEFT - 6, y + 4, "", text_anchor="end"))
        parts.append(element("line", class_="grid", x1=_LEFT, x2=end, y1=y, y2=y))
    return parts


def _names(points: Sequence[Compared], at: Callable[[Compared], tuple[float, float]]) -> list[str]:
    """Write names beside the points of the front, as far as they do not lie on each other."""
    written: list[tuple[float, float]] = []
    parts = []
    for one in points:
        if not one.front:
            continue
        x, y = at(one)
        if any(abs(x - other) < 160 and abs(y - down) < 14 for other, down in written):
            continue
        written.append((x, y))
        far, near = x > _WIDTH * 0.75, x < _WIDTH * 0.25
        anchor = "end" if far else "start" if near else "middle"
        parts.append(text(one.name, x, y - 12, "", longest=_LONGEST_NAME, text_anchor=anchor))
    return parts


def _span(values: Sequence[float], least: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max(least, (high - low) * 0.12)
    return low - room, high + room
