"""Analyses side by side: each line of all of them, with the difference to the first where one can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wattbus import words
from wattbus.errors import BadRequest
from wattbus.roi.kept import Kept
from wattbus.roi.lines import KEYS, Line, digits_of, lines_of
from wattbus.roi.outcome import all_typed, outcome_of, tier_of
from wattbus.roi.shown import plain

MOST_COMPARED = 12

_WHY = {
    "unit": "what is counted differs",
    "tier": "the tiers differ",
    "currency": "the currencies differ",
    "count": "the counts differ",
}


@dataclass(frozen=True)
class Place:
    """One analysis in a line: its text, its figure, and the difference to the first; or why there is none."""

    text: str
    interval: str
    value: float | None
    difference: float | None
    difference_text: str


@dataclass(frozen=True)
class Row:
    """One line of all analyses, and whether it is not the same in all of them."""

    group: str
    key: str
    name: str
    places: list[Place]
    differs: bool


@dataclass(frozen=True)
class SideBySide:
    """The analyses in the order that they were asked for, and their lines."""

    names: list[str]
    tactics: list[str]
    verdicts: list[str]
    rows: list[Row]
    remarks: list[str]


def side_by_side(found: Sequence[Kept]) -> SideBySide:
    """Compare analyses; where a currency, a tier, a count or a unit differs, no difference is told."""
    if len(found) < 2:
        raise BadRequest("choose two analyses or more to compare.")
    if len(found) > MOST_COMPARED:
        raise BadRequest(f"{len(found)} analyses were chosen: at most {MOST_COMPARED} are compared at once.")
    analyses = [one.analysis for one in found]
    outcomes = [outcome_of(one) for one in analyses]
    facts = [
        {
            "unit": one.tactic.unit,
            "tier": "typed" if all_typed(one) else str(tier_of(one)),
            "currency": one.given.currency,
            "count": str(one.given.count),
        }
        for one in analyses
    ]
    over = None if len({(one["unit"], one["count"]) for one in facts}) == 1 else "its count"
    lines = [
        {line.key: line for line in lines_of(one, out, over)}
        for one, out in zip(analyses, outcomes, strict=True)
    ]
    digits = [digits_of(one) for one in analyses]
    rows = []
    for key in (key for key in KEYS if any(key in known for known in lines)):
        of_key = [known.get(key) for known in lines]
        first = next(line for line in of_key if line is not None)
        places = [
            _place(line, of_key[0], facts[0], facts[number], min(digits[0], digits[number]))
            if number
            else _place(line, None, facts[0], facts[0], digits[0])
            for number, line in enumerate(of_key)
        ]
        texts = {place.text for place in places}
        rows.append(Row(first.group, key, first.name, places, len(texts) > 1))
    return SideBySide(
        [one.name for one in found],
        [one.tactic for one in outcomes],
        [one.sentence for one in outcomes],
        rows,
        _remarks(facts),
    )


def _place(
    line: Line | None, first: Line | None, base: dict[str, str], mine: dict[str, str], digits: int
) -> Place:
    if line is None:
        return Place(words.UNKNOWN, "", None, None, "")
    if first is None or line.value is None or first.value is None:
        return Place(line.text, line.interval, line.value, None, "")
    for fact in ("unit", *line.rests_on):
        if base[fact] != mine[fact]:
            return Place(line.text, line.interval, line.value, None, f"no difference: {_WHY[fact]}")
    difference = line.value - first.value
    sign = "+" if difference > 0 else ""
    unit = "" if line.unit == "ratio" else f" {line.unit}"
    return Place(
        line.text, line.interval, line.value, difference, f"{sign}{plain(difference, min(digits, 4))}{unit}"
    )


def _remarks(facts: list[dict[str, str]]) -> list[str]:
    """Say what is not alike in the analyses, and what that keeps from being compared."""
    told = {
        "unit": "They do not count the same ({}): no difference is told.",
        "currency": "They are in different currencies ({}): amounts have no difference, and no rate is guessed.",
        "tier": "Their energies are of different tiers ({}): figures that rest on them have no difference.",
        "count": "They look at different counts ({}): what depends on the count has no difference.",
    }
    remarks = []
    for fact, sentence in told.items():
        found = list(dict.fromkeys(one[fact] for one in facts))
        if len(found) > 1:
            shown = [f"{int(one):,}" for one in found] if fact == "count" else found
            remarks.append(sentence.format(", ".join(shown)))
    return remarks
