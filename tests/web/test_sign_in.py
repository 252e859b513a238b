"""Signing in with a browser: the cookie, where it leads, what a form must carry, and how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from doors import OpenDoor, open_door

from components import echo_production
from wattbus.access import Access
from wattbus.web.twin import local_path

EVIL = "http://evil.example"


def sign_in(ask: OpenDoor, **fields: str) -> str:
    """Sign in and return the cookie as a browser sends it."""
    answer = ask.form("/login", {"token": ask.token, **fields}, authorization="")
    assert answer.status == 303, answer
    return answer.headers["set-cookie"].partition(";")[0]


def csrf_of(ask: OpenDoor, cookie: str) -> str:
    found = re.search(r'name="csrf-token" content="([0-9a-f]+)"', ask.page("/", cookie=cookie).said)
    assert found is not None
    return found[1]


def test_a_stranger_with_a_browser_is_led_to_the_sign_in_page_and_back(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        led = ask.page("/messages?filter=a&b=%2F", authorization="")
        page = ask.page(led.headers["location"], authorization="")
        there = re.search(r'name="next" value="([^"]*)"', page.said)
        answer = ask.form("/login", {"token": ask.token, "next": "/messages?filter=a"}, authorization="")

    assert led.status == 303
    assert page.status == 200
    assert there is not None and there[1] == "/messages?filter=a&amp;b=%2F"
    assert answer.headers["location"] == "/messages?filter=a"


def test_the_cookie_of_a_session_is_for_this_door_only_and_no_script_reads_it(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        plain = ask.form("/login", {"token": ask.token}, authorization="")
        behind_tls = ask.form(
            "/login", {"token": ask.token}, authorization="", origin=ask.url.replace("http:", "https:")
        )

    said = plain.headers["set-cookie"].lower()
    assert "httponly" in said and "samesite=strict" in said and "path=/" in said and "max-age=43200" in said
    assert "secure" not in said and "domain" not in said
    assert "; secure" in behind_tls.headers["set-cookie"].lower()
    assert ask.token not in said


def test_a_wrong_token_leads_nowhere_and_is_not_shown_again(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        answer = ask.form("/login", {"token": "canary-4711-wrong"}, authorization="")

    assert answer.status == 401
    assert "set-cookie" not in answer.headers
    assert "That is no token of this door" in answer.said
    assert "canary-4711" not in answer.said


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("//evil.example", "/"), ("//evil.example/x", "/x"), (EVIL, "/"), (f"{EVIL}/x?y=1", "/x?y=1"),
        ("/\\evil.example", "/evil.example"), ("\\\\evil.example", "/evil.example"),
        ("///evil.example", "/evil.example"),
        ("/\t/evil.example", "/"), (" //evil.example", "/"), ("%2f%2fevil.example", "/%2f%2fevil.example"),
        ("javascript:alert(1)", "/alert(1)"), ("http://[", "/"), ("", "/"), ("/messages?a=1#b", "/messages?a=1"),
        ("https:evil.example", "/evil.example"), ("http:\\\\evil.example", "/evil.example"),
    ],
)  # fmt: skip
def test_no_address_leads_to_another_host(tmp_path: Path, address: str, path: str) -> None:
    assert local_path(address) == path


def test_a_form_leads_to_no_other_host(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        found = [
            ask.form("/login", {"token": ask.token, "next": there}, authorization="").headers["location"]
            for there in ("//evil.example", "/\\evil.example", EVIL, "/a\r\nset-cookie: x=y", "/ü")
        ]

    assert found == ["/", "/evil.example", "/", "/aset-cookie:%20x=y", "/%C3%BC"]


def test_a_change_by_a_session_must_carry_its_own_csrf_value(tmp_path: Path) -> None:
    """S33."""
    with open_door(tmp_path, echo_production()) as ask:
        cookie, other = sign_in(ask), sign_in(ask)
        csrf = csrf_of(ask, cookie)
        without = ask("POST", "/api/iop/update", {}, cookie=cookie)
        foreign = ask("POST", "/api/iop/update", {}, cookie=cookie, x_csrf_token=csrf_of(ask, other))
        odd = ask("POST", "/api/iop/update", {}, cookie=cookie, x_csrf_token="ü")
        in_json = ask("POST", "/api/iop/update", {"csrf": csrf}, cookie=cookie)
        in_address = ask("POST", f"/api/iop/update?csrf={csrf}", {}, cookie=cookie)
        right = ask("POST", "/api/iop/update", {}, cookie=cookie, x_csrf_token=csrf)
        by_form = ask.form("/logout", {"csrf": csrf}, cookie=cookie)
        formless = ask.form("/logout", {}, cookie=other)

    assert [one.status for one in (without, foreign, odd, in_json, in_address, formless)] == [403] * 6
    assert "load it again" in without.said["error"]
    assert [right.status, by_form.status] == [200, 303]


def test_a_token_in_a_header_needs_no_csrf_value_since_no_browser_adds_it(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        assert ask("POST", "/api/iop/update", {}).status == 200


def test_who_signs_out_is_out_whoever_has_the_cookie(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        cookie = sign_in(ask)
        before = ask.page("/", cookie=cookie)
        out = ask.form("/logout", {"csrf": csrf_of(ask, cookie)}, cookie=cookie)
        after = ask("GET", "/api/iop/version", cookie=cookie)

    assert (before.status, out.status, out.headers["location"]) == (200, 303, "/login")
    assert 'wattbus_session=""' in out.headers["set-cookie"]
    assert after.status == 401


def test_a_session_ends_with_its_token(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        operator = ask.as_role("operator")
        cookie = sign_in(operator)
        before = ask("GET", "/api/iop/version", cookie=cookie)
        elsewhere = Access(ask.director.home.access_file)
        elsewhere.revoke(next(token.id for token in elsewhere.tokens() if token.name == "a operator"))
        after = ask("GET", "/api/iop/version", cookie=cookie)

    assert [before.status, after.status] == [200, 401]


def test_another_page_signs_nobody_in(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        answer = ask.form("/login", {"token": ask.token}, authorization="", origin=EVIL)
        fetched = ask.form("/login", {"token": ask.token}, authorization="", sec_fetch_site="same-site")

    assert [answer.status, fetched.status] == [403, 403]


def test_a_stranger_can_send_no_file_and_no_long_form(tmp_path: Path) -> None:
    part = b'--x\r\ncontent-disposition: form-data; name="token"; filename="a"\r\n\r\nx\r\n--x--\r\n'
    with open_door(tmp_path, echo_production(), start=False) as ask:
        uploaded = ask(
            "POST", "/login", part, authorization="", content_type="multipart/form-data; boundary=x"
        )
        long = ask.form("/login", {"token": "x" * 70_000}, authorization="")
        many = ask(
            "POST", "/login", b"a=1&" * 5_000, authorization="",
            content_type="application/x-www-form-urlencoded",
        )  # fmt: skip

    assert [uploaded.status, long.status, many.status] == [415, 413, 400]


def test_too_many_wrong_tokens_are_told_and_who_was_known_before_stays_in(tmp_path: Path) -> None:
    """S40."""
    with open_door(
        tmp_path, echo_production(), start=False, rules={"failures": 3, "failures_per_second": 0.0}
    ) as ask:
        known = ask("GET", "/api/iop/version")
        tried = [ask.form("/login", {"token": "x"}, authorization="").status for _ in range(4)]
        by_header = ask("GET", "/api/iop/version", authorization="Bearer wrong")
        still = ask("GET", "/api/iop/version")
        new = ask.as_role("admin").form("/login", {"token": ask.as_role("viewer").token}, authorization="")

    assert tried == [401, 401, 401, 429]
    assert [known.status, by_header.status, still.status, new.status] == [200, 429, 200, 429]


@pytest.mark.parametrize(
    "told",
    [
        "{",
        "[]",
        "1",
        '{"text": 1}',
        "%ff",
        "[" * 5000,
        json.dumps({"text": "<script>alert(1)</script>", "more": {}}),
    ],
)
def test_a_cookie_from_elsewhere_is_text_at_most(tmp_path: Path, told: str) -> None:
    """S31: another program on this machine may set cookies for localhost."""
    with open_door(tmp_path, echo_production(), start=False) as ask:
        page = ask.page(
            "/", cookie=f"{sign_in(ask)}; wattbus_said={quote(told, safe='')}; wattbus_theme=<x>; a;b="
        )

    assert page.status == 200
    assert "<script>alert" not in page.said
    assert 'data-theme="auto"' in page.said
