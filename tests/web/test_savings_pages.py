"""Savings in the portal: runs that were trained through the door, with and without a sample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from doors import OpenDoor
from pages import page
from trainings import opened, trained

from wattbus.energy.record import Tier
from wattbus.savings import KIND, Cost, Counterfactual
from wattbus.savings.measure import machine_here
from wattbus.savings.runs import list_runs
from wattbus.store.documents import save_document

PATH = "/energy/savings"


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    """A door to a production that has trained once, with no power source."""
    with opened(tmp_path_factory.mktemp("savings")) as ask:
        trained(ask)
        yield ask


def sample(shape: str, seconds: float) -> Counterfactual:
    cost = Cost(seconds, seconds / 2, seconds * 2)
    costs = dict.fromkeys(("start", "training", "evaluation"), cost)
    return Counterfactual(
        shape, machine_here(), "padded", "4 rows of Review", 4, 3, Tier.NONE, costs, "a test"
    )


def test_a_run_without_a_sample_is_not_measured_and_names_the_command(ask: OpenDoor) -> None:
    (row,) = ask("GET", f"/api/v1{PATH}").said["rows"]
    shown = page(ask.page(PATH))

    assert row["template"] is None and row["ours"]["joules"] is None
    assert row["command"] == f"wattbus savings measure {row['run']}"
    assert row["command"] in shown.text and "1 run not measured, and in no sum." in shown.text
    assert shown.all("svg", role="img") == []
    assert [one.text for one in shown.all("a", href=PATH)] == ["Savings"]


def test_a_sample_gives_both_sides_a_ratio_and_bars(ask: OpenDoor, tmp_path: Path) -> None:
    with ask.desk.writing() as engine:
        (run,) = list_runs(engine, ask.desk.models())
        kept = sample(run.shape or "", 10.0)
        save_document(engine, KIND, kept.name, kept.to_content())

    told = ask("GET", f"/api/v1{PATH}").said
    shown = page(ask.page(PATH))

    (row,) = told["rows"]
    # one start, 32 rows in 2 epochs, 2 evaluations of 8 rows: 81 times 10 s
    assert row["template"]["seconds"] == pytest.approx(810.0)
    assert (row["template"]["low_seconds"], row["template"]["high_seconds"]) == (405.0, 1620.0)
    assert row["seconds_ratio"] == pytest.approx(810.0 / row["ours"]["seconds"])
    assert (row["joules_ratio"], told["totals"]["measured"]) == (None, 1)
    (bars,) = shown.all("svg", role="img")
    assert f"{row['run']} {100 / row['seconds_ratio']:.3g} %" in bars.attributes["aria-label"]
    assert "13 min 30 s" in shown.text and "no joules of ours" in shown.text


def test_a_span_that_is_none_is_refused(ask: OpenDoor) -> None:
    assert ask("GET", f"/api/v1{PATH}?days=0").status == 400
    assert ask.page(f"{PATH}?days=x").status == 400
