"""An item with pool size 1, which is what keeps an order in IRIS: how many requests a second it answers, in order.

    python misc/bench/pool1.py --rounds 5 --requests 10000 --write

64 requests in flight to one worker, beside the same with 16 workers in the same run, in turns. The handler notes what
it is given: with one worker that has to be the order in which the requests were made, or the script fails.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import statistics
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

import iop

import table
from peers.contender import BODY_BYTES, WORKERS, Measure, drive, drive_tasks
from peers.ours import Echo, Text, door, versions, wait_ready
from wattbus.door import PythonDoor

IN_FLIGHT = 64
THREADS, ASYNCIO = "threads (`request`)", "asyncio (`request_async`)"
ITEMS = {"Single": 1, "Pool": WORKERS}


class Ordered(Echo):
    """Answers with what it was sent, and notes which it was."""

    handled: ClassVar[list[int]] = []

    def echo(self, request: Text) -> Text:
        Ordered.handled.append(int(request.text))
        return Text(request.text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=10_000, help="of each way and round")
    parser.add_argument("--folder", type=Path, help="on the disk under test; by default the temporary folder")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="wattbus-bench-", dir=options.folder) as folder:
        machine = f"{table.machine(Path(folder))} {versions()}."
        found = run(Path(folder), options.rounds, options.requests)
    text = report(found, machine, options.rounds, options.requests)
    print(text)
    if options.write:
        table.write_block("pool1", text)


def run(folder: Path, rounds: int, requests: int) -> dict[tuple[str, str], list[Measure]]:
    """Measure both items in both ways, in turns."""
    production = iop.Production("Bench.Production")
    for item, size in ITEMS.items():
        production.operation(item, Ordered, pool_size=size)
    ways = {THREADS: from_threads, ASYNCIO: from_a_loop}
    found: dict[tuple[str, str], list[Measure]] = {(way, item): [] for way in ways for item in ITEMS}
    with door(production, folder) as bus:
        wait_ready(bus)
        for way, item in found:
            ways[way](bus, item, min(1000, requests))
        for _ in range(rounds):
            for (way, item), measures in found.items():
                Ordered.handled.clear()
                measures.append(ways[way](bus, item, requests))
                # A loop makes one request after the other, so that it knows their order; threads do not.
                if ITEMS[item] == 1 and way == ASYNCIO and Ordered.handled != sorted(Ordered.handled):
                    raise RuntimeError(f"{item} did not keep the order")
    return found


def from_threads(bus: PythonDoor, item: str, requests: int) -> Measure:
    """Ask from as many threads as there are requests in flight."""
    numbers = itertools.count()

    def call() -> None:
        text = numbered(next(numbers))
        if bus.request(item, Text(text)).text != text:
            raise RuntimeError("the reply is not the request")

    return drive(call, IN_FLIGHT, requests)


def from_a_loop(bus: PythonDoor, item: str, requests: int) -> Measure:
    """Ask from one event loop."""
    numbers = itertools.count()

    async def call() -> None:
        text = numbered(next(numbers))
        if (await bus.request_async(item, Text(text))).text != text:
            raise RuntimeError("the reply is not the request")

    return asyncio.run(drive_tasks(call, IN_FLIGHT, requests))


def numbered(number: int) -> str:
    """Return a text of the usual size that is a number."""
    return f"{number:0{BODY_BYTES}}"


def report(found: dict[tuple[str, str], list[Measure]], machine: str, rounds: int, requests: int) -> str:
    """Return the table with the words around it."""
    rows = []
    for (way, item), measures in found.items():
        pairs = zip(measures, found[way, "Pool"], strict=True)
        ratio = statistics.median(mine.per_second / many.per_second for mine, many in pairs)
        single = ITEMS[item] == 1
        rows.append(
            [
                str(ITEMS[item]),
                way,
                table.figure(statistics.median(measure.per_second for measure in measures)),
                *(
                    table.figure(statistics.median(measure.quantile(share) for measure in measures) * 1e3)
                    for share in (0.5, 0.99)
                ),
                f"{ratio:.2f}" if single else "",
                "checked" if single and way == ASYNCIO else "",
            ]
        )
    head = [
        "pool size",
        "client",
        "requests/s",
        "p50 ms",
        "p99 ms",
        f"ratio to pool size {WORKERS}",
        "in order",
    ]
    words = f"Median of {rounds} rounds of {requests:,} requests, {IN_FLIGHT} in flight."
    return f"{machine} {words}\n\n{table.table(head, rows, text_columns=2)}"


if __name__ == "__main__":
    main()
