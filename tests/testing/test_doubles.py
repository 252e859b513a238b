"""Doubles for items: what they answer, what they expect, and how they say what went wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from iop import BusinessProcess, Production

from components import Checked, Echo, Free, Gate, Relay, Text, echo_production
from wattbus.errors import RequestFailed
from wattbus.testing import Double, FakeClock, production


class Sender(BusinessProcess):
    """Sends one message asynchronously to an item that its production does not have."""

    def on_message(self, request: Text) -> None:
        self.send_request_async("NotWritten.Yet", request, response_required=False)


def sender_production() -> Production:
    prod = Production("Test.Production")
    prod.process("Sender", Sender)
    return prod


def test_a_double_answers_in_the_place_of_an_operation() -> None:
    echo = Double()
    echo.expect(Text).reply(Text("from the double"))

    with production(echo_production(), doubles={"Echo": echo}) as bus:
        answer = bus.request("Echo", Text("x"))

    assert answer == Text("from the double")
    assert echo.received == [Text("x")]


def test_a_process_is_tested_with_its_operation_doubled() -> None:
    echo = Double()
    echo.expect(Text, times=None).reply(lambda request: Text(request.text.upper()))

    with production(echo_production(), doubles={"Echo": echo}) as bus:
        answer = bus.request("Relay", Text("x"))
        bus.settle()

    assert answer == Text("XAB")
    assert [message.text for message in echo.received] == ["x", "a", "b", "later"]


def test_the_first_expectation_that_accepts_a_message_answers_it() -> None:
    echo = Double()
    echo.expect(Text, where=lambda message: message.text == "b").reply(Text("second"))
    echo.expect(Text, times=2).reply(Text("others"))
    echo.expect(Checked).reply(Checked(number=7))

    with production(echo_production(), doubles={"Echo": echo}) as bus:
        answers = [
            bus.request("Echo", message) for message in (Text("a"), Text("b"), Text("c"), Checked(number=1))
        ]

    assert answers == [Text("others"), Text("second"), Text("others"), Checked(number=7)]


def test_a_double_that_is_told_nothing_answers_nothing() -> None:
    echo = Double()
    echo.expect(Text)

    with production(echo_production(), doubles={"Echo": echo}) as bus:
        assert bus.request("Echo", Text("x")) is None


def test_a_sentence_that_a_double_fails_with_is_the_error_status() -> None:
    echo = Double()
    echo.expect(Text).fail("the remote side is closed on Sundays")

    with (
        production(echo_production(), doubles={"Echo": echo}) as bus,
        pytest.raises(RequestFailed, match=r"^the remote side is closed on Sundays$"),
    ):
        bus.request("Echo", Text("x"))


def test_an_exception_that_a_double_fails_with_ends_as_the_items_own_would() -> None:
    echo = Double()
    echo.expect(Text).fail(TimeoutError("30 s"))

    with (
        production(echo_production(), doubles={"Echo": echo}) as bus,
        pytest.raises(RequestFailed, match=r"^TimeoutError: 30 s$"),
    ):
        bus.request("Echo", Text("x"))


def test_failing_once_is_followed_by_what_else_was_told() -> None:
    echo = Double()
    echo.expect(Text, times=2).fail_once("not now").reply(Text("now"))

    with production(echo_production(), doubles={"Echo": echo}) as bus:
        with pytest.raises(RequestFailed, match="not now"):
            bus.request("Echo", Text("x"))
        answer = bus.request("Echo", Text("x"))

    assert answer == Text("now")


def test_nothing_of_the_real_item_runs_and_its_settings_do_not_matter() -> None:
    class Forbidden(Echo):
        def on_init(self) -> None:
            raise AssertionError("the real item was made")

        @property
        def looked_at(self) -> str:
            raise AssertionError("a property of the real item was asked")

    prod = Production("Test.Production")
    prod.operation("Echo", Forbidden, settings={"factor": "no number", "%settings": "unknown=1"})
    echo = Double()
    echo.expect(Text).reply(Text("double"))

    with production(prod, doubles={"Echo": echo}) as bus:
        answer = bus.request("Echo", Text("x"))
        warnings = [event for event in bus.trace().events if event.type == "Warning"]

    assert answer == Text("double")
    assert warnings == []


def test_a_process_is_doubled_as_well() -> None:
    relay = Double()
    relay.expect(Text).reply(Text("no routing"))

    with production(echo_production(), doubles={"Relay": relay}) as bus:
        answer = bus.request("Relay", Text("x"))
        lanes = {lane.item: lane.kind for lane in bus.trace().lanes}

    assert answer == Text("no routing")
    assert lanes["Relay"] == "process"


def test_a_target_that_is_not_written_yet_is_doubled() -> None:
    later = Double()
    later.expect(Text)

    with production(sender_production(), doubles={"NotWritten.Yet": later}) as bus:
        bus.request("Sender", Text("x"))

    assert later.received == [Text("x")]


def test_an_item_that_only_iris_has_is_doubled() -> None:
    prod = Production("Test.Production")
    relay = prod.process("Relay", Relay)
    prod.connect(relay.Output, prod.operation("Shop.Stock", class_name="Shop.ObjectScript.Operation"))
    stock = Double()
    stock.expect(Text, times=4).reply(Text("taken"))

    with production(prod, doubles={"Shop.Stock": stock}) as bus:
        answer = bus.request("Relay", Text("x"))
        states = {item.name: item.state for item in bus.items()}

    assert answer == Text("taken" * 3)
    assert states["Shop.Stock"] == "Running"


def test_a_target_of_a_setting_that_is_not_written_yet_is_doubled() -> None:
    prod = Production("Test.Production")
    prod.process("Relay", Relay, settings={"Output": "Not.Written.Yet"})
    later = Double()
    later.expect(Text, times=4).reply(Text("-"))

    with production(prod, doubles={"Not.Written.Yet": later}) as bus:
        assert bus.request("Relay", Text("x")) == Text("---")


def test_the_end_of_the_test_waits_for_messages_that_are_on_their_way() -> None:
    echo = Double()
    echo.expect(Text, times=20)

    with production(echo_production(), doubles={"Echo": echo}) as bus:
        for number in range(20):
            bus.submit("Echo", Text(str(number)))

    assert len(echo.received) == 20


def test_a_double_takes_the_place_of_an_item_that_runs() -> None:
    with production(echo_production(prefix="real:")) as bus:
        first = bus.request("Echo", Text("x"))
        bus.double("Echo").expect(Text).reply(Text("double"))
        second = bus.request("Echo", Text("x"))

    assert [first, second] == [Text("real:x"), Text("double")]


def test_a_double_is_added_to_a_production_that_runs() -> None:
    with production(sender_production()) as bus:
        later = bus.double("NotWritten.Yet")
        later.expect(Text)
        bus.request("Sender", Text("x"))

    assert later.received == [Text("x")]


def test_asking_for_the_double_of_an_item_again_returns_the_one_that_is_there() -> None:
    echo = Double()
    door = production(echo_production(), doubles={"Echo": echo})

    with door as bus:
        assert bus.double("Echo") is echo


# -- what goes wrong ----------------------------------------------------------------------------------------------


def test_a_message_that_does_not_come_fails_the_test() -> None:
    echo = Double()
    echo.expect(Text, times=2)

    with (
        pytest.raises(AssertionError, match=r"^double 'Echo': expected 2 Text, got 1\.$"),
        production(echo_production(), doubles={"Echo": echo}) as bus,
    ):
        bus.request("Echo", Text("x"))


def test_a_message_that_nobody_expects_fails_its_sender_and_the_test() -> None:
    echo = Double()
    echo.expect(Text, where=lambda message: message.text == "right")

    with (
        pytest.raises(AssertionError) as failed,
        production(echo_production(), doubles={"Echo": echo}) as bus,
        pytest.raises(RequestFailed, match="got what was not expected"),
    ):
        bus.request("Echo", Text("wrong"))

    missed, unexpected = str(failed.value).splitlines()
    assert missed.startswith("double 'Echo': expected 1 Text where test_doubles.py:")
    assert missed.endswith("got none. Nearest: Text(text='wrong', times=1).")
    assert "got what was not expected: Text(text='wrong', times=1). Expected: 1 Text where" in unexpected
    assert unexpected.endswith("which says no to it.")


def test_one_message_too_many_is_said_to_be_that() -> None:
    echo = Double()
    echo.expect(Text)

    def ask_twice() -> None:
        with production(echo_production(), doubles={"Echo": echo}) as bus:
            bus.request("Echo", Text("one"))
            bus.submit("Echo", Text("two"))
            bus.settle()

    with pytest.raises(AssertionError, match="Nearest: 1 Text, and so many came before"):
        ask_twice()


def test_a_condition_that_breaks_is_an_unexpected_message_that_says_so() -> None:
    echo = Double()
    echo.expect(Text, where=lambda message: message.txet == "x")

    with (
        pytest.raises(AssertionError, match="AttributeError: 'Text' object has no attribute 'txet'"),
        production(echo_production(), doubles={"Echo": echo}) as bus,
        pytest.raises(RequestFailed, match="txet"),
    ):
        bus.request("Echo", Text("x"))


def test_a_type_that_the_item_does_not_handle_cannot_be_expected() -> None:
    echo = Double()
    echo.expect(Free)

    with pytest.raises(ValueError, match=r"double 'Echo' cannot expect Free: the item takes Checked, Text\."):
        production(echo_production(), doubles={"Echo": echo})


def test_a_misspelt_item_is_named_when_its_double_misses_its_messages() -> None:
    echo = Double()
    echo.expect(Text)

    with (
        pytest.raises(
            AssertionError, match="has no item of that name, it was added for the test: did you mean 'Echo'"
        ),
        production(echo_production(), doubles={"Ecoh": echo}) as bus,
    ):
        bus.request("Echo", Text("x"))


def test_an_error_of_the_test_itself_is_not_hidden_and_carries_the_doubles_complaints() -> None:
    echo = Double()
    echo.expect(Text)

    with (
        pytest.raises(ZeroDivisionError) as failed,
        production(echo_production(), doubles={"Echo": echo}),
    ):
        _ = 1 / 0

    assert failed.value.__notes__ == ["double 'Echo': expected 1 Text, got none."]


def test_one_double_stands_for_one_item() -> None:
    double = Double()

    with pytest.raises(ValueError, match="stands for an item already"):
        production(echo_production(), doubles={"Echo": double, "Relay": double})


# -- time ---------------------------------------------------------------------------------------------------------


def test_a_delay_passes_with_the_productions_clock() -> None:
    clock, echo = FakeClock(), Double()
    echo.expect(Text).delay(3600).reply(Text("an hour later"))

    with production(echo_production(), doubles={"Echo": echo}, clock=clock) as bus:
        answer = bus.begin("Echo", Text("x"))
        bus.advance(3599)
        assert not answer.done()
        bus.advance(1)

        assert answer.result(20) == Text("an hour later")


def test_a_failed_message_is_tried_again_when_its_time_has_come() -> None:
    echo = Double()
    echo.expect(Text).fail_once("not now").fail_once("not yet").reply(Text("now"))
    prod = echo_production(RetryInterval=60, FailureTimeout=-1, ReplyCodeActions="E=R")

    with production(prod, doubles={"Echo": echo}, clock=FakeClock()) as bus:
        answer = bus.begin("Echo", Text("x"))
        bus.advance(60)
        assert not answer.done()
        bus.advance(60)

        assert answer.result(20) == Text("now")

    assert echo.received == [Text("x")]


# -- the production -----------------------------------------------------------------------------------------------


def test_a_production_without_a_home_leaves_nothing_behind() -> None:
    with production(echo_production()) as bus:
        home: Path = bus.production.home.root
        bus.request("Echo", Text("x"))
        assert (home / "store.sqlite").is_file()

    assert not home.exists()


def test_a_production_that_is_never_started_leaves_nothing_behind() -> None:
    bus = production(echo_production())
    home: Path = bus.production.home.root

    del bus

    assert not home.exists()


def test_a_home_that_is_named_is_kept(tmp_path: Path) -> None:
    with production(echo_production(), tmp_path / "home") as bus:
        bus.request("Echo", Text("x"))

    assert (tmp_path / "home" / "store.sqlite").is_file()


def test_settling_names_the_message_that_does_not_come_to_rest() -> None:
    Gate.opened.clear()
    prod = Production("Test.Production")
    prod.operation("Gate", Gate)

    with production(prod) as bus:
        answer = bus.begin("Gate", Text("x"))
        try:
            with pytest.raises(AssertionError, match=r"message 1 \(components.Text\) to 'Gate' is "):
                bus.settle(0.05)
        finally:
            Gate.opened.set()
        assert answer.result(20) == Text("x")
        bus.settle()


def test_doubles_and_settling_work_on_postgresql_too(tmp_path: Path, postgres_url: str) -> None:
    echo = Double()
    echo.expect(Text, times=4).reply(lambda request: Text(request.text.upper()))

    with production(
        echo_production(), tmp_path / "home", doubles={"Echo": echo}, store_url=postgres_url
    ) as bus:
        answer = bus.request("Relay", Text("x"))
        bus.settle(20)

    assert answer == Text("XAB")
