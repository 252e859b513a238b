"""The ways to fine-tune that are compared: wattbus' trainer, and transformers' Trainer as recipes write it."""

from __future__ import annotations

import csv
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.process import peak_mib
from peers.subjects import REVIEWS

BATCH = 16
SHARE = 0.8
#: What a training says of itself while it trains, and what it says when that is over.
TRAINING = ("training", "checkpoint", "reading features", "fitting")
AFTERWARDS = ("saving", "evaluating the new")


@dataclass(frozen=True)
class Case:
    """What is trained: the base model, the first rows of the reviews, and where."""

    model: Path
    rows: int
    epochs: float
    seed: int
    scored: bool  # on the reviews that were not read
    folder: Path


def ours(case: Case, method: str | None, *, again: bool = False) -> dict[str, Any]:
    """Fine-tune with wattbus and its defaults; ``again``: for the second time on these rows, the first not measured."""
    from wattbus import energy
    from wattbus.ml.tables import TrainingTables
    from wattbus.ml.trainer import TrainSpec, train

    url = f"sqlite:///{case.folder}/tables.sqlite"
    TrainingTables(url).load_csv("Review", REVIEWS)
    energy.wait_until_metering()

    def spec(run: str) -> TrainSpec:
        return TrainSpec(
            model_folder=case.model,
            table_url=url,
            table="Review",
            columns=("ReviewLabel", "ReviewText"),
            limit=case.rows,
            p_of_train=SHARE,
            run_folder=case.folder / run,
            features_file=case.folder / "features.sqlite",
            options={
                "num_train_epochs": case.epochs,
                "seed": case.seed,
                "per_device_train_batch_size": BATCH,
            },
            **({} if method is None else {"method": method}),
        )

    if again:
        train(spec("first"))
    watch = _Watch()
    result = train(spec("run"), on_progress=watch.told)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    joules, tier = watch.energy()
    return {
        "rows": case.rows,
        "training": result.seconds,
        "steps": result.steps,
        "accuracy": result.new_metrics.accuracy,
        "joules": joules,
        "tier": tier,
        "peak_mib": peak,
    } | (_unread_of(case, result.model_folder, list(result.labels)) if case.scored else {})


class _Watch:
    """A window around the part of a training that trains, by what the training says of itself.

    It speaks first after some steps; what those used is added in proportion.
    """

    def __init__(self) -> None:
        from wattbus import energy

        self._window = energy.window("training")
        self._measured: Any = None
        self._open = False
        self._first, self._total = 0, 0

    def told(self, progress: Any) -> None:
        if self._measured is None and progress.stage.startswith(TRAINING):
            self._measured, self._open = self._window.__enter__(), True
            self._first = progress.step or 0
        self._total = progress.total or self._total
        if self._open and progress.stage.startswith(AFTERWARDS):
            self._window.__exit__(None, None, None)
            self._open = False

    def energy(self) -> tuple[float | None, str]:
        if self._open:
            self._window.__exit__(None, None, None)
        record = None if self._measured is None else self._measured.result()
        if record is None or record.energy_joules is None or self._first >= self._total > 0:
            return None, "none"
        share = (self._total - self._first) / self._total if self._total else 1.0
        return record.energy_joules / share, record.tier.value


def recipe(case: Case, pad_to: int | None) -> dict[str, Any]:
    """Fine-tune with transformers' Trainer, fp32; each row padded to ``pad_to``, or each batch to its longest."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from wattbus import energy
    from wattbus.ml.examples import label_order, split_rows
    from wattbus.ml.fit import WARMUP_SHARE, WEIGHT_DECAY, default_learning_rate

    table = _reviews()[: case.rows]
    labels = [label for label, _ in table]
    order = label_order(labels)
    tokenizer = AutoTokenizer.from_pretrained(case.model, local_files_only=True)
    how = {"padding": "max_length", "max_length": pad_to} if pad_to else {}
    coded = tokenizer([text for _, text in table], truncation=True, **how)
    examples = [
        {**{name: coded[name][row] for name in coded}, "labels": order.index(labels[row])}
        for row in range(case.rows)
    ]
    split = split_rows(labels, SHARE, case.seed)
    set_seed(case.seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        case.model, num_labels=len(order), local_files_only=True
    )
    arguments = TrainingArguments(
        output_dir=str(case.folder / "recipe"),
        num_train_epochs=case.epochs,
        learning_rate=default_learning_rate(model.config.hidden_size),
        warmup_steps=WARMUP_SHARE,
        weight_decay=WEIGHT_DECAY,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        seed=case.seed,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=[examples[row] for row in split.train],
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    energy.wait_until_metering()
    with energy.window("training") as measured:
        began = time.perf_counter()
        steps = trainer.train().global_step
        training = time.perf_counter() - began
    record = measured.result()
    found: dict[str, Any] = {
        "rows": case.rows,
        "training": training,
        "steps": steps,
        "joules": record.energy_joules,
        "tier": record.tier.value,
        "peak_mib": peak_mib(),
    }
    if not case.scored:
        return found
    named = [str(label) for label in order]
    found["accuracy"] = _right(model, tokenizer, [table[row] for row in split.test], named)
    return found | {"unread": _right(model, tokenizer, _reviews()[case.rows :], named)}


def _unread_of(case: Case, folder: Path, labels: list[str]) -> dict[str, float]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return {"unread": _right(model, tokenizer, _reviews()[case.rows :], labels)}


def _right(model: Any, tokenizer: Any, rows: list[tuple[str, str]], labels: list[str]) -> float:
    """Return the share of the rows that a model answers right."""
    import torch

    ordered = sorted(rows, key=lambda row: len(row[1]))
    right = 0
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(ordered), 32):
            part = ordered[start : start + 32]
            coded = tokenizer([text for _, text in part], padding=True, truncation=True, return_tensors="pt")
            best = model(**coded).logits.float().argmax(-1).tolist()
            right += sum(labels[index] == label for index, (label, _) in zip(best, part, strict=True))
    return right / len(rows)


def _reviews() -> list[tuple[str, str]]:
    with REVIEWS.open(encoding="utf-8", newline="") as file:
        return [(label, text) for label, text in list(csv.reader(file))[1:]]
