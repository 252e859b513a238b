"""Access: tokens are made, shown once and revoked; every change and every refusal is a line of the audit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doors import open_door
from pages import page, told

from components import echo_production
from wattbus.store import queries
from wattbus.web.audit import AuditBook


def test_a_token_is_made_shown_once_used_and_revoked(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        made = ask.form("/access/tokens", {"name": "dashboard", "role": "viewer", "days": "30"})
        token = page(made).one("pre", id="made-token").text
        used = ask("GET", "/api/v1/production", authorization=f"Bearer {token}").status
        listed = ask("GET", "/api/v1/access").said
        row = next(one for one in listed["tokens"] if one["name"] == "dashboard")
        revoked = ask.form(f"/access/tokens/{row['id']}/revoke")
        after = ask("GET", "/api/v1/production", authorization=f"Bearer {token}").status
        audit = ask("GET", "/api/v1/access").said["audit"]

    assert (made.status, used, after) == (200, 200, 401)
    assert "set-cookie" not in made.headers
    assert token not in str(listed) + str(audit)
    assert row["role"] == "viewer" and row["expires_us"] > row["created_us"]
    assert "dashboard is revoked" in told(revoked)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"name": "x", "role": "king"}, "role"),
        ({"name": "  ", "role": "viewer"}, "a token needs a name"),
        ({"name": "x", "days": -1}, "cannot be valid for -1 days"),
        ({"nam": "x"}, "name"),
    ],
)
def test_a_token_that_cannot_be_is_refused_in_a_sentence(
    tmp_path: Path, body: dict[str, object], sentence: str
) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        before = ask("GET", "/api/v1/access").said["tokens"]
        refused = ask("POST", "/api/v1/access/tokens", body)
        unknown = ask("POST", "/api/v1/access/tokens/nothing/revoke")
        after = ask("GET", "/api/v1/access").said["tokens"]

    assert (refused.status, unknown.status) == (400, 404)
    assert sentence in refused.said["detail"]
    assert before == after


def test_only_an_admin_sees_the_page(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        tried = [
            ask.as_role(role)(method, path, {}).status
            for role in ("viewer", "operator")
            for method, path in (("GET", "/api/v1/access"), ("POST", "/api/v1/access/tokens"))
        ]
        shown = ask.as_role("operator").page("/access")

    assert tried == [403] * 4
    assert shown.status == 403


def test_a_change_a_refusal_and_a_failed_sign_in_are_lines_of_the_audit(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        viewer = ask.as_role("viewer")
        ask("POST", "/api/v1/items/Echo/settings", {"settings": {"prefix": "b"}})
        ask.form("/items/Echo/settings", {"shown": ["factor"], "set:factor": "many"})
        viewer("POST", "/api/v1/items/Echo/restart")
        ask.form("/login", {"token": "wbt_guessed"}, authorization="")
        ask("GET", "/api/v1/home", authorization="Bearer wbt_guessed")
        ask("GET", "/api/v1/home")
        lines = ask("GET", "/api/v1/access").said["audit"]
        shown = page(ask.page("/access")).text
        in_the_log = queries.list_events(ask.director.current().store.engine, type="Status")

    texts = [line["text"] for line in lines][::-1]
    assert [re.sub(r" from 127\.0\.0\.1", "", text) for text in texts] == [
        "the test (admin) on Echo: Echo: prefix changed; it is Running.",
        "the test (admin) on Echo: Change settings of an item while it runs; only it begins anew. Not done: "
        "setting 'factor' of item 'Echo' is 'many': a whole number is needed.",
        "a viewer (viewer) was refused (403): POST /api/v1/items/Echo/restart",
        "sign-in refused (401): no valid token",
        "a token that is not valid was refused (401): GET /api/v1/home",
    ]
    assert {line["source_class"] for line in lines} == {"Audit"}
    assert "wbt_guessed" not in str(lines) + shown
    assert texts[0] in shown
    assert (lines[-1]["item"], lines[-1]["type"]) == ("Echo", "Status")
    assert len(in_the_log) == 5


def test_who_was_let_in_is_listed_and_who_tries_without_end_does_not_fill_the_log(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        viewer = ask.as_role("viewer")
        ask("GET", "/api/v1/home")
        for _ in range(40):
            viewer("GET", "/api/v1/access")
        said = ask("GET", "/api/v1/access").said

    assert {(one["name"], one["role"], one["how"]) for one in said["visitors"]} >= {
        ("the test", "admin", "token"),
        ("a viewer", "viewer", "token"),
    }
    assert 20 <= len(said["audit"]) <= 25


def test_messages_that_are_sent_are_no_changes(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        sent = ask("POST", "/api/iop/test", {"target": "Echo", "classname": "components.Text", "body": "{}"})
        lines = ask("GET", "/api/v1/access").said["audit"]

    assert sent.status == 200
    assert lines == []


def test_while_nothing_runs_the_audit_goes_to_the_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        ask.form("/access/tokens", {"name": "dash\nboard"})
    written = capsys.readouterr().err

    (line,) = [line for line in written.splitlines() if "Audit" in line]
    assert "the test (admin) from 127.0.0.1: Make a token and show it, this once." in line


def test_a_book_forgets_the_visitors_that_came_first() -> None:
    from wattbus.access import Role
    from wattbus.web.guard import Who

    book = AuditBook(None)  # type: ignore[arg-type]  # it writes nothing here
    for number in range(600):
        book.seen(Who("x", Role.VIEWER, str(number)), "here")

    assert len(book.visitors()) == 500
