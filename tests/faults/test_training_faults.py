"""R39, R40: a training that is cancelled, hangs, or is killed for its memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from iop import Production

import tinymodels
from cgroups import memory_cgroup
from waiting import until
from wattbus import doctor, testing
from wattbus.door import PythonDoor
from wattbus.errors import TrainingFailed
from wattbus.home import Home
from wattbus.memory import descendants
from wattbus.messages import TrainRequest
from wattbus.ml import child, trainer
from wattbus.ml.tables import TrainingTables
from wattbus.ml.trainer import TrainProgress, TrainSpec
from wattbus.operations import TuningOperation
from wattbus.store.queries import list_events

LONG = {"num_train_epochs": 1000, "per_device_train_batch_size": 4}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a tiny model and 40 rows to learn from."""
    home = Home(tmp_path / "home").create()
    tinymodels.build("text-classification", home.models / "tiny")
    rows = "".join(f"{number % 2},row number {number} of kind {number % 2}\n" for number in range(40))
    (tmp_path / "rows.csv").write_text("label,text\n" + rows)
    TrainingTables(f"sqlite:///{home.tables_file}").load_csv("Review", tmp_path / "rows.csv")
    return home


@pytest.fixture
def small() -> Iterator[Path]:
    """A memory cgroup that no training fits in."""
    with memory_cgroup(60 * 1024 * 1024) as folder:
        yield folder


@pytest.mark.parametrize("isolated", ["false", "true"])
def test_a_training_is_cancelled_by_the_id_of_its_message_and_its_process_is_gone(
    home: Home, isolated: str
) -> None:
    with testing.production(_tuning(Isolated=isolated), home.root) as bus:
        answer = _begin(bus)
        until(lambda: _says(bus, "step"), "the training is under way", 90)
        cancelled = bus.production.place.cancel(1, "Ada")
        error = answer.exception(timeout=60)
        left = _trainings()

    assert cancelled
    assert str(error).startswith("cancelled by Ada")
    assert left == []
    assert doctor.examine(home).ok, doctor.examine(home).to_text()


def test_a_training_that_waits_for_its_turn_is_cancelled_before_it_begins(home: Home) -> None:
    with testing.production(_tuning(pool_size=2), home.root) as bus:
        first = _begin(bus)
        until(lambda: _says(bus, "step"), "the first training is under way", 90)
        second = _begin(bus)
        until(lambda: _says(bus, "waits for its turn, number 1"), "the second one waits")
        bus.production.place.cancel(2, "Ada")
        error = second.exception(timeout=30)
        bus.production.place.cancel(1)
        first.exception(timeout=60)

    assert str(error) == "cancelled by Ada: it had not begun"


def test_a_training_that_does_not_end_when_asked_is_killed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "GRACE_SECONDS", 0.2)
    children: list[int] = []
    stopped: list[TrainProgress] = []

    def stop(progress: TrainProgress) -> None:
        if not stopped:
            os.kill(children[0], signal.SIGSTOP)  # it will not hear of SIGTERM
            stopped.append(progress)

    with pytest.raises(TrainingFailed, match="was cancelled"):
        trainer.train(
            _spec(home), on_child=children.append, on_progress=stop, cancelled=lambda: bool(stopped)
        )

    assert not Path(f"/proc/{children[0]}").exists(), "no orphan, no zombie"


def test_a_training_that_the_kernel_kills_for_its_memory_says_so(home: Home, small: Path) -> None:
    def put_into_cgroup(pid: int) -> None:
        (small / "cgroup.procs").write_text(str(pid))

    with pytest.raises(TrainingFailed, match=r"was killed, out of memory, limit 60 MB \(memory cgroup\)"):
        trainer.train(_spec(home), on_child=put_into_cgroup)


def _tuning(pool_size: int = 1, **settings: str) -> Production:
    prod = Production("Test.Tuning")
    prod.operation(
        "Tuning", TuningOperation, settings={"model_name": "tiny", **settings}, pool_size=pool_size
    )
    return prod


def _begin(bus: testing.ProductionUnderTest) -> Future[Any]:
    return bus.begin("Tuning", TrainRequest(columns="label,text", table="Review", **LONG))


def _spec(home: Home) -> TrainSpec:
    return TrainSpec(
        model_folder=home.models / "tiny",
        table_url=f"sqlite:///{home.tables_file}",
        table="Review",
        columns="label,text",
        run_folder=home.runs / "run",
        options=LONG,
    )


def _says(bus: PythonDoor, words: str) -> bool:
    bus.production.store.flush()
    return any(words in event.text for event in list_events(bus.production.store.engine, item="Tuning"))


def _trainings() -> list[str]:
    told = []
    for pid in descendants(os.getpid()):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except OSError:  # it ended meanwhile
            continue
        told += [f"{pid} {' '.join(words)}"] if "wattbus.ml.training" in words else []
    return told
