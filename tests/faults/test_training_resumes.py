"""R5, R29, R31, R42: trainings that die and go on, and trainings that cannot come to an end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tinymodels
from command import SETTINGS, Command
from modelwork import Requests, Work
from waiting import until
from wattbus.errors import RequestFailed, TrainingFailed
from wattbus.memory import descendants
from wattbus.messages import OverrideRequest, TrainRequest
from wattbus.ml import trainer
from wattbus.ml.curve import Curve
from wattbus.ml.tables import TrainingTables
from wattbus.ml.trainer import TrainSpec
from wattbus.store.queries import energy_records
from wattbus.store.tables import Status

TRAINING: dict[str, Any] = {
    "columns": "label,text",
    "table": "Review",
    "num_train_epochs": 100,
    "per_device_train_batch_size": 8,
    "learning_rate": 0.005,
    "save_strategy": "steps",
    "save_steps": 10,
    "seed": 5,
}
STEPS = 400
REQUEST: Requests = {"train": ("Tune", "TrainRequest", TRAINING)}


def ready(folder: Path) -> Work:
    """A home with a tiny model and 40 rows to learn from."""
    folder.mkdir(exist_ok=True)
    work = Work(folder).declare()
    tinymodels.build("text-classification", work.home.create().models / "toy")
    rows = "".join(f"{number % 2},row number {number} of kind {number % 2}\n" for number in range(40))
    loaded = TrainingTables(f"sqlite:///{work.home.tables_file}")
    for name, text in {"Review": rows, "OneKind": "1,always the same\n" * 40}.items():
        (folder / f"{name}.csv").write_text("label,text\n" + text)
        loaded.load_csv(name, folder / f"{name}.csv")
    with contextlib.closing(sqlite3.connect(work.home.tables_file)) as connection:
        connection.execute("CREATE TABLE Empty (label TEXT, text TEXT)")
    return work


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The response to the same request where nothing was killed."""
    with ready(tmp_path_factory.mktemp("unkilled") / "work").start() as bus:
        return bus.request("Tune", TrainRequest(**TRAINING), timeout_seconds=180)


def trainings_of(pid: int) -> list[int]:
    found = []
    for child in descendants(pid):
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        found += [child] if b"wattbus.ml.training" in words else []
    return found


def newest_step(work: Work) -> int:
    """Return the step of the newest checkpoint that is complete."""
    markers = work.home.runs.glob("message-1/checkpoints/checkpoint-*/complete.json")
    return max((int(marker.parent.name.partition("-")[2]) for marker in markers), default=0)


def a_random_step() -> int:
    step = random.SystemRandom().randrange(10, STEPS - 100)
    print(f"killed from step {step} on")
    return step


def same(found: Any, wanted: Any) -> bool:
    assert found.new_metrics == pytest.approx(wanted.new_metrics, abs=1e-6)
    assert found.old_metrics == wanted.old_metrics
    assert found.changed_predictions == wanted.changed_predictions
    return True


@pytest.mark.heavy
def test_a_training_whose_process_is_killed_goes_on_by_itself_to_the_metrics_of_an_unkilled_one(
    tmp_path: Path, unkilled: Any
) -> None:
    work, step = ready(tmp_path), a_random_step()

    with work.start() as bus:
        bus.production.ledger.wait_ready(60)
        answer = bus.begin("Tune", TrainRequest(**TRAINING))
        until(lambda: newest_step(work) >= step, "the training is so far", 180)
        (pid,) = trainings_of(os.getpid())
        os.kill(pid, signal.SIGKILL)
        response = answer.result(180)
        bus.production.ledger.settle(10)
        bus.production.store.flush()
        records = energy_records(bus.production.store.engine)
        (spent,) = bus.trace(1).totals.known

    resumed = next(note for note in response.notes if note.startswith("resumed from the checkpoint of step"))
    assert int(resumed.split()[-1]) >= step
    assert same(response, unkilled)
    assert [(record.attempt, record.partial) for record in records] == [(1, True), (2, False)]
    assert all((record.energy_joules or 0) > 0 and (record.cpu_seconds or 0) > 0.5 for record in records)
    assert spent.joules == pytest.approx(sum(record.energy_joules or 0 for record in records))
    assert work.whole()


@pytest.mark.heavy
def test_a_training_whose_production_is_killed_goes_on_with_the_next_start_to_the_same_metrics(
    tmp_path: Path, unkilled: Any
) -> None:
    work, step = ready(tmp_path), a_random_step()
    process = work.begin(REQUEST)
    try:
        until(lambda: newest_step(work) >= step, "the training is so far", 180)
        children = trainings_of(process.pid)
    finally:
        process.kill()
        process.communicate(timeout=30)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "its training ends with it")

    with work.start() as bus:
        (request,) = work.ended(bus, 180)
        response = bus.production.request(
            "Tune", TrainRequest(**TRAINING), idempotency_key="train", timeout_seconds=60
        )
        bus.production.store.flush()
        records = energy_records(bus.production.store.engine)

    assert (request.status, request.attempts) == (Status.COMPLETED, 2)
    assert any(note.startswith("resumed from the checkpoint of step") for note in response.notes)
    assert same(response, unkilled)
    assert [(record.attempt, record.partial) for record in records] == [(1, True), (2, False)]
    assert work.whole()


@pytest.mark.parametrize(
    ("table", "words"),
    [("Empty", "table Empty is empty: there is nothing to train on"), ("OneKind", "have the same label '1'")],
    ids=["empty", "one-kind"],
)
def test_rows_that_teach_nothing_are_an_error_in_words_and_nothing_is_offered(
    tmp_path: Path, table: str, words: str
) -> None:
    work = ready(tmp_path)
    with work.start() as bus:
        with pytest.raises(RequestFailed, match=words):
            bus.request("Tune", TrainRequest(**{**TRAINING, "table": table}), timeout_seconds=60)
        with pytest.raises(RequestFailed, match="nothing is staged for the model toy"):
            bus.request("Tune", OverrideRequest())

    assert work.models.staged("toy") is None
    assert len(work.models.versions("toy")) == 1
    assert work.whole()


@pytest.mark.heavy
def test_a_loss_that_is_no_number_is_an_error_with_its_cause_and_a_hint_and_nothing_is_offered(
    tmp_path: Path,
) -> None:
    work = ready(tmp_path)
    with work.start() as bus:
        with pytest.raises(RequestFailed, match=r"the loss was no number .* learning rate is 1e\+38; try"):
            bus.request(
                "Tune",
                TrainRequest(**{**TRAINING, "learning_rate": 1e38, "warmup_steps": 0}),
                timeout_seconds=120,
            )
        with pytest.raises(RequestFailed, match="nothing is staged for the model toy"):
            bus.request("Tune", OverrideRequest())
        bus.production.ledger.settle(10)

    assert work.models.staged("toy") is None
    assert work.whole()


@pytest.mark.parametrize(
    "words",
    ["CUDA out of memory. Tried to allocate 20.00 GiB", "can't allocate memory: you tried to allocate"],
)
def test_a_batch_that_does_not_fit_into_memory_says_which_size_to_try(tmp_path: Path, words: str) -> None:
    import torch

    from wattbus.ml.classifier import load_classifier
    from wattbus.ml.fit import fit

    base = load_classifier(
        tinymodels.build("text-classification", tmp_path / "model"), ("0", "1"), None, seed=1
    )

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError(words) if words.startswith("CUDA") else RuntimeError(words)

    base.model.register_forward_pre_hook(full)
    rows = [{**row, "labels": 0} for row in base.encode(["a row", "and another one"] * 8)]

    with pytest.raises(
        TrainingFailed, match=r"set per_device_train_batch_size to 4 and gradient_accumulation_steps to 2"
    ):
        fit(
            base, rows, rows, arguments={"use_cpu": True}, batch_size=8, seed=1, folder=tmp_path / "work",
            fingerprint="x", checkpoint=None, curve=Curve(tmp_path), progress=lambda *_, **__: None,
        )  # fmt: skip


def test_a_failed_run_is_taken_over_by_the_very_same_training_and_by_no_other(tmp_path: Path) -> None:
    def spec(run: str, **options: Any) -> TrainSpec:
        return TrainSpec(
            model_folder=tmp_path / "model", table_url="postgresql://u:secret@127.0.0.1/none", table="Review",
            columns="label,text", run_folder=tmp_path / "runs" / run, options={"seed": 1, **options},
        )  # fmt: skip

    def left_behind(run: str, **options: Any) -> Path:
        left = spec(run, **options)
        left.run_folder.mkdir(parents=True)
        (left.run_folder / "spec.json").write_text(left.shown().model_dump_json())
        (left.run_folder / "lock").touch()
        return left.run_folder

    other, finished, busy = (
        left_behind("message-1", seed=2),
        left_behind("message-2"),
        left_behind("message-3"),
    )
    (finished / "result.json").write_text("{}")
    with (busy / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        nothing = trainer.take_over(spec("message-9"))
    failed = left_behind("message-4")
    busy.rename(tmp_path / "elsewhere")
    taken = trainer.take_over(spec("message-9"))

    assert nothing is None
    assert taken == failed
    assert (tmp_path / "runs" / "message-9" / "spec.json").exists()
    assert other.exists() and finished.exists() and not failed.exists()


@pytest.fixture
def wattbus(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "settings.py").write_text(SETTINGS)
    command = Command(tmp_path)
    yield command
    running = command.run("status", "--json")
    if running.returncode == 0:
        os.kill(json.loads(running.stdout)["pid"], signal.SIGKILL)


def test_a_training_under_way_is_cancelled_by_the_command(wattbus: Command) -> None:
    tinymodels.build("text-classification", wattbus.home / "models" / "tiny")
    (wattbus.folder / "rows.csv").write_text(
        "label,text\n" + "".join(f"{number % 2},row {number}\n" for number in range(40))
    )
    wattbus("tables", "load", "Review", "rows.csv")
    pid = wattbus.json("start")["pid"]
    body = json.dumps({"columns": "label,text", "table": "Review", "num_train_epochs": 1000})
    asked = wattbus.json("test", "Python.TuningOperation", "TrainRequest", body, "--background")["message_id"]
    wattbus.wait(lambda: bool(trainings_of(pid)))

    said = wattbus("messages", "cancel", str(asked), "--reason", "enough")
    wattbus.wait(lambda: wattbus.json("messages", "show", str(asked))["header"]["status"] == "Error")
    header = wattbus.json("messages", "show", str(asked))["header"]
    too_late = wattbus("messages", "cancel", str(asked), status=1)
    health = wattbus("doctor")

    assert "told to stop: 1 message in hand" in said
    assert "cancelled by" in header["error_status"]
    assert "enough" in header["error_status"]
    assert "refused" in too_late
    assert trainings_of(pid) == []
    assert health.rstrip().endswith("ok")
