"""What many messages cost: a start with a long queue, work beside it, and a store that holds many.

    python misc/bench/backlog.py --queued 10000,100000 --stored 1000,100000 --runs 3 --write
    python misc/bench/backlog.py --stored 1000,100000,1000000 --runs 3 --write   # some minutes more

**Queued**: a production is filled while its operation is disabled, and stopped. Each run takes a copy of that home
into a fresh process, starts it, sends one request at once, then asks with 64 requests in flight, whose callers come
before the queue, for as long as the queue lasts, and at last lets it drain. The empty queue is a run of the same kind
with nothing in it.

**Stored**: each run is a fresh process with a new store, warmed on another one. It works until the store holds so many
messages, measures with 64 requests in flight, and goes on to the next number.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import iop

import table
from peers import process
from peers.apart import apart
from peers.contender import BODY_BYTES, WORKERS, Measure, drive, merged
from peers.ours import Echo, Text, body, door, echo_production, round_trips, versions, wait_ready

IN_FLIGHT = 64
WARM_REQUESTS = 1000
SLICE_REQUESTS = 512  # how often a run looks whether the queue still lasts
#: What marks a message of the queue; a request's text is hexadecimal.
QUEUED_MARK = "q"
LIMIT_SECONDS = 900.0


class Counted(Echo):
    """Answers with what it was sent, and counts what stood in the queue."""

    lock: ClassVar[threading.Lock] = threading.Lock()
    first_at: ClassVar[float | None] = None
    handled: ClassVar[int] = 0

    def echo(self, request: Text) -> Text:
        if request.text.startswith(QUEUED_MARK):
            with Counted.lock:
                Counted.handled += 1
                Counted.first_at = Counted.first_at or time.perf_counter()
        return Text(request.text)


@dataclass(frozen=True)
class Queue:
    """What a run with a queue measured."""

    first_answer_seconds: float
    first_queued_seconds: float | None
    requests: int  # of callers; fewer than asked for where the queue did not last
    per_second: float
    beside_per_second: float  # queued messages handled meanwhile
    p50_seconds: float
    p99_seconds: float
    drained_per_second: float | None
    peak_mib: float


@dataclass(frozen=True)
class Stored:
    """What a message costs at a number of stored ones."""

    messages: int
    wall_microseconds: float
    cpu_microseconds: float
    p99_seconds: float
    store_mib: float
    resident_mib: float


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="wattbus-bench-", dir=options.folder) as place:
        folder = Path(place)
        machine = f"{table.machine(folder)} {versions()}."
        queues = run_queued(folder, options.queued, options.runs, options.requests)
        stored = run_stored(folder, options.stored, options.runs, options.requests, options.limit_seconds)
    text = report(queues, stored, machine, options.runs, options.requests)
    print(text)
    if options.write:
        table.write_block("backlog", text)


def run_queued(folder: Path, counts: list[int], runs: int, requests: int) -> dict[int, list[Queue]]:
    """Measure with an empty queue and with each number of queued messages, in turns."""
    found: dict[int, list[Queue]] = {count: [] for count in (0, *counts)}
    for count in found:
        began = time.perf_counter()
        apart(LIMIT_SECONDS, fill, folder / f"filled-{count}", count)
        _say(f"{count:,} queued in {time.perf_counter() - began:.1f} s")
    for number in range(1, runs + 1):
        for count, queues in found.items():
            home = folder / "run"
            shutil.copytree(folder / f"filled-{count}", home)
            queues.append(apart(LIMIT_SECONDS, work, home, count, requests))
            shutil.rmtree(home)
            _say(f"run {number}, {count:,} queued: {queues[-1]}")
    return found


def fill(folder: Path, count: int) -> None:
    """Queue messages for an operation that is disabled."""
    text = QUEUED_MARK * BODY_BYTES
    with door(_production(enabled=False), folder) as bus:

        def submit() -> None:
            bus.submit("Echo", Text(text))

        if count >= IN_FLIGHT:
            drive(submit, IN_FLIGHT, count)
        for _ in range(count % IN_FLIGHT):
            submit()


def work(folder: Path, count: int, requests: int) -> Queue:
    """Start on a full queue, answer callers while it lasts, let the rest drain."""
    text = body()
    began = time.perf_counter()
    with door(_production(), folder) as bus:
        bus.request("Echo", Text(text))
        first_answer = time.perf_counter() - began
        asyncio.run(round_trips(bus, "Echo", text, IN_FLIGHT, SLICE_REQUESTS))
        handled = Counted.handled
        slices: list[Measure] = []
        for _ in range(max(1, requests // SLICE_REQUESTS)):
            slices.append(asyncio.run(round_trips(bus, "Echo", text, IN_FLIGHT, SLICE_REQUESTS)))
            if count and Counted.handled == count:
                break
        beside, measure = Counted.handled - handled, merged(slices)
        drained = _drain(count) if count else None
    return Queue(
        first_answer_seconds=first_answer,
        first_queued_seconds=None if Counted.first_at is None else Counted.first_at - began,
        requests=measure.requests,
        per_second=measure.per_second,
        beside_per_second=beside / measure.wall_seconds,
        p50_seconds=measure.quantile(0.5),
        p99_seconds=measure.quantile(0.99),
        drained_per_second=drained,
        peak_mib=process.peak_mib(),
    )


def _drain(count: int) -> float | None:
    """Wait until the queue is empty, and return at what rate it got so; None when nothing was left."""
    began, left = time.perf_counter(), count - Counted.handled
    while Counted.handled < count:
        if time.perf_counter() - began > LIMIT_SECONDS / 2:
            raise TimeoutError(f"{count - Counted.handled:,} messages are still queued")
        time.sleep(0.005)
    return left / (time.perf_counter() - began) if left else None


def run_stored(
    folder: Path, levels: list[int], runs: int, requests: int, limit_seconds: float
) -> list[list[Stored]]:
    """Measure at each number of stored messages; for each run the list of its levels."""
    found = []
    for number in range(1, runs + 1 if levels else 1):
        place = folder / "stored"
        found.append(apart(limit_seconds, cost, place, levels, requests))
        shutil.rmtree(place)
        _say(f"run {number}: {found[-1]}")
    return found


def cost(folder: Path, levels: list[int], requests: int) -> list[Stored]:
    """Fill one store level by level, and measure at each."""
    text = body()
    with door(echo_production(), folder / "warm") as bus:
        wait_ready(bus)
        asyncio.run(round_trips(bus, "Echo", text, IN_FLIGHT, WARM_REQUESTS))
    found, stored = [], 0
    with door(echo_production(), folder / "measured") as bus:
        wait_ready(bus)
        for level in levels:
            while level - stored >= 2 * IN_FLIGHT:
                count = min(10_000, (level - stored) // 2)  # a request and its response
                stored += 2 * asyncio.run(round_trips(bus, "Echo", text, IN_FLIGHT, count)).requests
            # Of a small store only so many that it stays a small one.
            count = min(requests, max(WARM_REQUESTS, level // 2))
            measure = asyncio.run(round_trips(bus, "Echo", text, IN_FLIGHT, count))
            stored += 2 * measure.requests
            found.append(
                Stored(
                    messages=level,
                    wall_microseconds=1e6 / measure.per_second,
                    cpu_microseconds=1e6 * measure.cpu_seconds_per_request,
                    p99_seconds=measure.quantile(0.99),
                    store_mib=process.size_mib(bus.production.home.store_file),
                    resident_mib=process.resident_mib(),
                )
            )
    return found


def _production(enabled: bool = True) -> iop.Production:
    production = iop.Production("Bench.Production")
    production.operation("Echo", Counted, pool_size=WORKERS, enabled=enabled)
    return production


def report(
    queues: dict[int, list[Queue]], stored: list[list[Stored]], machine: str, runs: int, requests: int
) -> str:
    """Return both tables with the words around them."""
    head = [
        "queued", "start to first answer s", "to first queued one handled s", "callers' requests/s",
        "of the empty queue's", "with the queued ones beside them", "p50 ms", "p99 ms", "drained/s", "peak RSS MiB",
    ]  # fmt: skip
    lines = [
        f"{machine} Median of {runs} runs, each a fresh process with up to {requests:,} requests, "
        f"{IN_FLIGHT} in flight.",
        "",
        table.table(
            head, [_queue_row(count, found, queues[0]) for count, found in queues.items()], text_columns=0
        ),
    ]
    if stored:
        head = [
            "stored messages", "µs a request", "ratio", "CPU µs a request", "ratio", "p99 ms", "store MiB", "RSS MiB",
        ]  # fmt: skip
        first = [run[0] for run in stored]
        rows = [_stored_row(list(level), first) for level in zip(*stored, strict=True)]
        lines += ["", table.table(head, rows, text_columns=0)]
    return "\n".join(lines)


def _queue_row(count: int, found: list[Queue], empty: list[Queue]) -> list[str]:
    def median(what: str) -> float | None:
        values = [value for queue in found if (value := getattr(queue, what)) is not None]
        return statistics.median(values) if values else None

    pairs = list(zip(found, empty, strict=True))
    alone = statistics.median(mine.per_second / none.per_second for mine, none in pairs)
    together = statistics.median(
        (mine.per_second + mine.beside_per_second) / none.per_second for mine, none in pairs
    )
    return [
        f"{count:,}",
        table.figure(median("first_answer_seconds")),
        table.figure(median("first_queued_seconds")),
        table.figure(median("per_second")),
        f"{alone:.0%}" if count else "",
        f"{together:.0%}" if count else "",
        *(
            table.figure(statistics.median(getattr(q, f"{what}_seconds") for q in found) * 1e3)
            for what in ("p50", "p99")
        ),
        table.figure(median("drained_per_second")),
        table.figure(median("peak_mib")),
    ]


def _stored_row(level: list[Stored], first: list[Stored]) -> list[str]:
    def median(what: str) -> float:
        return float(statistics.median(getattr(stored, what) for stored in level))

    def ratio(what: str) -> str:
        pairs = zip(level, first, strict=True)
        return f"{statistics.median(getattr(mine, what) / getattr(one, what) for mine, one in pairs):.2f}"

    return [
        f"{level[0].messages:,}",
        table.figure(median("wall_microseconds")),
        ratio("wall_microseconds"),
        table.figure(median("cpu_microseconds")),
        ratio("cpu_microseconds"),
        table.figure(median("p99_seconds") * 1e3),
        table.figure(median("store_mib")),
        table.figure(median("resident_mib")),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queued", type=_numbers, default=[10_000, 100_000])
    parser.add_argument("--stored", type=_numbers, default=[1_000, 100_000], help="empty: leave it out")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--requests", type=int, default=10_000, help="of each measurement")
    parser.add_argument("--limit-seconds", type=float, default=1800.0, help="of each run of the stored part")
    parser.add_argument("--folder", type=Path, help="on the disk under test; by default the temporary folder")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return sorted(int(part) for part in text.split(",") if part)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
