"""The guard of the HTTP door: strangers, foreign pages and too much are turned away."""

from __future__ import annotations

import http.client
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from doors import basic, open_door

from components import echo_production
from wattbus.config import read_config
from wattbus.door import Director
from wattbus.errors import BadSettings
from wattbus.web.guard import is_loopback
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
