"""The intervals of a metric as text rows, one a class: what a form shows, and what is read back from it."""

from __future__ import annotations

from collections.abc import Sequence

from wattbus.errors import BadRequest
from wattbus.labels.profile import Interval, number

#: What stands for no bound.
OPEN = "-"


def intervals_to_text(intervals: Sequence[Interval]) -> str:
    """Return a row for each class: its letter, the bound that its values lie above, the bound that they go up to.

    >>> print(intervals_to_text([Interval(letter="A", lower=0, upper=2.5), Interval(letter="B", lower=2.5)]))
    A 0 2.5
    B 2.5 -
    """
    return "\n".join(
        f"{one.letter} {_bound(one.lower)} {_bound(one.upper)}"
        for one in sorted(intervals, key=lambda one: one.letter)
    )


def intervals_from_text(text: str, metric: str) -> list[dict[str, object]]:
    """Read the rows back; a row that cannot be read is named."""
    rows = [line.split() for line in text.replace(";", "\n").splitlines() if line.strip()]
    found: list[dict[str, object]] = []
    for place, row in enumerate(rows, start=1):
        if len(row) != 3:
            raise BadRequest(
                f"row {place} of the intervals of {metric} is {' '.join(row)[:60]!r}: write a letter and two bounds, "
                f"as in A 0 2.5, and {OPEN} for no bound."
            )
        letter, lower, upper = row
        found.append(
            {
                "letter": letter.upper(),
                "lower": _read(lower, place, metric),
                "upper": _read(upper, place, metric),
            }
        )
    return found


def _bound(value: float | None) -> str:
    return OPEN if value is None else number(value)


def _read(text: str, place: int, metric: str) -> float | None:
    if text in (OPEN, "–", "—"):
        return None
    try:
        return float(text.replace("_", ""))
    except ValueError:
        raise BadRequest(
            f"row {place} of the intervals of {metric} has the bound {text[:40]!r}: write a number with a point for "
            f"the decimals, or {OPEN} for no bound."
        ) from None
