"""What an open portal costs the bus, whether many readers are served while messages flow, and how soon after a start.

    python misc/bench/readers.py --rounds 7 --seconds 4 --readers 200 --write

The readers are a process of their own. Each looks at one page of the menu every 3 s, as the portal does by itself.
"Cost" is of one portal that is open at its busiest page, live power, and looks once a second: the bus runs as fast as
it can, in turns without and with it. "First page" is from the start of the process, in a new home, to the first page.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import table
from peers.contender import merged
from peers.ours import body, echo_production, round_trips, versions, wait_ready
from wattbus.config import read_config
from wattbus.door import Director, PythonDoor
from wattbus.web.drawing import MENU
from wattbus.web.serve import HttpDoor

IN_FLIGHT = 64
SLICE_SECONDS = 0.1
EVERY_SECONDS = 3.0
POWER = "/api/v1/energy/power"
FIRST_PAGE_SECONDS = 60.0
_READER = Path(__file__).parent / "peers" / "portal_reader.py"


@dataclass(frozen=True)
class Crowd:
    """Many readers while messages flow."""

    readers: int
    pages: int
    seconds: float
    page_seconds: list[float]
    errors: list[str]
    messages_per_second: float


@dataclass(frozen=True)
class Cost:
    """The bus's requests a second, round by round, without and with a portal open."""

    alone: list[float]
    watched: list[float]
    errors: list[str]

    @property
    def ratio(self) -> float:
        """Return the median over the rounds of the rate with a portal over the rate without."""
        return statistics.median(
            watched / alone for alone, watched in zip(self.alone, self.watched, strict=True)
        )


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="wattbus-bench-", dir=options.folder) as folder:
        machine = f"{table.machine(Path(folder))} {versions()}."
        firsts = [first_page(Path(folder) / f"first-{number}") for number in range(options.starts)]
        with served(Path(folder) / "home") as (bus, readers, pages):
            crowd = with_crowd(bus, readers, pages, options)
            cost = with_portal(bus, readers, options)
    text = report(machine, firsts, crowd, cost, options)
    print(text)
    if options.write:
        table.write_block("readers", text)
    if crowd.errors or cost.errors:
        sys.exit(f"{len(crowd.errors) + len(cost.errors)} pages failed: {(crowd.errors + cost.errors)[:5]}")


class Readers:
    """The process of the readers."""

    def __init__(self, url: str, token: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_READER), url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "WATTBUS_TOKEN": token},
        )

    def read(self, pages: list[str], readers: int, every_seconds: float, seconds: float) -> dict[str, Any]:
        """Let readers look at pages for some seconds and return what came of it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        job = {"pages": pages, "readers": readers, "every_seconds": every_seconds, "seconds": seconds}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def served(home: Path) -> Iterator[tuple[PythonDoor, Readers, list[str]]]:
    """Run an echo production with its HTTP door; give the bus, the readers, and the pages that there are."""
    token = secrets.token_urlsafe(32)
    config = read_config(home=home, port=0, token=token)
    director = Director(echo_production(), config=config)
    door = HttpDoor(director, config)
    readers: Readers | None = None
    try:
        director.start_production()
        bus = PythonDoor(director.current())
        wait_ready(bus)
        asyncio.run(round_trips(bus, "Echo", body(), IN_FLIGHT, 2_000))
        readers = Readers(door.url, token)
        pages = [address for address, _, _ in MENU if _status(door.url, address, token) == 200]
        yield bus, readers, [*pages, "/energy/power"]
    finally:
        if readers is not None:
            readers.close()
        door.close()
        director.close()


def with_crowd(bus: PythonDoor, readers: Readers, pages: list[str], options: argparse.Namespace) -> Crowd:
    """Let many read while messages flow at the rate that is asked for."""
    seconds = max(3 * EVERY_SECONDS, options.seconds)
    ended, answer = _aside(lambda: readers.read(pages, options.readers, EVERY_SECONDS, seconds))
    began, sent = time.monotonic(), 0
    a_slice = max(1, int(options.rate * SLICE_SECONDS / 2))  # a request is two messages
    while not ended.is_set():
        asyncio.run(round_trips(bus, "Echo", body(), IN_FLIGHT, a_slice))
        sent += 2 * a_slice
        ended.wait(max(0.0, began + sent / options.rate - time.monotonic()))
    rate = sent / (time.monotonic() - began)
    found = answer()
    return Crowd(options.readers, len(pages), seconds, sorted(found["seconds"]), found["errors"], rate)


def with_portal(bus: PythonDoor, readers: Readers, options: argparse.Namespace) -> Cost:
    """Let the bus run as fast as it can, in turns without and with an open portal."""
    cost = Cost([], [], [])

    def run_for(seconds: float) -> float:
        until, measures = time.monotonic() + seconds, []
        while time.monotonic() < until:
            measures.append(asyncio.run(round_trips(bus, "Echo", body(), IN_FLIGHT, 500)))
        return merged(measures).per_second

    for number in range(options.rounds):
        for watched in (False, True) if number % 2 == 0 else (True, False):
            if not watched:
                cost.alone.append(run_for(options.seconds))
                continue
            _, portal = _aside(lambda: readers.read(["/energy/power", POWER], 2, 2.0, options.seconds))
            cost.watched.append(run_for(options.seconds))
            cost.errors.extend(portal()["errors"])
    return cost


def first_page(home: Path) -> float:
    """Return the seconds from the start of a `wattbus start` to its first page."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "WATTBUS_HOME": str(home),
        "WATTBUS_INSECURE_LOCAL": "on",
        "WATTBUS_PORT": str(port),
    }
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "wattbus", "start", "--foreground", "--no-supervisor"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while time.monotonic() < began + FIRST_PAGE_SECONDS and process.poll() is None:
            try:
                if _status(f"http://127.0.0.1:{port}", "/", "") == 200:
                    return time.monotonic() - began
            except OSError:
                time.sleep(0.01)
        raise RuntimeError("no page came: the process did not start")
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def report(machine: str, firsts: list[float], crowd: Crowd, cost: Cost, options: argparse.Namespace) -> str:
    """Return the table with the words around it."""
    pages = crowd.page_seconds
    slow = pages[int(0.99 * (len(pages) - 1))] if pages else None
    median = statistics.median(pages) if pages else None
    rows = [
        [
            f"{crowd.readers} readers of {crowd.pages} pages, one look each {EVERY_SECONDS:g} s",
            f"{len(pages):,} pages in {crowd.seconds:g} s, {len(crowd.errors)} failed; p50 "
            f"{table.figure(None if median is None else median * 1e3, 'ms')}, p99 "
            f"{table.figure(None if slow is None else slow * 1e3, 'ms')}",
        ],
        ["messages that flowed meanwhile", f"{table.figure(crowd.messages_per_second)} a second"],
        [
            "the bus alone, as fast as it can",
            f"{table.figure(statistics.median(cost.alone))} requests a second",
        ],
        [
            "the same with one portal open",
            f"{table.figure(statistics.median(cost.watched))} requests a second",
        ],
        [
            f"ratio, median of {len(cost.alone)} pairs",
            f"{cost.ratio:.3f}; pairs from {_pair(cost, min):.3f} to {_pair(cost, max):.3f}",
        ],
        [
            f"process start to the first page, new home, {len(firsts)} starts",
            f"{table.figure(statistics.median(firsts), 's')}, slowest {table.figure(max(firsts), 's')}",
        ],
    ]
    head = ["what", "found"]
    return (
        f"{machine} {options.rounds} rounds of {options.seconds:g} s, {IN_FLIGHT} requests in flight.\n\n"
        f"{table.table(head, rows, text_columns=2)}"
    )


def _pair(cost: Cost, choose: Callable[[Iterator[float]], float]) -> float:
    return choose(watched / alone for alone, watched in zip(cost.alone, cost.watched, strict=True))


def _aside(work: Callable[[], dict[str, Any]]) -> tuple[threading.Event, Callable[[], dict[str, Any]]]:
    """Run something in a thread; return an event that is set once it is done, and what waits for its answer."""
    done, kept = threading.Event(), []

    def run() -> None:
        try:
            kept.append(work())
        finally:
            done.set()

    thread = threading.Thread(target=run)
    thread.start()

    def answer() -> dict[str, Any]:
        thread.join()
        return kept[0]

    return done, answer


def _status(url: str, path: str, token: str) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        headers = {"Accept": "text/html"} | ({"Authorization": f"Bearer {token}"} if token else {})
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="of the bus without and with a portal")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measure")
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--rate", type=int, default=2_000, help="messages a second while many read")
    parser.add_argument("--starts", type=int, default=3, help="until the first page")
    parser.add_argument("--folder", type=Path, help="on the disk under test; by default the temporary folder")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    if not 1 <= options.rounds <= 100 or not 0.5 <= options.seconds <= 60 or not 1 <= options.starts <= 20:
        parser.error("--rounds is 1 to 100, --seconds 0.5 to 60, --starts 1 to 20")
    if not 1 <= options.readers <= 2_000 or not 10 <= options.rate <= 100_000:
        parser.error("--readers is 1 to 2,000, --rate 10 to 100,000")
    return options


if __name__ == "__main__":
    main()
