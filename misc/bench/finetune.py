"""Fine-tuning against its peers: the way of the 2022 template, which pads every row to 512 tokens, and a good recipe.

    python misc/bench/finetune.py --write                      # three runs of each way
    python misc/bench/finetune.py --model MiniLM --padded-rows 512 --runs 1

Each run is a process of its own; the ways take turns. In a run all have the same rows, split, seed and batches of 16;
the next run has the next seed, so that the spread of an accuracy is seen. The learning rate is one, but for LoRA. The
padded way is so slow that it is measured on fewer rows, and the time for all is projected from them; its batches hold
what those of the recipe hold, so its accuracy is that of the recipe. Joules are of the training alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from peers.subjects import bert_base, minilm
from peers.trainers import Case, ours, recipe
from table import figure, machine, table, write_block

SEED = 42


@dataclass(frozen=True)
class Size:
    """A model, on how many rows of the demo's reviews it is trained, and whether its accuracy means anything."""

    build: Callable[[Path], Path]
    rows: int
    epochs: float
    padded_rows: int
    scored: bool


@dataclass(frozen=True)
class Way:
    """A way to fine-tune, and the words of its row."""

    words: str
    run: Callable[[Case], dict[str, float]]
    padded: bool = False


SIZES = {
    "MiniLM": Size(minilm, rows=512, epochs=3, padded_rows=40, scored=True),
    "bert-base size": Size(bert_base, rows=120, epochs=1, padded_rows=40, scored=False),
}
PADDED, DYNAMIC = "padded", "dynamic"
#: A way of wattbus names the ``method`` of the training's specification that it asks for; None is the default.
WAYS = {
    PADDED: Way("padded to 512", partial(recipe, pad_to=512), padded=True),
    DYNAMIC: Way("Trainer, dynamic padding", partial(recipe, pad_to=None)),
    "full": Way("**wattbus**, everything", partial(ours, method=None)),
    "lora": Way("**wattbus**, LoRA", partial(ours, method="lora")),
    "last-layers": Way("**wattbus**, the last layers", partial(ours, method="last-layers")),
    "features": Way("**wattbus**, features and a linear head", partial(ours, method="features")),
    "again": Way("**wattbus**, the same, the features kept", partial(ours, method="features", again=True)),
}


def run_apart(way: str, size: str, rows: int, seed: int) -> dict[str, float]:
    """Run one way in a fresh process; return what it measured."""
    command = [
        sys.executable,
        __file__,
        "--model",
        size,
        "--only",
        way,
        "--rows",
        str(rows),
        "--seed",
        str(seed),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return measured


def run_here(way: str, size: Size, rows: int, seed: int) -> dict[str, float]:
    """Run one way in this process."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = size.build(folder / "base")
        scored = size.scored and not WAYS[way].padded
        return WAYS[way].run(Case(model, rows, size.epochs, seed, scored, folder))


Found = dict[str, list[dict[str, float]]]


def rows_of(name: str, size: Size, found: Found, rows: int) -> list[list[str]]:
    """Return the rows of one model; ratios are of medians."""

    def middle(way: str, what: str) -> float | None:
        values = [run[what] for run in found.get(way, []) if run.get(what) is not None]
        return statistics.median(values) if values else None

    def for_all(way: str, what: str) -> float | None:
        """Project what was measured on some rows to all."""
        value, measured = middle(way, what), middle(way, "rows")
        return None if value is None or measured is None else value * rows / measured

    def over(other: str, way: str, what: str) -> str:
        slow, fast = for_all(other, what), for_all(way, what)
        return figure(slow / fast) if slow and fast and other != way else ""

    lines = []
    for way, said in WAYS.items():
        measured, steps = middle(way, "rows") or 0.0, middle(way, "steps")
        seconds = middle(way, "training")
        passes = size.epochs if steps else 1  # a linear head reads each row once
        lines.append(
            [
                name,
                said.words + (f", on {measured:.0f} rows" if measured < rows else ""),
                figure(0.8 * measured * passes / seconds if seconds else None),
                figure(for_all(way, "training")),
                over(PADDED, way, "training"),
                over(DYNAMIC, way, "training"),
                figure(for_all(way, "joules")),
                over(PADDED, way, "joules"),
                over(DYNAMIC, way, "joules"),
                figure(middle(way, "peak_mib")),
                _spread(found[way], "accuracy") if size.scored and not said.padded else "",
                _spread(found[way], "unread"),
                str(len(found[way])),
            ]
        )
    return lines


def _spread(runs: list[dict[str, float]], what: str) -> str:
    """Show the mean over the runs, with the least and the most; nothing where it was not read."""
    values = [run[what] for run in runs if run.get(what) is not None]
    if not values:
        return ""
    apart = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{apart}"


HEAD = [
    "model", "way", "rows a second", "training s, all rows", "times faster than padded", "than dynamic",
    "J, all rows", "times fewer than padded", "than dynamic", "peak MiB", "accuracy, test", "accuracy, unread", "runs",
]  # fmt: skip


def main() -> None:
    """Run the ways by turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=",".join(SIZES), help="by default both")
    parser.add_argument("--rows", type=int, help="by default as many as each model has")
    parser.add_argument("--padded-rows", type=int, help="rows for the padded way; by default a few dozen")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=SEED, help="of the first run")
    parser.add_argument("--only", choices=WAYS, help="run one way here and print what it measured as JSON")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    if options.only:
        size = SIZES[options.model]
        print(json.dumps(run_here(options.only, size, options.rows or size.rows, options.seed)))
        return
    where = machine(Path(tempfile.gettempdir()))
    lines: list[list[str]] = []
    tiers: set[str] = set()
    for name in options.model.split(","):
        lines += _measured(name, SIZES[name], options, tiers)
    told = ", ".join(
        f"{name}: {options.rows or size.rows} rows, {size.epochs:g} epochs" for name, size in SIZES.items()
    )
    text = (
        f"{where} {told}, 80 % of the rows are trained on. Medians of the runs, by turns, and of "
        f"accuracies the mean; joules are {', '.join(sorted(tiers)) or 'unknown'}.\n\n{table(HEAD, lines, 2)}"
    )
    print(text)
    if options.write:
        write_block("finetune", text)


def _measured(name: str, size: Size, options: Any, tiers: set[str]) -> list[list[str]]:
    rows = options.rows or size.rows
    found: Found = {}
    for number in range(options.runs):
        for way, said in WAYS.items():
            began = time.monotonic()
            given = min(rows, options.padded_rows or size.padded_rows) if said.padded else rows
            measured = run_apart(way, name, given, options.seed + number)
            tiers |= {str(measured.pop("tier"))}
            found.setdefault(way, []).append(measured)
            shown = ", ".join(f"{what} {value}" for what, value in measured.items())
            took = time.monotonic() - began
            print(f"{name}, run {number + 1}, {way}, {took:.0f} s: {shown}", file=sys.stderr, flush=True)
    return rows_of(name, size, found, rows)


if __name__ == "__main__":
    main()
