"""Measure the other way on a sample: each repeat in a fresh child process, its parts metered one by one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, select

from wattbus import words
from wattbus.energy.advice import machine_in_words
from wattbus.energy.feed import PowerFeed
from wattbus.energy.hardware import read_machine
from wattbus.energy.label import FEWEST_RUNS
from wattbus.energy.record import Tier
from wattbus.errors import BadRequest, ModelError, Refused
from wattbus.home import Home, make_owner_folder, write_durably
from wattbus.savings.counterfactual import Counterfactual, cost_of, tier_of
from wattbus.savings.phases import QUIET_SECONDS, Phases
from wattbus.savings.runs import AnswersWork, Run, TrainingWork, version_of
from wattbus.store.queries import message_body, message_header
from wattbus.store.tables import energy

if TYPE_CHECKING:
    from wattbus.ml.child import Child
    from wattbus.ml.models import ModelStore, ModelVersion
    from wattbus.ml.tables import TrainingTables
    from wattbus.ml.template_way import TemplateSpec

ROWS, MOST_ROWS = 24, 512
REPEATS, MOST_REPEATS = FEWEST_RUNS, 20
#: Among so many of the newest answers those are looked for whose requests are still kept.
_LOOKED_THROUGH = 2_000
Tell = Callable[[str], object]


@dataclass(frozen=True)
class Place:
    """Where a sample is taken and measured."""

    home: Home
    engine: Engine
    models: ModelStore
    tables: TrainingTables
    feed: PowerFeed


@dataclass(frozen=True)
class Size:
    """How large a sample is, and how often it is gone through."""

    rows: int = ROWS
    repeats: int = REPEATS
    quiet_seconds: float = QUIET_SECONDS

    def checked(self) -> Size:
        """Return the size, or say what is wrong with it."""
        if not 1 <= self.rows <= MOST_ROWS:
            raise BadRequest(f"a sample of {self.rows} rows was asked for: give 1 to {MOST_ROWS}.")
        if not FEWEST_RUNS <= self.repeats <= MOST_REPEATS:
            raise BadRequest(
                f"{self.repeats} repeats were asked for: give {FEWEST_RUNS} to {MOST_REPEATS}, "
                "so that there is a spread."
            )
        return self


def measure(run: Run, place: Place, size: Size, tell: Tell = lambda text: None) -> Counterfactual:
    """Measure the other way of a run on a sample of it; the caller keeps what comes back.

    Raises BadRequest or Refused, before anything is measured, where there is nothing to take a sample of.
    """
    size = size.checked()
    version = _measurable(run, place)
    if isinstance(run.work, TrainingWork):
        return _training(run, run.work, version, place, size, tell)
    assert isinstance(run.work, AnswersWork)
    return _answers(run, run.work, version, place, size, tell)


def obstacle(run: Run, models: ModelStore, tables: TrainingTables) -> str:
    """Say why a run cannot be measured now, as far as that is seen without measuring; empty where it can."""
    if version_of(models, run.model, run.version) is None:
        return f"its model {run.model} {run.version} is not here any more"
    if isinstance(run.work, TrainingWork):
        try:
            _check_rows(run.work, tables)
        except BadRequest as error:
            return f"its rows cannot be read: {error}"
    return ""


def place_of(run: Run) -> tuple[object, ...]:
    """Return where the rows of a run are, as far as :func:`obstacle` depends on it."""
    return (run.work.source, run.work.table, run.work.columns) if isinstance(run.work, TrainingWork) else ()


def _measurable(run: Run, place: Place) -> ModelVersion:
    """Return the version to measure with; a sentence where the run has nothing to be measured."""
    if run.open:
        raise BadRequest(f"{run.name} has not ended yet: measure it when it has.")
    if run.why_not:
        raise BadRequest(f"{run.name} cannot be measured: {run.why_not}.")
    if run.shape is None:
        raise BadRequest(
            f"{run.name} needs no sample, or its size is not known: what it saved stands in `wattbus savings`."
        )
    version = version_of(place.models, run.model, run.version)
    if version is None:
        raise Refused(
            f"{run.name} cannot be measured: the model {run.model} {run.version} is not here any more. "
            "`wattbus models ls` lists what is."
        )
    return version


# -- what is measured ---------------------------------------------------------------------------------------------


def _training(
    run: Run, work: TrainingWork, version: ModelVersion, place: Place, size: Size, tell: Tell
) -> Counterfactual:
    from wattbus.ml.examples import batch_size_for
    from wattbus.ml.template_way import PADDED_TOKENS, TemplateSpec

    rows = _labelled_rows(work, place.tables, size.rows)
    usual = work.batch_size or batch_size_for(work.train_rows + work.test_rows)
    batch_size = min(usual, len(rows))
    with _folder(place.home) as folder:
        spec = TemplateSpec(
            model_folder=version.path,
            work=folder,
            rows=tuple(rows),
            labels=work.labels,
            batch_size=batch_size,
        )
        phases = _repeated(spec, ("training", "evaluation"), place.feed, size, tell)
    counts = {"start": 1, "training": len(rows), "evaluation": len(rows)}
    way = f"every row padded to {PADDED_TOKENS} tokens, float32, the Trainer's own loop, {batch_size} rows a step"
    sample = f"{words.counted(len(rows), 'row')} of {work.table}, with {version.name} {version.id}"
    return _counterfactual(run, phases, counts, len(rows), size, way, sample)


def _answers(
    run: Run, work: AnswersWork, version: ModelVersion, place: Place, size: Size, tell: Tell
) -> Counterfactual:
    from wattbus.ml.template_way import TemplateSpec

    requests = _kept_requests(run, work, place, size.rows)
    with _folder(place.home) as folder:
        spec = TemplateSpec(
            model_folder=version.path, work=folder, task=work.task, requests=tuple(requests),
            uploads=place.home.uploads,
        )  # fmt: skip
        phases = _repeated(spec, ("answering",), place.feed, size, tell)
    way = "the transformers pipeline, PyTorch, float32, one request at a time"
    asked = words.counted(len(requests), "kept request")
    sample = f"the newest {asked} to {work.item}, with {version.name} {version.id}"
    return _counterfactual(run, phases, {"answering": len(requests)}, len(requests), size, way, sample)


def _counterfactual(
    run: Run, phases: Phases, counts: dict[str, int], rows: int, size: Size, way: str, sample: str
) -> Counterfactual:
    records = phases.records()
    costs = {part: cost_of(records[part], count) for part, count in counts.items()}
    known = all(cost.joules is not None for cost in costs.values())
    tier = tier_of([one for part in counts for one in records[part]])
    return Counterfactual(
        shape=run.shape or "",
        machine=machine_here(),
        way=way,
        sample=sample,
        rows=rows,
        repeats=size.repeats,
        tier=tier if known else Tier.NONE,
        costs=costs,
        why_no_joules="" if known else phases.why_no_joules or "a part was too short to be read",
    )


def machine_here() -> str:
    """Return this machine in words: samples of another one are not used."""
    return machine_in_words(read_machine())


# -- samples ------------------------------------------------------------------------------------------------------


def _check_rows(work: TrainingWork, tables: TrainingTables) -> None:
    if work.source is not None and work.source != tables.shown_url:
        raise Refused(
            f"they are in {work.source}, and trainings read {tables.shown_url} now; set WATTBUS_TABLES_URL to it"
        )
    tables.resolve(work.table, work.columns)


def _labelled_rows(work: TrainingWork, tables: TrainingTables, count: int) -> list[tuple[str, str]]:
    """Return the first usable rows of a table, each with a label that the training knew."""
    from wattbus.ml.examples import label_text

    _check_rows(work, tables)
    found: list[tuple[str, str]] = []
    for label, text in tables.rows(work.table, work.columns):
        if label is None or label == "" or not isinstance(text, str) or not text.strip():
            continue
        if (named := label_text(label, work.table, work.columns[0])) in work.labels:
            found.append((named, text))
        if len(found) == count:
            break
    if not found:
        raise Refused(
            f"no row of {work.table} has a text and one of the labels of the training ({', '.join(work.labels[:6])}): "
            "its rows are gone."
        )
    return found


def _kept_requests(run: Run, work: AnswersWork, place: Place, count: int) -> list[dict[str, Any]]:
    """Return the newest requests that a version has answered and that are still kept."""
    query = (
        select(energy.c.message_id)
        .where(
            energy.c.item == work.item, energy.c.model == run.model, energy.c.revision == work.revision,
            energy.c.operation_kind == work.task,
        )
        .order_by(energy.c.started_at_us.desc())
        .limit(_LOOKED_THROUGH)
    )  # fmt: skip
    with place.engine.connect() as connection:
        numbers = list(dict.fromkeys(row.message_id for row in connection.execute(query)))
    found: list[dict[str, Any]] = []
    for number in numbers:
        header = message_header(place.engine, number)
        body = None if header is None else message_body(place.engine, place.home.bodies, header.body_id)
        inputs = json.loads(body) if body else None
        if isinstance(inputs, dict) and inputs:
            found.append(inputs)
        if len(found) == count:
            break
    if not found:
        raise Refused(
            f"{run.name} cannot be measured: none of its requests is kept any more. Send some to {work.item}, and "
            "measure again."
        )
    return found


# -- the child ----------------------------------------------------------------------------------------------------


def _repeated(spec: TemplateSpec, parts: tuple[str, ...], feed: PowerFeed, size: Size, tell: Tell) -> Phases:
    """Go through the parts once a repeat, each repeat in a new process, after a part that is not metered."""
    from wattbus.ml.child import start_child

    file = spec.work / "spec.json"
    write_durably(file, spec.model_dump_json().encode())
    with Phases(feed, size.quiet_seconds) as phases:
        for repeat in range(1, size.repeats + 1):
            child: Child | None = None
            try:
                tell(f"repeat {repeat} of {size.repeats}: start")
                with phases.part("start") as window:
                    child = start_child(
                        "wattbus.ml.template_way", file, log=spec.work / "template.log", told={}
                    )
                    window.watch_child(child.process.pid)
                    events = _events(child, spec.work)
                    _expect("ready", events)
                _ask(child, "warm-up", events)
                for part in parts:
                    tell(f"repeat {repeat} of {size.repeats}: {part}")
                    with phases.part(part, child.process.pid):
                        _ask(child, part, events)
            finally:
                if child is not None:
                    child.end()
    return phases


def _ask(child: Child, part: str, events: Iterator[str]) -> None:
    assert child.process.stdin is not None
    child.process.stdin.write(json.dumps({"do": part}).encode() + b"\n")
    child.process.stdin.flush()
    _expect("done", events)


def _expect(wanted: str, events: Iterator[str]) -> None:
    if (told := next(events, None)) != wanted:
        raise ModelError(f"the sample's process said {told!r} where {wanted!r} was due: this is a bug.")


def _events(child: Child, folder: Path) -> Iterator[str]:
    """Yield what the child tells; a sentence where it fails or ends."""
    from wattbus.ml.child import ERRORS, events_of

    for event in events_of(child):
        kind = event.get("event")
        if kind == "error":
            error = ERRORS.get(str(event.get("kind")), ModelError)
            raise error(f"the sample cannot be measured: {event.get('message')}")
        if kind is not None:
            yield str(kind)
    log = folder / "template.log"
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    why = f": {lines[-1][:300]}" if lines else ""
    raise ModelError(f"the sample's process ended before it had measured{why}. Nothing was kept.")


@contextmanager
def _folder(home: Home) -> Iterator[Path]:
    """Make a folder for a sample; it holds texts of the user's, and is removed at the end."""
    folder = make_owner_folder(make_owner_folder(home.runs) / f"savings-{os.getpid()}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
