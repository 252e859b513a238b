"""Traces for a collector of OpenTelemetry, which here is a small one on this machine."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from doors import open_door

from components import Text, echo_production
from waiting import until
from wattbus.config import read_config
from wattbus.door import running as running_of
from wattbus.energy.feed import NullFeed
from wattbus.errors import BadSettings, RequestFailed
from wattbus.export import otel, otlp
from wattbus.runtime.reading import from_production
from wattbus.store.queries import list_events


class Collector:
    """Takes spans, or refuses them."""

    def __init__(self) -> None:
        self.status, self.bodies, self.paths = 200, list[Any](), list[str]()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.paths.append(self.path)
                if collector.status == 200:
                    collector.bodies.append(json.loads(body))
                self.send_response(collector.status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def spans(self) -> list[dict[str, Any]]:
        return [
            span
            for body in self.bodies
            for resource in body["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setattr(otel, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(otel, "_LOOK_SECONDS", 0.02)
    made = Collector()
    yield made
    made.close()


def values(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def test_a_session_is_a_trace_of_messages_and_attempts_under_their_senders(
    tmp_path: Path, collector: Collector
) -> None:
    with open_door(tmp_path, echo_production(), otel_endpoint=collector.url) as ask:
        message_id, _ = ask.director.current().exchange("Relay", Text("hello"))
    spans = {(values(span)["wattbus.message.id"], span["name"]): span for span in collector.spans}

    root = spans[str(message_id), "Relay Text"]
    attempt = spans[str(message_id), "attempt 1 of Relay"]
    echoes = [span for span in spans.values() if span["name"] == "Echo Text"]
    assert set(collector.paths) == {"/v1/traces"}
    assert "parentSpanId" not in root
    assert attempt["parentSpanId"] == root["spanId"]
    assert len(echoes) == 4
    assert {span["parentSpanId"] for span in echoes} == {root["spanId"]}
    assert len({span["traceId"] for span in spans.values()}) == 1
    assert int(root["endTimeUnixNano"]) >= int(root["startTimeUnixNano"])
    assert values(attempt)["wattbus.outcome"] in ("completed", "deferred")


def test_ids_have_the_length_that_the_protocol_wants_and_are_the_same_each_time() -> None:
    assert len(otlp.trace_id("store", 7)) == 32
    assert len(otlp.span_id("store", 7)) == len(otlp.span_id("store", 7, 1)) == 16
    assert otlp.trace_id("store", 7) == otlp.trace_id("store", 7) != otlp.trace_id("other", 7)
    assert otlp.span_id("store", 7) != otlp.span_id("store", 7, 1) != otlp.span_id("store", 71)


@pytest.mark.parametrize("asked", [False, True])
def test_content_is_sent_only_where_it_is_asked_for(
    tmp_path: Path, collector: Collector, asked: bool
) -> None:
    with open_door(tmp_path, echo_production(), otel_endpoint=collector.url, otel_content=asked) as ask:
        ask.director.current().request("Echo", Text("a secret"))
        with contextlib.suppress(RequestFailed):
            ask.director.current().request("Echo", Text("boom"))

    everything = json.dumps(collector.bodies)
    failed = [span for span in collector.spans if span["status"]["code"] == 2]
    assert len(failed) == 2
    assert ("a secret" in everything) is asked
    assert ("the text is boom" in everything) is asked


def test_a_collector_that_fails_is_told_of_once_and_gets_its_spans_later(
    tmp_path: Path, collector: Collector
) -> None:
    collector.status = 503
    with open_door(tmp_path, echo_production(), otel_endpoint=collector.url) as ask:
        running = ask.director.current()
        for _ in range(3):
            running.request("Echo", Text("hello"))
        until(lambda: len(collector.paths) >= 3, "it was tried again")

        def told(type: str) -> list[str]:
            running.store.flush()
            return [
                line.text for line in list_events(running.store.engine, type=type) if "spans" in line.text
            ]

        warned = told("Warning")
        collector.status = 200
        until(lambda: told("Info") != [], "it goes on")
        again = told("Warning")

    assert len(warned) == len(again) == 1
    assert "WATTBUS_OTEL_ENDPOINT" in warned[0] and "503" in warned[0]
    assert len([span for span in collector.spans if span["name"] == "Echo Text"]) == 3


def test_with_no_collector_at_all_work_goes_on_and_the_stop_is_not_held_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with open_door(tmp_path, echo_production(), otel_endpoint=f"http://127.0.0.1:{port}") as ask:
        answer = ask.director.current().request("Echo", Text("hello"))
        state = ask.director.close()

    assert answer.text == "hello"
    assert state == "Stopped"


def test_what_waits_for_a_collector_is_bounded_and_the_loss_is_told(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otel, "MOST_KEPT", 3)
    monkeypatch.setattr(otel, "MOST_AT_ONCE", 1)
    collector.status = 503
    with open_door(tmp_path, echo_production(), otel_endpoint=collector.url) as ask:
        running = ask.director.current()
        for number in range(10):
            running.request("Echo", Text(f"number {number}"))
        collector.status = 200

        def told() -> list[str]:
            running.store.flush()
            return [line.text for line in list_events(running.store.engine) if "lost" in line.text]

        until(lambda: told() != [], "the loss is told")
        (sentence,) = told()

    assert "of 6 attempts are lost" in sentence or "of 7 attempts are lost" in sentence


def test_it_is_off_unless_a_collector_is_named(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        assert ask.director.current().bus.hears_of_ends is None


@pytest.mark.parametrize(
    "endpoint", ["localhost:4318", "ftp://host/", "http://", "http://host:99999", "http://a?b"]
)
def test_an_endpoint_that_is_no_address_is_refused_in_a_sentence(tmp_path: Path, endpoint: str) -> None:
    config = read_config(home=tmp_path, otel_endpoint=endpoint)

    with pytest.raises(BadSettings, match="WATTBUS_OTEL_ENDPOINT"):
        running_of(from_production(echo_production()), config, NullFeed("a test"))
