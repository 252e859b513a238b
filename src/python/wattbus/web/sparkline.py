"""A sparkline: a row of numbers as a small picture. A pure function; all that it writes are numbers and one label."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT = 120, 24
_MOST_POINTS = 120


def sparkline(values: Sequence[int], label: str) -> Markup:
    """Draw a row of numbers that are never negative; of several that share a place the largest counts.

    >>> sparkline([], "Echo")
    Markup('')
    >>> print(sparkline([0, 4], "Echo"))  # doctest: +ELLIPSIS
    <svg class="spark" ... aria-label="Echo"><polyline points="0.0,23.0 120.0,1.0"></polyline></svg>
    """
    if not values:
        return Markup("")
    drawn = _thinned(values)
    top = max(*drawn, 1)
    step = WIDTH / max(1, len(drawn) - 1)
    points = " ".join(
        f"{place * step:.1f},{HEIGHT - 1 - (HEIGHT - 2) * value / top:.1f}"
        for place, value in enumerate(drawn)
    )
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<polyline points="{}"></polyline></svg>'
    ).format(WIDTH, HEIGHT, label, points)


def _thinned(values: Sequence[int]) -> list[int]:
    """Return no more values than can be told apart, so that a peak is never lost."""
    each = -(-len(values) // _MOST_POINTS)
    return [max(values[place : place + each]) for place in range(0, len(values), each)]
