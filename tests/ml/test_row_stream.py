"""Rows of PostgreSQL and SQLite, as their drivers give them."""

from __future__ import annotations

import datetime
import itertools
import sqlite3
from pathlib import Path

import psycopg
import pytest

from wattbus.errors import BadSettings
from wattbus.ml.tables import TrainingTables


def a_table(url: str, rows: int) -> TrainingTables:
    """Return the tables of a schema with one of so many reviews, the newest first in it."""
    with psycopg.connect(url) as connection:
        connection.execute(
            'CREATE TABLE review (id INTEGER PRIMARY KEY, label TEXT, "50%" TEXT, price NUMERIC, mood TEXT)'
        )
        connection.execute(
            "INSERT INTO review SELECT n, (n % 5)::text, 'text ' || n, n / 2.0, NULL "
            f"FROM generate_series({rows}, 1, -1) AS n"
        )
    return TrainingTables(url.replace("postgresql://", "postgresql+psycopg://"))


def test_rows_come_in_the_order_of_the_key_whole_and_within_the_limit(postgres_url: str) -> None:
    tables = a_table(postgres_url, 2_500)

    rows = list(tables.rows("review", ("label", "50%", "id", "mood")))
    few = list(tables.rows("review", ("id",), 3))

    assert rows == [(str(n % 5), f"text {n}", n, None) for n in range(1, 2_501)]
    assert few == [(1,), (2,), (3,)]


def test_a_column_that_sqlalchemy_reads_in_its_way_comes_as_it_always_did(postgres_url: str) -> None:
    tables = a_table(postgres_url, 3)

    assert [str(price) for (price,) in tables.rows("review", ("price",))] == [
        "0.50000000000000000000", "1.00000000000000000000", "1.5000000000000000"
    ]  # fmt: skip


def test_a_reader_that_stops_early_leaves_nothing_behind(postgres_url: str) -> None:
    tables = a_table(postgres_url, 5_000)

    rows = tables.rows("review", ("id",))
    first = list(itertools.islice(rows, 2))
    rows.close()  # type: ignore[attr-defined]

    assert first == [(1,), (2,)]
    assert len(list(tables.rows("review", ("id",)))) == 5_000


def test_a_failure_on_the_way_is_a_sentence(postgres_url: str) -> None:
    tables = a_table(postgres_url, 1)
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "CREATE FUNCTION halt() RETURNS INTEGER LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'"
        )
        connection.execute("CREATE VIEW broken AS SELECT halt() AS id FROM review")

    with pytest.raises(BadSettings, match=r"cannot be read \(no\)"):
        list(tables.rows("broken", ("id",)))


def test_rows_of_sqlite_come_in_the_order_of_the_key_and_within_the_limit(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "t.sqlite") as file:
        file.execute('CREATE TABLE review (id INTEGER PRIMARY KEY, label TEXT, "50%" TEXT, day DATE)')
        file.executemany(
            "INSERT INTO review VALUES (?, ?, ?, '2026-11-27')",
            [(n, n % 5 or None, f"text {n}") for n in range(2_500, 0, -1)],
        )
    file.close()
    tables = TrainingTables(f"sqlite:///{tmp_path / 't.sqlite'}")

    rows = tables.rows("review", ("label", "50%", "id"))
    first = list(itertools.islice(rows, 5))
    rows.close()  # type: ignore[attr-defined]

    assert first == [(str(n % 5) if n % 5 else None, f"text {n}", n) for n in range(1, 6)]
    assert len(list(tables.rows("review", ("id",)))) == 2_500
    assert list(tables.rows("review", ("id", "50%"), 2)) == [(1, "text 1"), (2, "text 2")]
    assert list(tables.rows("review", ("id", "day"), 1)) == [(1, datetime.date(2026, 11, 27))]


def test_a_failure_of_sqlite_on_the_way_is_a_sentence(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "t.sqlite") as file:
        file.execute("CREATE TABLE one (id INTEGER)")
        file.execute("INSERT INTO one VALUES (-9223372036854775808)")
        file.execute("CREATE VIEW broken AS SELECT abs(id) AS id FROM one")
    file.close()

    with pytest.raises(BadSettings, match="integer overflow"):
        list(TrainingTables(f"sqlite:///{tmp_path / 't.sqlite'}").rows("broken", ("id",)))
