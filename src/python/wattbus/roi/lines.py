"""The lines of an outcome: each figure under its name and formula, as text with its bounds and as a number."""

from __future__ import annotations

from dataclasses import dataclass

from wattbus.energy.record import Tier
from wattbus.roi.analysis import Analysis
from wattbus.roi.formulas import State
from wattbus.roi.outcome import Bounded, Outcome, all_typed, outcome_of, tier_of
from wattbus.roi.shown import MEASURED_DIGITS, OTHER_DIGITS, TYPED_DIGITS, Shower, count, span, told

#: Of each line: its group, its field, its name, what it measures, and what two analyses must share before a
#: difference of it means anything.
_Row = tuple[str, str, str, str, str]
_ROWS: tuple[_Row, ...] = (
    ("Returns", "gaissa_roi", "GAISSA ROI, (old − new − I) / (new + I)", "ratio", "tier count"),
    ("Returns", "ordinary_return", "ordinary return, (old − new − I) / I", "ratio", "tier count"),
    ("Returns", "infinite_roi", "infinite ROI, r / (1 − r): for ever more {unit}s", "ratio", "tier"),
    ("Money", "net_saving", "saved over {count}, less I", "money", "tier currency count"),
    (
        "Money",
        "net_saving_alike",
        "the same, if the meter errs alike on both sides",
        "money",
        "tier currency count",
    ),
    ("Money", "investment", "I: the work and the electricity of the tactic", "money", "tier currency"),
    ("Money", "old_per_unit", "one {unit} before", "money", "tier currency"),
    ("Money", "new_per_unit", "one {unit} after", "money", "tier currency"),
    ("Money", "old_cost", "old: before, over {count}", "money", "tier currency count"),
    ("Money", "new_cost", "new: after, over {count}", "money", "tier currency count"),
    ("Break-even", "break_even", "of the money, I / (c0 − c1) rounded up", "count", "tier"),
    ("Break-even", "payback_days", "of the money, at the traffic", "days", "tier"),
    ("Break-even", "energy_break_even", "of the energy that the tactic used", "count", "tier"),
    ("Break-even", "carbon_break_even", "of the carbon that the tactic made", "count", "tier"),
    ("Break-even", "carbon_payback_days", "of the carbon, at the traffic", "days", "tier"),
    ("Energy and carbon", "energy_reduction", "energy saved of one {unit}", "ratio", "tier"),
    ("Energy and carbon", "energy_saved", "energy saved over {count}", "joules", "tier count"),
    ("Energy and carbon", "energy_saved_net", "the same, less what the tactic used", "joules", "tier count"),
    ("Energy and carbon", "carbon_saved", "carbon saved over {count}", "grams", "tier count"),
    ("Energy and carbon", "carbon_saved_net", "the same, less what the tactic made", "grams", "tier count"),
    ("Accuracy", "accuracy_points", "change of accuracy", "points", ""),
)
_PRICED: tuple[_Row, ...] = (
    ("With accuracy priced", "worth_per_unit", "the change is worth, for one {unit}", "money", "currency"),
    ("With accuracy priced", "gaissa_roi", "GAISSA ROI", "ratio", "tier count"),
    ("With accuracy priced", "ordinary_return", "ordinary return", "ratio", "tier count"),
    ("With accuracy priced", "infinite_roi", "infinite ROI", "ratio", "tier"),
    ("With accuracy priced", "net_saving", "saved over {count}, less I", "money", "tier currency count"),
    ("With accuracy priced", "break_even", "break-even", "count", "tier"),
)
#: The keys of all lines, in the order that they are read.
KEYS = (*(row[1] for row in _ROWS), *(f"priced_{row[1]}" for row in _PRICED))


@dataclass(frozen=True)
class Line:
    """One line of an outcome, as text and as a figure; ``value`` is None where ``text`` says why.

    ``rests_on`` names what two analyses must share before a difference of this line means anything.
    """

    group: str
    key: str
    name: str
    text: str
    interval: str
    value: float | None
    low: float | None
    high: float | None
    state: State
    unit: str
    rests_on: tuple[str, ...]


def digits_of(analysis: Analysis) -> int:
    """Return how many digits the figures of an analysis are worth."""
    if all_typed(analysis):
        return TYPED_DIGITS
    return MEASURED_DIGITS if tier_of(analysis) is Tier.MEASURED else OTHER_DIGITS


def lines_of(analysis: Analysis, outcome: Outcome | None = None, over: str | None = None) -> list[Line]:
    """Return all lines of an outcome, in the order that they are read; ``over`` names its count otherwise."""
    out = outcome or outcome_of(analysis)
    shower = Shower(digits_of(analysis), out.currency, out.unit)
    names = {"unit": out.unit, "count": over or count(out.units, out.unit, TYPED_DIGITS)}
    sides: list[tuple[object, tuple[_Row, ...], str]] = [(out, _ROWS, "")]
    if out.priced is not None:
        sides.append((out.priced, _PRICED, "priced_"))
    lines = []
    for holder, rows, prefix in sides:
        for group, field, name, kind, rests_on in rows:
            bounded: Bounded | None = getattr(holder, field)
            if bounded is not None:
                lines.append(
                    _line(bounded, group, prefix + field, name.format(**names), kind, rests_on, shower)
                )
    return lines


def _line(
    bounded: Bounded, group: str, key: str, name: str, kind: str, rests_on: str, shower: Shower
) -> Line:
    low, high = bounded.low, bounded.high
    shown = shower.of(kind)
    return Line(
        group=group,
        key=key,
        name=name,
        text=told(bounded.at, shown),
        interval=span(bounded, shown),
        value=bounded.at.value,
        low=None if low is None else low.value,
        high=None if high is None else high.value,
        state=bounded.at.state,
        unit=shower.unit_of(kind),
        rests_on=tuple(rests_on.split()),
    )
