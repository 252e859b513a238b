"""Batching: several messages handed over at once, each with its own response, trace and share of the energy."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, ClassVar

from iop import BusinessOperation, Production
from sqlalchemy import select

from components import Checked, Text
from waiting import until
from wattbus import testing
from wattbus.doctor import examine
from wattbus.energy import FakeFeed
from wattbus.errors import RequestFailed
from wattbus.home import Home
from wattbus.store.queries import list_messages
from wattbus.store.tables import energy
from wattbus.testing import FakeClock


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


class Paced(BusinessOperation):
    """Takes batches; one whose first text is "held" takes as long as the test's clock is moved meanwhile."""

    sizes: ClassVar[list[int]] = []
    entered: ClassVar[threading.Semaphore]
    go: ClassVar[threading.Semaphore]

    def on_batch(self, requests: list[Text]) -> list[Any]:
        Paced.sizes.append(len(requests))
        self._hold(requests[0])
        return list(requests)

    def alone(self, request: Text) -> Text:
        self._hold(request)
        return request

    def _hold(self, request: Text) -> None:
        if request.text == "held":
            Paced.entered.release()
            assert Paced.go.acquire(timeout=60)


def _paced(clock: FakeClock, home: Path) -> testing.ProductionUnderTest:
    Paced.sizes.clear()
    Paced.entered, Paced.go = threading.Semaphore(0), threading.Semaphore(0)
    prod = Production("Test.Batches")
    prod.operation("Paced", Paced, settings={"BatchSize": 4, "BatchWaitMs": 1000})
    return testing.production(prod, home, clock=clock)


def _held_for(bus: testing.ProductionUnderTest, clock: FakeClock, callers: int, seconds: float) -> None:
    """Let so many callers be answered together, by a batch that takes so long."""
    bus.production.stop_item("Paced")
    asked = [bus.begin("Paced", Text("held")) for _ in range(callers)]
    until(lambda: bus.items()[0].queued == callers, "the messages are queued")
    bus.production.start_item("Paced")
    assert Paced.entered.acquire(timeout=60)
    clock.advance(seconds)
    Paced.go.release()
    assert [one.result(60).text for one in asked] == ["held"] * callers


def test_a_lone_request_never_waits(tmp_path: Path) -> None:
    clock = FakeClock()
    with _paced(clock, tmp_path) as bus:
        _held_for(bus, clock, callers=1, seconds=4.0)

        # The clock stands still: a request that waited for others would not be answered.
        answers = [bus.begin("Paced", Text(str(number))).result(60).text for number in range(5)]

    assert answers == ["0", "1", "2", "3", "4"]


def test_a_batch_waits_for_those_who_were_answered_a_moment_ago(tmp_path: Path) -> None:
    clock = FakeClock()
    with _paced(clock, tmp_path) as bus:
        _held_for(bus, clock, callers=2, seconds=4.0)
        clock.advance(0.001)
        first = bus.begin("Paced", Text("one"))
        clock.wait_for_sleeper("Paced#1")
        second = bus.begin("Paced", Text("two"))
        until(lambda: bus.items()[0].queued == 1, "the second message is queued")
        clock.advance(0.125)  # a fourth of what it saves: a quarter of 2 s

        assert (first.result(60).text, second.result(20).text) == ("one", "two")

    assert Paced.sizes == [2, 2]


def test_a_wait_in_vain_ends_at_the_first_look_and_is_not_repeated(tmp_path: Path) -> None:
    clock = FakeClock()
    with _paced(clock, tmp_path) as bus:
        _held_for(bus, clock, callers=2, seconds=4.0)
        clock.advance(0.001)
        first = bus.begin("Paced", Text("one"))
        clock.wait_for_sleeper("Paced#1")
        clock.advance(0.25)
        first.result(60)
        clock.advance(0.001)

        assert bus.begin("Paced", Text("two")).result(60).text == "two"


def test_who_comes_long_after_the_last_answer_does_not_wait(tmp_path: Path) -> None:
    clock = FakeClock()
    with _paced(clock, tmp_path) as bus:
        _held_for(bus, clock, callers=2, seconds=4.0)
        clock.advance(1.1)

        assert bus.begin("Paced", Text("late")).result(60).text == "late"


def test_nobody_waits_longer_than_a_fuller_batch_saves(tmp_path: Path) -> None:
    clock = FakeClock()
    with _paced(clock, tmp_path) as bus:
        _held_for(bus, clock, callers=4, seconds=0.004)  # a message takes 1 ms: 3 more save less than 1 ms
        clock.advance(0.000_1)
        answer = bus.begin("Paced", Text("soon"))
        clock.wait_for_sleeper("Paced#1")
        clock.advance(0.000_2)

        assert answer.result(60).text == "soon"
