"""How far an operation's share can be trusted: two operations whose work is 1 to 3 run together, and are charged.

    python misc/bench/shares.py --runs 9 --write

The workload is its own meter: one does three times the other's work in the same rounds. "Charged of used" is an
operation's part of the joules over its part of the processor time; 1 is right. The rows differ in who works: the
operation's own thread; torch's pool of threads, which is shared in proportion to the own threads' time, because nothing
tells whom a pool thread works for; a pooled operation beside a single-threaded one, which is the worst of it; and child
processes. Where one is single-threaded, what both used is counted in the run; two alike have used 1 to 3.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from table import machine, table, write_block
from wattbus.energy import FakeFeed, Ledger

ROUNDS = 40
ROUND_SECONDS = 0.005
SIZE = 700  # of a matrix: large enough for torch to use its pool
CHILD = "import sys, time\nwhile time.process_time() < float(sys.argv[1]): sum(range(500))"


@dataclass(frozen=True)
class Case:
    """Two operations, and what a unit of work is for the first, which does one a round, and for the second."""

    what: str
    first: Callable[[], object]
    second: Callable[[], object]


@dataclass(frozen=True)
class Charged:
    """Of each operation its part of the joules, over its part of the processor time."""

    first: float
    second: float


def _charged(joules: dict[int, float], first_used: float) -> Charged:
    part = joules[1] / (joules[1] + joules[2])
    return Charged(part / first_used, (1 - part) / (1 - first_used))


def burn() -> None:
    """Use the processor in this thread for a unit of work."""
    end = time.thread_time() + ROUND_SECONDS
    while time.thread_time() < end:
        sum(range(500))


def multiply() -> None:
    """Let torch's pool multiply."""
    matrix = torch.ones(SIZE, SIZE)
    matrix @ matrix


def charged(case: Case, rounds: int = ROUNDS) -> Charged:
    """Run both operations together, one unit beside three a round, and return what they are charged."""
    ledger, joules = _ledger()
    barrier = threading.Barrier(2)
    own: dict[int, float] = {}
    began = time.process_time()

    def operation(number: int, unit: Callable[[], object], units: int) -> None:
        window = ledger.open(number, 1, "Op")
        before = time.thread_time()
        for _ in range(rounds):
            barrier.wait(120)
            for _ in range(units):
                unit()
        barrier.wait(120)
        own[number] = time.thread_time() - before
        window.close()

    threads = [
        threading.Thread(target=operation, args=(number, unit, units), name=f"worker{number}")
        for number, unit, units in ((1, case.first, 1), (2, case.second, 3))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    used = time.process_time() - began
    ledger.stop()
    alike = case.first is case.second
    return _charged(joules, 0.25 if alike else own[1] / used)


def charged_children(seconds: float = 0.2) -> Charged:
    """The same with child processes, which know their own CPU time."""
    ledger, joules = _ledger()
    spent: dict[int, float] = {}

    def operation(number: int, units: int) -> None:
        window = ledger.open(number, 1, "Op")
        child = subprocess.Popen([sys.executable, "-S", "-c", CHILD, str(units * seconds)])
        window.watch_child(child.pid)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        spent[number] = used.ru_utime + used.ru_stime
        window.add_child_cpu_seconds(spent[number], child.pid)
        window.close()

    threads = [threading.Thread(target=operation, args=(number, units)) for number, units in ((1, 1), (2, 3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.stop()
    return _charged(joules, spent[1] / (spent[1] + spent[2]))


def _ledger() -> tuple[Ledger, dict[int, float]]:
    """Return a ledger of a machine whose joules follow its processor time: a share is then one of the work."""
    joules: dict[int, float] = {}
    ledger = Ledger(
        FakeFeed(idle_watts=0.0),
        on_settled=lambda records, _: joules.update(
            {record.message_id: record.energy_joules or 0.0 for record in records}
        ),
        interval_seconds=0.1,
    )
    ledger.start()
    if not ledger.wait_ready():
        raise SystemExit("the ledger did not start")
    return ledger, joules


def _spread(found: list[float]) -> str:
    return f"{statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f})"


def main() -> None:
    """Measure each case, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    where = machine(Path(tempfile.gettempdir()))
    multiply()
    cases = (
        Case("own threads", burn, burn),
        Case("both in torch's pool", multiply, multiply),
        Case("1 in its own thread, 3 in torch's pool", burn, multiply),
    )
    rows = []
    for case in cases:
        rows.append((case.what, [charged(case) for _ in range(options.runs)]))
    rows.append(("child processes", [charged_children() for _ in range(options.runs)]))
    text = (
        f"{where} {options.runs} runs; torch {torch.__version__}, {torch.get_num_threads()} threads.\n\n"
        + table(
            ["who works", "the first is charged of used", "the second is charged of used", "runs"],
            [
                (
                    what,
                    _spread([one.first for one in found]),
                    _spread([one.second for one in found]),
                    str(len(found)),
                )
                for what, found in rows
            ],
        )
    )
    print(text)
    if options.write:
        write_block("shares", text)


if __name__ == "__main__":
    main()
