"""Sending over REST: an answer or where it will be, one message a key, and errors as problems."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from doors import open_door
from iop import Production

from components import Gate, echo_production
from waiting import until


def gate_production() -> Production:
    prod = Production("Test.Gate")
    prod.operation("Gate", Gate)
    return prod


@pytest.fixture(autouse=True)
def closed_gate() -> None:
    Gate.opened.clear()
    Gate.entered.clear()


def echo(text: str, **more: object) -> dict[str, object]:
    return {"item": "Echo", "type": "Text", "body": {"text": text}, **more}


def test_a_message_is_sent_and_its_response_comes_back(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        answer = ask("POST", "/api/v1/messages", echo("hello", priority="high"))
        again = ask("GET", f"/api/v1/messages/{answer.said['message_id']}/answer")

    assert answer.status == again.status == 200
    assert answer.said["body"] == {"text": "hello", "times": 1}
    assert answer.said["type"] == "components.Text"
    assert answer.said["session_id"] == answer.said["message_id"]
    assert again.said == answer.said


def test_the_same_key_is_the_same_message_and_another_body_under_it_is_refused(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        first = ask("POST", "/api/v1/messages", echo("hello"), idempotency_key="k-1")
        second = ask("POST", "/api/v1/messages", echo("hello"), idempotency_key="k-1")
        other = ask("POST", "/api/v1/messages", echo("bye"), idempotency_key="k-1")

    assert first.said == second.said
    assert other.status == 422
    assert "k-1" in other.said["detail"] and "a key of its own" in other.said["detail"]


def test_two_who_wait_for_one_message_are_both_told(tmp_path: Path) -> None:
    sending = {"item": "Gate", "type": "Text", "body": {"text": "x"}}
    answers: list[object] = []
    with open_door(tmp_path, gate_production()) as ask:

        def call() -> None:
            answers.append(ask("POST", "/api/v1/messages", sending, idempotency_key="twice").said["body"])

        threads = [threading.Thread(target=call) for _ in range(2)]
        threads[0].start()
        assert Gate.entered.wait(20)
        threads[1].start()
        bus = ask.director.current().bus
        until(lambda: any(one.beside is not None for one in list(bus._waiters.values())), "both wait")
        Gate.opened.set()
        for thread in threads:
            thread.join(30)

    assert answers == [{"text": "x", "times": 1}] * 2


@pytest.mark.parametrize("prefer", ["respond-async", "respond-async, wait=0", "wait=0"])
def test_who_does_not_wait_is_told_where_the_answer_will_be(tmp_path: Path, prefer: str) -> None:
    with open_door(tmp_path, gate_production()) as ask:
        sending = {"item": "Gate", "type": "Text", "body": {"text": "x"}}
        sent = ask("POST", "/api/v1/messages", sending, prefer=prefer)
        place = sent.headers["location"]
        early = ask("GET", place)
        Gate.opened.set()
        late = ask("GET", place + "?wait_seconds=20")

    assert (sent.status, early.status, late.status) == (202, 202, 200)
    assert early.headers["retry-after"] == "1"
    assert late.said["body"] == {"text": "x", "times": 1}


def test_a_time_out_names_the_message_that_goes_on(tmp_path: Path) -> None:
    with open_door(tmp_path, gate_production()) as ask:
        sending = {"item": "Gate", "type": "Text", "body": {}, "timeout_seconds": 0.05}
        answer = ask("POST", "/api/v1/messages", sending)
        Gate.opened.set()

    assert answer.status == 504
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.said["message_id"] == answer.said["trace_id"] > 0
    assert "goes on" in answer.said["detail"]


def test_a_request_that_fails_is_told_in_the_item_s_words_with_its_trace(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        answer = ask("POST", "/api/v1/messages", echo("boom"))
        later = ask("GET", f"/api/v1/messages/{answer.said['message_id']}/answer")

    assert answer.status == later.status == 502
    assert "the text is boom" in answer.said["detail"]
    assert later.said["trace_id"] == answer.said["trace_id"]


@pytest.mark.parametrize(
    ("wrong", "status", "sentence"),
    [
        ({"item": "Ecko"}, 404, "unknown item 'Ecko': did you mean 'Echo'?"),
        ({"type": "msg.MLReqest"}, 404, "unknown message type 'msg.MLReqest': did you mean 'msg.MLRequest'?"),
        ({"type": "msg.MLRequest"}, 400, "item 'Echo' does not handle MLRequest"),
        ({"body": {"txet": "a"}}, 400, "unknown field 'txet': did you mean 'text'?"),
        ({"bdoy": {}}, 400, "bdoy"),
        ({"timeout_seconds": 0}, 400, "timeout_seconds"),
    ],
)
def test_what_cannot_be_sent_is_a_sentence_and_no_message(
    tmp_path: Path, wrong: dict[str, object], status: int, sentence: str
) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        answer = ask("POST", "/api/v1/messages", {**echo("x"), **wrong})

    assert answer.status == status
    assert sentence in answer.said["detail"]
    assert "message_id" not in answer.said


def test_there_is_no_answer_to_a_message_that_never_was(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        unknown = ask("GET", "/api/v1/messages/77/answer")
        too_large = ask("GET", f"/api/v1/messages/{2**63}/answer")

    assert unknown.status == 404 and "unknown message '77'" in unknown.said["detail"]
    assert too_large.status == 400


def test_a_stopped_production_takes_nothing_and_still_tells_its_answers(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        sent = ask("POST", "/api/v1/messages", echo("hello"))
        ask.director.stop_production()
        refused = ask("POST", "/api/v1/messages", echo("hello"))
        told = ask("GET", f"/api/v1/messages/{sent.said['message_id']}/answer")

    assert refused.status == 409
    assert told.said["body"] == {"text": "hello", "times": 1}


def test_the_types_have_their_schema_and_the_seeds_examples(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        listed = ask("GET", "/api/v1/types").said["types"]
        text = ask("GET", "/api/v1/types/Text").said
        ml = ask("GET", "/api/v1/types/msg.MLRequest").said
        wrong = ask("GET", "/api/v1/types/msg.MLReqest")

    assert {"components.Text", "wattbus.messages.TrainRequest"} <= {one["name"] for one in listed}
    assert text["json_schema"]["properties"]["times"] == {"type": "integer", "default": 1}
    assert text["handled_by"] == ["Echo"] and not text["free"]
    assert ml["free"] and {"inputs": "This was a really bad experience"} in [
        one["body"] for one in ml["examples"]
    ]
    assert wrong.status == 404 and "did you mean 'msg.MLRequest'?" in wrong.said["detail"]
