"""Pickle messages: refused unless the production switches them on, and from outside always."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from iop import BusinessOperation, BusinessProcess, PickleMessage, Production, PydanticPickleMessage, target

from components import Text
from wattbus import testing
from wattbus.errors import Refused, RequestFailed
from wattbus.store.queries import list_messages


class Secret(PickleMessage):
    def __init__(self, numbers: set[int]) -> None:
        self.numbers = numbers


class Modelled(PydanticPickleMessage):
    numbers: list[int]


class Add(BusinessOperation):
    def add(self, request: Secret) -> Secret:
        return Secret(request.numbers | {4})

    def count(self, request: Modelled) -> Modelled:
        return Modelled(numbers=[len(request.numbers)])


class Send(BusinessProcess):
    Output = target()

    def on_message(self, request: Text) -> Text:
        message = Secret({1, 2}) if request.text == "plain" else Modelled(numbers=[1, 2, 3])
        answer = self.send_request_sync(self.Output, message)
        return Text(str(sorted(answer.numbers)))


def pickles() -> Production:
    prod = Production("Test.Pickles")
    send, add = prod.process("Send", Send), prod.operation("Add", Add)
    prod.connect(send.Output, add)
    return prod


def test_a_pickle_message_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with (
        testing.production(pickles(), tmp_path) as bus,
        pytest.raises(RequestFailed, match=r"pickle messages are refused.*WATTBUS_ALLOW_PICKLE"),
    ):
        bus.request("Send", Text("plain"))


@pytest.mark.parametrize(("kind", "answer"), [("plain", "[1, 2, 4]"), ("modelled", "[3]")])
def test_a_production_that_switches_them_on_sends_pickles_between_its_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, answer: str
) -> None:
    monkeypatch.setenv("WATTBUS_ALLOW_PICKLE", "true")

    with testing.production(pickles(), tmp_path) as bus:
        said = bus.request("Send", Text(kind))
        bodies = [
            json.loads(bus.production.store.body(header.body_id) or "")
            for header in list_messages(bus.production.store.engine)
            if header.target_item == "Add"
        ]

    assert said == Text(answer)
    assert isinstance(pickle.loads(base64.b64decode(bodies[0])), Secret | Modelled)


def test_a_pickle_opens_a_stream_and_is_a_value_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Each(BusinessOperation):
        def each(self, request: Secret) -> Iterator[Secret]:
            for number in sorted(request.numbers):
                yield Secret({number})

    class Collect(BusinessProcess):
        Output = target()

        def on_message(self, request: Text) -> Text:
            values = self.send_generator_request(self.Output, Secret({1, 2}))
            return Text(str([value.numbers for value in values]))

    prod = Production("Test.Stream")
    collect, each = prod.process("Collect", Collect), prod.operation("Each", Each)
    prod.connect(collect.Output, each)
    monkeypatch.setenv("WATTBUS_ALLOW_PICKLE", "true")

    with testing.production(prod, tmp_path) as bus:
        assert bus.request("Collect", Text("x")) == Text("[{1}, {2}]")


def test_no_pickle_comes_from_outside_also_where_they_are_switched_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTBUS_ALLOW_PICKLE", "true")

    with testing.production(pickles(), tmp_path) as bus:
        with pytest.raises(Refused, match="Secret is a pickle message: none is accepted from outside"):
            bus.request("Add", Secret({1}))
        with pytest.raises(Refused, match="none is accepted from outside"):
            bus.message("Secret", {"numbers": [1]})
        stored = list_messages(bus.production.store.engine)

    assert stored == []


def test_a_stored_pickle_is_not_loaded_once_they_are_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from waiting import until

    class Leave(Send):
        def on_message(self, request: Text) -> Text:
            self.send_request_async(self.Output, Secret({1}), response_required=False)
            return request

    def production(add_enabled: bool) -> Any:
        prod = Production("Test.Left")
        leave, add = prod.process("Leave", Leave), prod.operation("Add", Add, enabled=add_enabled)
        prod.connect(leave.Output, add)
        return prod

    monkeypatch.setenv("WATTBUS_ALLOW_PICKLE", "true")
    with testing.production(production(False), tmp_path) as bus:
        bus.request("Leave", Text("x"))
    monkeypatch.delenv("WATTBUS_ALLOW_PICKLE")

    def refused() -> bool:
        return any(
            header.target_item == "Add" and "switched off" in (header.error_status or "")
            for header in list_messages(bus.production.store.engine)
        )

    with testing.production(production(True), tmp_path) as bus:
        until(refused, "the pickle was refused")
