"""Savings in the portal: what an item answered, with and without a sample of the other way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from doors import OpenDoor, open_door
from pages import page
from sqlalchemy import Engine, insert

import smallmodels
from components import echo_production
from wattbus.energy.record import EnergyRecord, EnergyStatus, TaskFacts, Tier
from wattbus.savings import KIND, Cost, Counterfactual
from wattbus.savings.measure import machine_here
from wattbus.savings.runs import list_runs
from wattbus.store.documents import save_document
from wattbus.store.energy_queries import DAY_US
from wattbus.store.rows import energy_row
from wattbus.store.store import now_us
from wattbus.store.tables import energy

PATH = "/energy/savings"
ANSWERS = 4


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[OpenDoor]:
    """A door to a home where an item answered four times, of one of which the energy is unknown."""
    with open_door(tmp_path / "home", echo_production()) as ask:
        models = ask.desk.models()
        version = models.stage("toy", lambda folder: smallmodels.build(folder), source="test")
        with ask.desk.writing() as engine:
            for number in range(ANSWERS):
                keep(engine, 1_000 + number, version.id, 2.0 if number else None)
        yield ask


def keep(engine: Engine, message_id: int, revision: str, joules: float | None) -> None:
    facts = TaskFacts(
        "inference", algorithm_name="Bert", parameters=1234, layers=2, framework="openvino", precision="int8"
    )
    record = EnergyRecord(
        message_id, 1, "ML", now_us() - DAY_US // 2, 0.5, operation_kind="text-classification", model="toy",
        revision=revision, cpu_seconds=0.25, energy_joules=joules, low_joules=joules and joules / 2,
        high_joules=joules and joules * 2, tier=Tier.NONE if joules is None else Tier.MODELLED,
        status=EnergyStatus.NOT_MEASURED if joules is None else EnergyStatus.ESTIMATED, facts=facts,
    )  # fmt: skip
    row = {**dict(zip(energy.c.keys(), energy_row(record), strict=True)), "facts": asdict(facts)}
    with engine.begin() as connection:
        connection.execute(insert(energy), [row])


def give_sample(ask: OpenDoor, seconds: float, joules: float, tier: Tier = Tier.MODELLED) -> None:
    cost = Cost(seconds, seconds / 2, seconds * 2, joules, joules / 2, joules * 2)
    with ask.desk.writing() as engine:
        (run,) = list_runs(engine, ask.desk.models())
        told = (run.shape or "", machine_here(), "the pipeline", "3 kept requests", 3, 3, tier)
        kept = Counterfactual(*told, {"answering": cost})
        save_document(engine, KIND, kept.name, kept.to_content())


def test_a_run_without_a_sample_is_not_measured_and_names_the_command(ask: OpenDoor) -> None:
    (row,) = ask("GET", f"/api/v1{PATH}").said["rows"]
    shown = page(ask.page(PATH))

    assert row["template"] is None
    assert (row["ours"]["seconds"], row["ours"]["joules"], row["ours"]["tier"]) == (2.0, 6.0, "modelled")
    assert row["command"] == f"wattbus savings measure {row['run']}"
    assert row["command"] in shown.text and "1 run not measured, and in no sum." in shown.text
    assert shown.all("svg", role="img") == []


def test_a_sample_gives_both_sides_their_ratios_and_bars(ask: OpenDoor) -> None:
    give_sample(ask, seconds=2.0, joules=8.0)

    told = ask("GET", f"/api/v1{PATH}").said
    shown = page(ask.page(PATH))

    (row,) = told["rows"]
    # seconds over four answers, joules over the three whose energy is known
    assert (row["template"]["seconds"], row["template"]["joules"]) == (8.0, 24.0)
    assert (row["template"]["low_joules"], row["template"]["high_joules"]) == (12.0, 48.0)
    assert (row["seconds_ratio"], row["joules_ratio"]) == (4.0, 4.0)
    assert "the energy of 1 answer is unknown" in row["note"]
    assert told["totals"]["joules"] == [{"tier": "modelled", "runs": 1, "ours": 6.0, "template": 24.0}]
    bars = [one.attributes["aria-label"] for one in shown.all("svg", role="img")]
    assert [f"{row['run']} 25 %" in one for one in bars] == [True, True]
    assert "time 4.0x, energy 4.0x" in shown.text


def test_an_item_that_took_more_than_the_template_shows_it(ask: OpenDoor) -> None:
    give_sample(ask, seconds=0.1, joules=0.5)

    told = ask("GET", f"/api/v1{PATH}").said
    shown = page(ask.page(PATH))

    assert told["rows"][0]["seconds_ratio"] == pytest.approx(0.2)
    assert "time 0.20x, ours took more, energy 0.25x, ours took more" in shown.text
    assert any("500 %" in one.attributes["aria-label"] for one in shown.all("svg", role="img"))


def test_a_sample_of_another_tier_gives_no_joules(ask: OpenDoor) -> None:
    give_sample(ask, seconds=2.0, joules=8.0, tier=Tier.MEASURED)

    (row,) = ask("GET", f"/api/v1{PATH}").said["rows"]

    assert (row["seconds_ratio"], row["joules_ratio"], row["template"]["joules"]) == (4.0, None, None)
    assert "ours are modelled, the other way's measured" in row["note"]


def test_a_span_that_is_none_is_refused(ask: OpenDoor) -> None:
    assert ask("GET", f"/api/v1{PATH}?days=0").status == 400
    assert ask.page(f"{PATH}?days=x").status == 400
