"""Optimised models on the bus against what others serve them with, by turns in the same run.

Four pieces of work: classifying texts of 15 to 128 tokens with a model of the size of bert-base and with MiniLM,
sentence vectors of MiniLM, classifying pictures with a model of the size of ResNet-50. Ours goes through the bus,
durable and metered, with one client and with 32. The peers and what each does stand in docs/benchmarks.md. Last, a new
process to its first answer. All have the same threads. About ten minutes as below; --work names a part.

    python misc/bench/optimise.py --rounds 5 --write
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import wattbus
from peers.answering import Bus, LitServe, Pipeline, Sentences
from peers.subjects import Build, bert_base, minilm, minilm_classifier, pictures, resnet50, texts
from peers.turns import Apart, End, Turn
from table import figure, machine, table, write_block
from wattbus.ml.optimise_spec import Candidate, Gate, OptimiseSpec, candidates_of
from wattbus.ml.optimiser import optimise

CLIENTS = 32
NO_BF16 = "this processor has no bf16"


@dataclass(frozen=True)
class Work:
    """One piece of work: the model, its task, what it is asked, and how much of it."""

    build: Build
    task: str
    inputs: Callable[[int, Path], list[str]]
    count: int
    peer: str = "pipeline"
    more: dict[str, str] = field(default_factory=dict)


WORKS = {
    "bert-base size": Work(bert_base, "text-classification", texts, 48),
    "MiniLM": Work(minilm_classifier, "text-classification", texts, 128),
    "MiniLM, vectors": Work(
        minilm, "feature-extraction", texts, 128, "sentence-transformers", {"pooling": "model"}
    ),
    "ResNet-50 size": Work(resnet50, "image-classification", pictures, 32),
}
LITSERVED = ("fp32", "int8")  # candidates of text classification that LitServe runs too, on the same engine
FIRST = ("fp32", "int8")  # candidates that a new process is timed with

_FIRST_OURS = """
import re, sys
from pathlib import Path
from wattbus.ml import pipelines
model = pipelines.load(Path(sys.argv[1]), sys.argv[2], {}, cache=Path(sys.argv[3]))
model.predict({"inputs": "One text."})
assert not {"torch", "transformers"} & set(sys.modules), "the answer was to need no PyTorch"
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], flush=True)
"""
_FIRST_PEER = """
import re, sys
from transformers import pipeline
pipeline(sys.argv[2], model=sys.argv[1], device="cpu")("One text.")
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], flush=True)
"""


@dataclass
class Way:
    """One way to do the work: its process, how many clients ask, and what is compared with what."""

    name: str
    contender: Apart
    clients: int
    stays: str = ""
    ours: bool = False
    beside: str = ""  # the other peer that it is compared with
    turns: list[Turn] = field(default_factory=list)


def converted(work: Work, folder: Path, to: str, inputs: list[str], place: Path) -> Candidate | Path:
    """Convert with the product; return the version's folder, or the candidate with its reason where none was made.

    The gate is left open, so that what it would refuse is measured too; what it would say is in the row.
    """
    spec = OptimiseSpec(
        model_folder=folder, task=work.task, candidates=candidates_of(to), inputs=tuple(inputs),
        uploads=place / "uploads", run_folder=place / f"run-{to}", gate=Gate(min_agreement=0, min_speedup=0.01),
        rounds=1, metered=False,
    )  # fmt: skip
    result = optimise(spec, on_progress=lambda text: print(f"  {text}", file=sys.stderr, flush=True))
    (candidate,) = result.candidates
    if result.model_folder is None:
        return candidate
    made = place / to
    result.model_folder.rename(made)
    shutil.rmtree(spec.run_folder)
    _STAYS[made] = _stays(candidate)
    return made


_STAYS: dict[Path, str] = {}


def _stays(candidate: Candidate) -> str:
    assert candidate.likeness is not None
    alike = candidate.likeness
    gate = "yes" if alike.agreement >= Gate().min_agreement else "no"
    return f"{gate} ({100 * alike.agreement:.1f} %)"


def run(name: str, work: Work, to: list[str], place: Path, options: argparse.Namespace) -> list[list[str]]:
    """Return the rows of one piece of work."""
    folder = work.build(place / "model")
    (place / "uploads").mkdir(exist_ok=True)
    inputs = work.inputs(options.inputs or work.count, place)
    made = {one: converted(work, folder, one, inputs, place) for one in to}
    uploads = place / "uploads" if work.task == "image-classification" else None
    ways: list[Way] = []
    try:
        absent = _begin(ways, work, folder, made, uploads, place)
        for way in ways:
            way.contender.turn(inputs, way.clients)  # the first turn warms
        for number in range(options.rounds):
            for way in ways if number % 2 == 0 else reversed(ways):
                way.turns.append(way.contender.turn(inputs, way.clients))
        ends = [way.contender.end() for way in ways]
    finally:
        for way in ways:
            way.contender.close()
    rows = [_row(name, way, ways, end) for way, end in zip(ways, ends, strict=True)]
    rows += [[name, what, why, *[""] * (len(HEAD) - 3)] for what, why in absent]
    if work.task == "text-classification":
        rows += _first_answers(name, work.task, folder, made, place, options.rounds)
    return rows


def _begin(
    ways: list[Way],
    work: Work,
    folder: Path,
    made: dict[str, Candidate | Path],
    uploads: Path | None,
    place: Path,
) -> list[tuple[str, str]]:
    """Start all contenders, into ``ways``; return what cannot be measured here, each with its reason."""
    absent: list[tuple[str, str]] = []
    sentences = work.peer == "sentence-transformers"
    if sentences and find_spec("sentence_transformers") is None:
        raise SystemExit("pip install -r requirements-dev.txt first: there is no sentence-transformers here")
    if sentences:
        ways.append(Way("sentence-transformers, one at a time", Apart(Sentences, folder), 1))
        ways.append(Way(_TOGETHER, Apart(Sentences, folder), CLIENTS))
    else:
        ways.append(Way("pipeline, one at a time", Apart(Pipeline, folder, work.task, uploads), 1))
    for name, found in made.items():
        if isinstance(found, Candidate):
            absent.append((f"wattbus, {name}", NO_BF16 if name == "bf16" else found.reason[:80]))
            continue
        for clients in (1, CLIENTS):
            home = place / f"home-{name}-{clients}"
            contender = Apart(Bus, found, work.task, home, uploads, work.more)
            text = f"**wattbus**, {name}, {clients} client{'s' if clients > 1 else ''}"
            ways.append(Way(text, contender, clients, _STAYS[found], ours=True))
        if sentences:
            ways[-1].beside = _TOGETHER
        elif work.task == "text-classification" and name in LITSERVED:
            ways[-1].beside = f"LitServe, {name}, {CLIENTS} clients"
            _add_litserve(ways, absent, ways[-1].beside, found)
    if any(way.name.startswith("LitServe") for way in ways):
        _add_litserve(ways, absent, f"{_BARE} a model, {CLIENTS} clients", None)
    return absent


def _add_litserve(ways: list[Way], absent: list[tuple[str, str]], name: str, folder: Path | None) -> None:
    """Start LitServe; where it is not there, or fails, the row says so."""
    if find_spec("litserve") is None:
        absent.append((name, "not installed: docs/benchmarks.md says how"))
        return
    try:
        ways.append(Way(name, Apart(LitServe, folder), CLIENTS))
    except (RuntimeError, TimeoutError) as error:
        absent.append((name, f"failed: {str(error).strip().splitlines()[-1][:80]}"))


_TOGETHER = "sentence-transformers, all texts in one call"


def _row(name: str, way: Way, ways: list[Way], end: End) -> list[str]:
    """Return the row of one way; ratios are medians over the rounds, each against the peer in the same round."""
    if way.ours and end.torch_loaded:
        raise SystemExit(f"{way.name}: PyTorch was imported")

    def middle(of: Callable[[Turn], float]) -> float:
        return statistics.median(of(turn) for turn in way.turns)

    def times(other: Way, of: Callable[[Turn], float]) -> float:
        return statistics.median(of(one) / of(two) for one, two in zip(other.turns, way.turns, strict=True))

    peer = ways[0]
    beside = next((one for one in ways if one.name == way.beside), None)
    p50 = None if way.turns[0].p50_seconds is None else middle(lambda turn: turn.p50_seconds or 0.0)
    count = sum(turn.count for turn in way.turns)
    joules = None if end.joules is None else 1000 * end.joules / count
    _JOULES[(name, way.name)] = joules
    before = _JOULES.get((name, peer.name))
    sooner = way.ours and way.clients == 1
    return [
        name,
        way.name,
        figure(middle(lambda turn: turn.count / turn.seconds)),
        figure(times(peer, lambda turn: turn.seconds))
        if way is not peer and not way.name.startswith(_BARE)
        else "",
        f"{figure(times(beside, lambda turn: turn.seconds))}" if beside else "",
        figure(1000 * p50) if p50 is not None else "",
        figure(times(peer, lambda turn: turn.p50_seconds or 0.0)) if sooner else "",
        f"{figure(joules)} ({end.tier})" if joules is not None else "–",
        figure(before / joules) if way.ours and joules and before else "",
        figure(1000 * middle(lambda turn: turn.cpu_seconds / turn.count)),
        figure(end.peak_mib),
        way.stays,
    ]


_BARE = "LitServe without"
_JOULES: dict[tuple[str, str], float | None] = {}


def _first_answers(
    name: str, task: str, folder: Path, made: dict[str, Candidate | Path], place: Path, runs: int
) -> list[list[str]]:
    """Return the rows of a new process: the seconds from its start to its first answer, files warm, by turns."""
    scripts: dict[str, tuple[str, Path]] = {"pipeline": (_FIRST_PEER, folder)}
    for to in FIRST:
        found = made.get(to)
        if isinstance(found, Path):
            scripts[f"**wattbus**, {to}"] = (_FIRST_OURS, found)
    found_seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in scripts}
    for number in range(runs + 1):
        for way, (script, model) in scripts.items():
            measured = _first_answer(script, model, task, place / f"compiled-{model.name}")
            if number:  # the first compiles, and warms the files
                found_seconds[way].append(measured)
    middle = {way: statistics.median(one for one, _ in found) for way, found in found_seconds.items()}
    peak = {way: statistics.median(one for _, one in found) for way, found in found_seconds.items()}
    return [
        [
            name, f"{way}: new process to first answer", "", "", "", figure(1000 * middle[way]),
            figure(middle["pipeline"] / middle[way]) if way != "pipeline" else "", "", "", "", figure(peak[way]),
            "no PyTorch in it" if way != "pipeline" else "",
        ]
        for way in scripts
    ]  # fmt: skip


def _first_answer(script: str, model: Path, task: str, cache: Path) -> tuple[float, float]:
    """Return the seconds to the answer of a new process, and the peak of its memory in MiB."""
    environment = {**os.environ, "PYTHONPATH": str(Path(wattbus.__file__).parents[1])}
    command = [sys.executable, "-c", script, str(model), task, str(cache)]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    seconds = time.perf_counter() - began
    _, told = process.communicate(timeout=60)
    if process.returncode:
        raise SystemExit(told[-2000:])
    return seconds, int(line) / 1024


HEAD = [
    "work", "way", "a second", "times the first peer", "times the other peer", "p50 ms", "times sooner",
    "J / 1,000 (tier)", "times fewer joules", "CPU s / 1,000", "peak MiB", "within the gate (what stays)",
]  # fmt: skip


def main() -> None:
    """Measure each piece of work, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--inputs", type=int, help="texts or pictures; by default as many as each work has")
    parser.add_argument("--to", default="bf16,fp32,int8-weights,int8,onnx-int8")
    parser.add_argument("--work", default=";".join(WORKS), help="separated by ;")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("stopped")
    )  # what waits its turn is ended on the way out
    for name in options.work.split(";"):
        began, where = time.monotonic(), machine(Path(tempfile.gettempdir()))
        with tempfile.TemporaryDirectory() as place:
            rows = run(name, WORKS[name], options.to.split(","), Path(place), options)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        text = (
            f"{where} {options.threads} threads each; medians of {options.rounds} rounds by turns. {_versions()}\n\n"
            f"{table(HEAD, rows, 2)}"
        )
        print(text, flush=True)
        if options.write:
            write_block(f"optimise: {name}", text)


def _versions() -> str:
    names = ("torch", "transformers", "openvino", "onnxruntime", "litserve", "sentence-transformers")
    there = [f"{name} {version(name)}" for name in names if find_spec(name.replace("-", "_"))]
    return ", ".join(there) + "."


if __name__ == "__main__":
    main()
