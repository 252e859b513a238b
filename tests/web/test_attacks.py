"""Attacks on the HTTP door as a whole: every route, every role, too much, too slow, too odd.

The numbers are those of docs/security.md.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from doors import OpenDoor, basic, open_door

from components import echo_production
from waiting import until
from wattbus.access import Role
from wattbus.config import environment_for_children
from wattbus.store.queries import list_events, list_messages
from wattbus.web import bodies
from wattbus.web.connections import Connection
from wattbus.web.guard import OPEN_PATHS
from wattbus.web.roles import Needs

MEGABYTE = 1024 * 1024
SCRIPT = "<script>alert(1)</script>"
CANARY = "canary-3f9a-token-of-the-environment"
PATIENT = {"failures": 1_000_000, "burst": 1_000_000}


def routes(ask: OpenDoor) -> Iterator[tuple[str, str, Role | None]]:
    """Name each route with its method and the role that it takes; None: it says none."""

    def walk(found: Any, prefix: str) -> Iterator[tuple[str, str, Role | None]]:
        for route in found:
            inner = getattr(route, "original_router", None)
            if inner is not None:
                yield from walk(inner.routes, prefix + route.include_context.prefix)
                continue
            roles = [one.dependency.role for one in route.dependencies if isinstance(one.dependency, Needs)]
            path = re.sub(r"\{[^}]*\}", "1", prefix + route.path)
            for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
                yield method, path, max(roles, key=lambda role: list(Role).index(role), default=None)

    yield from walk(ask.app.routes, "")


def events(ask: OpenDoor) -> list[str]:
    store = ask.director.current().store
    store.flush()
    return [line.text for line in list_events(store.engine, limit=1000)]


def test_every_route_says_which_role_it_takes(tmp_path: Path) -> None:
    """S37: a new route fails here until it says who may come in."""
    with open_door(tmp_path, echo_production(), start=False) as ask:
        found = list(routes(ask))

    assert len(found) > 25
    assert sorted({path for _, path, role in found if role is None}) == sorted(OPEN_PATHS)
    changes = {path: role for method, path, role in found if method != "GET" and path not in OPEN_PATHS}
    assert [path for path, role in changes.items() if role is Role.VIEWER] == ["/logout"]


def test_no_route_answers_without_a_token_with_a_wrong_or_an_old_one_or_for_a_lower_role(
    tmp_path: Path,
) -> None:
    """S37, S38."""
    with open_door(tmp_path, echo_production(), start=False, rules=PATIENT) as ask:
        lower = {Role.OPERATOR: ask.as_role("viewer"), Role.ADMIN: ask.as_role("operator")}
        access = ask.app.user_middleware[0].kwargs["rules"].access
        old = access.create("old", Role.ADMIN, days=1e-9)
        strangers = ("", "Bearer wrong", "Bearer ", basic("wrong"), f"Bearer {old}", f"Digest {ask.token}")
        let_in = []
        for method, path, role in routes(ask):
            if path in OPEN_PATHS:
                continue
            told = [ask(method, path, {}, authorization=shown).status for shown in strangers]
            page = ask(method, path, authorization="", accept="text/html").status
            beneath = lower[role](method, path, {}).status if role in lower else 403
            if set(told) != {401} or page not in (303, 401) or beneath != 403:
                let_in.append((method, path, told, page, beneath))
        nothing = ask("GET", "/no/such/page", authorization="")
        socket = ask("GET", "/api/v1/home", authorization="", upgrade="websocket", connection="Upgrade")

    assert let_in == []
    assert [nothing.status, socket.status] == [401, 401]


def test_who_is_turned_away_and_what_an_admin_asks_is_in_the_event_log_without_a_token(
    tmp_path: Path,
) -> None:
    """S38, S40, S45: one line each, whatever the client has sent."""
    forged = "/api/iop/x%0a%1b[31m%0d%0aowner%20signs%20in%e2%80%ae"
    with open_door(tmp_path, echo_production()) as ask:
        viewer = ask.as_role("viewer")
        viewer("POST", "/api/iop/stop")
        ask("GET", forged, authorization="Bearer wbt_canary-wrong")
        ask.form("/login", {"token": ask.token}, authorization="")
        ask("PUT", "/api/iop/default", {"production": ""})
        texts = events(ask)

    assert any("'a viewer' (viewer) was refused POST '/api/iop/stop'" in text for text in texts)
    assert any("a wrong token from 127.0.0.1 at '/api/iop/x" in text for text in texts)
    assert any("'the test' (admin) signs in from 127.0.0.1" in text for text in texts)
    assert any("'the test' (admin) asks PUT '/api/iop/default'" in text for text in texts)
    assert [text for text in texts if not text.isprintable()] == []
    assert "canary-wrong" not in str(texts) and str(ask.token) not in str(texts)


def test_wrong_tokens_do_not_flood_the_event_log(tmp_path: Path) -> None:
    """S40."""
    with open_door(tmp_path, echo_production(), rules={"failures": 5, "failures_per_second": 0.0}) as ask:
        statuses = [ask("GET", "/api/iop/status", authorization=f"Bearer {n}").status for n in range(30)]
        told = [text for text in events(ask) if "wrong token" in text]

    assert statuses == [401] * 5 + [429] * 25
    assert len(told) == 5


@pytest.mark.parametrize(
    "path",
    [
        "/static/../access.json", "/static/..%2faccess.json", "/static/%2e%2e/%2e%2e/access.json",
        "/static//etc/passwd",
        "/static/..\\access.json", "/static/%252e%252e/access.json", "/static/portal.css/..%2f..%2f..%2fguard.py",
        "/static/vendor", "/static/vendor/", "/static/", "/static/portal.css%00.html", "/static/portal.css/",
        "/static/~root", "/static/C:%5cx", "//static/portal.js", "/./static/portal.js", "/static/" + "a" * 5000,
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_static_files(tmp_path: Path, path: str) -> None:
    """S9, S12."""
    with open_door(tmp_path, echo_production(), start=False) as ask:
        known, stranger = ask("GET", path), ask("GET", path, authorization="")

    assert known.status == 404
    assert stranger.status == 401
    assert "sha256" not in str(known.said)


@pytest.mark.parametrize(
    "path", ["/login%2f", "/LOGIN", "/login/", "//login", "/login;x", "/healthz/../api/iop/stop"]
)
def test_what_looks_like_an_open_path_is_none(tmp_path: Path, path: str) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        assert ask("GET", path, authorization="").status == 401


def test_a_body_of_two_gigabytes_is_refused_by_its_length(tmp_path: Path) -> None:
    """S41: nothing of it is read."""
    with open_door(tmp_path, echo_production()) as ask:
        head = (
            f"POST /api/iop/test HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ask.token}\r\n"
            "Content-Type: application/json\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: "
        )
        answers = [ask.raw(f"{head}{length}\r\n\r\n".encode()) for length in (2**31, 10**17, 10**30)]
        alive = ask("GET", "/api/iop/status")

    assert [answer.split()[1] for answer in answers] == [b"413", b"413", b"400"]
    assert b"100 Continue" not in answers[0]
    assert alive.status == 200


def test_a_body_in_chunks_without_end_costs_a_megabyte_at_most(tmp_path: Path) -> None:
    """S41."""
    with open_door(tmp_path, echo_production()) as ask:
        head = (
            f"POST /api/iop/test HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ask.token}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        ).encode()
        chunk = b'"' + b"x" * (MEGABYTE - 2) + b'"'
        text = head + (b"%x\r\n" % len(chunk) + chunk + b"\r\n") * 60
        before = psutil.Process().memory_info().rss
        answer = ask.raw(text)
        grown = psutil.Process().memory_info().rss - before
        alive = ask("GET", "/api/iop/status")

    assert answer.split()[1] == b"413"
    assert b"say its length" in answer
    assert grown < 50 * MEGABYTE
    assert alive.status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{" + b",".join(b'"%d":1' % n for n in range(1_000_000)) + b"}", 413),
        (b"[" * 100_000, 413),
        (b'{"body":' * 100_000, 413),
        (b'{"target": "Echo", "classname": "Text", "body": {"text": "x", "times": 1e400}}', 400),
        (b'{"target": "Echo", "classname": "Text", "body": {"text": "x", "times": NaN}}', 400),
        (b'{"target": "Echo", "classname": "Text", "body": {"text": "x", "times": -Infinity}}', 400),
        (b'{"target": "Echo", "classname": "Text", "body": {"text": "x", "times": ' + b"9" * 5000 + b"}}", 400),
        (b'{"target": "Echo", "classname": "Text", "body": "{\\"text\\": \\"x\\", \\"times\\": NaN}"}', 400),
        (b'{"target": "Echo", "classname": "Text", "body": "' + b"[" * 100_000 + b'"}', 400),
        (b'{"target": "Ec\\ud800ho", "classname": "Text"}', 404),
        (b'{"target": "Echo", "classname": "T\\udfffext"}', 404),
        (b'{"target": "Echo", "classname": "Text", "body": {"t\\ud800": 1}}', 400),
        (b'\xff\xfe{"target"', 400),
        (b'{"target": "Echo", "target": {"a": 1}}', 400),
    ],
    ids=[
        "1e6 names", "deep lists", "deep objects", "1e400", "NaN", "Infinity", "long number", "NaN inside",
        "deep inside", "half a character in an item", "in a type", "in a field", "no UTF-8", "one name twice",
    ],
)  # fmt: skip
def test_json_that_is_odd_or_too_much_is_a_sentence_and_the_server_lives(
    tmp_path: Path, body: bytes, status: int
) -> None:
    """S41, S5."""
    with open_door(tmp_path, echo_production()) as ask:
        before = psutil.Process().memory_info().rss
        answer = ask("POST", "/api/iop/test", body)
        grown = psutil.Process().memory_info().rss - before
        alive = ask("GET", "/api/iop/status")

    assert answer.status == status, answer.said
    assert len(answer.said["error"]) < 2_000
    assert "bug" not in answer.said["error"]
    assert grown < 50 * MEGABYTE
    assert alive.said["status"] == "running"


def test_half_a_character_in_a_text_is_kept_out_or_kept_whole(tmp_path: Path) -> None:
    """S41."""
    body = b'{"target": "Echo", "classname": "Text", "body": {"text": "a\\ud800b"}, "restart": false}'
    with open_door(tmp_path, echo_production()) as ask:
        answer = ask("POST", "/api/iop/test", body)
        alive = ask("POST", "/api/iop/test", body.replace(b"\\ud800", b""))

    assert answer.status in (200, 400), answer.said
    assert alive.status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "identity, gzip"])
def test_a_packed_body_is_refused_unread(tmp_path: Path, encoding: str) -> None:
    """S41: nothing is unpacked, so nothing can blow up."""
    with open_door(tmp_path, echo_production(), start=False) as ask:
        answer = ask("POST", "/api/iop/test", b"\x1f\x8b" * 100, content_encoding=encoding)

    assert answer.status == 415


def test_a_viewer_may_send_little(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        answer = ask.as_role("viewer")("POST", "/api/iop/test", {"body": "x" * 70_000})

    assert answer.status == 413


def test_large_bodies_that_come_at_once_are_counted_together(tmp_path: Path) -> None:
    """S41: what all of them declare is bounded, not only what each does."""
    with open_door(tmp_path, echo_production()) as ask:
        head = (
            f"POST /api/iop/test HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ask.token}\r\n"
            f"Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {256 * MEGABYTE}\r\n"
            "Connection: close\r\n\r\n"
        ).encode()
        address = urlsplit(ask.url)
        with contextlib.ExitStack() as held:
            for _ in range(2):
                waiting = held.enter_context(
                    socket.create_connection((address.hostname or "", address.port or 0), timeout=30)
                )
                waiting.sendall(head)
                assert b" 100 " in waiting.recv(1000)
            refused = ask.raw(head)
            alive = ask("GET", "/api/iop/status")
        until(lambda: b" 100 " in ask.first(head), "there is room again once they have gone")

    assert refused.split()[1] == b"503"
    assert b"retry-after: 1" in refused
    assert alive.status == 200


def test_a_head_that_does_not_come_ends_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S44: slow loris."""
    monkeypatch.setattr(Connection, "head_seconds", 0.2)
    with open_door(tmp_path, echo_production(), start=False) as ask:
        answers = [
            ask.raw(b"", seconds=20), ask.raw(b"GET / HTT", seconds=20),
            ask.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea", seconds=20),
        ]  # fmt: skip
        alive = ask("GET", "/healthz")

    assert answers[:2] == [b"", b""]
    assert answers[2].startswith(b"HTTP/1.1 200")
    assert alive.status == 200


def test_a_body_that_does_not_come_is_answered_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S44."""
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    with open_door(tmp_path, echo_production()) as ask:
        answer = ask.raw(
            f"POST /api/iop/test HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ask.token}\r\n"
            "Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{".encode(),
            seconds=20,
        )
        alive = ask("GET", "/api/iop/status")

    assert answer.split()[1] == b"408"
    assert alive.status == 200


def test_many_ranges_of_a_file_cost_no_more_than_the_file(tmp_path: Path) -> None:
    """S44."""
    ranges = "bytes=" + ",".join(f"{n}-" for n in range(1_500))
    with open_door(tmp_path, echo_production(), start=False) as ask:
        whole = ask("GET", "/static/portal.css", accept="text/css")
        began = time.process_time()
        many = ask("GET", "/static/portal.css", range=ranges)
        odd = [
            ask("GET", "/static/portal.css", range=value).status for value in ("bytes=-", "x", "bytes=9-1")
        ]
        spent = time.process_time() - began

    assert len(many.said) <= 2 * len(whole.said) + 200_000
    assert spent < 5
    assert set(odd) <= {200, 206, 400, 416}


def test_a_head_without_end_is_refused(tmp_path: Path) -> None:
    """S44."""
    with open_door(tmp_path, echo_production(), start=False) as ask:
        answers = [
            ask.raw(b"GET /" + b"a" * MEGABYTE),
            ask.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"x: y\r\n" * 200_000),
            ask.raw(b"\x16\x03\x01\x02\x00" + b"\0" * 600),
            ask.raw(b"GET / HTTP/9.9\r\n\r\n"),
        ]
        alive = ask("GET", "/healthz")

    assert all(answer == b"" or answer.split()[1] in (b"400", b"421") for answer in answers), answers
    assert alive.status == 200


@pytest.mark.parametrize("path", [f"/{SCRIPT}", f"/messages/{SCRIPT}", f"/login?next=/{SCRIPT}%22onfocus=x"])
def test_no_address_becomes_markup(tmp_path: Path, path: str) -> None:
    """S31."""
    with open_door(tmp_path, echo_production(), start=False) as ask:
        answers = [ask.page(path), ask.page(path, authorization=""), ask("GET", path)]

    assert all(
        SCRIPT not in str(answer.said) or "json" in answer.headers["content-type"] for answer in answers
    )
    assert all('"onfocus' not in str(answer.said) for answer in answers)


def test_a_bug_tells_nobody_outside_what_it_was_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S23: the text of an unexpected error may hold what a message held."""

    def breaks() -> None:
        raise ValueError(f"values were {CANARY}")

    with open_door(tmp_path, echo_production()) as ask:
        monkeypatch.setattr(ask.director, "status_production", breaks)
        answer = ask("GET", "/api/iop/status")

    assert answer.status == 500
    assert CANARY not in str(answer.said)
    assert "ValueError" in answer.said["error"]


def test_the_token_of_the_environment_is_in_no_file_no_answer_and_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """S22, S23, S39."""
    monkeypatch.setenv("WATTBUS_TOKEN", CANARY)
    with open_door(tmp_path, echo_production()) as ask:
        said = [
            ask("GET", path, authorization=f"Bearer {CANARY}", accept=accept)
            for path in (
                "/",
                "/api/v1/home",
                "/api/iop/status",
                "/api/iop/log",
                "/nothing",
                "/metrics",
                "/openapi.json",
            )
            for accept in ("text/html", "application/json")
        ]
        said.append(ask.form("/login", {"token": CANARY}, authorization=""))
        said.append(ask("GET", "/api/iop/status", authorization=basic(CANARY)))
        said.append(ask("GET", f"/api/iop/log?token={CANARY}"))
        children = environment_for_children()
        config = repr(ask.config)
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    printed = capfd.readouterr()

    assert said[0].status == 200
    assert CANARY not in str(said[:-1])
    assert CANARY not in config
    assert CANARY not in printed.out + printed.err
    assert CANARY.encode() not in b"".join(written)
    assert "WATTBUS_TOKEN" not in children


def test_no_client_names_what_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S1, S2."""
    asked: list[str] = []
    real = __import__("importlib").import_module
    monkeypatch.setattr(
        "importlib.import_module", lambda name, *more: asked.append(name) or real(name, *more)
    )
    wrong = [
        "os.system", "subprocess.Popen", "builtins.eval", "__main__.X", "msg.HFRequest.__init__", "../x",
        "components.Echo", "iop.BusinessOperation", "pickle.loads", "", " ", "Text\0", "x" * 10_000,
    ]  # fmt: skip
    with open_door(tmp_path, echo_production()) as ask:
        told = [
            ask("POST", "/api/iop/test", {"target": "Echo", "classname": name, "body": {}, "restart": False})
            for name in wrong
        ]
        stored = list_messages(ask.director.current().store.engine)

    assert {answer.status for answer in told} <= {400, 404}
    assert "unknown message type 'os.system'" in told[0].said["error"]
    assert [name for name in asked if name in wrong or name.partition(".")[0] in ("os", "subprocess")] == []
    assert stored == []


@pytest.mark.parametrize(
    "top", ["1;DROP TABLE message", "-1", "1e18", "NaN", "true", "1000000000000000000000", "%00"]
)
def test_a_number_in_an_address_is_a_number(tmp_path: Path, top: str) -> None:
    """S5."""
    with open_door(tmp_path, echo_production()) as ask:
        answer = ask("GET", f"/api/iop/log?top={top.replace(' ', '%20')}")

    assert answer.status == 400


def test_what_is_shown_of_a_message_stays_json(tmp_path: Path) -> None:
    """S31, S45: in the API a text is a JSON string, whatever it holds; no browser takes it for a page."""
    text = f'{SCRIPT}\r\n\x1b[31m\u202e","x":"'
    with open_door(tmp_path, echo_production()) as ask:
        answer = ask("POST", "/api/iop/test", {"target": "Echo", "classname": "Text", "body": {"text": text}})
        log = ask("GET", "/api/iop/log?top=50")

    assert json.loads(answer.said["body"])["text"] == text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert log.status == 200
