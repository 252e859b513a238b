"""The guard of the HTTP door: strangers, foreign pages and too much are turned away."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from doors import basic, open_door
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from components import echo_production
from wattbus.access import Access
from wattbus.config import read_config
from wattbus.door import Director
from wattbus.errors import BadSettings
from wattbus.home import Home
from wattbus.web.buckets import Bucket
from wattbus.web.guard import OPEN_PATHS, Guard, Rules
from wattbus.web.origins import is_loopback, network_of
from wattbus.web.serve import HttpDoor

FOREIGN = "http://evil.example"


def test_a_page_elsewhere_may_change_nothing_and_this_door_s_own_may(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        own = ask("POST", "/api/iop/update", {}, origin=ask.url)
        foreign = ask("POST", "/api/iop/stop", {}, origin=FOREIGN)
        null = ask("PUT", "/api/iop/default", {"production": ""}, origin="null")
        fetched = ask("POST", "/api/iop/kill", {}, sec_fetch_site="cross-site")
        still = ask("GET", "/api/iop/status")

    assert own.status == 200
    assert [foreign.status, null.status, fetched.status] == [403, 403, 403]
    assert FOREIGN in foreign.said["error"]
    assert still.said["status"] == "running"


def test_a_name_that_a_name_server_was_made_to_answer_for_is_not_this_door(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        rebound = ask("GET", "/api/iop/status", host="evil.example")
        broken = ask("GET", "/api/iop/status", host="[")
        local = ask("GET", "/api/iop/status", host="localhost:1")

    assert [rebound.status, broken.status, local.status] == [421, 421, 200]
    assert "evil.example" in rebound.said["error"]


def test_nobody_is_answered_without_a_token(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        right = ask("GET", "/api/iop/status")
        named = ask("GET", "/api/iop/status", authorization=basic(ask.token or "", "ada"))
        wrong = [
            ask("GET", "/api/iop/status", authorization=value)
            for value in (basic("sesame"), "Bearer sesame", f"Token {ask.token}", "Basic !", "")
        ]

    assert [right.status, named.status] == [200, 200]
    assert {answer.status for answer in wrong} == {401}
    assert wrong[0].headers["www-authenticate"].startswith("Basic")
    assert "wattbus token new" in wrong[0].said["error"]


def test_a_door_that_others_can_reach_needs_a_token(tmp_path: Path) -> None:
    director = Director(echo_production(), home=tmp_path)

    with pytest.raises(BadSettings, match=r"0\.0\.0\.0.*wattbus token new"):
        HttpDoor(director, read_config(home=tmp_path, port=0, http_host="0.0.0.0"))


def test_a_door_has_the_names_that_it_was_given_and_no_other(tmp_path: Path) -> None:
    with open_door(
        tmp_path, echo_production(), http_host="0.0.0.0", token="t" * 32, http_names="bus.example"
    ) as ask:
        named = ask("GET", "/api/iop/status", host="BUS.example:80")
        other = ask("GET", "/api/iop/status", host="other.example")

    assert [named.status, other.status] == [200, 421]


def test_a_body_that_is_too_long_is_refused_by_its_length_and_while_it_is_read(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), rules={"largest_body_bytes": 1000}) as ask:
        declared = ask("POST", "/api/iop/test", {"target": "Echo", "body": "x" * 1000})
        connection = http.client.HTTPConnection(urlsplit(ask.url).netloc, timeout=30)
        with closing(connection):
            connection.request(
                "POST", "/api/iop/test", iter([b"[" * 600, b"[" * 600]), {"authorization": f"Bearer {ask.token}"},
                encode_chunked=True,
            )  # fmt: skip
            streamed = connection.getresponse().status

    assert [declared.status, streamed] == [413, 413]
    assert "1,000 bytes" in declared.said["error"]


@pytest.mark.parametrize(
    ("name", "is_here"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("LOCALHOST", True)]
    + [(name, False) for name in ("", "0.0.0.0", "10.0.0.1", "localhost.evil.example", "2130706433", "::")],
)
def test_only_names_of_this_machine_are_loopback(name: str, is_here: bool) -> None:
    assert is_loopback(name) is is_here


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.example", "localhost.evil.example", "localhost@evil.example", "evil.example@localhost",
        "localhost:1@evil.example", "localhost.", "localhost:x", "localhost:1:2", "local host", "localhost/", "[",
        "[::1", "::1", "[::1]x", "0.0.0.0", "2130706433", "127.1", "10.0.0.1", "localhost\tevil", "http://localhost",
    ],
)  # fmt: skip
def test_a_host_that_is_no_plain_name_of_this_door_is_refused(tmp_path: Path, host: str) -> None:
    """S34."""
    with open_door(tmp_path, echo_production(), start=False) as ask:
        answer = ask("GET", "/api/iop/version", host=host)

    assert answer.status in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:65535", "[::1]:52080", "127.9.9.9"])
def test_this_machine_has_more_than_one_name(tmp_path: Path, host: str) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        assert ask("GET", "/api/iop/version", host=host).status == 200


@pytest.mark.parametrize(
    "lines",
    [
        "Host: localhost\r\nHost: evil.example",
        "Host: localhost\r\nAuthorization: Bearer x\r\nauthorization: Bearer TOKEN",
        "Host: localhost\r\nAuthorization: Bearer TOKEN\r\nCookie: a=b\r\nCookie: c=d",
        "Host: localhost\r\nAuthorization: Bearer TOKEN\r\nOrigin: http://evil.example\r\nOrigin: http://localhost",
        "Host: localhost\r\nAuthorization: Bearer TOKEN\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
        "Host: localhost\r\nAuthorization: Bearer TOKEN\r\nContent-Length: 2\r\nContent-Length: 3",
        "Host: localhost\r\nAuthorization: Bearer TOKEN\r\nContent-Length: +2",
        "Host: localhost\r\nAuthorization: Bearer TOKEN\r\nContent-Length: -1",
        "Host : localhost\r\nAuthorization: Bearer TOKEN",
        "Host: localhost\r\nAuthorization: Bearer TOKEN\r\n folded: x",
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(tmp_path: Path, lines: str) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        head = f"POST /api/iop/update HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n"
        answer = ask.raw(head.replace("TOKEN", ask.token or "").encode() + b"{}")
        alive = ask("GET", "/api/iop/status")

    assert re.match(rb"HTTP/1.1 (400|401|403|421)", answer), answer
    assert alive.status == 200


def test_the_name_in_the_first_line_and_of_a_proxy_do_not_count(tmp_path: Path) -> None:
    """S34: proxy headers are nobody's word here."""
    with open_door(tmp_path, echo_production(), start=False) as ask:
        absolute = ask.raw(
            b"GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        )
        forwarded = ask(
            "GET", "/api/iop/version", authorization="", x_forwarded_host="localhost", x_forwarded_for="127.0.0.1",
            x_forwarded_user="admin", x_original_url="/healthz", x_rewrite_url="/healthz",
        )  # fmt: skip
        rebound = ask("GET", "/api/iop/version", host="evil.example", x_forwarded_host="localhost")

    assert b" 421 " in absolute.splitlines()[0]
    assert [forwarded.status, rebound.status] == [401, 421]


def test_no_header_and_no_field_makes_another_method_of_a_request(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        answers = [
            ask("GET", "/api/iop/stop?_method=POST", x_http_method_override="POST", x_method_override="POST"),
            ask("HEAD", "/api/iop/stop"), ask("OPTIONS", "/api/iop/stop"), ask("TRACE", "/api/iop/stop"),
            ask("PROPFIND", "/api/iop/stop"), ask("post", "/api/iop/stop"), ask("GET", "/logout"),
        ]  # fmt: skip
        still = ask("GET", "/api/iop/status").said["status"]

    assert {answer.status for answer in answers} <= {400, 405}
    assert still == "running"


def test_another_page_may_link_here_and_build_nothing_of_this_door_into_itself(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False, insecure_local=True) as ask:
        linked = ask.page("/", sec_fetch_site="cross-site", sec_fetch_mode="navigate")
        picture = ask("GET", "/static/favicon.svg", sec_fetch_site="cross-site", sec_fetch_mode="no-cors")
        fetched = ask("GET", "/api/iop/version", sec_fetch_site="cross-site", sec_fetch_mode="cors")
        posted = [
            ask("POST", "/api/iop/update", {}, **headers).status
            for headers in (
                {"origin": "http://["}, {"origin": "null"}, {"origin": ""}, {"origin": "http://localhost.evil"},
                {"sec_fetch_site": "same-site"}, {"sec_fetch_site": "nonsense"},
            )
        ]  # fmt: skip
        asked_first = ask("OPTIONS", "/api/iop/update", origin=FOREIGN, access_control_request_method="POST")

    assert linked.status == 200
    assert [picture.status, fetched.status] == [403, 403]
    assert posted == [403] * 6
    assert not [name for name in asked_first.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "path", ["/", "/login", "/nothing", "/healthz", "/static/portal.css", "/api/iop/version", "/api/v1/home"]
)
@pytest.mark.parametrize("shown", [None, ""], ids=["known", "stranger"])
def test_every_answer_keeps_a_browser_from_more_than_it_says(
    tmp_path: Path, path: str, shown: str | None
) -> None:
    """S35."""
    with open_door(tmp_path, echo_production(), start=False) as ask:
        answer = ask.page(path) if shown is None else ask.page(path, authorization=shown)

    headers = answer.headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert "server" not in headers


def test_a_browser_is_not_asked_for_a_password_that_it_would_keep(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        program = ask("GET", "/api/iop/version", authorization="")
        browser = ask("GET", "/api/iop/version", authorization="", sec_fetch_mode="navigate")

    assert program.headers["www-authenticate"].startswith("Basic")
    assert browser.headers["www-authenticate"].startswith("Bearer")


def test_without_tokens_this_machine_is_let_in_and_a_wrong_token_is_still_wrong(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False, insecure_local=True) as ask:
        right = ask("GET", "/api/iop/version")
        wrong = ask("GET", "/api/iop/version", authorization="Bearer nonsense")
        rebound = ask("GET", "/api/iop/version", host="evil.example")

    assert [right.status, wrong.status, rebound.status] == [200, 401, 421]


def test_a_door_that_others_can_reach_lets_nobody_in_without_a_token(tmp_path: Path) -> None:
    """S36."""
    config = read_config(home=tmp_path, port=0, http_host="0.0.0.0", insecure_local=True, token="t" * 16)

    with pytest.raises(BadSettings, match=r"0\.0\.0\.0.*WATTBUS_INSECURE_LOCAL"):
        HttpDoor(Director(echo_production(), home=tmp_path), config)


@pytest.mark.parametrize("token", ["short", "x" * 15])
def test_a_token_that_can_be_guessed_is_no_token(tmp_path: Path, token: str) -> None:
    with pytest.raises(BadSettings, match="at least 16 characters") as told:
        read_config(home=tmp_path, token=token)

    assert token not in str(told.value)


def test_an_empty_token_is_none(tmp_path: Path) -> None:
    assert read_config(home=tmp_path, token="").token is None


def test_a_file_of_tokens_that_others_can_write_lets_nobody_in(tmp_path: Path) -> None:
    """S46."""
    with open_door(tmp_path, echo_production(), start=False) as ask:
        ask.director.home.access_file.chmod(0o606)
        answers = [ask("GET", "/api/iop/version"), ask("POST", "/api/iop/stop")]

    assert [answer.status for answer in answers] == [503, 503]
    assert str(tmp_path) not in answers[0].said["error"]


def test_one_client_may_ask_so_much_and_so_much_at_once(tmp_path: Path) -> None:
    """S40, S44."""
    with open_door(tmp_path, echo_production(), start=False, rules={"burst": 5, "per_second": 0.0}) as ask:
        asked = [ask("GET", "/api/iop/version").status for _ in range(7)]
        other = ask.as_role("viewer")("GET", "/api/iop/version")
        stranger = [ask("GET", "/healthz", authorization="").status for _ in range(6)]
    with open_door(tmp_path, echo_production(), start=False, rules={"in_hand": 0}) as ask:
        at_once = ask("GET", "/api/iop/version")

    assert asked == [200] * 5 + [429] * 2
    assert other.status == 200
    assert stranger == [200] * 5 + [429]
    assert at_once.status == 429
    assert at_once.headers["retry-after"] == "1"


def test_a_bucket_fills_again_and_forgets_who_was_seen_longest_ago() -> None:
    seconds = 0.0
    bucket = Bucket(2, 1.0, most=3, now=lambda: seconds)

    taken = [bucket.take("a") for _ in range(3)]
    seconds = 1.5
    later = [bucket.take("a") for _ in range(2)]
    for name in range(100_000):
        bucket.take(str(name))

    assert (taken, later) == ([True, True, False], [True, False])
    assert len(bucket._left) == 3


def test_an_ipv6_customer_is_one_client_with_all_addresses() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert (network_of("192.0.2.1"), network_of("")) == ("192.0.2.1", "")


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "host",
                "authorization",
                "cookie",
                "origin",
                "content-length",
                "content-type",
                "sec-fetch-site",
                "x",
            ]
        ),
        st.sampled_from(
            ["localhost", "null", "Basic", "Basic eA==", "Bearer", "0", "identity", "wattbus_session=a.1.b.c"]
        )
        | st.text(st.characters(max_codepoint=255), max_size=60),
    ),
    max_size=6,
)


@given(
    headers=HEADERS,
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS", ""]),
    path=st.text(max_size=30)
    | st.sampled_from(["/login", "/", "/api/v1/home", "//login", "/static/portal.css"]),
    body=st.lists(st.binary(max_size=60), max_size=3),
)
@settings(max_examples=300, deadline=None)
def test_whatever_a_stranger_sends_is_answered_and_never_let_in(
    headers: list[tuple[str, str]], method: str, path: str, body: list[bytes]
) -> None:
    """A bounded fuzz of the guard alone: it answers once, with a status below 500, and the inside is never reached."""
    reached: list[str] = []
    sent: list[dict[str, Any]] = []

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    parts = iter(body)

    async def receive() -> Any:
        part = next(parts, None)
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "query_string": b"", "client": ("192.0.2.7", 1),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }  # fmt: skip
    rules = Rules(Access(Home.find().access_file), insecure_local=True)
    guard = Guard(inside, rules)

    with contextlib.suppress(HTTPException):  # which the application inside makes an answer of
        asyncio.run(guard(scope, receive, send))

    assert set(reached) <= OPEN_PATHS
    assert not sent or [m["type"] for m in sent] == ["http.response.start", "http.response.body"]
    assert not sent or sent[0]["status"] < 500
