"""``iris.sql`` on the configured database of tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from iop import BusinessOperation, Production

from components import Text
from wattbus import testing
from wattbus.errors import BadRequest, RequestFailed
from wattbus.runtime.iris import stand_in
from wattbus.runtime.iris_sql import ResultSet, _in_dialect

stand_in()

import iris  # noqa: E402


class Shop(BusinessOperation):
    def on_init(self) -> None:
        iris.sql.exec("CREATE TABLE Items (Name VARCHAR(20), Price INTEGER)")
        add = iris.sql.prepare("INSERT INTO Items (Name, Price) VALUES (?, ?)")
        for name, price in (("pen", 2), ("ink", 5), ("50% off?", 1)):
            add.execute(name, price)

    def on_message(self, request: Text) -> Text:
        query = json.loads(request.text)
        return Text(json.dumps(list(iris.sql.exec(query[0], *query[1:]))))


def ask(tmp_path: Path, *query: Any) -> Any:
    prod = Production("Test.Shop")
    prod.operation("Shop", Shop)
    with testing.production(prod, tmp_path) as bus:
        return json.loads(bus.request("Shop", Text(json.dumps(query))).text)


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        (("SELECT Name, Price FROM Items WHERE Price > ? ORDER BY Price", 1), [["pen", 2], ["ink", 5]]),
        (("SELECT TOP 1 Name FROM Items ORDER BY Price DESC",), [["ink"]]),
        (("SELECT TOP ? Name FROM Items WHERE Price < ? ORDER BY Price", 1, 5), [["50% off?"]]),
        (("SELECT Name FROM Items WHERE Name LIKE '50%?' AND Price = ?", 1), [["50% off?"]]),
        (("UPDATE Items SET Price = 3 WHERE Name = ?", "pen"), []),
    ],
)
def test_a_statement_runs_with_its_values_bound_and_gives_rows_as_lists(
    tmp_path: Path, query: Any, rows: Any
) -> None:
    assert ask(tmp_path, *query) == rows


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (("SELECT x FROM Nowhere",), "no such table: Nowhere.*WATTBUS_TABLES_URL"),
        (("SELECT Name FROM Items WHERE Price = ?",), "with 0 values"),
        (("SELEKT 1",), "cannot run 'SELEKT 1'.*syntax error"),
    ],
)
def test_what_the_database_refuses_is_a_sentence(tmp_path: Path, query: Any, words: str) -> None:
    with pytest.raises(RequestFailed, match=words):
        ask(tmp_path, *query)


def test_a_result_set_is_read_once_in_order_and_by_place() -> None:
    rows = ResultSet(("Name",), [["pen"], ["ink"]], 0)

    assert next(rows) == ["pen"]
    assert list(rows) == [["ink"]]
    assert (len(rows), rows[1], rows.columns) == (2, ["ink"], ("Name",))
    with pytest.raises(BadRequest.__mro__[1], match=r"pandas.DataFrame\(list\(rows\)"):
        rows.dataframe()


@pytest.mark.parametrize(
    ("paramstyle", "written"),
    [
        ("pyformat", "SELECT '?', \"a%%?\" FROM T WHERE A LIKE 'x%%' AND B = %s LIMIT %s -- ?"),
        ("numeric_dollar", "SELECT '?', \"a%?\" FROM T WHERE A LIKE 'x%' AND B = $1 LIMIT $2"),
    ],
)
def test_placeholders_are_those_of_the_driver(paramstyle: str, written: str) -> None:
    sql = "SELECT TOP ? '?', \"a%?\" FROM T WHERE A LIKE 'x%' AND B = ?"
    comment = " -- ?" if paramstyle == "pyformat" else ""

    assert _in_dialect(sql, (7, 1), "postgresql", paramstyle).values == (1, 7)
    assert _in_dialect(sql, (7, 1), "postgresql", paramstyle).sql + comment == written


def test_rows_of_postgresql(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Count(BusinessOperation):
        def on_message(self, request: Text) -> Text:
            iris.sql.exec("CREATE TABLE Things (Name VARCHAR(20), Price INTEGER)")
            iris.sql.exec("INSERT INTO Things VALUES (?, ?)", "pen", 2)
            rows = iris.sql.exec(
                "SELECT TOP ? Name, Price FROM Things WHERE Name LIKE 'p%' AND Price = ?", 5, 2
            )
            kept = iris.Ens.StringContainer("kept")
            kept._Save()
            return Text(json.dumps([list(rows), iris.Ens.StringContainer._OpenId(kept._Id()).StringValue]))

    prod = Production("Test.Count")
    prod.operation("Count", Count)

    monkeypatch.setenv("WATTBUS_TABLES_URL", postgres_url)

    with testing.production(prod, tmp_path) as bus:
        assert json.loads(bus.request("Count", Text("x")).text) == [[["pen", 2]], "kept"]
