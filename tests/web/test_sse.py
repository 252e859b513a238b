"""Server-Sent Events: resumed by id, ended with their subject, bounded, and no hindrance when the server stops."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from doors import OpenDoor, open_door
from iop import Production

from components import Gate, Text, echo_production
from waiting import until
from wattbus.web.sse import Event, Streams, written


@dataclass(frozen=True)
class Heard:
    """One event as it came over the line."""

    id: int
    name: str
    data: object


@contextlib.contextmanager
def listening(door: OpenDoor, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(urlsplit(door.url).netloc, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"authorization": f"Bearer {door.token}", **named})
        with connection.getresponse() as answer:
            yield answer


def told(door: OpenDoor, path: str, **headers: str) -> list[Heard]:
    """Listen until the stream ends."""
    with listening(door, path, **headers) as answer:
        return list(heard(answer))


def heard(answer: http.client.HTTPResponse) -> Iterator[Heard]:
    found: dict[str, str] = {}
    for line in answer:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if not name and "data" in found:
            yield Heard(int(found["id"]), found["event"], json.loads(found["data"]))
            found = {}
        elif name and value:
            found[name] = value


def gate_production() -> Production:
    prod = Production("Test.Production")
    prod.operation("Gate", Gate)
    return prod


@pytest.fixture
def gate() -> Iterator[None]:
    Gate.opened, Gate.entered = threading.Event(), threading.Event()
    yield
    Gate.opened.set()


def test_a_running_session_tells_what_happens_and_says_when_it_has_ended(tmp_path: Path, gate: None) -> None:
    with open_door(tmp_path, gate_production()) as door:
        running = door.director.current()
        session = running.submit("Gate", Text("x"))
        assert Gate.entered.wait(20)

        with listening(door, f"/api/v1/sessions/{session}/events") as answer:
            news = heard(answer)
            first = next(news)
            Gate.opened.set()
            rest = list(news)

    assert first.name == "news"
    assert first.data == {"messages": 1, "open": 1, "events": 0}
    assert rest[-1].name == "end"
    assert rest[-2].data["open"] == 0  # type: ignore[index]
    assert [one.id for one in (first, *rest)] == sorted(one.id for one in (first, *rest))


def test_who_comes_back_with_the_last_id_of_an_ended_session_hears_only_its_end(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        session, _ = door.director.current().exchange("Echo", Text("x"))
        until(lambda: ended(door, session), "the session is over")
        last = told(door, f"/api/v1/sessions/{session}/events")[-1].id

        again = told(door, f"/api/v1/sessions/{session}/events", last_event_id=str(last))

    assert [one.name for one in again] == ["end"]


def ended(door: OpenDoor, session: int) -> bool:
    return any(one.name == "end" for one in told(door, f"/api/v1/sessions/{session}/events?seconds=0"))


def test_the_log_goes_on_where_the_last_id_was(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        running = door.director.current()
        for text in ("one", "two", "three"):
            running.request("Echo", Text(text))
        running.store.flush()
        first = told(door, "/api/v1/log/events?since=0&item=Echo&seconds=0")

        later = told(door, "/api/v1/log/events?item=Echo&seconds=0", last_event_id=str(first[0].id))
        new_only = told(door, "/api/v1/log/events?seconds=0")

    assert [one.data["text"] for one in first] == ["echoing one", "echoing two", "echoing three"]  # type: ignore[index]
    assert later == first[1:]
    assert new_only == []


def test_a_last_id_that_is_no_number_counts_as_none(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        door.director.current().request("Echo", Text("x"))
        door.director.current().store.flush()

        lines = told(door, "/api/v1/log/events?since=0&seconds=0", last_event_id="1; DROP TABLE")

    assert lines


def test_there_are_so_many_streams_a_client_and_no_more(tmp_path: Path, gate: None) -> None:
    with open_door(tmp_path, gate_production()) as door:
        door.desk.streams = Streams(most=3, most_of_one=2)
        session = door.director.current().submit("Gate", Text("x"))
        path = f"/api/v1/sessions/{session}/events"
        with contextlib.ExitStack() as opened:
            for _ in range(2):
                opened.enter_context(listening(door, path))

            refused = door("GET", path)
            other = opened.enter_context(listening(door.as_role("viewer"), path))
            full = door.as_role("viewer")("GET", path)
        until(lambda: door.desk.streams.open == 0, "the streams are given back")

        assert other.status == 200

    assert refused.status == full.status == 429
    assert "close a page that updates itself" in refused.said["detail"]
    assert refused.headers["retry-after"] == "5"


def test_a_stream_ends_when_the_server_stops_and_does_not_hold_it_up(tmp_path: Path) -> None:
    with contextlib.ExitStack() as opened:
        with open_door(tmp_path, echo_production()) as door:
            answer = opened.enter_context(listening(door, "/api/v1/log/events"))
            assert answer.status == 200

        assert answer.read().startswith(b"retry: ")


def test_a_quiet_stream_says_that_it_is_still_there(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        door.desk.streams = Streams(look_seconds=0.01, heartbeat_seconds=0.02)

        with listening(door, "/api/v1/log/events") as answer:
            lines = [answer.readline() for _ in range(6)]

    assert b": still here\n" in lines


def test_news_of_a_session_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        answer = door("GET", "/api/v1/sessions/999/events")

    assert answer.status == 400
    assert "there is no session 999" in answer.said["detail"]


def test_a_text_cannot_break_out_of_its_event() -> None:
    line = written(Event(3, {"text": "a\n\nid: 99\nevent: end\ndata: {}"}, "line")).decode()

    assert line.count("\n") == 4
    assert line.endswith("\n\n")
