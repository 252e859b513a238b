"""What a page of the portal costs on a store that holds many messages.

    python misc/bench/portal.py --messages 20000 --runs 5            # while developing
    python misc/bench/portal.py --messages 1000000 --runs 15 --write

The store is filled by SQL: sessions of four messages (a request to a process, one to an operation, both responses),
one attempt and one energy record for each request, one message in a thousand failed. Then the server's own
application answers over HTTP on this machine; a page is asked for once to warm up, then so many times, pages in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from sqlalchemy import Engine, func, select

import table
from peers.ours import echo_production, versions
from wattbus.access import Access, Role
from wattbus.config import read_config
from wattbus.door import Director
from wattbus.energy.feed import NullFeed
from wattbus.store.tables import messages
from wattbus.web.serve import HttpDoor

SESSION = 4  # messages of a session
LONG = 1_000  # messages of the one long session
FAILS_EVERY = 1_000
ROWS = 20_000  # of a transaction
_BEGAN_US = 1_750_000_000_000_000
_STEP_US = 250_000


@dataclass(frozen=True)
class Page:
    """An address and what it shows."""

    what: str
    path: str


def main() -> None:
    """Fill a store, ask for each page, print the table."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="wattbus-bench-", dir=options.folder) as place:
        folder = Path(place)
        machine = f"{table.machine(folder)} {versions()}."
        config = read_config(home=folder / "home", port=0)
        director = Director(echo_production(), config=config, feed=NullFeed("a benchmark"))
        director.start_production()
        director.stop_production()
        began = time.perf_counter()
        fill(director.home.store_file, options.messages)
        _say(f"{options.messages:,} messages in {time.perf_counter() - began:.0f} s")
        director.start_production()
        engine = director.current().store.engine
        token = Access(director.home.access_file).create("bench", Role.ADMIN)
        door = HttpDoor(director, config)
        try:
            found = measure(door.url, token, pages(engine), options.runs)
        finally:
            door.close()
            director.close()
    text = report(found, machine, options.messages, options.runs)
    print(text)
    if options.write:
        table.write_block("portal", text)


def fill(file: Path, count: int) -> None:
    """Put ``count`` messages, and a long session, into a store that no process holds, with what belongs to them."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        (first,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM messages").fetchone()
        last = first + count
        for start in range(first, last, ROWS):
            _store(connection, start, min(ROWS, last - start), f"id - (id - {first}) % {SESSION}")
        _store(connection, last, LONG, str(last))


def _store(connection: sqlite3.Connection, start: int, count: int, session: str) -> None:
    """Make so many messages from ``start`` on, whose session is what the expression says of their id."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "CREATE TEMP TABLE made (id INTEGER PRIMARY KEY, session INTEGER, place INTEGER, at INTEGER)"
    )
    connection.execute(
        "WITH RECURSIVE n(id) AS (SELECT :start UNION ALL SELECT id + 1 FROM n WHERE id + 1 < :start + :count) "
        f"INSERT INTO made SELECT id, {session}, (id - ({session})) % {SESSION}, :began + id * :step FROM n",
        {"start": start, "count": count, "began": _BEGAN_US, "step": _STEP_US},
    )
    for table_name, values in _MADE.items():
        requests = "" if table_name in ("messages", "bodies") else " WHERE place < 2"
        columns = ", ".join(values)
        connection.execute(
            f"INSERT INTO {table_name} ({columns}) SELECT {', '.join(values.values())} FROM made{requests}"
        )
    connection.execute("DROP TABLE made")
    connection.execute("COMMIT")


def _side(first: int) -> str:
    """Return an SQL expression: the item on one side of a message by its place in the session."""
    names = ("Door.Bench", "Relay", "Echo", "Relay", "Door.Bench")
    return "CASE place " + " ".join(f"WHEN {n} THEN '{names[n + first]}'" for n in range(SESSION)) + " END"


def _kind(item: str) -> str:
    return (
        f"CASE {item} WHEN 'Relay' THEN 'BusinessProcess' WHEN 'Echo' THEN 'BusinessOperation' "
        "ELSE 'BusinessService' END"
    )


_FAILS = f"id % {FAILS_EVERY} = 1"
_TEXT = '{"text":"' + "f3a91c07" * 20 + '"}'
#: Of each table its columns, and the expressions on the made ids that fill them.
_MADE: dict[str, dict[str, str]] = {
    "messages": {
        "id": "id", "session_id": "session", "parent_id": "CASE WHEN place > 0 THEN session END",
        "corresponding_id": "CASE WHEN place > 0 THEN id - 1 END",
        "type": "CASE WHEN place < 2 THEN 'Request' ELSE 'Response' END", "invocation": "'Queue'",
        "source_item": _side(0), "source_business_type": _kind(f"({_side(0)})"),
        "target_item": _side(1), "target_business_type": _kind(f"({_side(1)})"), "target_queue": _side(1),
        "body_class": "'peers.ours.Text'", "body_id": "id", "description": "''", "priority": "6",
        "status": f"CASE WHEN {_FAILS} THEN 'Error' ELSE 'Completed' END", "is_error": _FAILS,
        "error_status": f"CASE WHEN {_FAILS} THEN 'ValueError: it failed' END", "attempts": "place < 2",
        "not_before_us": "0", "response_required": "place < 2", "time_created_us": "at",
        "time_processed_us": "at + 3000",
    },
    "bodies": {
        "id": "id", "sha256": "printf('%064d', id)", "size_bytes": str(len(_TEXT)), "json": f"'{_TEXT}'",
    },
    "attempts": {
        "message_id": "id", "number": "1", "item": _side(1), "job": "'job'", "instance": "'bench'",
        "started_us": "at + 500", "lease_until_us": "at", "ended_us": "at + 2500", "duration_seconds": "0.002",
        "outcome": "'completed'",
    },
    "energy": {
        "message_id": "id", "attempt": "1", "scope": "'local'", "item": _side(1), "started_at_us": "at",
        "duration_seconds": "0.002", "cpu_seconds": "0.001", "energy_joules": "0.02", "tier": "'modelled'",
        "status": "'settled'", "partial": "0",
    },
    "event_log": {
        "time_us": "at", "type": "'Info'", "item": _side(1), "job": "'job'", "message_id": "id",
        "session_id": "session", "text": "'a line'",
    },
}  # fmt: skip


def pages(engine: Engine) -> list[Page]:
    """Return what is asked for."""
    with engine.connect() as connection:
        last = int(connection.execute(select(func.max(messages.c.id))).scalar_one())
    long, middle = last - LONG + 1, last // 2
    deep = f"before={middle}"
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime((_BEGAN_US + middle * _STEP_US) / 1e6))
    return [
        Page("messages, first page", "/messages"),
        Page("messages, in the middle", f"/messages?{deep}"),
        Page("messages, status=Error", _found("status=Error")),
        Page("messages, status=Suspended: none", _found("status=Suspended")),
        Page("messages, item=Echo", _found("item=Echo")),
        Page("messages, an item that has none", _found("item=Nobody")),
        Page("messages, one session", _found(f"session={middle - middle % 4}")),
        Page("messages, until some time ago", _found(f"until={since}")),
        Page("messages, text in a body that none has", _found('"body contains needle"')),
        Page("messages, a field of a body that none has", _found("$.text=needle")),
        Page("messages, dead letters", "/messages/dead"),
        Page("one message", f"/messages/{middle}"),
        Page("sessions", "/trace"),
        Page("trace of four messages", f"/trace/{middle}"),
        Page("trace of 1,000 messages, a page of 300", f"/trace/{long}"),
        Page("trace of 1,000 messages, SVG with all", f"/trace/{long}.svg"),
    ]


def _found(text: str) -> str:
    return f"/messages?filter={quote(text)}"


def measure(url: str, token: str, asked: list[Page], runs: int) -> list[tuple[Page, list[float], int]]:
    """Return of each page its seconds and its size."""
    times: dict[str, list[float]] = {page.path: [] for page in asked}
    sizes: dict[str, int] = {}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    headers = {"authorization": f"Bearer {token}", "accept": "text/html"}
    for run in range(runs + 1):
        for page in asked:
            began = time.perf_counter()
            connection.request("GET", page.path, headers=headers)
            answer = connection.getresponse()
            sizes[page.path] = len(answer.read())
            if answer.status != 200:
                raise SystemExit(f"{page.path} answered {answer.status}")
            if run:
                times[page.path].append(time.perf_counter() - began)
    connection.close()
    return [(page, times[page.path], sizes[page.path]) for page in asked]


def report(found: Iterable[tuple[Page, list[float], int]], machine: str, count: int, runs: int) -> str:
    """Return the table with the words around it."""
    return "\n".join(
        [
            f"{machine} {count:,} messages in the store. Median of {runs} requests a page, pages in turns; "
            "one client on this machine, time until the last byte.",
            "",
            table.table(["page", "median ms", "slowest ms", "kB"], list(_rows(found))),
        ]
    )


def _rows(found: Iterable[tuple[Page, list[float], int]]) -> Iterator[list[str]]:
    for page, seconds, size in found:
        yield [
            page.what,
            table.figure(statistics.median(seconds) * 1e3),
            table.figure(max(seconds) * 1e3),
            table.figure(size / 1e3),
        ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="on the disk under test; by default the temporary folder")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
