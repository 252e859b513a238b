"""WebhookOperation: what goes out, what comes back, and what never leaves."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from iop import Production

from components import Checked, Text
from wattbus import testing
from wattbus.errors import RequestFailed
from wattbus.home import Home
from wattbus.messages import AlertRequest, WebhookResponse
from wattbus.operations import WebhookOperation
from wattbus.runtime.iris_objects import known_classes
from wattbus.secrets import Vault
from wattbus.store.queries import list_events, list_messages
from wattbus.testing.production import ProductionUnderTest

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Post:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A program on loopback that is posted to."""

    answer: Callable[[int], Answer] = lambda _number: (204, {}, b"")
    posts: list[Post] = field(default_factory=list)
    address: str = ""

    @property
    def url(self) -> str:
        return f"http://{self.address}/hooks/T0ken/1"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            made.posts.append(
                Post(self.path, {name.lower(): text for name, text in self.headers.items()}, body)
            )
            status, headers, content = made.answer(len(made.posts))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def hooked(receiver: Receiver, home: Path, allowed: bool = True, **settings: Any) -> ProductionUnderTest:
    prod = Production("Test.Webhook")
    given = {"URL": receiver.url, "RetrySeconds": "5", **settings}
    prod.operation("Hook", WebhookOperation, settings=given)
    hosts = frozenset({receiver.address}) if allowed else frozenset()
    return testing.production(prod, home, allow_hosts=hosts)


def test_a_message_is_posted_as_json_with_its_type_and_its_id(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answer = lambda _: (200, {}, b" thanks \n a lot ")

    with hooked(receiver, tmp_path) as bus:
        answer = bus.request("Hook", Text("héllo", 2))
        (request,) = [row for row in list_messages(bus.production.store.engine) if row.type == "Request"]

    (post,) = receiver.posts
    assert answer == WebhookResponse(status=200, text="thanks a lot")
    assert json.loads(post.body) == {"text": "héllo", "times": 2}
    assert post.headers["content-type"] == "application/json"
    assert post.headers["idempotency-key"] == str(request.id)
    assert post.headers["x-wattbus-type"] == "components.Text"
    assert "x-wattbus-signature" not in post.headers


def test_the_body_is_signed_with_a_secret_that_is_never_written(receiver: Receiver, tmp_path: Path) -> None:
    reference = Vault(Home(tmp_path).create().secrets_file).seal("correct horse battery")
    receiver.answer = lambda _: (401, {}, b"bad signature: correct horse battery")

    with hooked(receiver, tmp_path, Secret=reference) as bus:
        with pytest.raises(RequestFailed, match=r"answered 401: bad signature: \*\*\*.*; check Secret"):
            bus.request("Hook", Checked(number=1))
        bus.production.store.flush()
        written = [line.text for line in list_events(bus.production.store.engine)]

    (post,) = receiver.posts
    digest = hmac.new(b"correct horse battery", post.body, hashlib.sha256).hexdigest()
    assert post.headers["x-wattbus-signature"] == f"sha256={digest}"
    assert not any("horse" in text for text in written)


def test_an_alert_becomes_a_line_of_text_as_chat_programs_want_it(receiver: Receiver, tmp_path: Path) -> None:
    alert = known_classes()["Ens.AlertRequest"]()
    alert.AlertText, alert.SourceConfigName = "the queue is long", "Echo"

    with hooked(receiver, tmp_path, Text="$SourceConfigName: $AlertText $$5") as bus:
        bus.request("Hook", AlertRequest(AlertText="it failed", SourceConfigName="Relay"))
        bus.request("Hook", alert)

    assert [json.loads(post.body) for post in receiver.posts] == [
        {"text": "Relay: it failed $5"},
        {"text": "Echo: the queue is long $5"},
    ]


def test_a_busy_receiver_is_asked_again_with_the_same_key(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answer = lambda number: (503 if number < 3 else 200, {"Retry-After": "0"}, b"")

    with hooked(receiver, tmp_path) as bus:
        answer = bus.request("Hook", Text("x"))

    assert answer.status == 200
    assert len({post.headers["idempotency-key"] for post in receiver.posts}) == 1
    assert len(receiver.posts) == 3


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((500, {}, b"<b>oops</b>"), r"127.0.0.1 answered 500: <b>oops</b>; try again later"),
        ((404, {}, b""), "answered 404; check URL"),
        ((302, {"Location": "/elsewhere"}, b""), "redirects: set the last address as URL"),
        (
            (307, {"Location": "http://169.254.169.254/"}, b""),
            "169.254.169.254 is not one of the hosts allowed",
        ),
        ((200, {}, b"x" * 2_000_000), "more than 1,048,576 bytes"),
    ],
)
def test_an_answer_that_is_no_success_fails_in_a_sentence(
    receiver: Receiver, tmp_path: Path, answer: Answer, says: str
) -> None:
    receiver.answer = lambda number: answer if number == 1 else (200, {}, b"")

    with hooked(receiver, tmp_path) as bus, pytest.raises(RequestFailed, match=says):
        bus.request("Hook", Text("x"))


def test_a_private_address_is_refused_unless_it_is_allowed(receiver: Receiver, tmp_path: Path) -> None:
    with (
        hooked(receiver, tmp_path, allowed=False) as bus,
        pytest.raises(RequestFailed, match=r"names port|this machine or its network"),
    ):
        bus.request("Hook", Text("x"))

    assert receiver.posts == []


def test_an_address_that_is_a_secret_is_in_no_error(receiver: Receiver, tmp_path: Path) -> None:
    reference = Vault(Home(tmp_path).create().secrets_file).seal(f"{receiver.url}?key=9")

    with hooked(receiver, tmp_path, allowed=False, URL=reference) as bus:
        with pytest.raises(RequestFailed) as failed:
            bus.request("Hook", Text("x"))
        bus.production.store.flush()
        written = [line.text for line in list_events(bus.production.store.engine)]

    assert "T0ken" not in f"{failed.value} {written}"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"URL": "ftp://host/x"}, "no http or https address"),
        ({"Text": "costs $5"}, "a \\$ that names no field"),
        ({"Secret": "secret:0123456789abcdef"}, "is not in this vault"),
    ],
)
def test_a_wrong_setting_is_an_error_of_the_item_in_a_sentence(
    receiver: Receiver, tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    with hooked(receiver, tmp_path, **settings) as bus, pytest.raises(RequestFailed, match=says):
        bus.request("Hook", Text("x"), timeout_seconds=20)
