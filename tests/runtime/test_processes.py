"""Asynchronous processes: responses, completion keys, timers, early replies, and what is kept between two responses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from iop import BusinessOperation, BusinessProcess, Message, Production, target

from components import Echo, Gate, Text
from waiting import until, wait_for
from wattbus import testing
from wattbus.doctor import examine
from wattbus.door import PythonDoor
from wattbus.errors import RequestFailed
from wattbus.home import Home
from wattbus.store.queries import list_messages
from wattbus.store.tables import Status


@dataclass
class Numbers(Message):
    count: int = 0
    keys: str = ""


class Gather(BusinessProcess):
    """Asks for several, and adds up what comes."""

    Output = target()
    PERSISTENT_PROPERTY_LIST: ClassVar[list[str]] = ["keys"]

    def on_request(self, request: Numbers) -> None:
        self.keys = ""
        for number in range(request.count):
            self.send_request_async(self.Output, Text(f"{number},"), completion_key=f"k{number}")

    def on_response(
        self, request: Any, response: Any, call_request: Any, call_response: Any, completion_key: str
    ) -> Text:
        self.keys += completion_key + " "
        assert call_request.text == call_response.text
        return Text((response.text if response else "") + call_response.text)

    def on_complete(self, request: Any, response: Any) -> Numbers:
        return Numbers(request.count, self.keys + "| " + response.text)


def gather_production(operation: type = Echo, pool_size: int = 1) -> Production:
    prod = Production("Test.Gather")
    echo = prod.operation("Echo", operation)
    gather = prod.process("Gather", Gather, pool_size=pool_size)
    prod.connect(gather.Output, echo)
    return prod


def test_each_response_comes_with_its_key_and_the_caller_gets_what_on_complete_makes(tmp_path: Path) -> None:
    with testing.production(gather_production(), tmp_path) as bus:
        answer = bus.request("Gather", Numbers(3))

    assert answer.keys == "k0 k1 k2 | 0,1,2,"


def test_two_requests_at_once_do_not_see_each_others_state(tmp_path: Path) -> None:
    with testing.production(gather_production(pool_size=4), tmp_path) as bus:
        watched = [bus.production.submit_and_watch("Gather", Numbers(count)) for count in (5, 3, 8, 1)]
        for waiter in watched:
            assert waiter.wait(20)
        answers = [bus.production.response(waiter, "Gather") for waiter in watched]

    assert [answer.count for answer in answers] == [5, 3, 8, 1]
    for answer in answers:
        keys, _, texts = answer.keys.partition(" | ")
        assert sorted(keys.split()) == sorted(f"k{number}" for number in range(answer.count))
        assert sorted(texts.rstrip(",").split(",")) == sorted(map(str, range(answer.count)))


def test_a_fan_out_of_a_thousand_children_comes_together(tmp_path: Path) -> None:
    with testing.production(gather_production(), tmp_path) as bus:
        answer = bus.request("Gather", Numbers(1000), timeout_seconds=60)

    assert len(answer.keys.partition("|")[0].split()) == 1000
    assert examine(Home(tmp_path)).ok


class Nested(BusinessProcess):
    Inner = target()

    def on_request(self, request: Numbers) -> None:
        self.send_request_async(self.Inner, request, completion_key="a")
        self.send_request_async(self.Inner, Numbers(2), completion_key="b")

    def on_response(
        self, request: Any, response: Any, call_request: Any, call_response: Any, completion_key: str
    ) -> Numbers:
        return Numbers((response.count if response else 0) + call_response.count)


def test_a_process_waits_for_processes(tmp_path: Path) -> None:
    prod = gather_production()
    nested = prod.process("Nested", Nested)
    nested.connect(Nested.Inner, "Gather")

    with testing.production(prod, tmp_path) as bus:
        answer = bus.request("Nested", Numbers(4))
        sessions = {row.session_id for row in list_messages(bus.production.store.engine, limit=100)}

    assert answer.count == 6
    assert len(sessions) == 1


class Fails(BusinessOperation):
    def fail(self, request: Text) -> Text:
        raise ValueError(f"no {request.text}")


def test_an_asynchronous_call_that_fails_ends_the_process_with_its_words(tmp_path: Path) -> None:
    with (
        testing.production(gather_production(Fails), tmp_path) as bus,
        pytest.raises(RequestFailed, match="Echo: ValueError: no 0"),
    ):
        bus.request("Gather", Numbers(2))


class Early(BusinessProcess):
    Output = target()

    def on_request(self, request: Text) -> Text:
        self.reply(Text("early"))
        self.send_request_async(self.Output, request)
        return Text("never seen")

    def on_response(
        self, request: Any, response: Any, call_request: Any, call_response: Any, completion_key: str
    ) -> Text:
        self.log_info("and went on")
        return Text("too late")


def test_reply_answers_the_caller_while_the_process_goes_on(tmp_path: Path) -> None:
    prod = Production("Test.Early")
    gate = prod.operation("Gate", Gate)
    early = prod.process("Early", Early)
    prod.connect(early.Output, gate)
    Gate.opened.clear()

    with testing.production(prod, tmp_path) as bus:
        answer = bus.request("Early", Text("x"))
        Gate.opened.set()
        wait_for(bus, lambda rows: all(row.status == Status.COMPLETED for row in rows))
        responses = [
            row
            for row in list_messages(bus.production.store.engine)
            if row.type == "Response" and row.corresponding_id == 1
        ]

    assert answer.text == "early"
    assert len(responses) == 1


class Waits(BusinessProcess):
    """Waits no longer than its timer for an answer that does not come."""

    Output = target()

    def on_request(self, request: Text) -> None:
        self.set_timer("PT30S", "patience")
        self.send_request_async(self.Output, request, completion_key="answer")

    def on_response(
        self, request: Any, response: Any, call_request: Any, call_response: Any, completion_key: str
    ) -> Text:
        return Text(completion_key)

    def on_complete(self, request: Any, response: Any) -> Any:
        return response


def waits_production() -> Production:
    prod = Production("Test.Waits")
    gate = prod.operation("Gate", Gate)
    waits = prod.process("Waits", Waits)
    prod.connect(waits.Output, gate)
    return prod


def test_a_timer_ends_the_wait_of_a_process_with_its_key(tmp_path: Path) -> None:
    Gate.opened.clear()
    clock = testing.FakeClock()

    with testing.production(waits_production(), tmp_path, clock=clock) as bus:
        waiter = bus.production.submit_and_watch("Waits", Text("x"))
        wait_for(bus, lambda rows: any(row.status == Status.DEFERRED for row in rows))
        clock.advance(31)
        assert waiter.wait(20)
        Gate.opened.set()
        wait_for(bus, lambda rows: all(row.status == Status.COMPLETED for row in rows))

    assert bus.production.response(waiter, "Waits").text == "patience"


def test_a_timer_that_is_not_needed_is_discarded(tmp_path: Path) -> None:
    Gate.opened.set()

    with testing.production(waits_production(), tmp_path) as bus:
        answer = bus.request("Waits", Text("x"))
        alarm = next(
            row for row in list_messages(bus.production.store.engine) if row.source_item == "Ens.Alarm"
        )

    assert answer.text == "answer"
    assert alarm.status == Status.DISCARDED


GATHER = """
from iop import BusinessOperation, BusinessProcess, Message, Production, target
from dataclasses import dataclass
from pathlib import Path
import threading, time

FOLDER = Path(__file__).parent

@dataclass
class Numbers(Message):
    count: int = 0
    keys: str = ""

class Slow(BusinessOperation):
    def work(self, request: Numbers) -> Numbers:
        while request.count > 0 and (FOLDER / "hold").exists():
            time.sleep(0.01)
        return request

class Gather(BusinessProcess):
    Output = target()
    PERSISTENT_PROPERTY_LIST = ["keys"]

    def on_request(self, request: Numbers):
        self.keys, self.seen = "", 0
        for number in range(request.count):
            self.send_request_async(self.Output, Numbers(number), completion_key=f"k{number}")

    def on_response(self, request, response, call_request, call_response, completion_key):
        self.keys += completion_key + " "
        self.seen += 1
        (FOLDER / f"seen-{completion_key}").touch()
        return response

    def on_complete(self, request, response):
        return Numbers(self.seen, self.keys)

prod = Production("Test.Gather")
prod.operation("Slow", Slow)
gather = prod.process("Gather", Gather)
gather.connect(Gather.Output, "Slow")
PRODUCTIONS = [prod]
"""

SENDER = """
import sys
from pathlib import Path
from wattbus import testing
with testing.production(Path(sys.argv[1]), Path(sys.argv[2])) as bus:
    bus.submit("Gather", bus.message("Numbers", {"count": 3}))
    sys.stdin.read()
"""


def test_the_properties_of_a_process_survive_kill_9_between_two_responses(tmp_path: Path) -> None:
    settings, home = tmp_path / "settings.py", tmp_path / "home"
    settings.write_text(GATHER)
    (tmp_path / "hold").touch()
    sender = subprocess.Popen([sys.executable, "-c", SENDER, str(settings), str(home)], stdin=subprocess.PIPE)
    try:
        until((tmp_path / "seen-k0").exists, "the first response was handled")
    finally:
        os.kill(sender.pid, signal.SIGKILL)
        sender.communicate()

    (tmp_path / "hold").unlink()
    with testing.production(settings, home) as bus:
        answer = _answer_of_the_first(bus)

    assert (answer["count"], answer["keys"]) == (3, "k0 k1 k2 ")


def _answer_of_the_first(bus: PythonDoor) -> Any:
    import json

    wait_for(bus, lambda rows: any(row.id == 1 and row.status == Status.COMPLETED for row in rows))
    store = bus.production.store
    request = store.header(1)
    assert request is not None
    response = store.header(request.corresponding_id or 0)
    assert response is not None
    return json.loads(store.body(response.body_id) or "{}")


class Circle(BusinessProcess):
    Output = target()

    def on_message(self, request: Text) -> Any:
        return self.send_request_sync(self.Output, request)


def test_a_circle_of_synchronous_requests_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    prod = Production("Test.Circle")
    one, two = prod.process("One", Circle), prod.process("Two", Circle)
    prod.connect(one.Output, two)
    prod.connect(two.Output, one)

    with (
        testing.production(prod, tmp_path) as bus,
        pytest.raises(RequestFailed, match="circle of synchronous requests: 'One'"),
    ):
        bus.request("One", Text("x"), timeout_seconds=20)
