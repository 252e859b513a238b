"""kill -9 at every named place in the life of a model, and the next start."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import smallmodels
import tinymodels
from command import Command
from fakehub import FakeHub
from modelwork import NO_SUCH_TABLE, Requests, Work
from waiting import wait_for
from wattbus import doctor, killpoints
from wattbus.errors import RequestFailed
from wattbus.ml.models import ModelVersion
from wattbus.ml.tables import TrainingTables
from wattbus.store.tables import Status

TRAIN: Requests = {
    "train": (
        "Tune",
        "TrainRequest",
        {
            "columns": "label,text", "table": "Review", "num_train_epochs": 2, "per_device_train_batch_size": 8,
            "save_strategy": "steps", "save_steps": 2,
        },
    )
}  # fmt: skip
#: The request asks for a table that is not there: it ends as Error as soon as the model is here, with no training.
FETCH: Requests = {"fetch": ("Tune", "TrainRequest", NO_SUCH_TABLE)}
OVERRIDE: Requests = {"override": ("Tune", "OverrideRequest", {})}

OPTIMISE: Requests = {
    "optimise": (
        "Optimise",
        "OptimiseRequest",
        {"to": "fp32", "table": "Review", "text_column": "text", "limit": 12, "min_speedup": 0.01},
    )
}

FETCHED = (
    "download.after-files", "version.before-rename", "version.after-rename", "download.before-switch",
    "download.after-switch",
)  # fmt: skip
TRAINED = (
    "checkpoint.before-marker", "checkpoint.after-marker", "rung.before-save", "rung.after-save", "result.before-save",
    "result.after-save",
    "stage.before-pointer", "stage.after-pointer",
)  # fmt: skip
OPTIMISED = (
    "optimise.before-convert",
    "optimise.after-convert",
    "optimise.before-result",
    "optimise.after-result",
)
PUBLISHED = (
    "override.before-publish",
    "publish.before-switch",
    "publish.after-switch",
    "override.after-publish",
)
ROLLED_BACK = ("rollback.before-switch", "rollback.after-switch")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add("org/toy", smallmodels.build(tmp_path / "original", 300_000))
        yield hub


def test_each_kill_point_of_a_model_has_its_test() -> None:
    assert sorted((*FETCHED, *TRAINED, *OPTIMISED, *PUBLISHED, *ROLLED_BACK)) == sorted(
        killpoints.MODEL_POINTS
    )


@pytest.mark.parametrize("point", FETCHED)
def test_a_kill_while_a_model_is_fetched_leaves_none_or_the_whole_one_and_the_next_start_has_it(
    tmp_path: Path, hub: FakeHub, point: str
) -> None:
    work = Work(tmp_path, hub.endpoint).declare()

    work.die_at(point, FETCH)
    served = hub.bytes_served
    found = work.current()
    (request,) = work.goes_on()

    assert (found is not None) == (point == "download.after-switch")
    assert work.whole()
    assert len(work.models.versions("toy")) == 1
    assert work.current() == work.models.versions("toy")[0].id
    assert hub.bytes_served == served  # what was fetched is not fetched again
    assert (request.status, request.attempts) == (Status.ERROR, 2)
    assert "unknown table" in (request.error_status or "")


@pytest.mark.parametrize("point", [*PUBLISHED, "handle.after-effect"])
def test_a_kill_while_a_version_is_published_leaves_the_old_or_the_new_one_and_the_message_publishes_it_once(
    tmp_path: Path, point: str
) -> None:
    work = Work(tmp_path).declare()
    old, new = work.publish(1, staged=2)

    work.die_at(point, OVERRIDE)
    found = work.current()
    with work.start() as bus:
        (request,) = work.ended(bus)
        response = bus.production.request(
            "Tune", bus.message("OverrideRequest", {}), idempotency_key="override"
        )

    assert found == (old if point.endswith(("before-publish", "before-switch")) else new)
    assert (request.status, request.attempts) == (Status.COMPLETED, 2)
    assert (response.version, response.replaced) == (new, old)
    assert (work.current(), work.models.previous("toy"), work.models.staged("toy")) == (new, old, None)
    assert work.whole()


@pytest.mark.parametrize("point", ROLLED_BACK)
def test_a_kill_while_a_version_is_rolled_back_leaves_the_old_or_the_new_one(
    tmp_path: Path, point: str
) -> None:
    work = Work(tmp_path).declare()
    old, new = work.publish(1, 2)
    command = [sys.executable, "-m", "wattbus", "models", "rollback", "toy"]
    environment = {**os.environ, "WATTBUS_HOME": str(work.home.root), "WATTBUS_KILL_AT": point}

    killed = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    found = work.current()
    verified = Command(tmp_path)("models", "verify")

    assert killed.returncode == -signal.SIGKILL
    assert found == (old if point == "rollback.after-switch" else new)
    assert verified.count("ok ") == 2
    with work.start():
        assert work.current() == found
    assert work.whole()


@pytest.mark.heavy
@pytest.mark.parametrize("point", [*TRAINED, "handle.after-effect"])
def test_a_kill_while_a_model_is_trained_costs_no_finished_work_and_stages_one_version(
    tmp_path: Path, point: str
) -> None:
    work = Work(tmp_path).declare()
    tinymodels.build("text-classification", work.home.create().models / "toy")
    rows = "".join(f"{number % 2},row number {number} of kind {number % 2}\n" for number in range(40))
    (tmp_path / "rows.csv").write_text("label,text\n" + rows)
    TrainingTables(f"sqlite:///{work.home.tables_file}").load_csv("Review", tmp_path / "rows.csv")

    # The second checkpoint: a whole one is there already, and the new one is not yet or just complete.
    work.die_at(f"{point}:2" if point.startswith("checkpoint") else point, TRAIN)
    found = work.current()
    with work.start() as bus:
        (request,) = work.ended(bus, 120)
        response = bus.production.request(
            "Tune", bus.message(*TRAIN["train"][1:]), idempotency_key="train", timeout_seconds=60
        )

    versions = [version.id for version in work.models.versions("toy")]
    staged = work.models.staged("toy")
    resumed = [note for note in response.notes if note.startswith("resumed from the checkpoint of step")]
    assert (request.status, request.attempts) == (Status.COMPLETED, 2)
    assert versions == [found, response.new_version]
    assert not (work.home.runs / "message-1" / "rungs").exists()
    assert staged is not None and staged.id == response.new_version
    if point.startswith("checkpoint"):
        step = 2 if point == "checkpoint.before-marker" else 4
        assert resumed == [f"resumed from the checkpoint of step {step}"]
    if point in ("result.after-save", "stage.before-pointer", "stage.after-pointer", "handle.after-effect"):
        assert any("nothing was trained again" in note for note in response.notes)
    assert work.whole()


@pytest.mark.heavy
@pytest.mark.parametrize(
    "point",
    [
        *OPTIMISED,
        "version.before-rename",
        "stage.before-pointer",
        "stage.after-pointer",
        "handle.after-effect",
    ],
)
def test_a_kill_while_a_model_is_optimised_leaves_it_whole_and_the_next_start_stages_one_version(
    tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTBUS_ENERGY", "off")
    work, version = _to_optimise(tmp_path)

    work.die_at(point, OPTIMISE, 240)
    found = work.current()
    sound = doctor.examine(work.home).ok
    with work.start() as bus:
        (request,) = work.ended(bus, 240)
        response = bus.production.request(
            "Optimise", bus.message(*OPTIMISE["optimise"][1:]), idempotency_key="optimise", timeout_seconds=60
        )

    staged = work.models.staged("toy")
    assert sound
    assert found == version.id == work.current()
    assert (request.status, request.attempts) == (Status.COMPLETED, 2)
    assert staged is not None and staged.id == response.new_version
    assert [one.id for one in work.models.versions("toy")] == [version.id, staged.id]
    assert staged.parent == version.id
    assert list(work.home.runs.iterdir()) == []
    assert work.whole()


@pytest.mark.heavy
@pytest.mark.parametrize("point", OPTIMISED)
def test_a_kill_of_the_converting_process_alone_brings_the_message_back_and_the_model_answers_on(
    tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTBUS_ENERGY", "off")
    work, version = _to_optimise(tmp_path)
    monkeypatch.setenv("WATTBUS_KILL_AT", point)  # only processes that start from here on know it

    with work.start() as bus:
        asked = bus.begin("Optimise", bus.message(*OPTIMISE["optimise"][1:]))
        wait_for(bus, lambda rows: any(row.attempts > 1 for row in rows), 240)
        monkeypatch.delenv("WATTBUS_KILL_AT")
        response = asked.result(240)

    staged = work.models.staged("toy")
    assert staged is not None and staged.id == response.new_version
    assert [one.id for one in work.models.versions("toy")] == [version.id, staged.id]
    assert work.current() == version.id
    assert list(work.home.runs.iterdir()) == []
    assert work.whole()


@pytest.mark.heavy
def test_a_converting_process_that_is_killed_each_time_ends_its_message_in_words_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTBUS_ENERGY", "off")
    work, version = _to_optimise(tmp_path)
    monkeypatch.setenv("WATTBUS_KILL_AT", "optimise.after-convert")

    with (
        work.start() as bus,
        pytest.raises(RequestFailed, match="the optimising process was killed by signal 9"),
    ):
        bus.request("Optimise", bus.message(*OPTIMISE["optimise"][1:]), timeout_seconds=240)

    assert [one.id for one in work.models.versions("toy")] == [version.id]
    assert list(work.home.runs.iterdir()) == []
    assert work.whole()


def _to_optimise(folder: Path) -> tuple[Work, ModelVersion]:
    """Return work on a published model, with a table of texts to compare on."""
    work = Work(folder).declare()
    tinymodels.build("text-classification", folder / "model")
    version = work.models.stage(
        "toy", lambda aside: shutil.copytree(folder / "model", aside, dirs_exist_ok=True), source="test"
    )
    work.models.publish("toy")
    rows = "".join(f"row number {number} of kind {number % 2}\n" for number in range(20))
    (folder / "rows.csv").write_text("text\n" + rows)
    TrainingTables(f"sqlite:///{work.home.tables_file}").load_csv("Review", folder / "rows.csv")
    return work, version
