"""Which records make one report, and what happens to the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boamps_samples import DATA, FACTS, START_US, record
from wattbus.energy.record import EnergyStatus, Scope, TaskFacts, Tier
from wattbus.export.boamps_groups import (
    add_up,
    group_for_inference,
    group_records,
    merge_facts,
    merge_shapes,
)

DAY_US = 86_400 * 1_000_000
TRAINING = TaskFacts(stage="finetuning", family="text-classification", data=DATA[:1])


def test_answers_of_one_operation_revision_and_day_are_one_group() -> None:
    rows = [record(message_id=number, started_at_us=START_US + number) for number in range(3)]

    groups = group_for_inference(rows)

    assert [len(group.records) for group in groups] == [3]
    assert groups[0].facts.requests == 3
    assert groups[0].facts.data[0].bytes == 6_000


@pytest.mark.parametrize(
    "change",
    [
        {"item": "Python.MLOperation2"},
        {"revision": "1" * 40},
        {"model": "acme/other"},
        {"scope": Scope.CLIENT},
        {"tier": Tier.MEASURED},
        {"method": "rapl"},
        {"started_at_us": START_US + DAY_US},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_item_revision_scope_tier_method_or_day_is_another_group(change: dict[str, object]) -> None:
    groups = group_for_inference([record(), record(message_id=2, **change)])

    assert [len(group.records) for group in groups] == [1, 1]


def test_a_shorter_period_makes_more_groups() -> None:
    rows = [record(), record(message_id=2, started_at_us=START_US + 3_600 * 1_000_000)]

    assert len(group_for_inference(rows, period_seconds=3_600)) == 2


def test_all_attempts_of_a_fine_tune_are_one_group_also_the_one_that_was_killed() -> None:
    killed = record(facts=None, partial=True, energy_joules=5.0)
    again = record(attempt=2, started_at_us=START_US + 9, facts=TRAINING)

    groups = group_for_inference([again, killed])

    assert [[row.attempt for row in group.records] for group in groups] == [[1, 2]]
    assert add_up(groups[0].records).energy_joules == 41.0
    assert groups[0].facts == TRAINING


def test_two_fine_tunes_are_two_groups() -> None:
    rows = [record(message_id=number, facts=TRAINING) for number in (1, 2)]

    assert len(group_for_inference(rows)) == 2


def test_a_fine_tune_with_an_attempt_of_unknown_energy_is_skipped_whole_with_the_reason() -> None:
    lost = record(energy_joules=None, status=EnergyStatus.NOT_MEASURED, reason="worker lost", facts=TRAINING)
    again = record(attempt=2, facts=TRAINING)

    grouping = group_records([lost, again])

    assert grouping.groups == ()
    assert {row.attempt for row, _ in grouping.skipped} == {1, 2}
    assert all("worker lost" in reason for _, reason in grouping.skipped)


@pytest.mark.parametrize("status", [EnergyStatus.PENDING, EnergyStatus.FAILED, EnergyStatus.NOT_MEASURED])
def test_a_figure_that_has_not_settled_or_was_given_up_is_no_figure(status: EnergyStatus) -> None:
    grouping = group_records([record(status=status, energy_joules=3.0)])

    assert grouping.groups == ()
    assert len(grouping.skipped) == 1


def test_an_answer_without_a_figure_is_skipped_and_not_counted_as_a_request() -> None:
    unknown = record(message_id=2, energy_joules=None, tier=Tier.NONE, reason="no tracker")

    grouping = group_records([record(), unknown])

    assert grouping.groups[0].facts.requests == 1
    assert grouping.skipped == ((unknown, "no tracker"),)


def test_work_that_is_neither_inference_nor_training_is_skipped_with_the_reason() -> None:
    rows = [record(facts=None), record(message_id=2, facts=TaskFacts(stage="download"))]

    grouping = group_records(rows)

    assert grouping.groups == ()
    assert [reason for _, reason in grouping.skipped] == ["it is neither an inference nor a training"] * 2


@given(
    st.lists(
        st.builds(
            record,
            message_id=st.integers(1, 5),
            attempt=st.integers(1, 3),
            energy_joules=st.none() | st.floats(-1, 10),
            scope=st.sampled_from(Scope),
            tier=st.sampled_from(Tier),
            facts=st.sampled_from([None, FACTS, TRAINING, TaskFacts(stage="download")]),
        ),
        max_size=12,
    )
)
def test_each_record_is_in_one_group_or_skipped_and_never_both(rows: list[object]) -> None:
    grouping = group_records(rows)  # type: ignore[arg-type]

    grouped = [id(row) for group in grouping.groups for row in group.records]
    skipped = [id(row) for row, _ in grouping.skipped]
    assert sorted(grouped + skipped) == sorted(id(row) for row in rows)


@pytest.mark.parametrize(
    ("shapes", "merged"),
    [
        (["(1, 12)", "(1, 12)"], "(1, 12)"),
        (["(1, 12)", "(1, 40)", "(1, 7)"], "(1, 7..40)"),
        (["(1, 7..40)", "(2, 9)"], "(1..2, 7..40)"),
        (["(1, 12)", "(1, 12, 3)"], None),
        (["(1, 12)", None], None),
        (["a text", "(1, 2)"], None),
        ([None, None], None),
    ],
)
def test_shapes_are_put_together_axis_by_axis(shapes: list[str | None], merged: str | None) -> None:
    assert merge_shapes(shapes) == merged


def test_a_count_that_one_request_does_not_know_is_unknown_for_all() -> None:
    blind = replace(FACTS, data=(replace(DATA[0], bytes=None),))

    merged = merge_facts([FACTS, blind])

    assert merged.data[0].bytes is None
    assert merged.data[0].items == 2


def test_a_duration_that_is_unknown_makes_the_busy_time_unknown() -> None:
    totals = add_up([record(), record(duration_seconds=None)])

    assert totals.busy_seconds is None
