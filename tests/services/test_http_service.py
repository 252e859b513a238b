"""HTTPService: a door names it, its target answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from iop import Production

from components import Checked, Echo, Gate, Text
from wattbus import testing
from wattbus.errors import RequestFailed
from wattbus.services import HTTPService
from wattbus.store.queries import list_messages


def behind_http(**settings: object) -> Production:
    prod = Production("Test.HTTP")
    echo = prod.operation("Echo", Echo)
    service = prod.service("Web", HTTPService, settings=settings)
    prod.connect(service.Output, echo)
    return prod


def test_the_answer_of_the_target_goes_back_whatever_the_type(tmp_path: Path) -> None:
    with testing.production(behind_http(), tmp_path) as bus:
        assert bus.request("Web", Text("hello")) == Text("hello")
        assert bus.request("Web", Checked(number=1)) == Checked(number=2)
        rows = list_messages(bus.production.store.engine)

    assert {row.session_id for row in rows if row.id <= 2} == {1}
    assert [row.target_item for row in reversed(rows)][:2] == ["Web", "Echo"]


def test_an_error_of_the_target_goes_back_in_its_words(tmp_path: Path) -> None:
    with (
        testing.production(behind_http(), tmp_path) as bus,
        pytest.raises(RequestFailed, match="the text is boom"),
    ):
        bus.request("Web", Text("boom"))


def test_who_does_not_wait_gets_an_empty_answer_and_the_message_is_kept(tmp_path: Path) -> None:
    with testing.production(behind_http(WaitForResponse="0"), tmp_path) as bus:
        answer = bus.request("Web", Text("boom"))
        bus.settle()
        sent = [row for row in list_messages(bus.production.store.engine) if row.target_item == "Echo"]

    assert answer is None
    assert [row.status for row in sent] == ["Error"]


def test_a_target_that_does_not_answer_in_time_is_told(tmp_path: Path) -> None:
    Gate.opened.clear()
    prod = Production("Test.HTTP")
    gate = prod.operation("Gate", Gate)
    service = prod.service("Web", HTTPService, settings={"ResponseTimeout": "0.05"})
    prod.connect(service.Output, gate)

    with testing.production(prod, tmp_path) as bus:
        with pytest.raises(RequestFailed, match=r"no response from 'Gate' within 0.05 s: the message stays"):
            bus.request("Web", Text("x"))
        Gate.opened.set()


def test_a_service_without_a_target_says_so(tmp_path: Path) -> None:
    prod = Production("Test.HTTP")
    prod.service("Web", HTTPService)

    with testing.production(prod, tmp_path) as bus:
        bus.wait_ready()
        (web,) = bus.items()

    assert "Web has no target" in (web.error or "")
