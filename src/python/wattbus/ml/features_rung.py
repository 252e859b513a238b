"""The cheapest rung: a linear head on the features of the frozen encoder, written into the model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from wattbus.errors import ModelError, TrainingFailed
from wattbus.ml.classifier import Classifier
from wattbus.ml.features import Features, read_features
from wattbus.ml.ground import EVAL_BATCH, Ground, judged
from wattbus.ml.head import HeadForm, head_form
from wattbus.ml.linear_head import LinearHead, fit_head, learning_curve, more_rows_sentence
from wattbus.ml.metrics import classification_metrics, predict_logits
from wattbus.ml.pace import Pace
from wattbus.ml.rung_records import RungRecord
from wattbus.ml.scores import probabilities
from wattbus.training_report import Rung

FEATURES = "features"
#: Test rows on which a head that was written into a model is asked again, by the model itself.
ASKED_AGAIN = 16
#: By how much the chance of a label may differ between the two: another engine may have read the features.
SAME_CHANCE = 0.02


def climb_features(ground: Ground) -> RungRecord:
    """Read the features, fit a head, write it into the model, judge it, and fit it on parts of the rows.

    Raises ModelError where the model's head cannot take one, TrainingFailed where the budget did not reach for it.
    """
    base = ground.fresh()
    form = head_form(base, ground.spec.model_folder)
    if form is None:
        raise ModelError(
            "the head of the model does not end in a linear layer, so none can be fitted on its features."
        )
    begun = time.monotonic()
    found = _read(ground, base, form)
    train = [row for row in ground.split.train if row in found.vectors]
    truth = [ground.truth[row] for row in train]
    if len(set(truth)) < 2:
        raise TrainingFailed(
            "the energy budget was spent before the features of two labels were there: raise energy_budget_wh."
        )
    features = _features(form, found.vectors, train)
    ground.progress(f"fitting a linear head on {len(train)} rows")
    head = fit_head(features, truth, len(ground.labels), weights=ground.loss_weights, has_bias=form.has_bias)
    training_seconds = time.monotonic() - begun
    saved = ground.records.save_model(FEATURES, form.written(head.weight, head.bias))
    whole = all(row in found.vectors for row in ground.split.test)
    tests = _features(form, found.vectors, ground.split.test) if whole else None

    def known(fresh: Classifier) -> Any | None:
        return None if tests is None else _same(ground, fresh, probabilities(head.logits(tests)))

    made = _record(ground, form, found, len(train)).model_copy(update={"training_seconds": training_seconds})
    record = judged(ground, made, saved, known)
    if tests is None:
        return record
    points = learning_curve(
        features,
        truth,
        lambda one: _value(ground, one, tests),
        len(ground.labels),
        weights=ground.loss_weights,
        has_bias=form.has_bias,
        seed=ground.seed,
    )
    sentence = more_rows_sentence(points, ground.spec.target_metric)
    return record.model_copy(update={"learning_curve": points, "more_rows": sentence})


def _read(ground: Ground, base: Classifier, form: HeadForm) -> Features:
    pace = Pace(
        FEATURES,
        ground.spending,
        budget_joules=ground.budget_joules,
        measured=False,
        beside=ground.evaluation,
        tell=ground.progress,
    )
    return read_features(
        base,
        form,
        ground.examples.texts,
        folder=ground.spec.model_folder,
        engine_folder=ground.spec.engine_folder,
        file=ground.spec.features_file,
        seed=ground.seed,
        progress=lambda done, total: ground.progress("reading features", step=done, total=total),
        spent_out=pace.is_spent_out,
    )


def _record(ground: Ground, form: HeadForm, found: Features, rows: int) -> RungRecord:
    origin = f"{found.made} texts were read by {found.by}, {found.kept} came from the store of features"
    ending = "" if found.complete else "; the energy budget was spent"
    rung = Rung(
        name=FEATURES,
        state="done" if found.complete else "stopped",
        words=f"a linear head was fitted on {rows} rows; {origin}{ending}",
    )
    note = "the features rung added one layer to the model, which makes the mean of its tokens for the head."
    return RungRecord(
        fingerprint=ground.fingerprint,
        rung=rung,
        optimizer="lbfgs",
        batch_size=rows,
        notes=[note] if form.kind == "mean" else [],
    )


def _features(form: HeadForm, vectors: Mapping[int, Any], rows: Sequence[int]) -> Any:
    import numpy

    return form.features(numpy.stack([vectors[row] for row in rows]))


def _value(ground: Ground, head: LinearHead, tests: Any) -> float:
    answers = head.logits(tests).argmax(axis=1).tolist()
    metrics = classification_metrics(ground.test_truth, answers)
    return float(getattr(metrics, ground.spec.target_metric))


def _same(ground: Ground, fresh: Classifier, chances: Any) -> Any | None:
    """Return the chances of the head where the model, asked on a few rows, says the same; else None."""
    import numpy

    some = ground.test_rows[:ASKED_AGAIN]
    again = probabilities(predict_logits(fresh.model, fresh.collate, some, EVAL_BATCH))
    return chances if float(numpy.abs(chances[: len(some)] - again).max()) <= SAME_CHANCE else None
