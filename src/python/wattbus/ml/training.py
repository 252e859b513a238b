"""The training itself, in a child process: ``python -m wattbus.ml.training SPEC.json`` tells JSON lines on stdout.

Events: ``{"event": "progress", ...}`` (fields of TrainProgress), ``{"event": "error", "kind", "message"}``,
``{"event": "spent", "exact": true}``, which the parent answers on stdin with ``{"joules": 12.5}``, and
``{"event": "result", "result": {...}}`` once ``result.json`` is written. Exit status: 0 done, 2 an error in words,
1 anything else (the traceback is on stderr), 3 the parent is gone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from wattbus.errors import TrainingFailed, WattbusError
from wattbus.ml.by_ladder import train_by_ladder
from wattbus.ml.in_full import train_in_full
from wattbus.ml.objectives.known import find_objective
from wattbus.ml.spending import Parent
from wattbus.ml.train_spec import TrainProgress, TrainSpec


class Events:
    """The one line of talk to the parent."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")

    def send(self, event: str, **fields: Any) -> None:
        """Write one event."""
        self._file.write(json.dumps({"event": event, **fields}) + "\n")
        self._file.flush()

    def ask_parent(self) -> Parent:
        """Return who answers what is asked here."""
        return Parent(lambda exact: self.send("spent", exact=exact))

    def progress(self, stage: str, **fields: Any) -> None:
        """Tell a stage or a step."""
        self.send("progress", **TrainProgress(stage=stage, **fields).model_dump())


def leave_with_parent() -> None:
    """End this process when the parent, which holds the other end of stdin, is gone."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(3)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def read_line(descriptor: int) -> bytes:
    """Read the first line of a parent; without one, end this process."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(descriptor, 1)):
            os._exit(3)
        line += byte
    return line


def load_spec(path: Path, attended: bool) -> TrainSpec:
    """Read the spec; with a parent, the database address with its password comes on stdin and never in a file."""
    told = json.loads(path.read_bytes())
    if attended:
        told["table_url"] = json.loads(read_line(0))["table_url"]
    return TrainSpec.model_validate(told)


def _unknown(_exact: bool) -> float | None:
    return None


def _disk_full(error: BaseException) -> bool:
    return "No space left" in str(error) or getattr(error, "errno", None) == 28


def main() -> int:
    """Run the spec named on the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m wattbus.ml.training")
    parser.add_argument("spec", type=Path)
    parser.add_argument("--attended", action="store_true", help="stdin is a pipe held by the parent")
    given = parser.parse_args()
    events = Events(os.dup(1))
    os.umask(0o077)
    os.dup2(2, 1)  # libraries print: into the log, not among the events
    try:
        spec = load_spec(given.spec, given.attended)
        joules = events.ask_parent().joules if given.attended else _unknown
        if find_objective(spec.objective).has_ladder:
            result = train_by_ladder(spec, events.progress, joules)
        else:
            result = train_in_full(spec, events.progress)
    except WattbusError as error:
        events.send("error", kind=type(error).__name__, message=str(error))
        return 2
    except (OSError, RuntimeError, SafetensorError) as error:
        if not _disk_full(error):
            raise
        sentence = (
            f"the disk that holds {given.spec.parent} is full: make room and send the request again; "
            "it goes on from the last checkpoint."
        )
        events.send("error", kind=TrainingFailed.__name__, message=sentence)
        return 2
    events.send("result", result=result.model_dump(mode="json"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
