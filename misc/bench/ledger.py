"""What the ledger costs: an operation in microseconds and at rest in percent of a core, beside codecarbon's own.

    python misc/bench/ledger.py              # about 3 minutes
    python misc/bench/ledger.py --quick      # about 30 seconds, not for quoting

Prints one markdown table. Every figure is a median over the runs named beside it; the peer runs in the same program,
on the same machine, just after. Operations come in batches of 4,800, each settled before the next: what a bus at
4,800 requests a second gives the ledger each second. "With settling" is the CPU time of the whole process, so the
work that the ledger's own thread does after the operation has ended is in it. "The ledger's own threads" are its two,
by their own clocks: the one that divides and the one that reads the meter. What is loaded at the start is kept out of
the garbage collector's way, as a running production does it.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from table import machine, write_block
from wattbus.energy import CodecarbonFeed, Ledger
from wattbus.energy.cputime import thread_clock

OPERATIONS = 96_000
BATCH = 4_800  # a multiple of 16
PEER_OPERATIONS = 200
THREADS = 16
PER_SECOND = 1_000
REST_RUNS = 3


@dataclass(frozen=True)
class Cost:
    """Microseconds an operation."""

    thread: float  # CPU of the threads that ran the operations
    process: float  # CPU of all threads, settling included
    wall: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    quick = options.quick
    where = machine(Path(tempfile.gettempdir()))
    runs, seconds = (3, 3.0) if quick else (7, 10.0)
    operations = OPERATIONS // (20 if quick else 1)

    settled = [0]
    ledger = Ledger(
        CodecarbonFeed(), on_settled=lambda records, _: settled.__setitem__(0, settled[0] + len(records))
    )
    cpu, began = time.process_time(), time.perf_counter()
    ledger.start()
    start_seconds = time.perf_counter() - began
    if not ledger.wait_ready(60):
        raise SystemExit("the power feed did not start: see the log line above")
    gc.freeze()
    ready_seconds, start_cpu = time.perf_counter() - began, time.process_time() - cpu

    rest = shares(seconds)
    own_rest = own_shares(ledger, seconds, 0)
    busy = own_shares(ledger, seconds, PER_SECOND)
    one = [ours(ledger, operations, threads=1) for _ in range(runs)]
    many = [ours(ledger, operations, threads=THREADS) for _ in range(runs)]
    ledger.stop()
    expected = 2 * runs * operations + sum(done for _, done in busy)
    if settled[0] != expected:
        raise SystemExit(f"{settled[0]} of {expected} operations were settled")

    tracker = peer()
    tracker.start()
    time.sleep(1.5)
    peer_rest = shares(seconds)
    tracker.stop()
    tracker = peer()
    theirs = [peer_tasks(tracker, PEER_OPERATIONS // (4 if quick else 1)) for _ in range(runs)]

    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        print(f"{where} {runs} runs of {operations:,} operations.")
        print(
            f"start() returns after {start_seconds * 1e3:.1f} ms; readings begin after {ready_seconds:.1f} s, "
            f"for which this process used {start_cpu * 1e3:.0f} ms of CPU."
        )
        print()
        print(f"| what | wattbus ledger | codecarbon {version('codecarbon')} | ratio | runs |")
        print("|---|---|---|---|---|")
        for threads, costs in ((1, one), (THREADS, many)):
            name = f"open, describe, close; {threads} thread" + ("s" if threads > 1 else "")
            row(
                f"{name}: CPU of the operation",
                [c.thread for c in costs],
                [c.thread for c in theirs],
                threads,
            )
            row(
                f"{name}: CPU with settling", [c.process for c in costs], [c.process for c in theirs], threads
            )
            row(f"{name}: wall", [c.wall for c in costs], [c.wall for c in theirs], threads)
        ratio = statistics.median(peer_rest) / statistics.median(rest)
        print(
            f"| at rest, over {seconds:g} s | {share(rest)} | {share(peer_rest)} | {ratio:.1f} | {REST_RUNS} |"
        )
        for what, found in (("at rest", own_rest), (f"at {PER_SECOND:,} operations a second", busy)):
            print(
                f"| the ledger's own threads {what}, over {seconds:g} s | {share([one for one, _ in found])} "
                f"| has no such figure | | {REST_RUNS} |"
            )
    print(told.getvalue())
    if options.write:
        write_block("ledger", told.getvalue())


def operation(ledger: Ledger, number: int) -> None:
    """Meter one operation that does nothing."""
    window = ledger.open(number, 1, "Bench.Operation")
    window.describe(kind="bench", model="none", revision="0")
    window.close()


def ours(ledger: Ledger, operations: int, threads: int) -> Cost:
    """Run ``operations`` attempts in batches, each batch from ``threads`` threads, and settle each."""
    inside: list[float] = []

    def work() -> None:
        began = time.thread_time()
        for number in range(BATCH // threads):
            operation(ledger, number)
        inside.append(time.thread_time() - began)

    wall = cpu = 0.0
    ledger.settle(30)
    for _ in range(operations // BATCH):
        cpu_before, began = time.process_time(), time.perf_counter()
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        wall += time.perf_counter() - began
        ledger.settle(30)
        cpu += time.process_time() - cpu_before
    return Cost(sum(inside) / operations * 1e6, cpu / operations * 1e6, wall / operations * 1e6)


def peer() -> Any:
    """Return codecarbon's tracker with every output off."""
    from codecarbon import OfflineEmissionsTracker

    return OfflineEmissionsTracker(
        country_iso_code="FRA",
        output_methods=[],
        measure_power_secs=1,
        api_call_interval=1,
        allow_multiple_runs=True,
        tracking_mode="machine",
        log_level="error",
    )


def peer_tasks(tracker: Any, operations: int) -> Cost:
    """Run ``start_task`` and ``stop_task``; one at a time is all that a tracker can do."""
    inside, cpu, wall = time.thread_time(), time.process_time(), time.perf_counter()
    for _ in range(operations):
        tracker.start_task()
        tracker.stop_task()
    return Cost(
        (time.thread_time() - inside) / operations * 1e6,
        (time.process_time() - cpu) / operations * 1e6,
        (time.perf_counter() - wall) / operations * 1e6,
    )


def shares(seconds: float) -> list[float]:
    """Return the CPU of this process while it waits, in percent of a core."""
    found = []
    for _ in range(REST_RUNS):
        cpu, wall = time.process_time(), time.perf_counter()
        time.sleep(seconds)
        found.append(100 * (time.process_time() - cpu) / (time.perf_counter() - wall))
    return found


def own_shares(ledger: Ledger, seconds: float, per_second: int) -> list[tuple[float, int]]:
    """Return the CPU of the ledger's two threads in percent of a core, and how many operations were made meanwhile."""
    clocks = [
        thread_clock(thread.native_id or 0)
        for thread in threading.enumerate()
        if thread.name in ("wattbus-ledger", "wattbus-power")
    ]
    found = []
    for _ in range(REST_RUNS):
        before, began, done = sum(map(time.clock_gettime, clocks)), time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < seconds:
            for _ in range(int(passed * per_second) - done):
                operation(ledger, done)
                done += 1
            time.sleep(0.01)
        ledger.settle(30)
        used = sum(map(time.clock_gettime, clocks)) - before
        found.append((100 * used / (time.perf_counter() - began), done))
    return found


def row(what: str, mine: list[float], peers: list[float], threads: int) -> None:
    median, other = statistics.median(mine), statistics.median(peers)
    if threads > 1:
        print(f"| {what} | {median:.1f} µs | one task at a time | | {len(mine)} |")
    else:
        print(f"| {what} | {median:.1f} µs | {other:.0f} µs | {other / median:.0f} | {len(mine)} |")


def share(found: list[float]) -> str:
    return f"{statistics.median(found):.3f} % of a core"


if __name__ == "__main__":
    main()
