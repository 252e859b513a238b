"""Models side by side in one process: each takes turns with all cores, against each with all cores whenever it likes.

One, two and three models of MiniLM's size, each asked by one thread that sends the next text when the last is answered,
for some seconds; by turns in the same run: "naive" is the same models with no plan. Printed for each: answers a second
of all models together, the median and the 95 % of an answer's time, and the ratio of the plan to the naive way.

    python misc/bench/side_by_side.py --rounds 5 --seconds 5 --write
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from peers.subjects import minilm_classifier, texts
from table import figure, machine, table, write_block
from wattbus.ml import model_files, pipelines
from wattbus.ml.conversion import Converter
from wattbus.ml.pipeline_tasks import find_task
from wattbus.ml.pipelines import Predictor
from wattbus.ml.threads import COMPUTE, cores

TASK = "text-classification"
MOST_MODELS = 3
#: More than there can be callers: nobody takes turns.
NO_PLAN = 1_000


def engine_of(folder: Path, work: Path) -> Path:
    """Convert the model in ``folder`` to OpenVINO, as it is."""
    loaded = model_files.load_parts(folder, TASK, {})
    facts = Predictor(find_task(TASK), loaded, {}, None, None).facts()
    Converter(folder, loaded, facts, work / "work").make("fp32", work / "engine", ())
    return work / "engine"


def plan(on: bool) -> None:
    """Let calls take turns, or not; nobody may be computing."""
    COMPUTE._free = 1 if on else NO_PLAN


def measured(predictors: list[Any], inputs: list[str], seconds: float) -> tuple[float, list[float]]:
    """Return answers a second of all together, and the seconds of each answer."""
    ends = time.perf_counter() + seconds
    each: list[float] = []

    def ask(predictor: Any, start: int) -> None:
        number = start
        while (begun := time.perf_counter()) < ends:
            predictor.predict({"inputs": inputs[number % len(inputs)]})
            each.append(time.perf_counter() - begun)
            number += 1

    threads = [threading.Thread(target=ask, args=(one, place * 7)) for place, one in enumerate(predictors)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(each) / (time.perf_counter() - begun), each


def rows_of(
    way: str, predictors: list[Any], inputs: list[str], options: argparse.Namespace
) -> list[list[str]]:
    """Return a row for each number of models: the plan beside the naive way, by turns."""
    rows = []
    for count in range(1, MOST_MODELS + 1):
        rates: dict[bool, list[float]] = {True: [], False: []}
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(options.rounds):
            for on in (False, True):
                plan(on)
                rate, each = measured(predictors[:count], inputs, options.seconds)
                rates[on].append(rate)
                times[on] += each
        ratio = statistics.median(ours / peer for ours, peer in zip(rates[True], rates[False], strict=True))
        row = [way, str(count)]
        for on in (False, True):
            ordered = sorted(times[on])
            row += [
                figure(statistics.median(rates[on])),
                figure(1000 * ordered[len(ordered) // 2], "ms"),
                figure(1000 * ordered[int(len(ordered) * 0.95)], "ms"),
            ]
        rows.append([*row, figure(ratio)])
    plan(True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--texts", type=int, default=40)
    parser.add_argument("--ways", default="PyTorch,OpenVINO")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    where = machine(Path(tempfile.gettempdir()))
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = minilm_classifier(work / "model")
        inputs = texts(options.texts, folder)
        for way in options.ways.split(","):
            served = folder if way == "PyTorch" else engine_of(folder, work)
            predictors = [pipelines.load(served, TASK, {}) for _ in range(MOST_MODELS)]
            for one in predictors:
                for text in inputs:
                    one.predict({"inputs": text})
            rows += rows_of(way, predictors, inputs, options)
    head = ["way", "models", "naive, a second", "p50", "p95", "by turns, a second", "p50", "p95", "times"]
    how = (
        f"{options.rounds} rounds by turns of {options.seconds:g} s, {cores()} threads, "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}. {where}"
    )
    text = f"{table(head, rows)}\n\n{how}"
    print(text)
    if options.write:
        write_block("side_by_side", text)


if __name__ == "__main__":
    main()
