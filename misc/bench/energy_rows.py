"""What the energy of a span costs to read in a store that holds many records.

    python misc/bench/energy_rows.py --rows 200000 --runs 5            # while developing
    python misc/bench/energy_rows.py --rows 10000000 --runs 11 --write

The store is filled by SQL: records spread evenly over a year up to now, of some items with a model each, a known tier,
one in fifty without a figure; a reading of the machine each minute. Then the hours that are over are added up and kept,
as a running production does each ten minutes, and each question is asked as the portal's page *Energy* asks it.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from peers.ours import versions
from table import figure, machine, table, write_block
from wattbus.home import Home
from wattbus.store.energy_queries import (
    DAY_US,
    HOUR_US,
    added,
    added_buckets,
    bucket_sums,
    close_hours,
    energy_sums,
)
from wattbus.store.store import Store

DAYS = 365
ITEMS = 8
AT_ONCE = 250_000
_MINUTES = DAYS * 24 * 60

_RECORDS = """
WITH RECURSIVE n(i) AS (SELECT :start UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :start + :count)
INSERT INTO energy (message_id, attempt, scope, item, operation_kind, model, revision, started_at_us, duration_seconds,
  cpu_seconds, energy_joules, cpu_joules, low_joules, high_joules, tier, status, reason, method, partial, facts)
SELECT i, 1, 'local', 'Python.Item' || (i % :items), 'text-classification', 'model-' || (i % :items), 'v1',
  :began + CAST(i * :step AS INTEGER), 0.02, 0.015, CASE WHEN i % 50 THEN 0.1 + (i % 7) * 0.01 END,
  CASE WHEN i % 50 THEN 0.1 + (i % 7) * 0.01 END, CASE WHEN i % 50 THEN 0.05 END, CASE WHEN i % 50 THEN 0.5 END,
  CASE WHEN i % 50 THEN 'modelled' ELSE 'none' END, CASE WHEN i % 50 THEN 'estimated' ELSE 'failed' END,
  CASE WHEN i % 50 THEN NULL ELSE 'a benchmark' END, 'a benchmark', 0, '{"stage":"inference","requests":1,"data":[]}'
FROM n
"""
_READINGS = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :count)
INSERT INTO energy_intervals (instance, started_at_us, duration_seconds, total_joules, operations_joules, idle_joules,
  others_joules, overhead_joules, tier, method, host)
SELECT 'bench', :began + i * 60000000, 60.0, 600.0, 100.0, 400.0, 90.0, 10.0, 'modelled', 'a benchmark', 'bench' FROM n
"""


@dataclass(frozen=True)
class Question:
    """What is asked, and how many rows of the answer are right."""

    what: str
    ask: Callable[[Engine], int]


def main() -> None:
    """Fill a store, keep its hours, ask each question, print the table."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="wattbus-bench-", dir=options.folder) as place:
        folder = Path(place)
        where = f"{machine(folder)} {versions()}."
        home = Home.find(folder / "home")
        home.create()
        Store(home).close()
        until_us = time.time_ns() // 1000 // DAY_US * DAY_US + DAY_US
        began = time.perf_counter()
        fill(home.store_file, options.rows, until_us - DAYS * DAY_US)
        filled = time.perf_counter() - began
        store = Store(home)
        try:
            began = time.perf_counter()
            while close_hours(store):
                continue
            kept = time.perf_counter() - began
            rows = [(one.what, *measure(store.engine, one, options.runs)) for one in questions(until_us)]
        finally:
            store.close()
        size = home.store_file.stat().st_size
    text = (
        f"{where} {options.rows:,} energy records and {_MINUTES:,} readings over {DAYS} days, {ITEMS} items: filled in "
        f"{filled:.0f} s, {size / 1e9:.1f} GB; their hours were added up once, in {kept:.0f} s. "
        f"Median of {options.runs} runs.\n\n"
    ) + table(
        ["question", "rows in the answer", "ms", "slowest ms"],
        [(what, f"{count:,}", figure(median), figure(slowest)) for what, count, median, slowest in rows],
    )
    print(text)
    if options.write:
        write_block("energy_rows", text)


def questions(until_us: int) -> list[Question]:
    """Return what the page asks, from one day to the year, and one item."""

    def by_day_and_item(engine: Engine, days: int, item: str | None = None) -> int:
        found = energy_sums(engine, until_us - days * DAY_US, until_us, item=item, step_us=DAY_US)
        return len(added(found, lambda one: (one.start_us // DAY_US, one.item)))

    return [
        Question("energy by day and item, a year", lambda engine: by_day_and_item(engine, DAYS)),
        Question("energy by day and item, 30 days", lambda engine: by_day_and_item(engine, 30)),
        Question(
            "energy by day of one item, a year", lambda engine: by_day_and_item(engine, DAYS, "Python.Item1")
        ),
        Question("energy by item, today", lambda engine: by_day_and_item(engine, 1)),
        Question(
            "buckets of the machine by day, a year",
            lambda engine: len(
                added_buckets(bucket_sums(engine, until_us - DAYS * DAY_US, until_us), DAY_US)
            ),
        ),
    ]


def measure(engine: Engine, question: Question, runs: int) -> tuple[int, float, float]:
    """Ask once to warm up, then so many times; return the rows, the median and the slowest milliseconds."""
    count, found = question.ask(engine), []
    for _ in range(runs):
        began = time.perf_counter()
        question.ask(engine)
        found.append((time.perf_counter() - began) * 1e3)
    return count, statistics.median(found), max(found)


def fill(file: Path, rows: int, began_us: int) -> None:
    """Put so many records, and a reading a minute, into a store that no process holds."""
    step = (DAYS * DAY_US - HOUR_US) / rows
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-262144")
        for start in range(0, rows, AT_ONCE):
            count = min(AT_ONCE, rows - start)
            values = {
                "start": start, "count": count, "began": began_us, "step": step, "items": ITEMS,
            }  # fmt: skip
            connection.execute(_RECORDS, values)
        connection.execute(_READINGS, {"began": began_us, "count": _MINUTES - 60})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument(
        "--folder", type=Path, help="where the store is made; by default the temporary folder"
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
