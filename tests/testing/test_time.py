"""The waits of a running production end when the fake time has passed, and not before."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from iop import BusinessProcess, PollingBusinessService, Production

from components import Text, echo_production
from waiting import until
from wattbus.errors import RequestTimeout
from wattbus.testing import Double, FakeClock, ProductionUnderTest, production


class Patient(BusinessProcess):
    """Waits a minute for its operation."""

    def on_message(self, request: Text) -> Text:
        answer = self.send_request_sync("Echo", request, timeout=60)
        return Text("too late" if answer is None else answer.text)


class Several(BusinessProcess):
    """Waits a minute for two operations together."""

    def on_message(self, request: Text) -> Text:
        calls = self.send_multi_request_sync([("Echo", Text("a")), ("Echo", Text("b"))], timeout=60)
        return Text(" ".join(str(status) for _, _, _, status in calls))


class Timed(BusinessProcess):
    """Asks, and goes on after a minute if no response came."""

    def on_request(self, request: Text) -> None:
        self.send_request_async("Echo", request, completion_key="asked")
        self.set_timer(60, "over")

    def on_response(
        self, request: Any, response: Any, call_request: Any, call_response: Any, completion_key: str
    ) -> Text:
        return Text(completion_key)

    def on_complete(self, request: Any, response: Any) -> Any:
        return response


class Ticker(PollingBusinessService):
    """Sends a message at each call."""

    def on_poll(self) -> None:
        self.send_request_async("Echo", Text("tick"))


def with_process(process: type) -> Production:
    prod = echo_production()
    prod.process("Process", process)
    return prod


def slow_echo(seconds: float, times: int = 1) -> Double:
    echo = Double()
    echo.expect(Text, times=times).delay(seconds).reply(Text("in time"))
    return echo


def test_a_synchronous_request_times_out_when_its_time_has_passed() -> None:
    with production(with_process(Patient), doubles={"Echo": slow_echo(3600)}, clock=FakeClock()) as bus:
        answer = bus.begin("Process", Text("x"))
        bus.advance(59)
        assert not answer.done()
        bus.advance(1)

        assert answer.result(20) == Text("too late")


def test_a_synchronous_request_is_answered_within_its_time() -> None:
    with production(with_process(Patient), doubles={"Echo": slow_echo(59)}, clock=FakeClock()) as bus:
        answer = bus.begin("Process", Text("x"))
        bus.advance(59)

        assert answer.result(20) == Text("in time")


def test_several_requests_sent_together_time_out_together() -> None:
    echo = Double()
    # One at least: the second waits in the queue behind the first.
    echo.expect(Text, times=None).delay(3600)

    with production(with_process(Several), doubles={"Echo": echo}, clock=FakeClock()) as bus:
        answer = bus.begin("Process", Text("x"))
        bus.settle()
        assert not answer.done()
        bus.advance(60)

        assert answer.result(20) == Text("-1 -1")


def test_a_request_of_a_door_times_out_when_its_time_has_passed() -> None:
    clock = FakeClock()
    with production(echo_production(), doubles={"Echo": slow_echo(3600)}, clock=clock) as bus:
        asked = _ask_in_a_thread(bus)
        clock.wait_for_sleeper("asking")
        clock.advance(30)

        until(lambda: bool(asked), "the request timed out")
        assert isinstance(asked[0], RequestTimeout)


def _ask_in_a_thread(bus: ProductionUnderTest) -> list[Exception]:
    raised: list[Exception] = []

    def ask() -> None:
        try:
            bus.request("Echo", Text("x"), timeout_seconds=30)
        except RequestTimeout as error:
            raised.append(error)

    threading.Thread(target=ask, name="asking", daemon=True).start()
    return raised


def test_the_timer_of_a_process_runs_out_when_its_time_has_passed() -> None:
    with production(with_process(Timed), doubles={"Echo": slow_echo(3600)}, clock=FakeClock()) as bus:
        answer = bus.begin("Process", Text("x"))
        bus.advance(59)
        assert not answer.done()
        bus.advance(1)

        assert answer.result(20) == Text("over")


def test_a_service_is_called_once_an_interval() -> None:
    echo = Double()
    echo.expect(Text, times=None)
    prod = echo_production()
    prod.service("Ticker", Ticker, settings={"CallInterval": 60})

    with production(prod, doubles={"Echo": echo}, clock=FakeClock()) as bus:
        until(lambda: len(echo.received) == 1, "the first call")
        bus.advance(59)
        assert len(echo.received) == 1
        bus.advance(1)
        assert len(echo.received) == 2
        bus.advance(60)

        assert len(echo.received) == 3


@pytest.mark.parametrize("seconds", [86_400, -3600, 1e9])
def test_a_jump_of_the_time_of_day_ends_no_wait_early_and_none_late(seconds: float) -> None:
    clock = FakeClock()
    with production(with_process(Timed), doubles={"Echo": slow_echo(3600)}, clock=clock) as bus:
        answer = bus.begin("Process", Text("x"))
        bus.settle()
        clock.jump(seconds)
        bus.advance(59)
        assert not answer.done()
        bus.advance(1)

        assert answer.result(20) == Text("over")


def test_what_happened_carries_the_time_of_the_fake_clock() -> None:
    clock = FakeClock()
    with production(echo_production(), clock=clock) as bus:
        clock.advance(3600)
        bus.request("Relay", Text("x"))
        bus.settle()
        trace = bus.trace()

    assert {step.created_us for step in trace.steps} == {clock.now_us()}


def test_a_production_on_the_machines_clock_is_not_advanced() -> None:
    with production(echo_production()) as bus, pytest.raises(ValueError, match=r"clock=testing\.FakeClock"):
        bus.advance(1)
