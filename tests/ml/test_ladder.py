"""The ladder: the cheapest rung that meets a target is the last, and a budget bounds what is begun."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tinymodels
from wattbus.errors import BadRequest, Refused, TrainingFailed
from wattbus.ml.tables import TrainingTables
from wattbus.ml.trainer import TrainProgress, TrainResult, TrainSpec, train
from wattbus.training_report import RUNGS

WORDS = {1: "never worst bad cold slow meal", 2: "good great kind clean place staff"}
OPTIONS: dict[str, Any] = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 8,
    "learning_rate": 0.01,
    "seed": 11,
}
JOULES = 10.0


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tiny encoder and a table of 60 reviews of two labels."""
    folder = tmp_path_factory.mktemp("ladder")
    tinymodels.build("feature-extraction", folder / "model")
    chance = random.Random(5)
    lines = ["label,text"]
    for row in range(60):
        label = 1 + row % 2
        lines.append(f"{label},{' '.join(chance.choices(WORDS[label].split(), k=4))} room {row}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    TrainingTables(f"sqlite:///{folder}/tables.sqlite").load_csv("Review", folder / "rows.csv")
    return folder


def spec_in(ground: Path, run: str, **changes: Any) -> TrainSpec:
    given: dict[str, Any] = {
        "model_folder": ground / "model",
        "table_url": f"sqlite:///{ground}/tables.sqlite",
        "table": "Review",
        "columns": "label,text",
        "run_folder": ground / run,
        "options": OPTIONS,
    }
    return TrainSpec(**{**given, **changes})


def steady() -> Callable[[bool], float]:
    """Return a meter that has JOULES more whenever it is asked for a reading."""
    asked = [0]

    def joules(exact: bool) -> float:
        asked[0] += exact
        return JOULES * asked[0]

    return joules


@pytest.fixture(scope="module")
def walked(ground: Path) -> TrainResult:
    """Return a ladder that was walked to its end, for its target is out of reach."""
    os.environ["OMP_NUM_THREADS"] = "1"
    spec = spec_in(ground, "walked", target=1.0, target_metric="f1", options={**OPTIONS, "max_steps": 6})
    spec = spec.model_copy(update={"features_file": ground / "walked.sqlite"})
    return train(spec, joules=steady())


def test_a_target_that_the_cheapest_rung_meets_ends_the_ladder_there(ground: Path) -> None:
    told: list[TrainProgress] = []

    result = train(spec_in(ground, "easy", target=0.5), on_progress=told.append, joules=steady())

    assert [rung.name for rung in result.ladder.rungs] == ["features"]
    assert (result.ladder.chosen, result.ladder.target_met) == ("features", True)
    assert "features is the cheapest rung that met the target" in result.ladder.outcome
    assert result.new_metrics.accuracy >= 0.5
    assert (result.ladder.rungs[0].joules or 0) > 0
    assert not (ground / "easy" / "rungs").exists()


def test_a_target_that_no_rung_reaches_keeps_the_best_and_says_so(walked: TrainResult) -> None:
    ladder = walked.ladder
    values = {rung.name: rung.metrics.get("f1", -1.0) for rung in ladder.rungs}

    if ladder.target_met:  # a rung of this tiny task may do it: then it is the first that did
        assert list(values) == list(RUNGS[: len(values)])
        assert list(values.values())[-1] == 1.0
        assert all(value < 1.0 for value in list(values.values())[:-1])
        return
    assert list(values) == list(RUNGS)
    assert values[str(ladder.chosen)] == max(values.values())
    assert "no rung met the target of 1" in ladder.outcome


def test_each_rung_after_the_first_says_what_it_will_likely_cost_before_it_goes_on(ground: Path) -> None:
    told: list[TrainProgress] = []
    spec = spec_in(ground, "dear", energy_budget_wh=10_000.0, target=1.0, target_metric="recall",
                   class_weights={"1": 1000.0, "2": 0.001}, options={**OPTIONS, "learning_rate": 1e-9})  # fmt: skip

    result = train(spec, on_progress=told.append, joules=steady())

    later = [rung for rung in result.ladder.rungs if rung.name != "features"]
    assert [rung.name for rung in later] == list(RUNGS[1:])
    assert all(rung.likely_seconds is not None and (rung.likely_joules or 0) > 0 for rung in later)
    said = [one.stage for one in told if "it will likely take" in one.stage]
    assert [line.split(":")[0] for line in said] == [f"rung {name}" for name in RUNGS[1:]]
    assert result.ladder.target_met is False
    assert "was kept" in result.ladder.outcome


def test_a_rung_that_would_cost_more_than_is_left_is_not_begun_and_the_best_so_far_is_kept(
    ground: Path,
) -> None:
    spec = spec_in(
        ground,
        "small",
        energy_budget_wh=10 * JOULES / 3600,
        target=1.0,
        class_weights={"1": 1000.0, "2": 0.001},
    )

    result = train(spec, joules=steady())

    skipped = [rung for rung in result.ladder.rungs if rung.name != "features"]
    assert result.ladder.chosen == "features"
    assert {rung.state for rung in skipped} == {"skipped"}
    assert "the best, features with" in result.ladder.outcome
    assert "did not reach for last-layers" in result.ladder.outcome
    assert any(result.model_folder.glob("*.safetensors"))


def test_a_budget_that_is_spent_within_a_rung_ends_it_at_a_step_and_keeps_what_there_is(ground: Path) -> None:
    spent = [0.0]

    def joules(exact: bool) -> float:
        spent[0] += 0.0 if exact else 1000.0  # the look within the rung is the one that is not exact
        return spent[0]

    spec = spec_in(
        ground, "within", method="full", energy_budget_wh=0.1, options={**OPTIONS, "num_train_epochs": 1000}
    )

    result = train(spec, joules=joules)

    (rung,) = result.ladder.rungs
    assert rung.state == "stopped"
    assert "the energy budget was spent" in rung.words
    assert 0 < rung.steps < 6000
    assert result.new_metrics.accuracy == rung.metrics["accuracy"]


def test_a_budget_without_a_meter_is_refused(ground: Path) -> None:
    with pytest.raises(Refused, match="the joules of this training are not known"):
        train(spec_in(ground, "unmetered", energy_budget_wh=1.0))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"energy_budget_wh": 0}, "energy_budget_wh is '0': it must be above 0"),
        ({"energy_budget_wh": -1.5}, "energy_budget_wh is '-1.5': it must be above 0"),
        ({"energy_budget_wh": "much"}, "it must be above 0"),
        ({"target": 1.2}, "target is '1.2': it must be from 0 to 1"),
        ({"target": True}, "target is 'True'"),
        ({"target_metric": "loss"}, "target_metric is 'loss': it must be one of accuracy, f1"),
        ({"method": "head"}, "method is 'head': it must be one of auto, features, last-layers, lora"),
        ({"class_weights": "even"}, "class_weights is 'even'"),
        ({"class_weights": '{"1": 0}'}, "class_weights gives '1' the weight '0': a number above 0 is needed"),
        ({"early_stopping_patience": 0}, "early_stopping_patience is '0': it must be a whole number from 1"),
    ],
)
def test_what_a_ladder_cannot_be_asked_is_a_sentence(
    ground: Path, wrong: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        spec_in(ground, "wrong", **wrong)

    assert sentence in str(caught.value)


def test_weights_of_a_label_that_no_row_has_are_refused(ground: Path) -> None:
    with pytest.raises(BadRequest, match="class_weights names the label '7', which no row has"):
        train(spec_in(ground, "stranger", method="features", class_weights={"7": 2.0}))


def test_early_stopping_ends_with_the_best_version(ground: Path) -> None:
    options = {**OPTIONS, "num_train_epochs": 40, "learning_rate": 1e-9}

    result = train(spec_in(ground, "patient", method="full", early_stopping_patience=2, options=options))

    (rung,) = result.ladder.rungs
    assert (rung.state, rung.steps) == ("stopped", 18)  # the first epoch is the best, two more are not better
    assert "no evaluation was better" in rung.words


def test_a_loss_that_is_no_number_fails_a_training_that_has_no_other_rung(ground: Path) -> None:
    with pytest.raises(TrainingFailed, match="the loss was no number any more"):
        train(spec_in(ground, "nan", method="full", options={**OPTIONS, "learning_rate": 1e30}))


def test_a_loss_that_is_no_number_skips_the_rung_of_a_ladder(ground: Path) -> None:
    spec = spec_in(ground, "nans", target=1.0, class_weights={"1": 1000.0, "2": 0.001},
                   options={**OPTIONS, "learning_rate": 1e30})  # fmt: skip

    result = train(spec)

    assert result.ladder.chosen == "features"
    assert any("the loss was no number" in rung.words for rung in result.ladder.rungs)


def test_features_that_are_kept_are_not_made_again_and_the_same_seed_gives_the_same_metrics(
    ground: Path,
) -> None:
    kept = ground / "kept.sqlite"

    first = train(spec_in(ground, "first", method="features", features_file=kept))
    again = train(spec_in(ground, "again", method="features", features_file=kept))

    assert "60 texts were read by torch, 0 came from the store" in first.ladder.rungs[0].words
    assert "0 texts were read by torch, 60 came from the store" in again.ladder.rungs[0].words
    assert again.new_metrics == first.new_metrics
    assert again.old_metrics == first.old_metrics
    assert again.ladder.learning_curve == first.ladder.learning_curve


def test_a_training_tells_its_scores_by_label_its_calibration_and_whether_more_rows_would_help(
    walked: TrainResult,
) -> None:
    ladder = walked.ladder
    scores = ladder.new_scores

    assert scores is not None and ladder.old_scores is not None
    assert [one.label for one in scores.classes] == ["1", "2"]
    assert sum(one.support for one in scores.classes) == walked.test_rows
    assert sum(sum(row) for row in scores.confusion) == walked.test_rows
    assert len(scores.calibration) == 10
    assert sum(one.rows for one in scores.calibration) == walked.test_rows
    assert 0 <= scores.calibration_error <= 1
    assert [point.share for point in ladder.learning_curve][-2:] == [0.75, 1.0]
    assert "more rows" in ladder.more_rows


RUN = """
import json, sys
from wattbus import killpoints  # the order is for this process and its child
from wattbus.ml.trainer import TrainSpec, train
train(TrainSpec.model_validate_json(sys.argv[1]), joules=lambda exact: 1.0)
"""


@pytest.mark.parametrize("point", ["rung.before-save", "rung.after-save"])
def test_a_kill_between_two_rungs_runs_none_again_that_had_ended(ground: Path, point: str) -> None:
    spec = spec_in(ground, f"killed {point}", target=1.0, class_weights={"1": 1000.0, "2": 0.001})
    environment = {**os.environ, "WATTBUS_KILL_AT": f"{point}:2"}

    killed = subprocess.run([sys.executable, "-c", RUN, spec.model_dump_json()], env=environment, check=False,
                            capture_output=True, timeout=300)  # fmt: skip
    kept = {path.stem for path in (spec.run_folder / "rungs").glob("*.json")}
    told: list[TrainProgress] = []
    result = train(spec, on_progress=told.append, joules=lambda _: 1.0)

    assert killed.returncode == -signal.SIGKILL
    assert kept == ({"features"} if "before" in point else {"features", "last-layers"})
    begun = [one.stage for one in told if one.stage.endswith(" begins")]
    assert begun == [f"rung {name} begins" for name in RUNGS if name not in kept]
    assert [rung.name for rung in result.ladder.rungs] == list(RUNGS)
    assert (
        json.loads((spec.run_folder / "result.json").read_bytes())["ladder"]["chosen"] == result.ladder.chosen
    )
