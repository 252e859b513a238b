"""SQL to training rows: the product's tables against ``pandas.read_sql``, on SQLite and on PostgreSQL.

    python misc/bench/sql_rows.py --rows 100000 --runs 7 --write     # about a minute

Both read the label and the text of all rows of one table. Ours opens the database, looks the names up in the inspected
schema, and gives the rows one by one, as a training takes them, in the order of the primary key; ``read_sql`` is given
an open engine and the query, and is done when its frame is there. Each reading is a process of its own, the two by
turns, and says how much its peak of memory grew from before the reading to its end.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import sqlalchemy as sa

from peers.apart import apart
from peers.process import peak_mib, resident_mib
from table import figure, machine, table, write_block

TABLE = "bench_review"
COLUMNS = ("ReviewLabel", "ReviewText")
SERVER = os.environ.get("BENCH_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test")
SEED = 42
LIMIT_SECONDS = 120.0


@dataclass(frozen=True)
class Reading:
    """One reading in a process of its own."""

    seconds: float
    cpu_seconds: float
    extra_mib: float


def ours(url: str, rows: int) -> Reading:
    """Read with the product, as a training does."""
    from wattbus.ml.tables import TrainingTables

    def read() -> int:
        return sum(1 for _ in TrainingTables(url).rows(TABLE, COLUMNS))

    list(TrainingTables(url).rows(TABLE, COLUMNS, 1))  # drivers are loaded when they are first used
    return _measured(read, rows)


def pandas_way(url: str, rows: int) -> Reading:
    """Read with pandas into one frame."""
    import pandas

    engine = sa.create_engine(url)
    query = f'SELECT "{COLUMNS[0]}", "{COLUMNS[1]}" FROM {TABLE}'

    def read() -> int:
        return len(pandas.read_sql(query, engine))

    pandas.read_sql(f"{query} LIMIT 1", engine)
    return _measured(read, rows)


def _measured(read: Callable[[], int], rows: int) -> Reading:
    """Read once, and see that nothing is missing."""
    before, used = resident_mib(), _cpu_seconds()
    began = time.perf_counter()
    found = read()
    seconds = time.perf_counter() - began
    if found != rows:
        raise SystemExit(f"{found} rows were read, and the table has {rows}")
    return Reading(seconds, _cpu_seconds() - used, max(0.0, peak_mib() - before))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextmanager
def filled(url: str, rows: int) -> Iterator[None]:
    """Make the table with ``rows`` reviews, and take it back afterwards."""
    draw = random.Random(SEED)
    words = [f"word{number}" for number in range(2_000)]
    metadata = sa.MetaData()
    reviews = sa.Table(
        TABLE,
        metadata,
        sa.Column("Id", sa.Integer, primary_key=True),
        sa.Column(COLUMNS[0], sa.Text),
        sa.Column(COLUMNS[1], sa.Text),
    )
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            metadata.drop_all(connection)
            metadata.create_all(connection)
            for start in range(0, rows, 10_000):
                connection.execute(
                    reviews.insert(),
                    [
                        {
                            "Id": number + 1,
                            COLUMNS[0]: str(draw.randint(1, 5)),
                            COLUMNS[1]: " ".join(draw.choices(words, k=draw.randint(8, 60))),
                        }
                        for number in range(start, min(rows, start + 10_000))
                    ],
                )
        yield
    finally:
        with suppress(sa.exc.SQLAlchemyError), engine.begin() as connection:
            metadata.drop_all(connection)
        engine.dispose()


def compared(database: str, url: str, rows: int, runs: int) -> list[list[str]]:
    """Return the two rows of one database."""
    found: dict[Callable[[str, int], Reading], list[Reading]] = {ours: [], pandas_way: []}
    with filled(url, rows):
        for number in range(runs):
            for way in found if number % 2 == 0 else reversed(found):
                found[way].append(apart(LIMIT_SECONDS, way, url, rows))
    mine, theirs = found[ours], found[pandas_way]
    ratio = statistics.median(one.seconds / other.seconds for one, other in zip(theirs, mine, strict=True))
    cpu = statistics.median(
        one.cpu_seconds / other.cpu_seconds for one, other in zip(theirs, mine, strict=True)
    )
    return [
        _row(database, "**wattbus**, one by one", mine, rows, figure(ratio), figure(cpu)),
        _row(database, "`pandas.read_sql`", theirs, rows, "", ""),
    ]


def _row(database: str, way: str, found: list[Reading], rows: int, ratio: str, cpu: str) -> list[str]:
    seconds = statistics.median(one.seconds for one in found)
    extra = statistics.median(one.extra_mib for one in found)
    return [database, way, figure(rows / seconds), ratio, cpu, figure(extra, "MiB")]


def main() -> None:
    """Measure on each database that is there, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=7, help="readings of each, each in a process of its own")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    where = machine(Path(tempfile.gettempdir()))
    lines: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        server = sa.make_url(SERVER).set(drivername="postgresql+psycopg")
        databases = {
            "SQLite": f"sqlite:///{folder}/tables.sqlite",
            "PostgreSQL": server.render_as_string(hide_password=False),
        }
        for name, url in databases.items():
            try:
                lines += compared(name, url, options.rows, options.runs)
            except sa.exc.OperationalError as error:
                lines.append([name, f"not there: {str(error.orig).splitlines()[0][:80]}", "", "", "", ""])
    head = ["database", "way", "rows a second", "times faster", "times less CPU", "peak memory grew by"]
    text = (
        f"{where} {options.rows:,} rows, medians of {options.runs} readings, by turns. SQLAlchemy "
        f"{version('sqlalchemy')}, pandas {version('pandas')}.\n\n{table(head, lines, 2)}"
    )
    print(text)
    if options.write:
        write_block("sql-rows", text)


if __name__ == "__main__":
    main()
