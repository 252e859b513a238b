"""SQLPollService: each new row of a table is sent once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from iop import BusinessOperation, Message, Production

from waiting import until
from wattbus import testing
from wattbus.messages import SQLRow
from wattbus.services import SQLPollService
from wattbus.services.position import MOST_GAPS, Position
from wattbus.store.queries import list_events, list_messages
from wattbus.testing.production import ProductionUnderTest


@dataclass
class Order(Message):
    id: int
    text: str


class Taker(BusinessOperation):
    def row(self, request: SQLRow) -> None:
        pass

    def order(self, request: Order) -> None:
        pass


class Table:
    """A table of orders in a database of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)
        self._table = sa.Table(
            "orders", sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("text", sa.Text),
            sa.Column("price", sa.Numeric(10, 2)),
            sa.Column("made", sa.DateTime),
            sa.Column("raw", sa.LargeBinary),
        )  # fmt: skip

    def create(self) -> Table:
        self._table.create(self._engine)
        return self

    def add(self, *ids: int, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                self._table.insert(), [{"id": id, "text": f"row {id}", **values} for id in ids]
            )

    def change(self, id: int, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(self._table.update().where(self._table.c.id == id).values(**values))


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(f"sqlite:///{tmp_path / 'orders.sqlite'}").create()


@contextmanager
def polling(table: Table, home: Path, item: str = "Feed", **settings: Any) -> Iterator[ProductionUnderTest]:
    prod = Production("Test.SQL")
    taker = prod.operation("Taker", Taker)
    given = {"URL": table.url, "Table": "orders", **settings}
    feed = prod.service(item, SQLPollService, settings=given)
    prod.connect(feed.Output, taker)
    with testing.production(prod, home, clock=testing.FakeClock()) as bus:
        polls(bus, 0, item)
        yield bus


def polls(bus: ProductionUnderTest, times: int = 1, item: str = "Feed") -> None:
    """Let the service be called so many times more, and see the last call end."""
    for _ in range(times):
        bus.clock.wait_for_sleeper(item)  # type: ignore[attr-defined]
        bus.advance(5)
    bus.clock.wait_for_sleeper(item)  # type: ignore[attr-defined]
    bus.settle()


def sent(bus: ProductionUnderTest) -> list[dict[str, Any]]:
    store = bus.production.store
    rows = [row for row in list_messages(store.engine, limit=1000) if row.target_item == "Taker"]
    return [json.loads(store.body(row.body_id) or "") for row in reversed(rows)]


def ids(bus: ProductionUnderTest) -> list[int]:
    return [body["row"]["id"] for body in sent(bus)]


def errors(bus: ProductionUnderTest) -> list[str]:
    bus.production.store.flush()
    return [line.text for line in list_events(bus.production.store.engine, type="Error")]


def test_each_row_is_sent_once_with_values_that_json_has(table: Table, tmp_path: Path) -> None:
    made = datetime(2026, 5, 4, 12, 30)
    table.add(1, price=Decimal("9.90"), made=made, raw=b"\x00\xff")

    with polling(table, tmp_path / "home") as bus:
        polls(bus, 2)

        assert sent(bus) == [
            {
                "table": "orders",
                "row": {
                    "id": 1, "text": "row 1", "price": "9.90", "made": "2026-05-04T12:30:00", "raw": "AP8=",
                },
            }
        ]  # fmt: skip


def test_rows_that_come_later_are_sent_in_the_order_of_their_keys(table: Table, tmp_path: Path) -> None:
    table.add(2, 1)

    with polling(table, tmp_path / "home") as bus:
        table.add(7, 5)
        polls(bus)
        table.add(9)
        polls(bus)

        assert ids(bus) == [1, 2, 5, 7, 9]


def test_a_row_whose_number_was_given_out_earlier_and_committed_later_is_sent(
    table: Table, tmp_path: Path
) -> None:
    table.add(1, 2)

    with polling(table, tmp_path / "home") as bus:
        table.add(6, 7)
        polls(bus)
        table.add(4)
        polls(bus, 2)

        assert ids(bus) == [1, 2, 6, 7, 4]


def test_after_a_restart_it_goes_on_where_it_was(table: Table, tmp_path: Path) -> None:
    table.add(1, 2, 4)
    with polling(table, tmp_path / "home") as bus:
        assert ids(bus) == [1, 2, 4]

    table.add(3, 5)
    with polling(table, tmp_path / "home") as bus:
        assert ids(bus) == [1, 2, 4, 3, 5]


def test_without_its_position_it_reads_anew_and_sends_nothing_twice(table: Table, tmp_path: Path) -> None:
    table.add(1, 2)
    with polling(table, tmp_path / "home") as bus:
        assert ids(bus) == [1, 2]
    for position in (tmp_path / "home" / "positions").iterdir():
        position.unlink()

    table.add(3)
    with polling(table, tmp_path / "home") as bus:
        assert ids(bus) == [1, 2, 3]


def test_a_row_that_was_sent_and_has_changed_is_not_sent_again_and_holds_up_nothing(
    table: Table, tmp_path: Path
) -> None:
    table.add(1, 2)
    with polling(table, tmp_path / "home") as bus:
        assert ids(bus) == [1, 2]
    for position in (tmp_path / "home" / "positions").iterdir():
        position.unlink()

    table.change(1, text="changed")
    table.add(3)
    with polling(table, tmp_path / "home") as bus:
        bus.production.store.flush()
        (warning,) = list_events(bus.production.store.engine, type="Warning")

        assert ids(bus) == [1, 2, 3]
    assert "not sent again, though it has changed" in warning.text


def test_a_position_of_another_table_is_refused_and_says_what_to_do(table: Table, tmp_path: Path) -> None:
    table.add(1)
    with polling(table, tmp_path / "home"):
        pass
    other = Table(f"sqlite:///{tmp_path / 'other.sqlite'}").create()

    with polling(other, tmp_path / "home") as bus:
        (error,) = errors(bus)

    assert "name the item anew, or remove the file" in error


def test_two_items_read_the_same_table_each_for_itself(table: Table, tmp_path: Path) -> None:
    table.add(1)
    for item in ("One", "Two"):
        with polling(table, tmp_path / "home", item) as bus:
            count = len(sent(bus))

    assert count == 2


def test_of_many_rows_a_poll_takes_its_share_and_the_next_comes_at_once(table: Table, tmp_path: Path) -> None:
    table.add(*range(1, 26))

    with polling(table, tmp_path / "home", RowsAtOnce=10) as bus:
        until(lambda: len(sent(bus)) == 25, "all rows sent")

        assert ids(bus) == list(range(1, 26))


def test_rows_before_the_first_start_are_passed_over_when_that_is_asked(table: Table, tmp_path: Path) -> None:
    table.add(1, 2)

    with polling(table, tmp_path / "home", FromStart=False) as bus:
        table.add(3)
        polls(bus)

        assert ids(bus) == [3]


def test_only_rows_that_fit_the_condition_are_sent_also_when_they_come_to_fit(
    table: Table, tmp_path: Path
) -> None:
    table.add(1, 3, text="it's new")
    table.add(2, 4, text="old")

    with polling(table, tmp_path / "home", Where="text = 'it''s new' AND id >= 1 and price IS NULL") as bus:
        table.change(2, text="it's new")
        polls(bus)

        assert ids(bus) == [1, 3, 2]


@pytest.mark.parametrize(
    "where",
    ["id = 1 OR id = 2", "1 = 1", "id", "id =", "id = (SELECT 1)", "id = 1; DROP TABLE orders", "id = 1 AND"],
)
def test_a_condition_is_never_sql_text(table: Table, tmp_path: Path, where: str) -> None:
    table.add(1)

    with polling_in_vain(table, tmp_path, Where=where) as error:
        assert re.search(r"Where .*, character \d+: .*write for instance status = 'new'", error)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"Table": "ordres"}, "unknown table 'ordres': did you mean 'orders'"),
        ({"Table": "orders; DROP TABLE orders"}, "unknown table"),
        ({"Table": ""}, "no Table"),
        ({"KeyColumn": "idd"}, "unknown column 'idd': did you mean 'id'"),
        ({"KeyColumn": "raw"}, "'raw' of 'orders' is BLOB: name a column of numbers"),
        ({"Where": "txt = 'x'"}, "unknown column 'txt': did you mean 'text'"),
        ({"URL": "nonsense"}, "address cannot be understood"),
    ],
)
def test_a_name_that_the_schema_does_not_have_is_refused_with_the_nearest(
    table: Table, tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    with polling_in_vain(table, tmp_path, **settings) as error:
        assert re.search(says, error), error


@contextmanager
def polling_in_vain(table: Table, tmp_path: Path, **settings: str) -> Iterator[str]:
    """Run the service until it has told its error, which is one line, however often it is called."""
    prod = Production("Test.SQL")
    taker = prod.operation("Taker", Taker)
    feed = prod.service("Feed", SQLPollService, settings={"URL": table.url, "Table": "orders", **settings})
    feed.host_settings |= settings
    prod.connect(feed.Output, taker)
    with testing.production(prod, tmp_path / "home", clock=testing.FakeClock()) as bus:
        bus.wait_ready()
        if not any(item.state == "Error" for item in bus.items()):
            polls(bus, 2)
        (error,) = errors(bus)
        assert list_messages(bus.production.store.engine) == []
        yield error


def test_a_table_that_comes_later_is_read_when_it_is_there(tmp_path: Path) -> None:
    table = Table(f"sqlite:///{tmp_path / 'orders.sqlite'}")

    with polling(table, tmp_path / "home") as bus:
        assert "There are no tables yet" in errors(bus)[0]
        table.create().add(1)
        polls(bus)

        assert ids(bus) == [1]


def test_a_row_that_does_not_fit_its_type_holds_up_what_follows_until_it_is_mended(
    table: Table, tmp_path: Path
) -> None:
    table.add(1, 2)

    with polling(table, tmp_path / "home", MessageType=f"{__name__}.Order") as bus:
        polls(bus, 2)
        (error,) = errors(bus)

        assert sent(bus) == []
    assert "the row of 'orders' with id = 1 does not fit: Order: unknown field" in error


def test_rows_of_postgresql_are_sent(postgres_url: str, tmp_path: Path) -> None:
    table = Table(postgres_url.replace("postgresql://", "postgresql+psycopg://")).create()
    table.add(1, 2, price=Decimal("1.50"), made=datetime(2026, 1, 1), raw=b"x")

    with polling(table, tmp_path / "home") as bus:
        polls(bus)

        assert [body["row"]["price"] for body in sent(bus)] == ["1.50", "1.50"]


@given(st.lists(st.lists(st.integers(1, 60), min_size=1, unique=True), max_size=20))
def test_a_position_knows_every_number_below_it_that_did_not_come(batches: list[list[int]]) -> None:
    position, seen = Position(), set()

    for batch in batches:
        fresh = sorted(
            key for key in batch if position.last is None or key > position.last or key in position.gaps
        )
        position = position.after(fresh)
        seen |= set(fresh)

    if seen:
        assert position.last == max(seen)
        first = batches and next(min(batch) for batch in batches)
        assert set(position.gaps) == {key for key in range(first, max(seen)) if key not in seen}


def test_the_gaps_that_are_remembered_are_bounded_also_after_a_leap() -> None:
    position = Position(1).after([10**15, 10**15 + 2])

    assert len(position.gaps) == MOST_GAPS
    assert position.gaps[-1] == 10**15 + 1
