"""A training of a text classifier: the ways to train it, the cheapest first, until its target or its budget is met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wattbus.ml.classifier import Classifier, load_classifier
from wattbus.ml.examples import (
    BATCH_MAX,
    Examples,
    Split,
    batch_size_for,
    label_order,
    read_examples,
    split_rows,
)
from wattbus.ml.feature_store import FeatureStore
from wattbus.ml.features_rung import FEATURES
from wattbus.ml.ground import EVAL_BATCH, Ground
from wattbus.ml.ladder import Walked, walk
from wattbus.ml.ladder_options import class_weights
from wattbus.ml.metrics import classification_metrics, predict_logits
from wattbus.ml.outcome import (
    DEFAULT_SEED,
    batch_note,
    dropped_note,
    finished_before,
    keep_result,
    library_versions,
)
from wattbus.ml.rung_records import RungRecords
from wattbus.ml.scores import probabilities, score
from wattbus.ml.spending import Spending
from wattbus.ml.tables import TrainingTables
from wattbus.ml.train_spec import (
    EXAMPLE_CHARACTERS,
    EXAMPLES_SHOWN,
    ChangedExample,
    TrainResult,
    TrainSpec,
    reject_unsafe_folder,
)
from wattbus.ml.training_options import parse_options
from wattbus.training_report import LadderReport


@dataclass(frozen=True)
class _BaseFacts:
    """What a report needs of the model that was trained."""

    old_note: str | None
    class_path: str


def train_by_ladder(
    spec: TrainSpec, progress: Callable[..., None], joules: Callable[[bool], float | None]
) -> TrainResult:
    """Train as ``spec`` says: read, split, evaluate the old model, walk the ladder, report on the best.

    ``progress`` is told each stage, and the steps with their loss by name; ``joules`` is asked what was used so far.
    """
    notes: list[str] = []
    options = parse_options(spec.options, spec.run_folder)
    notes += options.notes
    seed = int(options.arguments.get("seed", DEFAULT_SEED))

    progress("reading rows")
    tables = TrainingTables(spec.table_url)
    examples = read_examples(tables.rows(spec.table, spec.columns, spec.limit), spec.table, spec.columns)
    notes += dropped_note(examples.dropped, spec.columns)
    fingerprint = spec.fingerprint(f"{examples.digest} {library_versions()}")
    records = RungRecords(spec.run_folder, fingerprint)
    if (done := finished_before(spec.run_folder, fingerprint)) is not None:
        records.forget()
        return done
    spending = Spending(spec.run_folder, joules)
    if spec.energy_budget_wh is not None:
        spending.need_joules()
    split = split_rows(examples.labels, spec.p_of_train, seed)
    notes += [split.note] if split.note else []
    progress(f"{len(examples.texts)} rows read")

    reject_unsafe_folder(spec.model_folder)
    base = load_classifier(spec.model_folder, label_order(examples.labels), spec.num_labels, seed)
    notes += base.notes
    encoded = base.encode(examples.texts)
    truth = [base.label_ids[label] for label in examples.labels]
    labels = base.labels
    weights = class_weights(spec.class_weights, labels, [truth[row] for row in split.train])
    progress(f"{len(encoded)} rows tokenised")

    progress("evaluating the old model")
    before = spending.now(exact=True)
    old = _old_chances(spec, base, examples, encoded, split, seed)
    evaluation = spending.now(exact=True).since(before)

    batch_size = batch_size_for(len(examples.texts))
    notes += batch_note(len(examples.texts), BATCH_MAX, options.arguments)
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
        progress=progress,
        records=records,
    )
    result = _result(ground, facts, old, walk(ground, spec.rungs), notes)
    keep_result(spec.run_folder, result)
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
        framework_version=library_versions().split()[0],
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
