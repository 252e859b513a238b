"""Services that live in another process: they send through the HTTP door of the one that runs the production."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doors import OpenDoor, open_door
from remote_service import AskRemotely, remote_production

from components import Gate
from wattbus.errors import BadRequest, BadSettings, NotRunning, RequestFailed
from wattbus.runtime.remote import remote_service
from wattbus.store.queries import list_events, list_messages
from wattbus.store.rows import Header

SETTINGS = """
from remote_service import remote_production

PRODUCTIONS = [remote_production()]
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file that this process names; the door's own process would have its own."""
    file = tmp_path / "settings.py"
    file.write_text(SETTINGS)
    monkeypatch.setenv("WATTBUS_SETTINGS", str(file))
    return file


@pytest.fixture
def ask(tmp_path: Path, settings: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenDoor]:
    with open_door(tmp_path / "home", remote_production()) as door:
        monkeypatch.setenv("WATTBUS_TOKEN", door.token or "")
        yield door


def service_at(door: OpenDoor) -> Any:
    return remote_service("Ask", door.url).GetClass()


def requests_at(door: OpenDoor) -> list[Header]:
    rows = list_messages(door.director.current().store.engine, limit=1000)
    return [row for row in reversed(rows) if row.type == "Request"]


def test_a_call_sends_in_one_session_and_logs_for_its_item(ask: OpenDoor) -> None:
    service = service_at(ask)
    answers = [service.ask("one"), service.ask("two")]
    rows = requests_at(ask)
    ask.director.current().store.flush()
    lines = list_events(ask.director.current().store.engine, item="Ask")

    assert isinstance(service, AskRemotely)
    assert answers == ["dear one", "dear two"]
    assert [row.source_item for row in rows] == ["Ask"] * 4
    assert [row.session_id for row in rows] == [rows[0].id] * 2 + [rows[2].id] * 2
    assert [line.text for line in lines] == ["asked one", "asked two"]


def test_several_requests_at_once_an_event_loop_and_a_stream_go_over_http_too(ask: OpenDoor) -> None:
    service = service_at(ask)

    several = service.ask_several("a", "b")
    slowly = asyncio.run(service.ask_slowly("c"))
    counted = list(service.count(3))

    assert several == ["a", "b"]
    assert slowly == "c"
    assert counted == ["0", "1", "2"]


def test_many_threads_ask_at_once_and_each_gets_its_own_answer(ask: OpenDoor) -> None:
    service, answers = service_at(ask), {}

    def call(name: str) -> None:
        answers[name] = service.ask(name)

    threads = [threading.Thread(target=call, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert answers == {str(number): f"dear {number}" for number in range(6)}


def test_an_error_of_the_target_is_raised_in_the_caller(ask: OpenDoor) -> None:
    with pytest.raises(RequestFailed, match="the text is boom"):
        service_at(ask).ask("boom")


def test_a_time_out_returns_none_and_the_message_goes_on(tmp_path: Path, settings: Path) -> None:
    Gate.opened.clear()
    Gate.entered.clear()

    with open_door(tmp_path / "home", remote_production(), insecure_local=True) as door:
        answer = service_at(door).ask_gate(0.05)
        Gate.opened.set()

    assert answer is None


def test_what_the_other_process_refuses_is_raised_in_its_words(ask: OpenDoor) -> None:
    sending = {"source": "Ask", "target": "Echo", "type": "components.Text", "body": '{"text": "x"}'}

    answers = [
        ask("POST", "/api/wattbus/send", {**sending, **changed})
        for changed in (
            {"target": "Ecoh"}, {"source": "Aks"}, {"type": "os.system"}, {"body": '{"txt": 1}'}, {"body": "{"},
            {"queue": "Other::stream:1"}, {"session_id": -1},
        )
    ]  # fmt: skip
    log = ask("POST", "/api/wattbus/log", {"item": "Ask", "type": "Eror", "text": "x"})
    stored = requests_at(ask)

    assert [answer.status for answer in answers] == [404, 404, 404, 400, 400, 400, 400]
    assert "did you mean 'Echo'" in answers[0].said["error"]
    assert "did you mean 'Error'" in log.said["error"]
    assert stored == []


def test_a_key_that_was_used_before_is_the_same_message(ask: OpenDoor) -> None:
    sending = {
        "source": "Ask", "target": "Echo", "type": "components.Text", "body": '{"text": "x"}',
        "response_required": True, "idempotency_key": "k",
    }  # fmt: skip

    ids = {ask("POST", "/api/wattbus/send", sending).said["message_id"] for _ in range(3)}
    other = ask("POST", "/api/wattbus/send", {**sending, "body": '{"text": "y"}'})
    answers = [ask("GET", f"/api/wattbus/answers/{id}?wait_seconds=20").said for id in [*ids, *ids]]

    assert len(ids) == 1
    assert other.status == 422
    assert answers[0]["body"] == '{"text":"x","times":1}'
    assert answers[0] == answers[1]


def test_the_service_needs_a_token_of_an_operator(
    tmp_path: Path, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_door(tmp_path / "home", remote_production()) as door:
        with pytest.raises(BadRequest, match="wants a token"):
            service_at(door).ask("x")
        monkeypatch.setenv("WATTBUS_TOKEN", door.as_role("viewer").token or "")
        with pytest.raises(BadRequest, match="this takes operator"):
            service_at(door).ask("x")
        monkeypatch.setenv("WATTBUS_TOKEN", door.as_role("operator").token or "")
        answer = service_at(door).ask("x")

    assert answer == "dear x"


def test_a_stopped_production_and_one_that_is_gone_are_sentences(tmp_path: Path, settings: Path) -> None:
    with open_door(tmp_path / "home", remote_production(), insecure_local=True) as door:
        service = service_at(door)
        door.director.stop_production()
        with pytest.raises(NotRunning, match="start one"):
            service.ask("x")

    with pytest.raises(RequestFailed):
        service.ask("x")


@pytest.mark.parametrize("url", ["127.0.0.1:1", "ftp://127.0.0.1", "http://", "nonsense"])
def test_an_address_that_is_none_is_a_sentence(settings: Path, url: str) -> None:
    with pytest.raises(BadSettings, match="WATTBUS_URL"):
        remote_service("Ask", url)


def test_a_class_that_no_settings_file_here_declares_is_a_sentence(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadSettings, match="declares no item 'Aks'"):
        remote_service("Aks", "http://127.0.0.1:1")

    monkeypatch.delenv("WATTBUS_SETTINGS")
    monkeypatch.chdir(tmp_path / "..")
    with pytest.raises(BadSettings, match="set WATTBUS_SETTINGS"):
        remote_service("Ask", "http://127.0.0.1:1")
