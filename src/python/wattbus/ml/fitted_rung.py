"""The rungs that train weights: adapters, the last layers, or all, by the Trainer and from its newest checkpoint."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from wattbus.home import make_owner_folder
from wattbus.ml.checkpoints import newest_complete, removed_note, step_of
from wattbus.ml.curve import Curve
from wattbus.ml.ground import Ground, judged
from wattbus.ml.pace import Pace
from wattbus.ml.rung_records import RungRecord
from wattbus.training_report import Rung

CHECKPOINTS = "checkpoints"


def climb_fitted(ground: Ground, name: str, *, measured: bool, steps_before: int) -> RungRecord:
    """Train weights with the Trainer, from the newest complete checkpoint of this rung."""
    from wattbus.ml.fit import Course, fit
    from wattbus.ml.trainable import trainable

    pace = Pace(
        name,
        ground.spending,
        budget_joules=ground.budget_joules,
        measured=measured,
        beside=ground.evaluation,
        tell=ground.progress,
    )
    train_rows, test_rows = ground.examples_of(ground.split.train), ground.examples_of(ground.split.test)
    lengths = [len(row["input_ids"]) for row in train_rows]

    def go_on(read: int, rows: int) -> bool:
        ground.progress("reading features", step=read, total=rows)
        return not pace.is_spent_out()

    fresh, begun = ground.fresh(), time.monotonic()
    setting = trainable(fresh, name, ground.seed, [*train_rows, *test_rows], go_on)
    set_up_seconds = time.monotonic() - begun
    folder = make_owner_folder(ground.spec.run_folder / CHECKPOINTS)
    mark = " ".join([ground.fingerprint, *([] if name == "full" else [name]), *filter(None, [setting.mark])])
    checkpoint, removed = newest_complete(folder, mark)
    notes = removed_note(removed, checkpoint)
    curve = Curve(ground.spec.run_folder, steps_before)
    curve.begin(step_of(checkpoint) if checkpoint else 0)
    fitted = fit(
        setting.base,
        setting.rows(train_rows),
        setting.rows(test_rows),
        arguments=ground.arguments,
        batch_size=ground.batch_size,
        seed=ground.seed,
        folder=folder,
        fingerprint=mark,
        checkpoint=checkpoint,
        curve=curve,
        progress=ground.progress,
        lengths=lengths,
        course=Course(
            loss_weights=ground.loss_weights,
            patience=ground.spec.early_stopping_patience,
            best_metric=ground.spec.target_metric,
            learning_rate=setting.learning_rate,
            after_step=pace.after_step,
        ),
    )
    likely = pace.likely
    rung = Rung(
        name=name,
        state="done",
        words=setting.words,
        steps=fitted.steps,
        likely_seconds=None if likely is None else round(likely.seconds, 3),
        likely_joules=None if likely is None else likely.joules,
    )
    record = RungRecord(
        fingerprint=ground.fingerprint,
        rung=rung,
        optimizer=fitted.optimizer,
        learning_rate=fitted.learning_rate,
        batch_size=fitted.batch_size,
        precision=fitted.precision,
        epochs=fitted.epochs,
        training_seconds=set_up_seconds + fitted.seconds,
        resumed_from_step=step_of(checkpoint) if checkpoint else None,
        notes=[*notes, *fitted.notes],
    )
    if pace.too_dear:
        told = f"its first {fitted.steps} steps said that it would likely cost more than the budget has left"
        return record.model_copy(
            update={"rung": rung.model_copy(update={"state": "skipped", "words": f"not begun: {told}"})}
        )
    if fitted.steps < fitted.total_steps:
        why = "the energy budget was spent" if pace.spent_out else "no evaluation was better any more"
        words = f"ended after step {fitted.steps} of {fitted.total_steps}: {why}; {setting.words}"
        record = record.model_copy(
            update={"rung": rung.model_copy(update={"state": "stopped", "words": words})}
        )
    ground.progress("saving the new model")
    return judged(ground, record, ground.records.save_model(name, setting.finish()), lambda _: None)


def remove_checkpoints(run_folder: Path) -> None:
    """Take the checkpoints of a rung that ended out: three times the model each, and of no more use."""
    shutil.rmtree(run_folder / CHECKPOINTS, ignore_errors=True)
