"""The outcome of an analysis: both returns by name, break-evens and savings, each with its bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wattbus.energy.figures import Source
from wattbus.energy.record import Tier
from wattbus.roi.analysis import Analysis, Case, Energy, alike_corners_of, case_of, corners_of
from wattbus.roi.formulas import (
    Answer,
    State,
    break_even,
    exact,
    gaissa_of,
    infinite_roi_of_costs,
    ordinary_of,
    payback_days,
    unknown,
)
from wattbus.words import counted


@dataclass(frozen=True)
class Bounded:
    """A figure with its bounds; ``low`` and ``high`` are None where it has none, or where they are unknown."""

    at: Answer
    low: Answer | None = None
    high: Answer | None = None

    @property
    def crosses_zero(self) -> bool:
        """Tell whether the bounds hold both signs, so that none can be told."""
        ends = [end.order for end in (self.low, self.high) if end is not None]
        return len(ends) == 2 and None not in ends and (ends[0] or 0) < 0 < (ends[1] or 0)


@dataclass(frozen=True)
class Priced:
    """The returns once a change of accuracy has its price."""

    worth_per_unit: Bounded
    gaissa_roi: Bounded
    ordinary_return: Bounded
    infinite_roi: Bounded
    net_saving: Bounded
    break_even: Bounded


@dataclass(frozen=True)
class Outcome:
    """What an analysis comes to; money in its currency, energies in joules, carbon in grams of CO2 equivalent.

    ``net_saving`` is ``old - new - I`` at the count; ``energy_saved_net`` and ``carbon_saved_net`` are less what the
    tactic itself used. ``tier`` is the less trusted one of both sides.
    """

    name: str
    tactic: str
    unit: str
    units: int
    currency: str
    tier: Tier
    verdict: str
    sentence: str
    gaissa_roi: Bounded
    ordinary_return: Bounded
    infinite_roi: Bounded
    old_per_unit: Bounded
    new_per_unit: Bounded
    old_cost: Bounded
    new_cost: Bounded
    investment: Bounded
    net_saving: Bounded
    net_saving_alike: Bounded | None
    break_even: Bounded
    payback_days: Bounded
    energy_reduction: Bounded
    energy_saved: Bounded
    energy_saved_net: Bounded
    energy_break_even: Bounded
    carbon_saved: Bounded
    carbon_saved_net: Bounded
    carbon_break_even: Bounded
    carbon_payback_days: Bounded
    accuracy_points: Bounded
    priced: Priced | None
    notes: tuple[str, ...]


_Formula = Callable[[Case], Answer]
_NO_SIDE = "the energy of one side is unknown"
_NO_CARBON = "no carbon intensity is given, and none is guessed"
_NO_OWN = "the energy of the tactic itself is not given"


def outcome_of(analysis: Analysis) -> Outcome:
    """Reckon an analysis."""
    given, tactic = analysis.given, analysis.tactic
    central, corners = case_of(analysis), corners_of(analysis)
    unit, per_day = tactic.unit, given.per_day

    def told(formula: _Formula) -> Bounded:
        return _bounded(formula, central, corners)

    def paid_back(formula: _Formula) -> Bounded:
        if per_day is None:
            return Bounded(unknown("no traffic per day is given"))
        return told(lambda case: payback_days(formula(case), per_day))

    def breaks_even(case: Case) -> Answer:
        return break_even(case.investment, case.old, case.new, unit)

    def carbon_breaks_even(case: Case) -> Answer:
        return _carbon_break_even(case, unit)

    net, alike = told(_net), alike_corners_of(analysis)
    net_alike = None if alike is None or corners is None else _bounded(_net, central, alike)
    verdict = _verdict(net)
    return Outcome(
        name=given.name,
        tactic=tactic.title,
        unit=unit,
        units=central.units,
        currency=given.currency,
        tier=tier_of(analysis),
        verdict=verdict,
        sentence=_sentence(verdict, net_alike, corners is None, counted(central.units, unit)),
        gaissa_roi=told(
            lambda case: gaissa_of(case.old * case.units, case.new * case.units, case.investment)
        ),
        ordinary_return=told(
            lambda case: ordinary_of(case.old * case.units, case.new * case.units, case.investment)
        ),
        infinite_roi=told(lambda case: infinite_roi_of_costs(case.old, case.new)),
        old_per_unit=told(lambda case: Answer(float(case.old))),
        new_per_unit=told(lambda case: Answer(float(case.new))),
        old_cost=told(lambda case: Answer(float(case.old * case.units))),
        new_cost=told(lambda case: Answer(float(case.new * case.units))),
        investment=told(lambda case: Answer(float(case.investment))),
        net_saving=net,
        net_saving_alike=net_alike,
        break_even=told(breaks_even),
        payback_days=paid_back(breaks_even),
        energy_reduction=told(_reduction),
        energy_saved=told(_energy_saved),
        energy_saved_net=told(_energy_saved_net),
        energy_break_even=told(lambda case: _energy_break_even(case, unit)),
        carbon_saved=told(_carbon_saved),
        carbon_saved_net=told(_carbon_saved_net),
        carbon_break_even=told(carbon_breaks_even),
        carbon_payback_days=paid_back(carbon_breaks_even),
        accuracy_points=Bounded(_points(analysis)),
        priced=_priced(analysis, told),
        notes=tuple(_notes(analysis, corners is None)),
    )


def tier_of(analysis: Analysis) -> Tier:
    """Return the less trusted tier of both sides; a typed side has none of ours."""
    order = list(Tier)
    sides = [analysis.before] if analysis.tied else [analysis.before, analysis.after]
    return max((side.tier for side in sides), key=order.index)


def all_typed(analysis: Analysis) -> bool:
    """Tell whether no figure was measured, so that each is as exact as it was typed."""
    sides = [analysis.before, *([] if analysis.tied else [analysis.after])]
    return all(side.source is Source.TYPED for side in sides)


# -- formulas over a case ---------------------------------------------------------------------------------------------


def _net(case: Case) -> Answer:
    return Answer(float((case.old - case.new) * case.units - case.investment))


def _reduction(case: Case) -> Answer:
    if case.before_joules is None or case.after_joules is None:
        return unknown(_NO_SIDE)
    if case.before_joules == 0:
        return Answer(None, State.UNDEFINED, "no energy was used before, so no share of it can be saved")
    return Answer(float(1 - case.after_joules / case.before_joules))


def _energy_saved(case: Case) -> Answer:
    if case.before_joules is None or case.after_joules is None:
        return unknown(_NO_SIDE)
    return Answer(float((case.before_joules - case.after_joules) * case.units))


def _energy_saved_net(case: Case) -> Answer:
    if case.before_joules is None or case.after_joules is None:
        return unknown(_NO_SIDE)
    if case.own_joules is None:
        return unknown(_NO_OWN)
    return Answer(float((case.before_joules - case.after_joules) * case.units - case.own_joules))


def _energy_break_even(case: Case, unit: str) -> Answer:
    if case.before_joules is None or case.after_joules is None:
        return unknown(_NO_SIDE)
    if case.own_joules is None:
        return unknown(_NO_OWN)
    return break_even(case.own_joules, case.before_joules, case.after_joules, unit)


def _carbon_saved(case: Case) -> Answer:
    old, new = case.old_grams, case.new_grams
    if old is None or new is None:
        return unknown(_carbon_unknown(case))
    return Answer(float((old - new) * case.units))


def _carbon_saved_net(case: Case) -> Answer:
    old, new, own = case.old_grams, case.new_grams, case.own_grams
    if old is None or new is None or own is None:
        return unknown(_carbon_unknown(case))
    return Answer(float((old - new) * case.units - own))


def _carbon_unknown(case: Case) -> str:
    if case.before_joules is None or case.after_joules is None:
        return _NO_SIDE
    return _NO_CARBON if case.old_grams is None or case.new_grams is None else _NO_OWN


def _carbon_break_even(case: Case, unit: str) -> Answer:
    old, new, own = case.old_grams, case.new_grams, case.own_grams
    if old is None or new is None or own is None:
        return unknown(_carbon_unknown(case))
    return break_even(own, old, new, unit)


def _points(analysis: Analysis) -> Answer:
    before, after = analysis.accuracies
    if before is None or after is None:
        return unknown("the accuracy of one side is not given")
    return Answer(float((exact(after, "the accuracy") - exact(before, "the accuracy")) * 100))


def _priced(analysis: Analysis, told: Callable[[_Formula], Bounded]) -> Priced | None:
    if analysis.given.point_price is None or None in analysis.accuracies:
        return None
    unit = analysis.tactic.unit
    return Priced(
        worth_per_unit=told(lambda case: Answer(float(case.worth))),
        gaissa_roi=told(
            lambda case: gaissa_of(
                case.old_priced * case.units, case.new_priced * case.units, case.investment
            )
        ),
        ordinary_return=told(
            lambda case: ordinary_of(
                case.old_priced * case.units, case.new_priced * case.units, case.investment
            )
        ),
        infinite_roi=told(lambda case: infinite_roi_of_costs(case.old_priced, case.new_priced)),
        net_saving=told(
            lambda case: Answer(float((case.old_priced - case.new_priced) * case.units - case.investment))
        ),
        break_even=told(lambda case: break_even(case.investment, case.old_priced, case.new_priced, unit)),
    )


# -- bounds and words -------------------------------------------------------------------------------------------------


def _bounded(formula: _Formula, central: Case, corners: Sequence[Case] | None) -> Bounded:
    """Return a figure with the least and the most that it is at the ends of the bounds."""
    at = formula(central)
    if not corners or at.state is State.UNKNOWN:
        return Bounded(at)
    answers = [formula(case) for case in corners]
    orders = [answer.order for answer in answers]
    if None in orders:
        return Bounded(at)
    ranked = sorted(zip(orders, answers, strict=True), key=lambda pair: pair[0] or 0.0)
    low, high = ranked[0][1], ranked[-1][1]
    return Bounded(at) if low == high == at else Bounded(at, low, high)


def _verdict(net: Bounded) -> str:
    if net.crosses_zero:
        return "cannot tell"
    value = net.at.value or 0
    return "saves" if value > 0 else "loses" if value < 0 else "breaks even"


def _sentence(verdict: str, alike: Bounded | None, unbounded: bool, count: str) -> str:
    if verdict == "cannot tell":
        told = f"Cannot tell over {count}: within the bounds of the energies it may save or lose."
        if alike is not None and not alike.crosses_zero:
            word = "pays" if (alike.at.value or 0) > 0 else "does not pay"
            told += f" If the same meter erred alike on both sides, it {word}."
        return told
    what = {"saves": "It pays", "loses": "It does not pay", "breaks even": "It comes out even"}[verdict]
    return f"{what} over {count}{', by figures whose bounds are unknown' if unbounded else ''}."


def _notes(analysis: Analysis, unbounded: bool) -> list[str]:
    given, before, after = analysis.given, analysis.before, analysis.after
    notes = []
    if all_typed(analysis) and before.bounds == (before.joules, before.joules):
        notes.append("The energies were typed and are taken as exact.")
    if unbounded:
        which = [
            name
            for name, one in (("before", before), ("after", after), ("the tactic itself", analysis.own))
            if one is not None and one.joules is not None and one.bounds is None
        ]
        notes.append(f"No bounds are known of the energy of {' and '.join(which)}: no interval is told.")
    if not analysis.tied and before.tier is not after.tier and not all_typed(analysis):
        notes.append(
            f"The two sides were not measured alike ({_way(before)}, {_way(after)}): "
            "part of the difference may be that of the meters."
        )
    if analysis.own is None:
        notes.append(
            "The energy of the tactic itself is not given: its electricity is not in the investment, and its "
            "break-evens in energy and carbon are unknown. Give 0 where it used none."
        )
    if before.tier is Tier.ESTIMATED_REMOTE and given.before.price_per_kwh is None:
        notes.append(
            "The electricity of the remote side is charged at your price: where its fee holds it, set its price to 0."
        )
    old, new = analysis.accuracies
    if old is not None and new is not None and old != new and given.point_price is None:
        notes.append("The change of accuracy has no price here; it stands beside.")
    return notes


def _way(energy: Energy) -> str:
    return str(energy.tier) if energy.tier is not Tier.NONE else str(energy.source)
