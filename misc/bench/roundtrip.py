"""Durable round trips: wattbus and what it stands beside, in the same run, in turns.

    python misc/bench/roundtrip.py --rounds 5 --seconds 2 --in-flight 1,16,64,256 --write

Request and reply of 1 kB, each safe on disk (fsync) before it is acknowledged. In each round every contender is
measured at every number in flight before the next round begins; a ratio is that of two neighbours in one round, and
the table has the median over the rounds. All servers are on loopback; what a run makes there, it takes back.

wattbus is called in two ways: from threads (``request``) and from one event loop (``request_async``). The ratios are
those of the threads at fewer than 16 in flight, and above that of the way with the better median.
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
from peers.contender import Child, Failed, Measure, NotHere, Setup

THREADS, ASYNCIO = "ours", "ours-asyncio"
PEERS = ("rabbitmq", "nats", "redis", "redis-pipelined", "dramatiq", "postgres", "postgres-light")
#: From so many in flight on, an event loop may be the better client.
ASYNCIO_FROM = 16
MOST_IN_FLIGHT = 256
LIMIT_SECONDS = 180.0
CALIBRATION_REQUESTS = 500
TITLES = {
    THREADS: "**wattbus**, threads (`request`)",
    ASYNCIO: "**wattbus**, asyncio (`request_async`)",
    "rabbitmq": "RabbitMQ quorum queues (no trace, no energy)",
    "nats": "NATS JetStream, `sync_interval: always` (no trace, no energy)",
    "redis": "Redis Streams, `appendfsync always` (no trace, no energy)",
    "redis-pipelined": "Redis Streams, the same, batched by client and worker",
    "dramatiq": "dramatiq on RabbitMQ, results in Redis (no trace, no energy)",
    "postgres": "PostgreSQL SKIP LOCKED, same rows",
    "postgres-light": "PostgreSQL SKIP LOCKED, one row, no trace, no energy",
}


@dataclass
class Results:
    """All measures by contender and number in flight, in the order of the rounds."""

    measures: dict[tuple[str, int], list[Measure]] = field(default_factory=dict)
    fsync_seconds: list[float] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)

    def median(self, name: str, in_flight: int, what: str) -> float:
        return float(statistics.median(getattr(measure, what) for measure in self.measures[name, in_flight]))

    def quantile(self, name: str, in_flight: int, share: float) -> float:
        return statistics.median(measure.quantile(share) for measure in self.measures[name, in_flight])

    def ours(self, in_flight: int) -> str:
        """Return the way in which wattbus is compared."""
        if in_flight < ASYNCIO_FROM:
            return THREADS
        return max((ASYNCIO, THREADS), key=lambda name: self.median(name, in_flight, "per_second"))

    def ratio(self, peer: str, in_flight: int) -> float:
        """Return the median over the rounds of our rate over the peer's, as far as it came."""
        pairs = zip(
            self.measures[self.ours(in_flight), in_flight], self.measures[peer, in_flight], strict=False
        )
        return statistics.median(ours.per_second / theirs.per_second for ours, theirs in pairs)


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that everything is taken back
    with tempfile.TemporaryDirectory(prefix="wattbus-bench-", dir=options.folder) as folder:
        machine = table.machine(Path(folder))
        results = run(Path(folder), options.rounds, options.seconds, options.in_flight, options.peers)
    text = report(results, machine, options.rounds, options.seconds, options.in_flight)
    print(text)
    if options.write:
        table.write_block("roundtrip", text)


def run(folder: Path, rounds: int, seconds: float, levels: list[int], peers: list[str]) -> Results:
    """Measure all contenders in turns."""
    results = Results()
    children: dict[str, Child] = {}
    try:
        for name in (THREADS, ASYNCIO, *peers):
            place = folder / name
            place.mkdir()
            try:
                children[name] = Child(name, Setup(place, secrets.token_hex(4)), LIMIT_SECONDS)
            except NotHere as error:
                results.missing[name] = str(error)
                _say(f"{name}: not here: {error}")
            except Failed as error:
                _give_up(results, children, name, f"did not start: {error}")
        results.versions = list(dict.fromkeys(child.version for child in children.values()))
        counts: dict[tuple[str, int], int] = {}
        for name, child in list(children.items()):
            try:
                counts |= {(name, in_flight): _calibrated(child, in_flight, seconds) for in_flight in levels}
            except Failed as error:
                _give_up(results, children, name, str(error))
        for number in range(1, rounds + 1):
            results.fsync_seconds.append(table.fsync_seconds(folder))
            for in_flight in levels:
                for name, child in list(children.items()):
                    try:
                        measure = child.measure(in_flight, counts[name, in_flight])
                    except Failed as error:
                        _give_up(results, children, name, f"round {number}, {error}")
                        continue
                    results.measures.setdefault((name, in_flight), []).append(measure)
                    _say(f"round {number}, {in_flight:3} in flight: {name:15} {measure.per_second:8.0f}/s")
        return results
    finally:
        for child in children.values():
            child.close()


def _give_up(results: Results, children: dict[str, Child], name: str, why: str) -> None:
    """Go on without a peer that fails, and say so; without wattbus itself there is nothing to compare."""
    if name in (THREADS, ASYNCIO):
        sys.exit(f"{name}: {why}")
    _say(f"{name}: failed: {why}")
    results.failed[name] = why
    child = children.pop(name, None)
    if child is not None:
        child.close()


def _calibrated(child: Child, in_flight: int, seconds: float) -> int:
    """Return how many requests take about so many seconds; caches, plans and first pages are warm after it."""
    rate = child.measure(in_flight, max(CALIBRATION_REQUESTS, in_flight)).per_second
    return max(4 * in_flight, round(rate * seconds))


def report(results: Results, machine: str, rounds: int, seconds: float, levels: list[int]) -> str:
    """Return the table with the words around it."""
    rows = []
    for in_flight in levels:
        for name, title in TITLES.items():
            if (name, in_flight) in results.measures:
                rows.append(_row(results, name, title, in_flight))
            elif name in results.failed:
                rows.append([str(in_flight), title, f"failed: {results.failed[name]}", "", "", "", ""])
            elif name in results.missing:
                rows.append([str(in_flight), title, f"not here: {results.missing[name]}", "", "", "", ""])
    head = ["in flight", "what", "requests/s", "p50 ms", "p99 ms", "wattbus is", "CPU s / 1,000"]
    fsync = statistics.median(results.fsync_seconds)
    lines = [
        f"{machine} Median of {rounds} rounds of about {seconds:g} s for each contender and number in flight. "
        f"{'; '.join(results.versions)}.",
        "",
        table.table(head, rows, text_columns=2),
        "",
        f"A durable write of 4 KiB on the same disk in the same run: {table.figure(fsync * 1e3, 'ms')} (fsync median).",
    ]
    if (THREADS, 1) in results.measures:
        p50 = results.quantile(THREADS, 1, 0.5)
        lines.append(
            f"wattbus at 1 in flight: p50 {table.figure(p50 * 1e3, 'ms')}, fsyncs included; "
            f"one fsync is {table.figure(fsync * 1e3, 'ms')} of it."
        )
    return "\n".join(lines)


def _row(results: Results, name: str, title: str, in_flight: int) -> list[str]:
    p50, p99 = (results.quantile(name, in_flight, share) * 1e3 for share in (0.5, 0.99))
    if name in (THREADS, ASYNCIO):
        against = "(compared)" if name == results.ours(in_flight) else ""
        cpu = table.figure(results.median(name, in_flight, "cpu_seconds_per_request") * 1000)
    else:
        against = f"{results.ratio(name, in_flight):.2f} times"
        if name in results.failed:
            title += f" (failed later: {results.failed[name]})"
        cpu = "–"  # a peer works in its server's processes too
    rate = table.figure(results.median(name, in_flight, "per_second"))
    return [str(in_flight), title, rate, table.figure(p50), table.figure(p99), against, cpu]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of each contender, level and round, about"
    )
    parser.add_argument("--in-flight", type=_numbers, default=[1, 16, 64, 256])
    parser.add_argument(
        "--peers", type=_peers, default=list(PEERS), help=f"of {', '.join(PEERS)}; empty: none"
    )
    parser.add_argument("--folder", type=Path, help="on the disk under test; by default the temporary folder")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    if not 1 <= options.rounds <= 100 or not 0.1 <= options.seconds <= 60:
        parser.error("--rounds is 1 to 100, --seconds 0.1 to 60")
    return options


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",")]
    if not all(1 <= number <= MOST_IN_FLIGHT for number in numbers):
        raise argparse.ArgumentTypeError(f"each number in flight is 1 to {MOST_IN_FLIGHT}")
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
