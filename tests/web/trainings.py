"""A small production that trains, for tests of the portal: a tiny model, a table of forty rows, an open door."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from doors import OpenDoor, open_door
from iop import Production

import tinymodels
from waiting import until
from wattbus.home import Home
from wattbus.ml.tables import TrainingTables
from wattbus.operations import TuningOperation

#: Markup as a label and as a text: it must come to the page as text.
HOSTILE = "<img src=x onerror=alert(1)>"
TRAINING: dict[str, Any] = {
    "columns": "label,text",
    "table": "Review",
    "num_train_epochs": 2,
    "per_device_train_batch_size": 8,
    "learning_rate": 0.01,
    "eval_strategy": "epoch",
    "seed": 5,
}


def production() -> Production:
    made = Production("Test.Portal", testing_enabled=True)
    made.operation("Tune", TuningOperation, settings={"model_name": "toy"})
    return made


def prepared(folder: Path) -> Home:
    """Make a home with a tiny model and rows of two labels, one of them hostile."""
    home = Home(folder, durable=False).create()
    tinymodels.build("text-classification", home.models / "toy")
    rows = "".join(
        f"{HOSTILE if number % 2 else 'good'},row {number} {HOSTILE} {'never again' if number % 2 else 'very kind'}\n"
        for number in range(40)
    )
    (folder / "rows.csv").write_text("label,text\n" + rows)
    TrainingTables(f"sqlite:///{home.tables_file}").load_csv("Review", folder / "rows.csv")
    return home


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[OpenDoor]:
    prepared(folder)
    with open_door(folder, production()) as ask:
        yield ask


def train(ask: OpenDoor, **changes: Any) -> int:
    """Send a TrainRequest and return its id."""
    running = ask.director.current()
    return running.submit("Tune", running.message("msg.TrainRequest", {**TRAINING, **changes}))


def state_of(ask: OpenDoor, number: int) -> str:
    return str(ask("GET", f"/api/v1/trainings/{number}").said["run"]["state"])


def trained(ask: OpenDoor, **changes: Any) -> int:
    """Train, and return the id of the request once the training has ended."""
    number = train(ask, **changes)
    until(lambda: state_of(ask, number) in ("Completed", "Error"), "the training has ended", 120)
    return number
