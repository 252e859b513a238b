"""Recorded sessions, and what new code makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from iop import BusinessOperation, BusinessProcess, BusinessService, Production
from typer.testing import CliRunner

from components import Echo, Gate, Relay, Text, echo_production
from wattbus import cli
from wattbus.errors import BadRequest, RequestFailed, UnknownName
from wattbus.messages import HFRequest, HFResponse
from wattbus.testing import Double, Recording, production, record, replay
from wattbus.testing.recording import Hop


class Shout(Echo):
    """New code of an operation."""

    def echo(self, request: Text) -> Text:
        return Text(request.text.upper())


class Polite(Relay):
    """New code of a process: says something else to its operation, and no more leaves a message behind."""

    def on_message(self, request: Text) -> Text:
        first = self.send_request_sync(self.Output, Text(f"please {request.text}"))
        several = self.send_multi_request_sync([(self.Output, Text("b")), (self.Output, Text("a"))])
        return Text("".join(response.text for _, _, response, _ in several) + first.text)


class Steps(BusinessProcess):
    """Does one thing after the other."""

    order = "ab"

    def on_message(self, request: Text) -> None:
        for letter in self.order:
            self.send_request_sync("Echo", Text(letter))


class Remote(BusinessOperation):
    """Takes a request with a key."""

    def ask(self, request: HFRequest) -> HFResponse:
        return HFResponse(output=request.payload, status=200, api_url=request.api_url)


def relay_with(process: type, operation: type = Echo, **settings: object) -> Production:
    prod = Production("Test.Production")
    echo = prod.operation("Echo", operation)
    relay = prod.process("Relay", process, settings=settings)
    if issubclass(process, Relay):
        prod.connect(relay.Output, echo)
    return prod


def recorded(prod: Production, *messages: Any, item: str = "Relay") -> Recording:
    with production(prod) as bus:
        for message in messages:
            bus.request(item, message)
        bus.settle()
        return record(bus)


def texts(hop: Hop) -> list[str]:
    return [call.request.body["text"] for call in hop.calls]


def test_a_recording_holds_every_message_with_its_answer_under_its_sender() -> None:
    recording = recorded(echo_production(prefix=">"), Text("x"))

    (relay,) = recording.calls
    assert recording.production == "Test.Production"
    assert (relay.source, relay.target, relay.request.type) == ("Door.Python", "Relay", "components.Text")
    assert relay.request.body == {"text": "x", "times": 1}
    assert relay.response is not None and relay.response.body["text"] == ">x>a>b"
    assert [(call.source, call.target, call.sent) for call in relay.calls] == [
        ("Relay", "Echo", "sync"),
        ("Relay", "Echo", "async"),
        ("Relay", "Echo", "async"),
        ("Relay", "Echo", "async"),
    ]
    assert texts(relay) == ["x", "a", "b", "later"]
    assert recording.count() == 5


def test_two_sessions_in_which_the_same_happened_have_the_same_file(tmp_path: Path) -> None:
    once = recorded(echo_production(pool_size=4), Text("x")).save(tmp_path / "once.json")
    again = recorded(echo_production(), Text("y"), Text("z"), Text("x")).save(tmp_path / "again.json")

    assert once.read_bytes() == again.read_bytes()


def test_a_recording_is_read_back_from_its_file(tmp_path: Path) -> None:
    recording = recorded(echo_production(), Text("xé"))

    file = recording.save(tmp_path / "session.json")

    assert Recording.load(file) == recording
    assert "xé" in file.read_text(encoding="utf-8")


def test_a_session_is_recorded_from_the_home_of_a_production_that_does_not_run(tmp_path: Path) -> None:
    with production(echo_production(), tmp_path / "home") as bus:
        bus.request("Echo", Text("first"))
        bus.request("Echo", Text("second"))

    recording = record(tmp_path / "home", 1)

    assert [call.request.body["text"] for call in recording.calls] == ["first"]


def test_the_command_writes_the_same_recording(tmp_path: Path) -> None:
    with production(echo_production(), tmp_path / "home") as bus:
        bus.request("Relay", Text("x"))
        bus.settle()
        recording = record(bus)

    done = CliRunner().invoke(cli.app, ["trace", "1", "--record", str(tmp_path / "session.json")])

    assert done.exit_code == 0, done.output
    assert done.output.startswith("5 messages written to")
    assert Recording.load(tmp_path / "session.json") == recording


def test_what_only_iris_has_is_played_back() -> None:
    recording = recorded(echo_production(), Text("x"))
    prod = Production("Test.Production")
    relay = prod.process("Relay", Relay)
    prod.connect(relay.Output, prod.operation("Echo", class_name="Shop.ObjectScript.Operation"))

    again = replay(recording, prod)

    assert again.same(), again.diff()


def test_a_failed_request_is_recorded_with_its_error_and_without_numbers_that_change() -> None:
    with production(echo_production()) as bus:
        with pytest.raises(RequestFailed):
            bus.request("Relay", Text("boom"))
        recording = record(bus)

    (relay,) = recording.calls
    assert relay.error is not None and relay.error.endswith("ValueError: the text is boom")
    assert relay.response is None
    assert [call.error for call in relay.calls] == ["ValueError: the text is boom"]


def test_a_session_that_goes_on_is_not_recorded() -> None:
    Gate.opened.clear()
    prod = Production("Test.Production")
    prod.operation("Gate", Gate)

    with production(prod) as bus:
        answer = bus.begin("Gate", Text("x"))
        try:
            with pytest.raises(BadRequest, match="session 1 still goes on: message 1 to 'Gate' is"):
                record(bus)
        finally:
            Gate.opened.set()
        answer.result(20)


def test_no_secret_is_in_a_recording_nor_what_stands_for_it() -> None:
    prod = Production("Test.Production")
    prod.operation("Remote", Remote)

    recording = recorded(
        prod,
        HFRequest(
            payload={"inputs": "hf_abcdefghijklmnopqrstuvwxyz"},
            api_url="https://host/x",
            api_key="my-own-secret-key",
        ),
        item="Remote",
    )

    text = recording.to_json()
    assert "my-own-secret-key" not in text
    assert "hf_abcdefghijkl" not in text
    assert recording.calls[0].request.body["api_key"] == "secret:***"


def test_a_large_body_is_recorded_whole() -> None:
    large = "x" * 1_500_000

    recording = recorded(echo_production(), Text(large), item="Echo")

    assert recording.calls[0].request.body["text"] == large


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no json", "is no recorded session"),
        ("[]", "is no recorded session"),
        ('{"calls": []}', "is no recorded session"),
        ('{"wattbus_recording": 99}', "a recording of format 99, and this wattbus reads format 1"),
        ('{"wattbus_recording": 1, "production": "P", "calls": [{"source": "x"}]}', "KeyError: 'target'"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_in_words(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "session.json"
    file.write_text(text)

    with pytest.raises(BadRequest, match=said):
        Recording.load(file)


def test_a_recording_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"there is no recording .*nowhere\.json"):
        Recording.load(tmp_path / "nowhere.json")


# -- replay -------------------------------------------------------------------------------------------------------


def test_the_same_code_replays_the_same() -> None:
    recording = recorded(echo_production(prefix=">"), Text("x"))

    again = replay(recording, echo_production())

    assert again.same(), again.diff()
    assert again.diff() == "the same 5 messages"


def test_operations_are_answered_from_the_recording_and_do_not_run() -> None:
    class Broken(Echo):
        def on_init(self) -> None:
            raise AssertionError("the operation was made")

    recording = recorded(echo_production(prefix=">"), Text("x"))

    again = replay(recording, relay_with(Relay, Broken))

    assert again.same(), again.diff()


def test_a_recorded_error_is_played_back() -> None:
    with production(echo_production()) as bus:
        with pytest.raises(RequestFailed):
            bus.request("Relay", Text("boom"))
        recording = record(bus)

    again = replay(recording, relay_with(Relay))

    assert again.same(), again.diff()


def test_a_replay_reads_a_file_and_a_settings_file(tmp_path: Path) -> None:
    file = recorded(echo_production(), Text("x")).save(tmp_path / "session.json")
    (tmp_path / "settings.py").write_text(
        "from components import echo_production\n\nPRODUCTIONS = [echo_production()]\n"
    )

    again = replay(file, tmp_path / "settings.py")

    assert again.same(), again.diff()


def test_changed_code_shows_what_it_changed_message_by_message() -> None:
    recording = recorded(relay_with(Relay), Text("x"))

    again = replay(recording, relay_with(Polite))

    assert not again.same()
    assert again.diff().splitlines() == [
        "3 differences to the recorded session of Test.Production",
        "Relay",
        '    response $.text: "xab" -> "bax"',
        "Relay > Echo #1",
        '    request $.text: "x" -> "please x"',
        "Relay > Echo #4",
        '    missing: components.Text {"text": "later", "times": 1}',
    ]
    assert "3 differences, the first: Relay: response $.text" in repr(again)


def test_a_real_operation_runs_its_new_code() -> None:
    recording = recorded(relay_with(Relay), Text("x"))

    again = replay(recording, relay_with(Relay, Shout), real={"Echo"})

    assert [str(difference) for difference in again.differences()] == [
        'response $.text: "xab" -> "XAB"',
        'response $.text: "x" -> "X"',
        'response $.text: "a" -> "A"',
        'response $.text: "b" -> "B"',
        'response $.text: "later" -> "LATER"',
    ]


def test_a_double_of_ones_own_answers_instead_of_the_recording() -> None:
    recording = recorded(relay_with(Relay), Text("x"))
    echo = Double()
    echo.expect(Text, times=4).reply(Text("-"))

    again = replay(recording, relay_with(Relay), doubles={"Echo": echo})

    assert 'response $.text: "xab" -> "---"' in again.diff()


def test_what_is_ignored_makes_no_difference_wherever_it_stands() -> None:
    recording = recorded(relay_with(Relay), Text("x"))

    again = replay(recording, relay_with(Relay, Shout), real={"Echo"})

    assert again.same(ignore=["$.text"])
    assert again.same(ignore=["$..text"])
    assert not again.same(ignore=["$.times"])


def test_another_order_of_messages_that_wait_for_each_other_is_a_difference() -> None:
    recording = recorded(relay_with(Steps), Text("x"))

    again = replay(recording, relay_with(Steps, order="ba"))

    assert again.diff().splitlines()[1:] == ["Relay", "    order: Echo #1, Echo #2 -> Echo #2, Echo #1"]


def test_a_message_more_is_added_and_fails_where_the_recording_has_no_answer() -> None:
    recording = recorded(relay_with(Steps), Text("x"))

    again = replay(recording, relay_with(Steps, order="abc"))

    said = again.diff()
    assert 'added: components.Text {"text": "c", "times": 1}' in said
    assert "error: None -> the recording has no answer of 'Echo' to this message." in said


def test_services_send_nothing_while_a_session_is_replayed() -> None:
    class Loud(BusinessService):
        def on_init(self) -> None:
            raise AssertionError("the service was made")

    recording = recorded(echo_production(), Text("x"))
    prod = echo_production()
    prod.service("Loud", Loud)

    again = replay(recording, prod)

    assert again.same(), again.diff()


def test_an_item_that_the_production_does_not_have_cannot_be_real() -> None:
    recording = recorded(echo_production(), Text("x"))

    with pytest.raises(UnknownName, match="unknown item 'Ecoh': did you mean 'Echo'"):
        replay(recording, echo_production(), real={"Ecoh"})


def test_a_recording_edited_by_hand_says_what_is_wanted(tmp_path: Path) -> None:
    file = recorded(relay_with(Relay), Text("x")).save(tmp_path / "session.json")
    edit(file, lambda content: content["calls"][0]["response"]["body"].update(text="wanted"))

    again = replay(file, relay_with(Relay))

    assert again.diff().splitlines()[1:] == ["Relay", '    response $.text: "wanted" -> "xab"']


def edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
