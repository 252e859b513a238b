"""Training tables: names are looked up in the schema, rows are only read, a load is whole or nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from wattbus.errors import BadRequest, BadSettings, Refused, UnknownName
from wattbus.ml.examples import batch_size_for, label_order, read_examples, split_rows
from wattbus.ml.tables import LIMIT_MAX, TrainingTables, parse_limit

CSV = "ReviewLabel,ReviewText\n5,good\n1,bad\n3,so so\n"


def write_csv(folder: Path, text: str = CSV) -> Path:
    file = folder / "rows.csv"
    file.write_text(text, encoding="utf-8")
    return file


def loaded(folder: Path, table: str = "iris.Review", text: str = CSV) -> TrainingTables:
    tables = TrainingTables(f"sqlite:///{folder}/tables.sqlite")
    tables.load_csv(table, write_csv(folder, text), if_exists="replace")
    return tables


def test_a_csv_file_becomes_a_typed_table_that_only_its_owner_can_read(tmp_path: Path) -> None:
    tables = TrainingTables(f"sqlite:///{tmp_path}/home/tables.sqlite")

    rows = tables.load_csv(
        "iris.Review", write_csv(tmp_path, "label,stars,price,code\na,1,2.5,007\nb,2,3,008\n")
    )

    assert rows == 2
    facts = tables.describe("iris.Review")
    assert [column.type for column in facts.columns] == ["TEXT", "BIGINT", "DOUBLE", "TEXT"]
    assert facts.rows == 2
    assert list(tables.rows("iris.Review", ["stars", "price", "code"])) == [(1, 2.5, "007"), (2, 3.0, "008")]
    assert (tmp_path / "home" / "tables.sqlite").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700


def test_a_table_that_is_there_is_kept_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    tables = loaded(tmp_path)
    other = write_csv(tmp_path, "ReviewLabel,ReviewText\n2,other\n")

    kept = tables.load_csv("iris.Review", other)
    replaced = tables.load_csv("iris.Review", other, if_exists="replace")

    assert (kept, replaced) == (0, 1)
    assert list(tables.rows("iris.Review", ["ReviewText"])) == [("other",)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("label,te xt\n1,a\n", "no identifier"),
        ("label,label\n1,a\n", "twice"),
        ("label,text\n", "no rows"),
        ("", "no rows"),
        ("label,text\n1,a\n2,b,c\n", "record 3"),
        ('label,text\n1,"a\n', "not CSV"),
    ],
)
def test_a_bad_csv_file_gets_a_sentence_and_leaves_the_old_table(tmp_path: Path, text: str, why: str) -> None:
    tables = loaded(tmp_path)

    with pytest.raises(BadRequest, match=why):
        tables.load_csv("iris.Review", write_csv(tmp_path, text), if_exists="replace")

    assert tables.describe("iris.Review").rows == 3


def test_a_file_that_is_not_utf_8_or_not_there_gets_a_sentence(tmp_path: Path) -> None:
    tables = TrainingTables(f"sqlite:///{tmp_path}/tables.sqlite")
    (tmp_path / "latin.csv").write_bytes(b"label,text\n1,caf\xe9\n")

    with pytest.raises(BadRequest, match="UTF-8"):
        tables.load_csv("Review", tmp_path / "latin.csv")
    with pytest.raises(BadRequest, match="cannot be read"):
        tables.load_csv("Review", tmp_path / "absent.csv")

    assert tables.names() == ()


def test_a_load_that_fails_half_way_leaves_the_old_rows(tmp_path: Path) -> None:
    tables = loaded(tmp_path)
    file = write_csv(tmp_path, "ReviewLabel,ReviewText\n" + "1,a\n" * 2500)
    inserts = []

    def fail_at_the_second_insert(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        inserts.extend([statement] * statement.startswith("INSERT"))
        if len(inserts) == 2:
            raise OSError("the disk is gone")

    sa.event.listen(sa.Engine, "before_cursor_execute", fail_at_the_second_insert)
    try:
        with pytest.raises(OSError, match="the disk is gone"):
            tables.load_csv("iris.Review", file, if_exists="replace")
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", fail_at_the_second_insert)

    assert [row[0] for row in tables.rows("iris.Review", ["ReviewText"])] == ["good", "bad", "so so"]


@pytest.mark.parametrize(
    "table", ["Re view", "Review; DROP TABLE x", "a.b.c", "sqlite_x", "", "../x", "alembic_version"]
)
def test_a_new_table_needs_a_name_that_is_an_identifier(tmp_path: Path, table: str) -> None:
    tables = TrainingTables(f"sqlite:///{tmp_path}/tables.sqlite")

    with pytest.raises(Refused, match="table name"):
        tables.load_csv(table, write_csv(tmp_path))

    assert tables.names() == ()


@pytest.mark.parametrize("table", ["Review", "iris.Review"])
@pytest.mark.parametrize("asked", ["iris.Review", "IRIS.review"])
def test_the_seeds_table_name_finds_the_table_with_or_without_a_schema(
    tmp_path: Path, table: str, asked: str
) -> None:
    tables = loaded(tmp_path, table)

    found, columns = tables.resolve(asked, ["reviewlabel", "ReviewText"])

    assert found.name == table
    assert [column.name for column in columns] == ["ReviewLabel", "ReviewText"]


@pytest.mark.parametrize(
    "table",
    [
        "Review; DROP TABLE x",
        "Review UNION SELECT token",
        "(SELECT 1)",
        "sqlite_master",
        "main.sqlite_master",
        "sqlite_schema",
        '"iris.Review"',
        "iris.Review--",
        "iris.Review/**/",
        "ιris.Review",
        "secret",
        "alembic_version",
        "",
    ],
)
def test_a_table_name_that_is_no_training_table_is_unknown_and_nothing_changes(
    tmp_path: Path, table: str
) -> None:
    loaded(tmp_path)
    with sqlite3.connect(tmp_path / "tables.sqlite") as writer:
        writer.execute("CREATE TABLE secret (token TEXT)")
        writer.execute("CREATE TABLE alembic_version (token TEXT)")
    writer.close()
    before = (tmp_path / "tables.sqlite").read_bytes()
    tables = TrainingTables(f"sqlite:///{tmp_path}/tables.sqlite", private=frozenset({"secret"}))

    with pytest.raises(UnknownName, match="unknown table"):
        list(tables.rows(table, ["ReviewLabel"]))

    assert tables.names() == ("iris.Review",)
    assert (tmp_path / "tables.sqlite").read_bytes() == before


@pytest.mark.parametrize(
    "column", ["*", "(SELECT 1)", "load_extension('x')", "1/0", "rowid", "", "ReviewLabel "]
)
def test_a_column_that_the_table_lacks_is_unknown(tmp_path: Path, column: str) -> None:
    tables = loaded(tmp_path)

    with pytest.raises(UnknownName, match="unknown column"):
        list(tables.rows("iris.Review", [column, "ReviewText"]))


def test_a_misspelt_name_gets_the_nearest_right_one(tmp_path: Path) -> None:
    tables = loaded(tmp_path)

    with pytest.raises(UnknownName, match=r"did you mean 'iris\.Review'"):
        tables.resolve("iris.Reviews", ["ReviewLabel"])
    with pytest.raises(UnknownName, match="did you mean 'ReviewLabel'"):
        tables.resolve("iris.Review", ["reviewlabl"])


@pytest.mark.parametrize("limit", ["1; DROP", -1, 0, 1e18, 10**18, float("nan"), True, "", "²", [1], 2.0])
def test_a_limit_that_is_no_number_of_rows_is_refused(tmp_path: Path, limit: object) -> None:
    tables = loaded(tmp_path)

    with pytest.raises(BadRequest, match="limit is"):
        list(tables.rows("iris.Review", ["ReviewLabel"], limit))


@pytest.mark.parametrize(("limit", "rows"), [(None, 3), (2, 2), ("2", 2), (LIMIT_MAX, 3)])
def test_a_limit_bounds_the_rows(tmp_path: Path, limit: object, rows: int) -> None:
    tables = loaded(tmp_path)

    assert len(list(tables.rows("iris.Review", ["ReviewLabel"], parse_limit(limit)))) == rows


def test_the_database_itself_refuses_to_write_through_a_reading_connection(tmp_path: Path) -> None:
    tables = loaded(tmp_path)
    table, _ = tables.resolve("iris.Review", ["ReviewLabel"])

    with pytest.raises(BadSettings, match="readonly"), tables._reading() as connection:
        connection.execute(sa.insert(table).values(ReviewLabel=1))

    assert tables.describe("iris.Review").rows == 3


def test_a_view_is_a_table_and_rows_come_in_the_order_of_the_key(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "tables.sqlite") as writer:
        writer.execute("CREATE TABLE r (id TEXT PRIMARY KEY, t TEXT)")
        writer.executemany("INSERT INTO r VALUES (?, ?)", [("b", "2"), ("a", "1")])
        writer.execute("CREATE VIEW v AS SELECT t FROM r")
    writer.close()
    tables = TrainingTables(f"sqlite:///{tmp_path}/tables.sqlite")

    assert tables.names() == ("r", "v")
    assert list(tables.rows("r", ["t"])) == [("1",), ("2",)]
    assert len(list(tables.rows("v", ["t"]))) == 2


def test_a_database_that_is_not_there_or_no_database_gets_a_sentence_without_its_password(
    tmp_path: Path,
) -> None:
    (tmp_path / "tables.sqlite").write_bytes(b"not a database at all, but a text" * 100)

    with pytest.raises(UnknownName, match="wattbus tables load"):
        TrainingTables(f"sqlite:///{tmp_path}/none.sqlite").resolve("Review", ["a"])
    with pytest.raises(BadSettings, match="cannot be read"):
        TrainingTables(f"sqlite:///{tmp_path}/tables.sqlite").names()
    with pytest.raises(BadSettings, match=r"u:\*\*\*@127") as refused:
        TrainingTables("postgresql+psycopg://u:canary@127.0.0.1:1/d").names()
    for url in ("sqlite://", "nothing", "oracular://x", "sqlite:///:memory:"):
        with pytest.raises(BadSettings):
            TrainingTables(url)

    assert "canary" not in str(refused.value)


# rows as examples

COLUMNS = ("Label", "Text")


def test_rows_without_label_or_text_are_dropped_and_counted() -> None:
    rows = [(1, "a"), (None, "b"), (2, None), (2, "  "), (2, "c"), (1, "d"), (1, "e")]

    examples = read_examples(iter(rows), "t", COLUMNS)

    assert examples.labels == ("1", "2", "1", "1")
    assert examples.row_numbers == (1, 5, 6, 7)
    assert examples.dropped == 3


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "is empty"),
        ([(None, "a")] * 5, "none of the 5 rows"),
        ([(1, "a")] * 5, "same Label '1'"),
        ([(1, 2.5)] * 5, "holds float in row 1"),
        ([(b"x", "a")] * 5, "bytes"),
        ([(1, "a"), (2, "b")], "2 usable rows"),
        ([(f"a long text {n}", f"{n}") for n in range(20)], "20 different values in 20 rows"),
    ],
)
def test_rows_that_cannot_be_learnt_from_get_a_sentence(rows: list[tuple[object, object]], why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        read_examples(iter(rows), "t", COLUMNS)


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (["10", "9", "-1", "9"], ("-1", "9", "10")),
        (["0.5", "10", "2"], ("0.5", "2", "10")),
        (["good", "10", "bad"], ("10", "bad", "good")),
        (["True", "False"], ("False", "True")),
    ],
)
def test_labels_are_sorted_as_numbers_where_all_are(labels: list[str], order: tuple[str, ...]) -> None:
    assert label_order(labels) == order


@pytest.mark.parametrize(
    ("rows", "size"),
    [
        (1, 1),
        (4, 2),
        (20, 4),
        (24, 4),
        (100, 10),
        (509, 1),
        (511, 7),
        (512, 16),
        (1024, 32),
        (2000, 25),
        (10**6, 32),
    ],
)
def test_the_batch_size_is_the_seeds_biggest_divisor(rows: int, size: int) -> None:
    assert batch_size_for(rows) == size


def test_a_split_is_seeded_and_keeps_the_share_of_each_label() -> None:
    labels = ["a"] * 40 + ["b"] * 60

    split = split_rows(labels, 0.8, seed=3)

    assert split == split_rows(labels, 0.8, seed=3)
    assert split != split_rows(labels, 0.8, seed=4)
    assert sorted(split.train + split.test) == list(range(100))
    assert [sum(labels[row] == "a" for row in part) for part in (split.train, split.test)] == [32, 8]
    assert split.note is None


def test_a_split_of_few_rows_is_by_chance_and_says_so() -> None:
    split = split_rows(["1", "2", "3", "4", "5"] * 4, 0.8, seed=1)

    assert (len(split.train), len(split.test)) == (16, 4)
    assert split.note
    with pytest.raises(BadRequest, match="leaves 0 to train"):
        split_rows(["1", "2"] * 4, 0.1, seed=1)
