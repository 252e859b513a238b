"""Batching: several messages handed over at once, each with its own response, trace and share of the energy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from iop import BusinessOperation, Production
from sqlalchemy import select

from components import Checked, Text
from wattbus import testing
from wattbus.doctor import examine
from wattbus.energy import FakeFeed
from wattbus.errors import RequestFailed
from wattbus.home import Home
from wattbus.store.queries import list_messages
from wattbus.store.tables import energy


class Batches(BusinessOperation):
    sizes: ClassVar[list[int]] = []
    BatchSize = 4

    def on_batch(self, requests: list[Text]) -> list[Any]:
        Batches.sizes.append(len(requests))
        if any(request.text == "all" for request in requests):
            raise ValueError("this batch is bad")
        return [
            ValueError("no") if request.text == "bad" else Text(request.text.upper()) for request in requests
        ]

    def alone(self, request: Text) -> Text:
        if request.text == "all":
            raise ValueError("this one is bad")
        return Text(request.text.upper())

    def check(self, request: Checked) -> Checked:
        return request


def batches_production() -> Production:
    prod = Production("Test.Batches")
    prod.operation("Batches", Batches)
    return prod


def _queued_then_answered(tmp_path: Path, texts: list[str]) -> list[str]:
    """Queue messages while nobody works, then let the item work, and return each answer or its error."""
    Batches.sizes.clear()
    with testing.production(batches_production(), tmp_path, feed=FakeFeed()) as bus:
        bus.production.stop_item("Batches")
        watched = [bus.production.submit_and_watch("Batches", Text(text)) for text in texts]
        bus.production.start_item("Batches")
        answers = []
        for waiter in watched:
            assert waiter.wait(20)
            try:
                answers.append(bus.production.response(waiter, "Batches").text)
            except RequestFailed as error:
                answers.append(str(error))
    return answers


def test_queued_messages_are_handled_together_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    answers = _queued_then_answered(tmp_path, ["a", "b", "c", "d", "e", "f"])

    assert answers == ["A", "B", "C", "D", "E", "F"]
    assert Batches.sizes == [4, 2]
    assert examine(Home(tmp_path)).ok


def test_one_bad_input_fails_alone(tmp_path: Path) -> None:
    assert _queued_then_answered(tmp_path, ["a", "bad", "c"]) == ["A", "ValueError: no", "C"]


def test_a_batch_that_fails_is_handled_one_by_one(tmp_path: Path) -> None:
    answers = _queued_then_answered(tmp_path, ["a", "all", "c"])

    assert answers == ["A", "ValueError: this one is bad", "C"]
    assert examine(Home(tmp_path)).ok


def test_each_message_of_a_batch_has_its_share_of_the_energy(tmp_path: Path) -> None:
    Batches.sizes.clear()
    with testing.production(batches_production(), tmp_path, feed=FakeFeed()) as bus:
        bus.production.ledger.wait_ready()
        bus.production.stop_item("Batches")
        ids = [bus.submit("Batches", Text(text)) for text in "abcd"]
        bus.production.start_item("Batches")
        bus.settle()
        bus.production.ledger.settle()
        bus.production.store.flush()
        with bus.production.store.engine.connect() as connection:
            rows = connection.execute(select(energy).where(energy.c.message_id.in_(ids))).all()

    assert Batches.sizes == [4]
    assert len(rows) == 4
    assert len({row.cpu_seconds for row in rows}) == 1
    assert all(row.cpu_seconds > 0 for row in rows)


def test_a_batch_is_one_type_and_other_types_follow(tmp_path: Path) -> None:
    Batches.sizes.clear()
    with testing.production(batches_production(), tmp_path) as bus:
        bus.production.stop_item("Batches")
        watched = [
            bus.production.submit_and_watch("Batches", message)
            for message in (Text("a"), Text("b"), Checked(number=1), Text("c"))
        ]
        bus.production.start_item("Batches")
        assert all(waiter.wait(20) for waiter in watched)
        kinds = {row.body_class.rpartition(".")[2] for row in list_messages(bus.production.store.engine)}

    assert Batches.sizes == [2]
    assert kinds == {"Text", "Checked"}


class OwnSetting(BusinessOperation):
    BatchSize: int = 8

    def on_message(self, request: Any) -> Any:
        return Text(str(self.BatchSize))


def test_a_setting_of_that_name_is_the_component_s_own_where_there_is_no_on_batch(tmp_path: Path) -> None:
    prod = Production("Test.Batches")
    prod.operation("Echo", OwnSetting)

    with testing.production(prod, tmp_path) as bus:
        answer = bus.request("Echo", Text("x"), timeout_seconds=20)

    assert answer.text == "8"
