"""Durable round trips: wattbus and what it stands beside, in the same run, in turns.

    python misc/bench/roundtrip.py --rounds 5 --requests 3000 --in-flight 1,16,64 --peers rabbitmq,postgres --write

Request and reply of 1 kB, each safe on disk (fsync) before it is acknowledged. In each round every contender is
measured at every number in flight before the next round begins; a ratio is that of two neighbours in one round, and
the table has the median over the rounds. All servers are on loopback; what a run makes there, it takes back.
"""

from __future__ import annotations

import argparse
import secrets
import signal
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import table
from peers.contender import WORKERS, Child, Measure, NotHere, Setup

OURS = "ours"
PEERS = ("rabbitmq", "postgres", "postgres-light")
LIMIT_SECONDS = 180.0
TITLES = {
    OURS: "wattbus",
    "rabbitmq": "RabbitMQ quorum queues (no trace, no energy)",
    "postgres": "PostgreSQL SKIP LOCKED, same rows",
    "postgres-light": "PostgreSQL SKIP LOCKED, one row, no trace, no energy",
}


@dataclass
class Results:
    """All measures by contender and number in flight, in the order of the rounds."""

    measures: dict[tuple[str, int], list[Measure]] = field(default_factory=dict)
    fsync_seconds: list[float] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def median(self, name: str, in_flight: int, what: str) -> float:
        return float(statistics.median(getattr(measure, what) for measure in self.measures[name, in_flight]))

    def quantile(self, name: str, in_flight: int, share: float) -> float:
        return statistics.median(measure.quantile(share) for measure in self.measures[name, in_flight])

    def ratio(self, peer: str, in_flight: int) -> float:
        """Return the median over the rounds of our rate over the peer's."""
        pairs = zip(self.measures[OURS, in_flight], self.measures[peer, in_flight], strict=True)
        return statistics.median(ours.per_second / theirs.per_second for ours, theirs in pairs)


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that everything is taken back
    with tempfile.TemporaryDirectory(prefix="wattbus-bench-", dir=options.folder) as folder:
        machine = table.machine(Path(folder))
        results = run(Path(folder), options.rounds, options.requests, options.in_flight, options.peers)
    text = report(results, machine, options.rounds, options.requests, options.in_flight)
    print(text)
    if options.write:
        table.write_block("roundtrip", text)


def run(folder: Path, rounds: int, requests: int, levels: list[int], peers: list[str]) -> Results:
    """Measure all contenders in turns."""
    results = Results()
    children: dict[str, Child] = {}
    try:
        for name in (OURS, *peers):
            place = folder / name
            place.mkdir()
            try:
                children[name] = Child(name, Setup(place, secrets.token_hex(4)), LIMIT_SECONDS)
            except NotHere as error:
                results.missing[name] = str(error)
                _say(f"{name}: not here: {error}")
        for child in children.values():
            child.measure(WORKERS, min(500, requests))  # caches, plans, first pages
        for number in range(1, rounds + 1):
            results.fsync_seconds.append(table.fsync_seconds(folder))
            for in_flight in levels:
                # A client alone is slow: fewer requests make the same time.
                count = max(in_flight, requests // 6) if in_flight == 1 else requests
                for name, child in children.items():
                    measure = child.measure(in_flight, count)
                    results.measures.setdefault((name, in_flight), []).append(measure)
                    _say(f"round {number}, {in_flight:2} in flight: {name:15} {measure.per_second:8.0f}/s")
        return results
    finally:
        for child in children.values():
            child.close()


def report(results: Results, machine: str, rounds: int, requests: int, levels: list[int]) -> str:
    """Return the table with the words around it."""
    rows = []
    for in_flight in levels:
        for name, title in TITLES.items():
            if (name, in_flight) in results.measures:
                rows.append(_row(results, name, title, in_flight))
            elif name in results.missing:
                rows.append([str(in_flight), title, f"not here: {results.missing[name]}", "", "", "", ""])
    head = ["in flight", "what", "requests/s", "p50 ms", "p99 ms", "wattbus is", "CPU s / 1,000"]
    fsync = statistics.median(results.fsync_seconds)
    lines = [
        f"{machine} Median of {rounds} rounds of {requests:,} requests (a sixth of that at 1 in flight).",
        "",
        table.table(head, rows, text_columns=2),
        "",
        f"A durable write of 4 KiB on the same disk in the same run: {table.figure(fsync * 1e3, 'ms')} (fsync median).",
    ]
    if (OURS, 1) in results.measures:
        p50 = results.quantile(OURS, 1, 0.5)
        lines.append(
            f"wattbus at 1 in flight: p50 {table.figure(p50 * 1e3, 'ms')}, of which two fsyncs (accepted and claimed; "
            f"done) are {table.figure(2 * fsync * 1e3, 'ms')}; p50 less one fsync is "
            f"{table.figure((p50 - fsync) * 1e3, 'ms')}, less both {table.figure((p50 - 2 * fsync) * 1e3, 'ms')}."
        )
    return "\n".join(lines)


def _row(results: Results, name: str, title: str, in_flight: int) -> list[str]:
    p50, p99 = (results.quantile(name, in_flight, share) * 1e3 for share in (0.5, 0.99))
    cpu = (
        results.median(name, in_flight, "cpu_seconds") / results.measures[name, in_flight][0].requests * 1000
    )
    return [
        str(in_flight),
        title,
        table.figure(results.median(name, in_flight, "per_second")),
        table.figure(p50),
        table.figure(p99),
        "" if name == OURS else f"{results.ratio(name, in_flight):.2f} times",
        table.figure(cpu) if name == OURS else "–",  # a peer works in its server's processes too
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3000, help="of each contender, level and round")
    parser.add_argument("--in-flight", type=_numbers, default=[1, 16, 64])
    parser.add_argument(
        "--peers", type=_peers, default=list(PEERS), help=f"of {', '.join(PEERS)}; empty: none"
    )
    parser.add_argument("--folder", type=Path, help="on the disk under test; by default the temporary folder")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    if not 1 <= options.rounds <= 100 or not 64 <= options.requests <= 100_000:
        parser.error("--rounds is 1 to 100, --requests 64 to 100,000")
    return options


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",")]
    if not all(1 <= number <= 64 for number in numbers):
        raise argparse.ArgumentTypeError("each number in flight is 1 to 64")
    return numbers


def _peers(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"unknown peer {name!r}: known are {', '.join(PEERS)}")
    return names


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
