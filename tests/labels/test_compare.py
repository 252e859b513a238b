"""Comparing models: the Pareto front with its ties, groups that are not mixed, and what cannot be placed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattbus.energy.figures import RunFigures, Source, Stage
from wattbus.energy.record import Tier
from wattbus.errors import BadRequest
from wattbus.labels.builtin import BUILT_IN
from wattbus.labels.compare import compare, compared, pareto
from wattbus.labels.profile_text import intervals_from_text, intervals_to_text


def model(name: str, joules: float | None, accuracy: float | None, **changes: Any) -> RunFigures:
    values: dict[str, Any] = {
        "tier": Tier.MEASURED, "requests": 1000, "task": "text-classification", "hardware": "a machine",
        "energy_joules": joules, "accuracy": accuracy,
    }  # fmt: skip
    return RunFigures(name, Stage.INFERENCE, Source.LEDGER, "a test", **{**values, **changes})


def test_the_front_is_what_no_other_model_beats_and_ties_stand_on_it_together() -> None:
    runs = [
        model("frugal", 3600, 0.8), model("good", 7200, 0.9), model("twin of good", 7200, 0.9),
        model("beaten", 7200, 0.8), model("dear", 36000, 0.9),
    ]  # fmt: skip

    (group,) = compare([compared(one.name, "", one) for one in runs]).groups

    assert [one.name for one in group.points if one.front] == ["frugal", "good", "twin of good"]
    assert [(one.name, one.energy) for one in group.points][:2] == [("frugal", 1.0), ("good", 2.0)]
    assert group.unit == "Wh for 1,000 inferences"


@pytest.mark.parametrize(
    "changes",
    [
        {"tier": Tier.MODELLED}, {"hardware": "another machine"}, {"task": "fill-mask"}, {"batch_size": 8},
        {"task": "text-generation", "tokens": 100},
    ],
)  # fmt: skip
def test_what_is_not_comparable_stands_in_a_group_of_its_own(changes: dict[str, Any]) -> None:
    one = model("one", 3600, 0.8)

    found = compare([compared("one", "", one), compared("other", "", replace(one, **changes))])

    assert len(found.groups) == 2
    assert all(point.front for group in found.groups for point in group.points)
    assert "not comparable" in found.note


def test_what_is_not_known_is_listed_apart_with_the_reason() -> None:
    runs = [
        model("no energy", None, 0.8), model("no quality", 3600, None), model("nothing", None, None),
        model("no tier", 3600, 0.8, tier=Tier.NONE),
    ]  # fmt: skip

    found = compare([compared(one.name, "", one) for one in runs])

    assert found.groups == ()
    assert {one.name: one.missing for one in found.unplaced} == {
        "no energy": "its energy is not known (needs the energy)",
        "no quality": "its quality is not known",
        "nothing": "its energy is not known (needs the energy) and its quality is not known",
        "no tier": "its energy has no tier",
    }


@given(
    st.lists(st.tuples(st.sampled_from([1.0, 2.0, 3.0, 4.0]), st.sampled_from([0.1, 0.2, 0.3])), max_size=12)
)
def test_a_point_is_on_the_front_exactly_when_none_dominates_it(points: list[tuple[float, float]]) -> None:
    def beaten(one: tuple[float, float]) -> bool:
        return any(o[0] <= one[0] and o[1] >= one[1] and o != one for o in points)

    assert pareto(points) == [not beaten(one) for one in points]


@pytest.mark.parametrize("profile", BUILT_IN.values(), ids=list(BUILT_IN))
def test_the_rows_of_intervals_are_read_back_as_they_were(profile: Any) -> None:
    for metric in profile.metrics:
        rows = intervals_from_text(intervals_to_text(metric.intervals), metric.id)

        wanted = [one.model_dump() for one in sorted(metric.intervals, key=lambda one: one.letter)]
        assert rows == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A 0", "row 1 of the intervals of co2 is 'A 0'"),
        ("A 0 1\nB 1 2 3", "row 2 of the intervals of co2 is 'B 1 2 3'"),
        ("A 0 1,5", "has the bound '1,5'"),
        ("A none 1", "has the bound 'none'"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(text: str, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        intervals_from_text(text, "co2")

    assert said in str(refused.value)
