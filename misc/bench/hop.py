"""What a process between a door and an operation adds: the same request with one hop more, in turns.

    python misc/bench/hop.py --rounds 9 --requests 500 --write

One request at a time, from one thread. ``sync`` is a process that asks with ``send_request_sync`` and returns what
it got; ``async`` sends with ``send_request_async`` and is called again with the response, its state safe between the
two. Every message of every hop is durable and traced.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import iop

import table
from peers.contender import Measure, drive
from peers.ours import Text, body, door, echo_production, versions, wait_ready

PATHS = {
    "Echo": "door → operation",
    "SyncHop": "door → process → operation, `send_request_sync`",
    "AsyncHop": "door → process → operation, `send_request_async`",
}
#: Requests and responses that one request of a door leaves in the store.
MESSAGES = {"Echo": 2, "SyncHop": 4, "AsyncHop": 4}


class SyncHop(iop.BusinessProcess):
    """Asks the operation and waits."""

    Output = iop.target()

    def on_request(self, request: Text) -> Text:
        answer: Text = self.send_request_sync(self.Output, request)
        return answer


class AsyncHop(iop.BusinessProcess):
    """Asks the operation and is called again with the response."""

    Output = iop.target()

    def on_request(self, request: Text) -> None:
        self.send_request_async(self.Output, request)

    def on_response(
        self, request: Any, response: Any, call_request: Any, call_response: Text, completion_key: str
    ) -> Text:
        return call_response


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=500, help="of each path and round")
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
        table.write_block("hop", text)


def run(folder: Path, rounds: int, requests: int) -> dict[str, list[Measure]]:
    """Measure the paths in turns."""
    production = echo_production()
    for name, kind in (("SyncHop", SyncHop), ("AsyncHop", AsyncHop)):
        production.connect(production.process(name, kind).Output, "Echo")
    found: dict[str, list[Measure]] = {name: [] for name in PATHS}
    text = body()
    with door(production, folder) as bus:
        wait_ready(bus)

        def measured(item: str, count: int) -> Measure:
            def call() -> None:
                if bus.request(item, Text(text)).text != text:
                    raise RuntimeError("the reply is not the request")

            return drive(call, 1, count)

        for item in PATHS:
            measured(item, min(200, requests))
        for _ in range(rounds):
            for item in PATHS:
                found[item].append(measured(item, requests))
    return found


def report(found: dict[str, list[Measure]], machine: str, rounds: int, requests: int) -> str:
    """Return the table with the words around it."""
    rows = []
    for item, path in PATHS.items():
        pairs = zip(found[item], found["Echo"], strict=True)
        added = [mine.quantile(0.5) - direct.quantile(0.5) for mine, direct in pairs]
        p50, p99 = (
            statistics.median(measure.quantile(share) for measure in found[item]) for share in (0.5, 0.99)
        )
        direct = statistics.median(measure.quantile(0.5) for measure in found["Echo"])
        hop = item != "Echo"
        rows.append(
            [
                path,
                str(MESSAGES[item]),
                table.figure(p50 * 1e3),
                table.figure(p99 * 1e3),
                table.figure(statistics.median(added) * 1e3) if hop else "",
                f"{p50 / direct:.2f}" if hop else "",
            ]
        )
    head = ["path", "messages", "p50 ms", "p99 ms", "the hop adds, p50 ms", "ratio"]
    return f"{machine} Median of {rounds} rounds of {requests:,} requests.\n\n{table.table(head, rows)}"


if __name__ == "__main__":
    main()
