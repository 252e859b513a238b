"""A training in full, for objectives without a ladder: ask the old model, train all of it, ask the new model."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from wattbus.home import make_owner_folder
from wattbus.ml.checkpoints import newest_complete, removed_note, step_of
from wattbus.ml.curve import Curve
from wattbus.ml.examples import batch_size_for, split_rows
from wattbus.ml.objectives.known import find_objective
from wattbus.ml.objectives.reading import read_rows
from wattbus.ml.outcome import (
    DEFAULT_SEED,
    batch_note,
    dropped_note,
    finished_before,
    keep_result,
    library_versions,
    save_model,
)
from wattbus.ml.retokenising import NEW_TOKENIZER_NOTE, RETOKENISED, with_new_tokenizer
from wattbus.ml.tables import TrainingTables
from wattbus.ml.train_spec import EXAMPLES_SHOWN, TrainResult, TrainSpec, reject_unsafe_folder
from wattbus.ml.training_options import parse_options


def train_in_full(spec: TrainSpec, progress: Callable[..., None]) -> TrainResult:
    """Train as ``spec`` says: read, split, evaluate the old model, train, save, evaluate the new model.

    ``progress`` is told each stage, and the steps with their loss by name.
    """
    notes: list[str] = []
    options = parse_options(spec.options, spec.run_folder)
    notes += options.notes
    seed = int(options.arguments.get("seed", DEFAULT_SEED))

    progress("reading rows")
    tables = TrainingTables(spec.table_url)
    rows = read_rows(tables.rows(spec.table, spec.columns, spec.limit), spec)
    notes += dropped_note(rows.dropped, spec.columns)
    fingerprint = spec.fingerprint(f"{rows.digest} {library_versions()}")
    if (done := finished_before(spec.run_folder, fingerprint)) is not None:
        return done
    split = split_rows(rows.strata, spec.p_of_train, seed)
    notes += [split.note] if split.note else []
    progress(f"{len(rows.strata)} rows read")

    reject_unsafe_folder(spec.model_folder)
    model_folder = spec.model_folder
    if spec.train_tokenizer is not None:
        progress("training the tokenizer")
        model_folder = with_new_tokenizer(spec, rows, split, fingerprint, notes)
    learner = rows.load(model_folder, _num_labels(spec, notes), seed)
    base = learner.base
    notes += base.notes
    train_rows = learner.encode(split.train, held_out=False)
    test_rows = learner.encode(split.test, held_out=True)
    notes += dict.fromkeys((*train_rows.notes, *test_rows.notes))
    progress(f"{len(rows.strata)} rows {find_objective(spec.objective).made_ready}")

    progress("evaluating the old model")
    old = learner.answers(test_rows)

    from wattbus.ml.fit import fit

    count = len(train_rows.rows) + len(test_rows.rows)
    batch_size = batch_size_for(count, learner.rows_at_once)
    notes += batch_note(count, learner.rows_at_once, options.arguments)
    work = make_owner_folder(spec.run_folder / "checkpoints")
    checkpoint, removed = newest_complete(work, fingerprint)
    notes += removed_note(removed, checkpoint)
    curve = Curve(spec.run_folder)
    curve.begin(step_of(checkpoint) if checkpoint else 0)
    fitted = fit(
        base,
        train_rows.rows,
        test_rows.rows,
        arguments=options.arguments,
        batch_size=batch_size,
        seed=seed,
        folder=work,
        fingerprint=fingerprint,
        checkpoint=checkpoint,
        curve=curve,
        progress=progress,
        lengths=train_rows.lengths,
        score=learner.score,
        begin_epoch=train_rows.begin_epoch,
        eval_batch=learner.rows_at_once,
    )

    progress("saving the new model")
    saved = save_model(base, spec.run_folder / "model")

    progress("evaluating the new model")
    fresh = rows.load(saved, None, seed)
    new = fresh.answers(fresh.encode(split.test, held_out=True))
    changed = learner.changed(test_rows, old, new)
    result = TrainResult(
        fingerprint=fingerprint,
        objective=spec.objective,
        old_metrics=old.metrics,
        new_metrics=new.metrics,
        old_note=base.old_note if spec.train_tokenizer is None else NEW_TOKENIZER_NOTE,
        labels=base.labels,
        train_rows=len(split.train),
        test_rows=len(split.test),
        dropped_rows=rows.dropped,
        changed_predictions=len(changed),
        changed_examples=tuple(changed[:EXAMPLES_SHOWN]),
        seconds=fitted.seconds,
        steps=fitted.steps,
        epochs=fitted.epochs,
        optimizer=fitted.optimizer,
        learning_rate=fitted.learning_rate,
        batch_size=fitted.batch_size,
        precision=fitted.precision,
        seed=seed,
        model_folder=saved,
        resumed_from_step=step_of(checkpoint) if checkpoint else None,
        notes=(*notes, *fitted.notes),
        parameters=base.parameters,
        layers=base.layers,
        class_path=base.class_path,
        framework="pytorch",
        framework_version=library_versions().split()[0],
        dataset_bytes=rows.bytes,
    )
    keep_result(spec.run_folder, result)
    shutil.rmtree(work)  # three times the model each, and of no more use
    shutil.rmtree(spec.run_folder / RETOKENISED, ignore_errors=True)
    return result


def _num_labels(spec: TrainSpec, notes: list[str]) -> int | None:
    """Return the number of labels that was asked for, where the objective leaves a choice."""
    if spec.num_labels is None or find_objective(spec.objective).counts_labels:
        return spec.num_labels
    notes.append(f"num_labels {spec.num_labels} has no effect: {spec.objective} has outputs of its own.")
    return None
