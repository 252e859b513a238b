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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from wattbus import killpoints
from wattbus.errors import TrainingFailed, WattbusError
from wattbus.home import write_durably
from wattbus.ml.classifier import Classifier, load_classifier
from wattbus.ml.examples import Examples, Split, batch_size_for, label_order, read_examples, split_rows
from wattbus.ml.feature_store import FeatureStore
from wattbus.ml.features_rung import FEATURES
from wattbus.ml.ground import EVAL_BATCH, Ground
from wattbus.ml.ladder import Walked, walk
from wattbus.ml.ladder_options import class_weights
from wattbus.ml.metrics import classification_metrics, predict_logits
from wattbus.ml.rung_records import RungRecords
from wattbus.ml.scores import probabilities, score
from wattbus.ml.spending import Parent, Spending
from wattbus.ml.tables import TrainingTables
from wattbus.ml.train_spec import (
    EXAMPLE_CHARACTERS,
    EXAMPLES_SHOWN,
    ChangedExample,
    TrainProgress,
    TrainResult,
    TrainSpec,
    reject_unsafe_folder,
)
from wattbus.ml.training_options import parse_options
from wattbus.training_report import LadderReport

RESULT = "result.json"
DEFAULT_SEED = 42


@dataclass(frozen=True)
class _BaseFacts:
    """What a report needs of the model that was trained."""

    old_note: str | None
    class_path: str


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


def run(spec: TrainSpec, events: Events, joules: Callable[[bool], float | None]) -> TrainResult:
    """Train as ``spec`` says: read, split, evaluate the old model, walk the ladder, report on the best."""
    notes: list[str] = []
    options = parse_options(spec.options, spec.run_folder)
    notes += options.notes
    seed = int(options.arguments.get("seed", DEFAULT_SEED))

    events.progress("reading rows")
    tables = TrainingTables(spec.table_url)
    examples = read_examples(tables.rows(spec.table, spec.columns, spec.limit), spec.table, spec.columns)
    notes += _dropped_note(examples, spec)
    fingerprint = spec.fingerprint(f"{examples.digest} {_versions()}")
    if (done := finished_before(spec.run_folder, fingerprint)) is not None:
        return done
    spending = Spending(spec.run_folder, joules)
    if spec.energy_budget_wh is not None:
        spending.need_joules()
    split = split_rows(examples.labels, spec.p_of_train, seed)
    notes += [split.note] if split.note else []
    events.progress(f"{len(examples.texts)} rows read")

    reject_unsafe_folder(spec.model_folder)
    base = load_classifier(spec.model_folder, label_order(examples.labels), spec.num_labels, seed)
    notes += base.notes
    encoded = base.encode(examples.texts)
    truth = [base.label_ids[label] for label in examples.labels]
    labels = base.labels
    weights = class_weights(spec.class_weights, labels, [truth[row] for row in split.train])
    events.progress(f"{len(encoded)} rows tokenised")

    events.progress("evaluating the old model")
    before = spending.now(exact=True)
    old = _old_chances(spec, base, examples, encoded, split, seed)
    evaluation = spending.now(exact=True).since(before)

    batch_size = batch_size_for(len(examples.texts))
    if batch_size == 1 and "per_device_train_batch_size" not in options.arguments:
        notes.append(
            f"{len(examples.texts)} rows have no divisor from 2 to 32, so the batch size is 1: "
            "per_device_train_batch_size=16 is faster."
        )
    facts = _BaseFacts(base.old_note, base.class_path)
    del base  # each rung loads its own
    ground = Ground(
        spec=spec,
        arguments=options.arguments,
        seed=seed,
        batch_size=batch_size,
        examples=examples,
        split=split,
        labels=labels,
        encoded=encoded,
        truth=truth,
        loss_weights=weights,
        fingerprint=fingerprint,
        spending=spending,
        evaluation=evaluation,
        progress=events.progress,
        records=RungRecords(spec.run_folder, fingerprint),
    )
    result = _result(ground, facts, old, walk(ground, spec.rungs), notes)
    if killpoints.ARMED:
        killpoints.reached("result.before-save")
    write_durably(spec.run_folder / RESULT, result.model_dump_json(indent=1).encode())
    if killpoints.ARMED:
        killpoints.reached("result.after-save")
    ground.records.forget()
    return result


def _old_chances(
    spec: TrainSpec,
    base: Classifier,
    examples: Examples,
    encoded: Sequence[dict[str, list[int]]],
    split: Split,
    seed: int,
) -> Any:
    """Return what the old model gives the test rows; a ladder finds what an earlier one has kept of that."""
    import numpy

    from wattbus.ml.features import folder_digest

    kept = spec.features_file if FEATURES in spec.rungs else None
    maker = "" if kept is None else f"{folder_digest(spec.model_folder)} logits {base.labels} {seed}"
    store = FeatureStore(kept, maker)
    texts = [examples.texts[row] for row in split.test]
    known = store.read(texts)
    missing = [place for place in range(len(texts)) if place not in known]
    if missing:
        rows = [encoded[split.test[place]] for place in missing]
        fresh = predict_logits(base.model, base.collate, rows, EVAL_BATCH)
        known |= dict(zip(missing, fresh, strict=True))
        store.keep({texts[place]: known[place] for place in missing})
    return probabilities(numpy.stack([known[place] for place in range(len(texts))]))


def _result(ground: Ground, base: _BaseFacts, old: Any, walked: Walked, notes: list[str]) -> TrainResult:
    """Put together what the best rung came to, beside the old model."""
    import numpy

    spec, split, examples, best = ground.spec, ground.split, ground.examples, walked.chosen
    new = numpy.array(best.chances)
    old_answers, new_answers = old.argmax(axis=1).tolist(), new.argmax(axis=1).tolist()
    changed = _changed(old_answers, new_answers, split, examples, ground.labels)
    first = next((one for one in walked.records if one.learning_curve), None)
    return TrainResult(
        fingerprint=ground.fingerprint,
        old_metrics=classification_metrics(ground.test_truth, old_answers),
        new_metrics=classification_metrics(ground.test_truth, new_answers),
        old_note=base.old_note,
        labels=ground.labels,
        train_rows=len(split.train),
        test_rows=len(split.test),
        dropped_rows=examples.dropped,
        changed_predictions=len(changed),
        changed_examples=tuple(changed[:EXAMPLES_SHOWN]),
        seconds=sum(one.training_seconds or one.rung.seconds for one in walked.records),
        steps=best.rung.steps,
        epochs=best.epochs,
        optimizer=best.optimizer,
        learning_rate=best.learning_rate,
        batch_size=best.batch_size,
        precision=best.precision,
        seed=ground.seed,
        model_folder=ground.records.settle_on(best.rung.name),
        resumed_from_step=best.resumed_from_step,
        notes=(*notes, *best.notes, *((walked.outcome,) if len(walked.records) > 1 else ())),
        parameters=best.parameters,
        layers=best.layers,
        class_path=base.class_path,
        framework="pytorch",
        framework_version=_versions().split()[0],
        dataset_bytes=examples.bytes,
        ladder=LadderReport(
            rungs=[one.rung for one in walked.records],
            chosen=best.rung.name,
            outcome=walked.outcome,
            target=spec.target,
            target_metric=spec.target_metric,
            target_met=walked.met,
            energy_budget_wh=spec.energy_budget_wh,
            joules=ground.spending.now(exact=True).joules,
            old_scores=score(ground.test_truth, old, ground.labels),
            new_scores=score(ground.test_truth, new, ground.labels),
            learning_curve=first.learning_curve if first else [],
            more_rows=first.more_rows if first else "",
        ),
    )


def finished_before(run_folder: Path, fingerprint: str) -> TrainResult | None:
    """Return the stored result when this very training ended before and its model is still there."""
    try:
        stored = TrainResult.model_validate_json((run_folder / RESULT).read_bytes())
    except (OSError, ValueError):
        return None
    if stored.fingerprint != fingerprint or not any(stored.model_folder.glob("*.safetensors")):
        return None
    note = "this training had ended before: its stored result is given, nothing was trained again."
    return stored.model_copy(update={"notes": (*stored.notes, note)})


def _dropped_note(examples: Examples, spec: TrainSpec) -> list[str]:
    if not examples.dropped:
        return []
    return [f"{examples.dropped} rows without {spec.columns[0]} or {spec.columns[1]} were left out."]


def _changed(
    old: list[int], new: list[int], split: Split, examples: Examples, labels: Sequence[str]
) -> list[ChangedExample]:
    """Return the test rows whose answer changed, in the order of the table."""
    pairs = sorted(zip(split.test, old, new, strict=True))
    return [
        ChangedExample(
            row=examples.row_numbers[row],
            text=examples.texts[row][:EXAMPLE_CHARACTERS],
            label=examples.labels[row],
            old=labels[before],
            new=labels[after],
        )
        for row, before, after in pairs
        if before != after
    ]


def _versions() -> str:
    from importlib.metadata import version

    return f"{version('torch')} {version('transformers')}"


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
        result = run(spec, events, joules)
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
