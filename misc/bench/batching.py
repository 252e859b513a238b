"""How many texts of one length go into one call of a model: PyTorch and OpenVINO, by turns, on MiniLM.

Texts of 16 to 512 tokens, 1 to 64 in a call. Printed for each length: texts a second one by one, and for each number
in a call how many times that. Then mixed lengths, 15 to 128 tokens: one by one, and in the groups that serving makes.

    python misc/bench/batching.py --rounds 5 --write
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers.subjects import SEED, minilm_classifier, texts
from side_by_side import TASK, engine_of
from table import figure, machine, table, write_block
from wattbus.ml import pipelines
from wattbus.ml.engine import EnginePredictor
from wattbus.ml.pipelines import Predictor
from wattbus.ml.threads import cores

LENGTHS = (16, 32, 64, 128, 512)
COUNTS = (1, 2, 4, 8, 16, 32, 64)
MOST_TOKENS = 4096


def of_length(tokens: int, count: int, folder: Path) -> list[str]:
    """Return texts of so many tokens, the two special ones included."""
    from tokenizers import Tokenizer

    known = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    words = sorted(word for word in known if word.isascii() and word.isalpha() and len(word) > 3)
    draw = random.Random(SEED)
    return [" ".join(draw.choices(words, k=tokens - 2)) for _ in range(count)]


def caller(predictor: Predictor | EnginePredictor) -> Callable[[list[str]], Any]:
    """Return what answers texts in one call of the model."""
    if isinstance(predictor, Predictor):
        return lambda several: (
            predictor._answer_texts(several, {})
            if len(several) > 1
            else predictor.predict({"inputs": several})
        )
    reader = predictor._answering.reader  # type: ignore[attr-defined]

    def run(several: list[str]) -> Any:
        return reader._runner.run(reader._feeds([reader.tokens(text) for text in several]))

    return run


def rate(work: Callable[[], Any], count: int, least_seconds: float) -> float:
    """Return texts a second of work on ``count`` texts, done over and over."""
    begun, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - begun) < least_seconds or not done:
        work()
        done += count
    return done / spent if spent else 0.0


def rows_of(way: str, predictor: Any, folder: Path, options: argparse.Namespace) -> list[list[str]]:
    """Return a row for each length, and one for mixed lengths."""
    call, rows = caller(predictor), []
    for tokens in LENGTHS:
        inputs = of_length(tokens, max(COUNTS), folder)
        counts = [count for count in COUNTS if count * tokens <= MOST_TOKENS]
        for count in counts:
            call(inputs[:count])
        rates: dict[int, list[float]] = {count: [] for count in counts}
        for _ in range(options.rounds):
            for count in counts:
                chosen = inputs[:count]
                rates[count].append(rate(lambda chosen=chosen: call(chosen), count, options.seconds))
        alone = statistics.median(rates[1])
        gains = [
            figure(statistics.median(rates[count]) / alone) if count in rates else "" for count in COUNTS[1:]
        ]
        rows.append([way, str(tokens), figure(alone), *gains])
    return [*rows, mixed(way, predictor, folder, options)]


def mixed(way: str, predictor: Any, folder: Path, options: argparse.Namespace) -> list[str]:
    """Return the row of mixed lengths, 64 texts: one by one, and together as serving does it."""
    requests = [{"inputs": text} for text in texts(max(COUNTS), folder)]
    ways: dict[str, Callable[[], Any]] = {
        "alone": lambda: [predictor.predict(one) for one in requests],
        "together": lambda: predictor.predict_all(requests),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for work in ways.values():
        work()
    for _ in range(options.rounds):
        for name, work in ways.items():
            rates[name].append(rate(work, len(requests), options.seconds))
    alone, together = (statistics.median(rates[name]) for name in ways)
    return [way, "15 to 128, grouped", figure(alone), *[""] * (len(COUNTS) - 2), figure(together / alone)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each number in each round")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    where = machine(Path(tempfile.gettempdir()))
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = minilm_classifier(work / "model")
        rows += rows_of("PyTorch", pipelines.load(folder, TASK, {}), folder, options)
        rows += rows_of("OpenVINO", pipelines.load(engine_of(folder, work), TASK, {}), folder, options)
    head = ["way", "tokens", "texts a second, 1 a call", *(f"{count} a call, times" for count in COUNTS[1:])]
    text = f"{table(head, rows, 2)}\n\n{options.rounds} rounds by turns, {cores()} threads. {where}"
    print(text)
    if options.write:
        write_block("batching", text)


if __name__ == "__main__":
    main()
