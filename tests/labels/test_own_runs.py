"""Runs of our own store as figures: attempts added up, never across tiers, and unknown where one of them is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
from sqlalchemy import Engine, insert

import tinymodels
from wattbus.energy.figures import Source, Stage
from wattbus.energy.record import DataFacts, EnergyRecord, EnergyStatus, Scope, TaskFacts, Tier
from wattbus.errors import BadRequest
from wattbus.home import Home
from wattbus.labels.evaluate import evaluate
from wattbus.labels.own_runs import figures_of_messages, figures_of_records
from wattbus.labels.profiles import get_profile
from wattbus.ml.models import ModelStore
from wattbus.store.item_settings import opened
from wattbus.store.rows import energy_row
from wattbus.store.tables import energy


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, home: Home) -> Iterator[Engine]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with opened(home, url) as engine:
        yield engine


def record(message_id: int = 1, **changes: Any) -> EnergyRecord:
    values: dict[str, Any] = {
        "message_id": message_id, "attempt": 1, "item": "Op", "started_at_us": 1_000_000, "duration_seconds": 0.5,
        "operation_kind": "text-classification", "model": "m", "revision": "v1", "cpu_seconds": 0.25,
        "energy_joules": 3.6, "low_joules": 1.8, "high_joules": 7.2, "tier": Tier.MODELLED, "carbon_grams": 0.2,
        "carbon_source": "FRA, 2024, codecarbon 3.3.2", "status": EnergyStatus.ESTIMATED,
        "facts": TaskFacts("inference", requests=2, parameters=1000, precision="fp32"),
    }  # fmt: skip
    return EnergyRecord(**{**values, **changes})


def keep(engine: Engine, *records: EnergyRecord) -> None:
    rows = [dict(zip(energy.c.keys(), energy_row(one), strict=True)) for one in records]
    for row, one in zip(rows, records, strict=True):
        row["facts"] = None if one.facts is None else asdict(one.facts)
    with engine.begin() as connection:
        connection.execute(insert(energy), rows)


def test_messages_are_added_up_with_all_their_attempts(engine: Engine) -> None:
    keep(engine, record(1), record(1, attempt=2), record(2), record(3))

    found = figures_of_messages(engine, [1, 2])

    assert (found.stage, found.source, found.requests, found.country) == (
        Stage.INFERENCE,
        Source.LEDGER,
        6,
        "FRA",
    )
    assert (found.energy_joules, found.high_joules, found.tier) == (
        pytest.approx(10.8),
        pytest.approx(21.6),
        "modelled",
    )
    assert (found.carbon_grams, found.duration_seconds) == (pytest.approx(0.6), 1.5)
    assert found.origin == "messages 1 to 2, metered by wattbus"


def test_a_message_without_a_record_is_a_sentence(engine: Engine) -> None:
    with pytest.raises(BadRequest, match="message 9 has no record of energy"):
        figures_of_messages(engine, [9])


def test_more_ids_than_a_statement_takes_are_read(engine: Engine) -> None:
    keep(engine, *(record(number) for number in range(1, 1_201)))

    assert figures_of_messages(engine, range(1, 1_201)).requests == 2_400


@pytest.mark.parametrize(
    "other",
    [
        {"tier": Tier.MEASURED},
        {"energy_joules": None, "tier": Tier.NONE, "status": EnergyStatus.NOT_MEASURED},
        {"energy_joules": 0.0},
        {"status": EnergyStatus.PENDING},
    ],
)
def test_the_sum_is_unknown_where_one_attempt_is_or_tiers_differ(other: dict[str, Any]) -> None:
    found = figures_of_records([record(), record(2, **other)], "a run")

    assert (found.energy_joules, found.low_joules, found.carbon_grams, found.tier) == (
        None,
        None,
        None,
        Tier.NONE,
    )
    assert found.cpu_seconds == 0.5


def test_of_a_remote_call_it_is_the_remote_side_and_ours_is_not_added() -> None:
    remote = {"scope": Scope.REMOTE, "energy_joules": 100.0, "tier": Tier.ESTIMATED_REMOTE}

    found = figures_of_records([record(scope=Scope.CLIENT), record(**remote)], "a run")

    assert (found.energy_joules, found.tier) == (100.0, Tier.ESTIMATED_REMOTE)


def test_electricity_without_emissions_gives_no_figure_that_could_be_graded() -> None:
    assert figures_of_records([record(carbon_grams=0.0)], "a run").carbon_grams is None


def test_a_training_is_graded_with_its_data_and_the_size_of_what_it_made(engine: Engine, home: Home) -> None:
    def build(folder: Any) -> None:
        tinymodels.build("text-classification", folder)

    models = ModelStore(home.models)
    made = models.stage("m", build, source="a test", metrics={"accuracy": 0.8})
    data = DataFacts("input", "text", items=100, bytes=5_000)
    facts = TaskFacts("finetuning", parameters=1000, data=(data,))
    keep(engine, record(7, revision=made.id, operation_kind="fine-tuning", facts=facts, energy_joules=3.6e6,
                        low_joules=3e6, high_joules=4e6, carbon_grams=50.0))  # fmt: skip

    found = figures_of_messages(engine, [7], models)

    assert (found.stage, found.requests, found.task, found.accuracy) == (Stage.TRAINING, None, None, 0.8)
    assert (found.size_bytes, found.extra) == (made.size_bytes, {"dataset_bytes": 5_000.0})
    graded = {one.metric: one.value for one in evaluate(get_profile(None, "gaissa-training"), found).grades}
    assert graded["size_efficency"] == pytest.approx(made.size_bytes / 50)
    assert graded["datasets_size_efficency"] == pytest.approx(100.0)
    headline = evaluate(get_profile(None, "default"), found).headline
    assert headline is not None and headline.value == pytest.approx(1.0)
