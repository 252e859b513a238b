"""The optimisation itself, in a child process: ``python -m wattbus.ml.optimising SPEC.json`` tells JSON lines.

The same events and exit statuses as those of :mod:`wattbus.ml.training`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from wattbus import killpoints
from wattbus.energy.ledger import Ledger
from wattbus.errors import BadRequest, ModelError, WattbusError
from wattbus.home import make_owner_folder, write_durably
from wattbus.ml import model_files
from wattbus.ml.comparison import Loaded, Meter, likeness, speeds
from wattbus.ml.conversion import Converter, NotMade, weights_bytes
from wattbus.ml.engine import load_engine
from wattbus.ml.images import ImageSource
from wattbus.ml.optimise_spec import (
    Candidate,
    OptimiseProgress,
    OptimiseResult,
    OptimiseSpec,
    best,
    judged,
)
from wattbus.ml.pipeline_tasks import Feed, find_task
from wattbus.ml.pipelines import Predictor
from wattbus.ml.training import Events, leave_with_parent, read_line

RESULT = "result.json"


class Optimisation:
    """One run: the model as it is, and what is tried."""

    def __init__(self, spec: OptimiseSpec, events: Events, meter: Meter) -> None:
        self._spec = spec
        self._events = events
        self._meter = meter
        self._began = time.monotonic()
        self._images = ImageSource(spec.uploads, _no_address)
        task = find_task(spec.task)
        if task.feed is Feed.IMAGE:
            self._tell("reading the pictures")
            self._check_pictures(spec.inputs)
        self._tell("loading the model")
        began = time.perf_counter()
        loaded = model_files.load_parts(spec.model_folder, task.name, {})
        predictor = Predictor(task, loaded, {}, None, self._images)
        self._before = Loaded(predictor, weights_bytes(spec.model_folder), time.perf_counter() - began)
        self._facts = predictor.facts()
        self._converter = Converter(spec.model_folder, loaded, self._facts, spec.run_folder / "work")
        self._inputs = _with_place(list(spec.inputs), task.name, loaded.pipeline.tokenizer)

    def run(self) -> OptimiseResult:
        """Try each candidate while there is time, and choose."""
        tried: list[Candidate] = []
        for name in self._spec.candidates:
            spent = time.monotonic() - self._began
            if tried and spent > self._spec.budget_seconds:
                reason = (
                    f"not tried: the budget of {self._spec.budget_seconds:g} s was spent after {spent:.0f} s."
                )
                tried.append(Candidate(name=name, passes=False, reason=reason))
                continue
            tried.append(self._tried(name))
            self._tell(f"{name}: {tried[-1].reason}")
        chosen = best(tried)
        return OptimiseResult(
            task=self._facts.task,
            rows=len(self._inputs),
            candidates=tuple(tried),
            chosen=chosen.name if chosen else None,
            reason=f"{chosen.name}: {chosen.reason}" if chosen else _why_not(tried),
            model_folder=self._spec.run_folder / chosen.name if chosen else None,
            seconds=time.monotonic() - self._began,
            parameters=self._facts.parameters,
            layers=self._facts.layers,
            class_path=self._facts.class_path,
            notes=("the model has no trained head: what is compared is arbitrary.",)
            if self._facts.head_untrained
            else (),
        )

    def _tried(self, name: str) -> Candidate:
        """Make, compare and judge one candidate."""
        self._tell(f"{name}: converting")
        if killpoints.ARMED:
            killpoints.reached("optimise.before-convert")
        try:
            folder = self._converter.make(name, self._spec.run_folder / name, self._samples(name))
        except NotMade as error:
            return Candidate(name=name, passes=False, reason=f"not made: {error}")
        if killpoints.ARMED:
            killpoints.reached("optimise.after-convert")
        began = time.perf_counter()
        try:
            engine = load_engine(folder, self._spec.task, {}, images=self._images)
        except ModelError as error:
            return Candidate(name=name, passes=False, reason=f"not made: {error}")
        after = Loaded(engine, weights_bytes(folder), time.perf_counter() - began)
        self._tell(f"{name}: comparing the answers")
        alike = likeness(self._facts.task, self._before.predictor, engine, self._inputs)
        self._tell(f"{name}: measuring, in turns with the model as it is")
        old, new = speeds(self._before, after, self._inputs, self._spec.rounds, self._meter)
        return judged(self._spec.gate, name, alike, old, new)

    def _check_pictures(self, names: tuple[str, ...]) -> None:
        """Refuse a row that names no picture, before anything is converted."""
        for row, name in enumerate(names, start=1):
            try:
                self._images.open(name)
            except WattbusError as error:
                raise BadRequest(f"row {row} of the pictures to compare on: {error}") from None

    def _samples(self, name: str) -> list[dict[str, Any]]:
        """Return the inputs as the graph takes them, for a candidate that is calibrated."""
        if name != "int8":
            return []
        if find_task(self._spec.task).feed is Feed.IMAGE:
            return [self._converter.pixels(self._images.open(one).image) for one in self._inputs]
        return [self._converter.feeds(one) for one in self._inputs]

    def _tell(self, stage: str) -> None:
        self._events.send("progress", **OptimiseProgress(stage=stage).model_dump())


def _no_address(url: str) -> bytes:
    raise ModelError(f"{url!r} is an address: give pictures of the uploads folder to compare on.")


def _with_place(inputs: list[str], task: str, tokenizer: Any) -> list[str]:
    """Open a place in the middle of each text that has none, where the task is to fill it."""
    if task != "fill-mask":
        return inputs
    mask = str(tokenizer.mask_token)
    opened = []
    for text in inputs:
        words = text.split() or [""]
        words[len(words) // 2] = mask
        opened.append(text if mask in text else " ".join(words))
    return opened


def _why_not(tried: list[Candidate]) -> str:
    told = " ".join(f"{one.name}: {one.reason}" for one in tried)
    return f"do not convert. {told}"


def _ledger(metered: bool, meter: list[Meter]) -> Ledger | None:
    """Start a ledger of this process, whose windows are the turns of the two sides."""
    if not metered:
        return None
    from wattbus.energy.codecarbon_feed import CodecarbonFeed

    ledger = Ledger(CodecarbonFeed(), on_settled=lambda records, _interval: meter[0].settled(records))
    ledger.start()
    return ledger


def main() -> int:
    """Run the spec named on the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m wattbus.ml.optimising")
    parser.add_argument("spec", type=Path)
    parser.add_argument("--attended", action="store_true", help="stdin is a pipe held by the parent")
    given = parser.parse_args()
    events = Events(os.dup(1))
    os.umask(0o077)
    os.dup2(2, 1)  # libraries print: into the log, not among the events
    if given.attended:
        read_line(0)
        leave_with_parent()
    spec = OptimiseSpec.model_validate_json(given.spec.read_bytes())
    meters: list[Meter] = []
    ledger = _ledger(spec.metered, meters)
    meters.append(Meter(ledger))
    try:
        if ledger is not None:
            ledger.wait_ready()
        result = Optimisation(spec, events, meters[0]).run()
        if killpoints.ARMED:
            killpoints.reached("optimise.before-result")
        _clear(spec, result)
        write_durably(spec.run_folder / RESULT, result.model_dump_json(indent=1).encode())
        if killpoints.ARMED:
            killpoints.reached("optimise.after-result")
    except WattbusError as error:
        events.send("error", kind=type(error).__name__, message=str(error))
        return 2
    except (OSError, RuntimeError) as error:
        if "No space left" not in str(error) and getattr(error, "errno", None) != 28:
            raise
        sentence = f"the disk that holds {spec.run_folder} is full: make room and send the request again."
        events.send("error", kind=ModelError.__name__, message=sentence)
        return 2
    finally:
        if ledger is not None:
            ledger.stop()
    events.send("result", result=result.model_dump(mode="json"))
    return 0


def _clear(spec: OptimiseSpec, result: OptimiseResult) -> None:
    """Remove what was made on the way; the chosen one stays."""
    for name in (*spec.candidates, "work"):
        if name != result.chosen:
            shutil.rmtree(spec.run_folder / name, ignore_errors=True)
    make_owner_folder(spec.run_folder)


if __name__ == "__main__":
    sys.exit(main())
