"""A soak: very many requests through one process, and what it holds at every tenth of them.

    python misc/bench/soak.py --messages 1000000 --write

64 requests of 1 kB in flight from one event loop. Each request is two messages in the store, itself and its response;
``--messages`` counts requests. Memory, open files and threads are those of this process, the client's share included;
of the WAL the largest size of a tenth is shown. The script exits with 1 when something was not flat: the last
tenth beside the third, by when caches are full.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import table
from peers import process
from peers.ours import body, door, echo_production, round_trips, versions, wait_ready
from wattbus.door import PythonDoor

IN_FLIGHT = 64
TENTHS = 10
SLICES = 10  # of a tenth: how often the WAL is looked at
WARM = 2  # the first tenth that counts, from 0
#: What may grow from the first counted tenth to the last, as a share and as an amount.
MAY_GROW_SHARE, MAY_GROW_FILES = 1.10, 2


@dataclass(frozen=True)
class Tenth:
    """The state of the process at the end of a tenth."""

    requests: int
    per_second: float
    p99_seconds: float
    resident_mib: float
    open_files: int
    threads: int
    wal_mib: float
    store_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=100_000, help="requests, 10,000 to 10,000,000")
    parser.add_argument("--limit-seconds", type=float, default=3600.0, help="end then, however far it is")
    parser.add_argument("--folder", type=Path, help="on the disk under test; by default the temporary folder")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    if not 10_000 <= options.messages <= 10_000_000:
        parser.error("--messages is 10,000 to 10,000,000")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="wattbus-bench-", dir=options.folder) as folder:
        machine = f"{table.machine(Path(folder))} {versions()}."
        tenths = run(Path(folder), options.messages, options.limit_seconds)
    grown = growth(tenths)
    text = report(tenths, grown, machine, options.messages)
    print(text)
    if options.write:
        table.write_block("soak", text)
    if grown or len(tenths) < TENTHS:
        sys.exit(1)


def run(folder: Path, messages: int, limit_seconds: float) -> list[Tenth]:
    """Send all requests, and look at the process after each tenth."""
    until = time.monotonic() + limit_seconds
    found: list[Tenth] = []
    with door(echo_production(), folder) as bus:
        wait_ready(bus)
        text = body()
        asyncio.run(round_trips(bus, "Echo", text, IN_FLIGHT, 1000))
        for number in range(1, TENTHS + 1):
            tenth = measured(bus, text, messages // TENTHS, number, until)
            if tenth is None:
                print(f"the time was over in tenth {number}", file=sys.stderr)
                break
            found.append(tenth)
            print(tenth, file=sys.stderr, flush=True)
    return found


def measured(bus: PythonDoor, text: str, requests: int, number: int, until: float) -> Tenth | None:
    """Send the requests of a tenth; None when the time was over before its end."""
    file = bus.production.home.store_file
    wal = file.with_name(f"{file.name}-wal")
    sent, wall, largest, slowest = 0, 0.0, 0.0, 0.0
    for _ in range(SLICES):
        if time.monotonic() > until:
            return None
        measure = asyncio.run(round_trips(bus, "Echo", text, IN_FLIGHT, requests // SLICES))
        sent, wall = sent + measure.requests, wall + measure.wall_seconds
        slowest = max(slowest, measure.quantile(0.99))
        largest = max(largest, process.size_mib(wal))
    return Tenth(
        requests=number * requests,
        per_second=sent / wall,
        p99_seconds=slowest,
        resident_mib=process.resident_mib(),
        open_files=process.open_files(),
        threads=process.threads(),
        wal_mib=largest,
        store_mib=process.size_mib(file),
    )


def growth(tenths: list[Tenth]) -> list[str]:
    """Name what was not flat."""
    if len(tenths) <= WARM:
        return ["too short to tell"]
    first, last = tenths[WARM], tenths[-1]
    grown = []
    if last.resident_mib > first.resident_mib * MAY_GROW_SHARE:
        grown.append("memory")
    if last.open_files > first.open_files + MAY_GROW_FILES:
        grown.append("open files")
    if last.threads > first.threads + MAY_GROW_FILES:
        grown.append("threads")
    if last.wal_mib > max(tenth.wal_mib for tenth in tenths[: WARM + 1]) * MAY_GROW_SHARE:
        grown.append("WAL")
    return grown


def report(tenths: list[Tenth], grown: list[str], machine: str, messages: int) -> str:
    """Return the table with the words around it."""
    rows = [
        [
            f"{tenth.requests:,}",
            table.figure(tenth.per_second),
            table.figure(tenth.p99_seconds * 1e3),
            table.figure(tenth.resident_mib),
            str(tenth.open_files),
            str(tenth.threads),
            table.figure(tenth.wal_mib),
            table.figure(tenth.store_mib),
        ]
        for tenth in tenths
    ]
    head = ["requests", "requests/s", "p99 ms", "RSS MiB", "open files", "threads", "WAL MiB", "store MiB"]
    short = "" if len(tenths) == TENTHS else f" The time was over after {len(tenths)} tenths."
    verdict = f"Not flat: {', '.join(grown)}." if grown else "Flat: memory, open files, threads and WAL."
    words = f"One run of {messages:,} requests (twice as many messages), {IN_FLIGHT} in flight.{short}"
    return f"{machine} {words}\n\n{table.table(head, rows, text_columns=0)}\n\n{verdict}"


if __name__ == "__main__":
    main()
