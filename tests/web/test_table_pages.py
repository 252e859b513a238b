"""The pages of the training tables: what they hold, how a CSV file becomes one, and what is refused there."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
import sqlalchemy as sa
from doors import Asked, OpenDoor, open_door
from trainings import HOSTILE, prepared, production

from components import echo_production
from wattbus.errors import BadRequest
from wattbus.home import Home
from wattbus.ml import table_looks
from wattbus.ml.table_looks import look_at
from wattbus.ml.tables import TrainingTables
from wattbus.web.table_pages import _INSTEAD
from wattbus.web.uploads import keep

#: SQL where the name of a table or a column is asked for: S3 and S4.
SQL = [
    "Review; DROP TABLE Review", "Review UNION SELECT token", "(SELECT * FROM canary)", "sqlite_master", '"Review"',
    "Review--", "Review/**/", "`Review`", "[Review]", "Review\u200b", "Ｒeview", "*", "load_extension('x')", "1/0",
    "label,(SELECT secret FROM canary)", "rowid",
]  # fmt: skip


def load(ask: OpenDoor, name: str, text: str | bytes, query: str = "") -> Asked:
    content = text if isinstance(text, bytes) else text.encode()
    return ask("PUT", f"/api/v1/tables/{quote(name, safe='')}{query}", content, content_type="text/csv")


def upload(ask: OpenDoor, fields: dict[str, str], content: bytes | None, filename: str = "rows.csv") -> Asked:
    """Send the form with its file, as a browser does."""
    mark = uuid.uuid4().hex
    parts = [
        f'--{mark}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if content is not None:
        head = f'--{mark}\r\ncontent-disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    body = b"".join(parts) + f"--{mark}--\r\n".encode()
    return ask(
        "POST", "/tables", body, content_type=f"multipart/form-data; boundary={mark}", accept="text/html"
    )


def test_a_table_shows_its_rows_labels_and_lengths_and_leads_to_a_training(tmp_path: Path) -> None:
    prepared(tmp_path)

    with open_door(tmp_path, production()) as ask:
        listed = ask("GET", "/api/v1/tables").said["tables"]
        said = ask("GET", "/api/v1/tables/review?limit=3&offset=1").said
        page = ask.page("/tables/Review").said

    look = said["look"]
    assert [(table["name"], table["rows"], table["more"]) for table in listed] == [("Review", 40, False)]
    assert [column["name"] for column in look["table"]["columns"]] == ["label", "text"]
    assert look["labels"]["column"] == "label"
    assert {(one["label"], one["rows"]) for one in look["labels"]["counts"]} == {("good", 20), (HOSTILE, 20)}
    assert look["lengths"]["column"] == "text"
    assert 0 < look["lengths"]["least"] <= look["lengths"]["median"] <= look["lengths"]["most"]
    assert [row[1]["text"].split()[:2] for row in look["rows"]] == [["row", "1"], ["row", "2"], ["row", "3"]]
    query = parse_qs(urlsplit(said["train_on"]["Tune"]).query)
    assert (query["item"], query["type"]) == (["Tune"], ["msg.TrainRequest"])
    assert json.loads(query["body"][0]) | {"num_train_epochs": 0} == {
        "table": "review",
        "columns": "label,text",
        "limit": 40,
        "p_of_train": 0.8,
        "num_train_epochs": 0,
    }
    assert "Train on this with Tune" in page
    assert HOSTILE not in page


def test_what_a_training_would_trip_over_is_said(tmp_path: Path) -> None:
    rows = "label,text\n" + "a,same again\n" * 30 + "b,another one\n" + "a,\n" * 4
    with open_door(tmp_path, echo_production(), start=False) as ask:
        load(ask, "Odd", rows)
        load(ask, "One", "label,text\n" + "".join(f"a,text {number}\n" for number in range(20)))
        odd = ask("GET", "/api/v1/tables/Odd").said["look"]
        one = ask("GET", "/api/v1/tables/One?label=label").said["look"]

    assert (odd["lengths"]["empty"], odd["lengths"]["repeated"]) == (4, 29)
    said = " ".join(odd["notes"])
    assert "4 rows have no text" in said
    assert "29 rows repeat the text" in said
    assert "the labels are uneven: 34 rows have the most frequent one, 1 the rarest" in said
    assert "all rows have the same label" in one["notes"][0]


def test_a_long_table_is_looked_at_in_part_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_looks, "COUNTED", 30)
    monkeypatch.setattr(table_looks, "MEASURED", 10)
    home = prepared(tmp_path)

    look = look_at(TrainingTables(f"sqlite:///{home.tables_file}"), "Review")

    assert (look.table.rows, look.table.more) == (30, True)
    assert look.labels is not None
    assert look.lengths is not None
    assert (look.labels.rows_looked_at, look.labels.all_rows) == (30, False)
    assert (look.lengths.rows_looked_at, look.lengths.all_rows) == (10, False)


def test_a_csv_file_is_loaded_kept_and_replaced(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        form = upload(ask.as_role("operator"), {"name": "iris.Review"}, b"label,text\n1,good\n2,bad\n")
        kept = load(ask, "iris.Review", "label,text\n3,other\n")
        kept_form = upload(ask, {"name": "iris.Review"}, b"label,text\n3,other\n")
        replaced = load(ask, "iris.Review", "label,text\n3,other\n", "?replace=true")
        rows = ask("GET", "/api/v1/tables/iris.Review").said["look"]["rows"]

    assert (form.status, form.headers["location"]) == (303, "/tables/iris.Review")
    assert kept.status == 400
    assert "is there already and was kept" in kept.said["detail"]
    assert "was%20kept" in kept_form.headers["set-cookie"]
    assert replaced.said["sentence"] == "iris.Review: 1 row loaded."
    assert [[cell["text"] for cell in row] for row in rows] == [["3", "other"]]
    assert _left(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("New", b"", "the file is empty"),
        ("New", b"label,text\n", "has no rows below its header"),
        ("New", b"label\n1\n2\n", "has one column, 'label'"),
        ("New", b"label;text\n1;a\n", "no identifier"),
        ("New", "label,text\n1,caf\xe9\n".encode("latin-1"), "is not UTF-8 (byte"),
        ("New", b"label,text\n1,a,b\n", "record 2 of the file has 3 cells"),
        ("New", b"label,te xt\n1,a\n", "no identifier"),
        ("New", b"label,label\n1,a\n", "names a column twice"),
        ("New", b'label,text\n1,"open\n', "is not CSV"),
        ("New; DROP TABLE Review", b"label,text\n1,a\n", "no identifier"),
        ("sqlite_master", b"label,text\n1,a\n", "one of the database's own"),
        ("../x", b"label,text\n1,a\n", "no identifier"),
    ],
)
def test_a_file_or_a_name_that_is_wrong_is_refused_in_a_sentence_and_nothing_is_loaded(
    tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    home = prepared(tmp_path)

    with open_door(tmp_path, echo_production(), start=False) as ask:
        sent = upload(ask, {"name": name}, content)
        told = ask.page("/tables", cookie=f"{sent.headers['set-cookie'].partition(';')[0]}").status
        answer = load(ask, name, content)

    assert sent.status == 303
    assert why in _told(sent)
    assert str(tmp_path) not in _told(sent)
    assert told in (200, 303)
    assert answer.status in (400, 403, 404, 405)
    assert TrainingTables(f"sqlite:///{home.tables_file}").names() == ("Review",)
    assert _left(tmp_path) == []


def test_a_form_without_a_file_or_a_name_says_what_is_missing(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        nothing = upload(ask, {"name": "New"}, None)
        nameless = upload(ask, {"name": " "}, b"label,text\n1,a\n")
        viewer = upload(ask.as_role("viewer"), {"name": "New"}, b"label,text\n1,a\n")

    assert "no file was chosen" in _told(nothing)
    assert "has no name" in _told(nameless)
    assert viewer.status == 403


def test_a_file_that_is_too_long_is_not_read_to_its_end(tmp_path: Path) -> None:
    read = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            read.append(1)
            yield b"x" * 100

    with pytest.raises(
        BadRequest, match=r"the file is longer than 1\.0 kB: load it with `wattbus tables load"
    ):
        asyncio.run(keep(endless(), tmp_path / "file", 1000, _INSTEAD))
    assert len(read) == 11


@pytest.mark.parametrize("sql", SQL)
def test_sql_in_a_name_is_a_name_that_is_not_there(tmp_path: Path, sql: str) -> None:
    home = prepared(tmp_path)
    with closing(sqlite3.connect(home.tables_file)) as connection:
        connection.execute("CREATE TABLE canary (secret TEXT)")
        connection.execute("INSERT INTO canary VALUES ('canary-value')")
        connection.commit()

    with open_door(tmp_path, echo_production(), start=False) as ask:
        named = quote(sql, safe="")
        answers = [
            ask("GET", f"/api/v1/tables/{named}"),
            ask("GET", f"/api/v1/tables/Review?label={named}"),
            ask("GET", f"/api/v1/tables/Review?text={named}"),
            ask.page(f"/tables/{named}"),
        ]

    assert {answer.status for answer in answers} == {404}
    assert "canary-value" not in str([answer.said for answer in answers])
    with closing(sqlite3.connect(home.tables_file)) as connection:
        assert connection.execute("SELECT count(*) FROM canary").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM Review").fetchone() == (40,)


@pytest.mark.parametrize("limit", ["1;DROP", "-1", "0", "1e18", "NaN", "true", "201", "99999999999999999999"])
def test_a_number_of_rows_that_is_none_or_too_large_is_refused(tmp_path: Path, limit: str) -> None:
    prepared(tmp_path)

    with open_door(tmp_path, echo_production(), start=False) as ask:
        answers = [
            ask("GET", f"/api/v1/tables/Review?limit={quote(limit)}"),
            ask("GET", f"/api/v1/tables/Review?offset=-{quote(limit)}"),
        ]

    assert answers[0].status == 400
    assert answers[1].status in (200, 400)


def test_the_product_s_own_tables_are_not_shown_where_they_share_a_database(tmp_path: Path) -> None:
    store = f"sqlite:///{Home(tmp_path).create().store_file}"

    with open_door(tmp_path, echo_production(), tables_url=store) as ask:
        with closing(sqlite3.connect(ask.director.home.store_file)) as connection:
            connection.execute("CREATE TABLE mine (label TEXT, text TEXT)")
            connection.commit()
        names = [table["name"] for table in ask("GET", "/api/v1/tables").said["tables"]]
        own = ask("GET", "/api/v1/tables/messages")

    assert (names, own.status) == (["mine"], 404)


def _told(answer: Asked) -> str:
    """Return the sentence that a form's answer brings to the next page."""
    value = answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
    return str(json.loads(unquote(value.strip('"')))["text"])


def _left(home: Path) -> list[str]:
    return [path.name for path in home.iterdir() if path.name.startswith(".load-")]


def test_tables_of_postgresql_are_shown_whatever_the_types_of_their_columns(
    tmp_path: Path, postgres_url: str
) -> None:
    url = postgres_url.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE TABLE odd (id serial PRIMARY KEY, facts json, raw bytea, label integer, text text)"
            )
        )
        connection.execute(
            sa.text(
                "INSERT INTO odd (facts, raw, label, text) "
                "SELECT '{}', '\\x00ff', n % 2, 'text ' || n FROM generate_series(1, 20) n"
            )
        )
    engine.dispose()

    with open_door(tmp_path, echo_production(), start=False, tables_url=url) as ask:
        listed = ask("GET", "/api/v1/tables")
        answer = ask("GET", "/api/v1/tables/odd")
        assert answer.status == 200, answer.said
        look = answer.said["look"]
        numbers = ask("GET", "/api/v1/tables/odd?text=label")

    assert listed.status == 200
    assert "odd" in [table["name"].rpartition(".")[2] for table in listed.said["tables"]]
    assert (look["labels"]["column"], look["lengths"]["column"]) == ("label", "text")
    assert [one["rows"] for one in look["labels"]["counts"]] == [10, 10]
    assert look["rows"][0][2]["text"] == "2 bytes"
    assert numbers.said["look"]["lengths"]["most"] == 1
