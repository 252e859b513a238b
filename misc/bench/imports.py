"""What it costs to import and to start wattbus, in fresh interpreters, beside iop and transformers in the same run.

python misc/bench/imports.py --runs 9 --write
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import table

HEAVY = ("torch", "transformers", "codecarbon", "fastapi")
LIMIT_SECONDS = 120
IMPORTS = {
    "`import wattbus`": "import wattbus",
    "`from wattbus import run, MLRequest`": "from wattbus import run, MLRequest",
    "`import iop`": "import iop",
    "`import transformers`": "import transformers",
}
OURS = tuple(IMPORTS)[:2]

# Prints the seconds of the import, and which heavy libraries it has loaded.
_TIMED = """
import sys, time
began = time.perf_counter()
{statement}
took = time.perf_counter() - began
print(took, ",".join(name for name in {heavy!r} if name in sys.modules))
"""

# A production of one item, from nothing to Running; prints when it was there, on the clock that processes share.
_START = """
import sys, time
import iop
import wattbus

class Echo(iop.BusinessOperation):
    def on_message(self, request):
        return request

production = iop.Production("Bench.Start")
production.operation("Echo", Echo)
with wattbus.run(production, home=sys.argv[1]) as bus:
    assert bus.wait_ready(60) and bus.items()[0].state == "Running", bus.items()
    print(time.monotonic(), flush=True)
"""


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="wattbus-bench-") as folder:
        machine = table.machine(Path(folder))
        rows = import_rows(options.runs)
        rows.append(start_row(options.runs, Path(folder)))
    head = ["what", "median", "slowest", f"of {', '.join(HEAVY)} it loads"]
    text = f"{machine} Median of {options.runs} fresh interpreters, in turns.\n\n{table.table(head, rows)}"
    print(text)
    if options.write:
        table.write_block("imports", text)
    proof()


def import_rows(runs: int) -> list[list[str]]:
    """Time each import in turns; a library that is missing is a row that says so."""
    seconds: dict[str, list[float]] = {title: [] for title in IMPORTS}
    loaded: dict[str, set[str]] = {title: set() for title in IMPORTS}
    missing: dict[str, str] = {}
    for _ in range(runs):
        for title, statement in IMPORTS.items():
            if title in missing:
                continue
            done = python(_TIMED.format(statement=statement, heavy=HEAVY))
            if done.returncode != 0:
                missing[title] = done.stderr.strip().splitlines()[-1]
                continue
            took, _, heavy = done.stdout.strip().partition(" ")
            seconds[title].append(float(took))
            loaded[title].update(name for name in heavy.split(",") if name)
    return [
        [title, f"not here: {missing[title]}", "", ""]
        if title in missing
        else _row(title, seconds[title], ", ".join(sorted(loaded[title])) or "none")
        for title in IMPORTS
    ]


def start_row(runs: int, folder: Path) -> list[str]:
    """Time from the start of the process until a production of one item is Running, each in a new home."""
    title = "process start to a production Running, new home"
    seconds = []
    for number in range(runs):
        began = time.monotonic()
        done = python(_START, str(folder / f"home-{number}"))
        if done.returncode != 0:
            return [title, f"not here: {done.stderr.strip().splitlines()[-1]}", "", ""]
        seconds.append(float(done.stdout.split()[0]) - began)
    return _row(title, seconds, "")


def proof() -> None:
    """Show by ``-X importtime`` that our imports load nothing heavy; exit with 1 if they do."""
    for title in OURS:
        done = python(IMPORTS[title], options=("-X", "importtime"))
        lines = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
        names = [(parts[2].strip(), parts[1].strip()) for parts in lines[1:]]
        heavy = sorted({name for name, _ in names if name.split(".")[0] in HEAVY})
        slowest = sorted(names, key=lambda pair: -int(pair[1]))[:5]
        print(
            f"{title}: {len(names)} modules; slowest, cumulated: {', '.join(f'{n} {t} us' for n, t in slowest)}"
        )
        if heavy:
            raise SystemExit(f"{title} loads {', '.join(heavy)}")


def python(code: str, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter."""
    command = [sys.executable, *options, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)


def _row(title: str, seconds: list[float], loads: str) -> list[str]:
    median, slowest = statistics.median(seconds), max(seconds)
    return [title, table.figure(median * 1e3, "ms"), table.figure(slowest * 1e3, "ms"), loads]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    if not 1 <= options.runs <= 50:
        parser.error("--runs is 1 to 50")
    return options


if __name__ == "__main__":
    main()
