"""The pace of a rung: what its first steps say that it will likely cost, and whether its budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from wattbus import words
from wattbus.ml.spending import Spending, Spent

#: A cost is told after so many steps that took so long together, or after a tenth of all steps.
FIRST_STEPS = 3
FIRST_SECONDS = 1.0
FIRST_SHARE = 0.1
#: How often a budget is looked at while a rung runs.
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Likely:
    """What a rung will likely cost from where it was measured to its end, its evaluation included."""

    seconds: float
    joules: float | None
    steps: int  # it was measured on

    def sentence(self, rung: str) -> str:
        """Say it."""
        joules = "an energy that is not known" if self.joules is None else joule_words(self.joules)
        return (
            f"rung {rung}: it will likely take {words.seconds(self.seconds)} and {joules}, as its first {self.steps} "
            "steps say"
        )


class Pace:
    """Looks at each step of a rung; what it returns true for ends the rung at that step."""

    def __init__(
        self,
        rung: str,
        spending: Spending,
        *,
        budget_joules: float | None,
        measured: bool,
        beside: Spent,
        tell: Callable[[str], None],
    ) -> None:
        """``measured``: the rung is not the first, its cost is told. ``beside``: what its evaluation will cost."""
        self._rung = rung
        self._spending = spending
        self._budget = budget_joules
        self._beside = beside
        self._tell = tell
        self._measures = measured
        self._first: tuple[int, Spent, float] | None = None
        self._looked = time.monotonic()
        self.likely: Likely | None = None
        self.too_dear = False
        self.spent_out = False

    def after_step(self, step: int, total: int) -> bool:
        """Take note of a step that ended; true where the rung has to end."""
        if self._measures and self.likely is None:
            return self._measure(step, total)
        return self.is_spent_out()

    def is_spent_out(self) -> bool:
        """Tell whether nothing of the budget is left; it is looked at now and then."""
        if self._budget is None or self.spent_out:
            return self.spent_out
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            joules = self._spending.now().joules
            self.spent_out = joules is not None and joules >= self._budget
        return self.spent_out

    def _measure(self, step: int, total: int) -> bool:
        if self._first is None:  # the first step warms up, and is left out
            self._first = (step, self._spending.now(exact=True), time.monotonic())
            return False
        begun_step, begun, begun_at = self._first
        steps = step - begun_step
        enough = steps >= FIRST_STEPS and time.monotonic() - begun_at >= FIRST_SECONDS
        if not enough and steps < max(FIRST_STEPS, FIRST_SHARE * total):
            return False
        now = self._spending.now(exact=True)
        used = now.since(begun)
        left = (total - step) / steps
        joules = None
        if used.joules is not None:
            joules = used.joules * left + (self._beside.joules or 0.0)
        self.likely = Likely(used.seconds * left + self._beside.seconds, joules, steps)
        self._tell(self.likely.sentence(self._rung))
        if self._budget is not None and joules is not None and now.joules is not None:
            self.too_dear = joules > self._budget - now.joules
        return self.too_dear


def joule_words(joules: float) -> str:
    """Show joules in a sentence that says elsewhere how they came about.

    >>> joule_words(1234.5), joule_words(0.0321)
    ('1,234 J', '0.032 J')
    """
    return f"{joules:,.0f} J" if joules >= 10 else f"{joules:.2g} J"
