"""GAISSA's arithmetic: the class of a value, and the compound of several classes.

The rule is that of GAISSALabel's rating calculator (github.com/GAISSA-UPC/ML-GAISSALabel), which follows STREP: the
first interval with ``upper >= x > lower``, else the worst class; the compound is the mean of the classes as numbers
(A = 0, B = 1, ...), weighted, over the metrics that have a value, rounded half to even.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from wattbus.labels.profile import Metric


def class_of(metric: Metric, value: float, classes: str) -> str:
    """Return the letter of a value."""
    for interval in sorted(metric.intervals, key=lambda one: one.letter):
        lower, upper = interval.bounds
        if upper >= value > lower:
            return interval.letter
    return classes[-1]


def compound_of(grades: Iterable[tuple[str, float]], classes: str) -> str | None:
    """Return the letter of several letters with their weights; None where none of them has a weight.

    Reckoned in fractions of the weights as they are written (0.1 is a tenth), so that a tie is a tie: in floating
    point 4/6 + 5/6 may miss 1.5 by a hair and fall to the other side.

    >>> compound_of([("A", 1), ("B", 1)], "ABCDE"), compound_of([("B", 1), ("C", 1)], "ABCDE")
    ('A', 'C')
    """
    known = [(classes.index(letter), Fraction(repr(float(weight)))) for letter, weight in grades]
    total = sum(weight for _, weight in known)
    if not total > 0:
        return None
    return classes[round(sum(place * weight for place, weight in known) / total)]
