"""The objects that two models found in one picture, matched: the same label, and boxes that lie on each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

#: Two boxes of one label are the same prediction where their intersection is at least this share of their union.
SAME_OVERLAP = 0.9

Found = Mapping[str, Any]  # {"label", "score", "box": {"xmin", "ymin", "xmax", "ymax"}}


def matched(old: Sequence[Found], new: Sequence[Found]) -> list[tuple[Found | None, Found | None, bool]]:
    """Pair the objects of two answers, and tell of each pair whether it is the same prediction.

    The pairs that lie on each other most are taken first, and each object once; what is left is paired as it comes,
    with None where one answer has fewer: an object that was moved has changed once.
    """
    near = sorted(
        (
            (overlap(one["box"], other["box"]), first, second)
            for first, one in enumerate(old)
            for second, other in enumerate(new)
            if one["label"] == other["label"]
        ),
        key=lambda found: (-found[0], found[1], found[2]),
    )
    pairs: dict[int, int] = {}
    for share, first, second in near:
        if share >= SAME_OVERLAP and first not in pairs and second not in pairs.values():
            pairs[first] = second
    gone = [one for first, one in enumerate(old) if first not in pairs]
    come = [one for second, one in enumerate(new) if second not in pairs.values()]
    return [
        *((old[first], new[second], True) for first, second in pairs.items()),
        *((one, other, False) for one, other in zip_longest(gone, come)),
    ]


def overlap(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """Return the share of their union that two boxes have in common: 0 to 1; 1 for the same box, also a flat one."""
    if dict(one) == dict(other):
        return 1.0
    wide = min(one["xmax"], other["xmax"]) - max(one["xmin"], other["xmin"])
    high = min(one["ymax"], other["ymax"]) - max(one["ymin"], other["ymin"])
    common = max(0, wide) * max(0, high)
    union = _area(one) + _area(other) - common
    return common / union if union > 0 else 0.0


def in_words(found: Found | None) -> str:
    """Write an object as a report shows it."""
    if found is None:
        return "nothing"
    box = found["box"]
    return f"{found['label']} at {box['xmin']},{box['ymin']} to {box['xmax']},{box['ymax']}"


def _area(box: Mapping[str, int]) -> int:
    return max(0, box["xmax"] - box["xmin"]) * max(0, box["ymax"] - box["ymin"])
