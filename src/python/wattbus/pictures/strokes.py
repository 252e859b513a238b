"""Strokes: a line cut into its dashes, for back ends that draw only whole lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from wattbus.pictures.sheet import Point


def dashes(points: Sequence[Point], pattern: Sequence[float]) -> list[list[Point]]:
    """Return the strokes of a dashed line, each through the corners that it passes.

    >>> dashes([(0, 0), (10, 0)], (4, 2))
    [[(0, 0), (4.0, 0.0)], [(6.0, 0.0), (10.0, 0.0)]]
    """
    if sum(pattern) <= 0 or len(points) < 2:
        return [list(points)]
    strokes: list[list[Point]] = [[points[0]]]
    turn, left = 0, pattern[0]
    for start, end in pairwise(points):
        length = math.dist(start, end)
        at = 0.0
        while length - at > left:
            at += left
            here = (
                start[0] + (end[0] - start[0]) * at / length,
                start[1] + (end[1] - start[1]) * at / length,
            )
            if turn % 2 == 0:
                strokes[-1].append(here)
            else:
                strokes.append([here])
            turn += 1
            left = pattern[turn % len(pattern)]
        left -= length - at
        if turn % 2 == 0:
            strokes[-1].append((float(end[0]), float(end[1])))
    return [stroke for stroke in strokes if len(stroke) > 1]


def module_edges(begin: float, size: float, count: int) -> list[int]:
    """Return the whole pixels at which the modules of a code begin, and the end of the last: no gap, no blur."""
    return [round(begin + size * number / count) for number in range(count + 1)]
