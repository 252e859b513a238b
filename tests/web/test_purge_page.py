"""The purge with its preview, and the doctor."""

from __future__ import annotations

from pathlib import Path

from doors import open_door

from components import Text, echo_production
from wattbus.store.tables import messages


def test_a_preview_counts_and_changes_nothing_and_the_purge_takes_out_just_that(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        running = ask.director.current()
        for number in range(4):
            running.request("Echo", Text(f"number {number}"))
        running.store.flush()

        before = ask("GET", "/api/v1/purge?older_than=0s").said
        page = ask.page("/purge?older_than=0s")
        form = ask.form("/purge", {"older_than": "0s", "keep_errors": "false", "back": "/purge"})
        after = ask("GET", "/api/v1/purge").said

    would = before["preview"]["would"]
    assert (would["sessions"], would["messages"], would["dry_run"]) == (3, 6, True)
    assert before["preview"]["complete"]
    assert before["kept"]["messages_at_most"] == 8
    assert before["kept"]["store_bytes"] > 0
    assert "Take out 3 sessions with 6 messages for good?" in page.said
    assert (form.status, form.headers["location"]) == (303, "/purge")
    assert after["kept"]["messages_at_most"] == 2


def test_a_filter_and_an_age_leave_the_rest_alone(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        running = ask.director.current()
        running.request("Echo", Text("a"))
        running.request("Echo", Text("b"))
        running.request("Relay", Text("c"))

        done = ask(
            "POST", "/api/v1/purge", {"older_than": "0s", "filter": 'item=Echo "body contains \\"a\\""'}
        )
        old = ask("POST", "/api/v1/purge", {"older_than": "30d"})
        dry = ask("POST", "/api/v1/purge", {"older_than": "0s", "dry_run": True})

    assert done.said["sessions"] == 1
    assert done.said["messages"] == 2
    assert old.said["sessions"] == 0
    assert dry.said["dry_run"] is True


def test_only_an_admin_purges_and_what_is_wrong_is_said(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        operator = ask.as_role("operator")
        looked, ordered = (
            operator("GET", "/api/v1/purge"),
            operator("POST", "/api/v1/purge", {"older_than": "0s"}),
        )
        age = ask("POST", "/api/v1/purge", {"older_than": "old"})
        which = ask("POST", "/api/v1/purge", {"older_than": "1d", "filter": "itme=Echo"})
        none = ask("POST", "/api/v1/purge", {})
        page = ask.page("/purge?older_than=x")
        ask.director.stop_production()
        stopped = ask("POST", "/api/v1/purge", {"older_than": "1d"})

    assert (looked.status, ordered.status) == (403, 403)
    assert age.status == 400 and "30d or 4w" in age.said["detail"]
    assert which.status == 404 and "did you mean 'item'" in which.said["detail"]
    assert none.status == 400
    assert page.status == 400 and "30d or 4w" in page.said
    assert stopped.status == 409


def test_a_look_at_the_purge_page_purges_nothing_and_works_while_nothing_runs(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        ask.director.current().request("Echo", Text("a"))
        ask.director.stop_production()

        page = ask.page("/purge")

    assert page.status == 200
    assert "Start the production first" in page.said


def test_the_doctor_says_of_each_promise_whether_it_holds(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        ask.director.current().request("Echo", Text("a"))

        before = ask.page("/doctor")
        done = ask("POST", "/api/v1/doctor")
        last = ask("GET", "/api/v1/doctor").said
        page = ask.page("/doctor")
        viewer = ask.as_role("viewer")("POST", "/api/v1/doctor")

    assert "Not examined yet" in before.said
    assert done.said["ok"] is True
    assert {"L1", "L2", "L3", "L4", "L5", "L6", "L7", "L8"} <= {check["code"] for check in last["checks"]}
    assert "what was accepted is kept" in page.said
    assert viewer.status == 403


def test_the_doctor_finds_what_is_damaged_and_says_what_to_do(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        running = ask.director.current()
        message_id, _ = running.exchange("Echo", Text("a"))
        with running.store.engine.begin() as connection:
            connection.execute(messages.update().where(messages.c.id == message_id).values(status="Lost"))

        report = ask("POST", "/api/v1/doctor").said
        page = ask.page("/doctor")

    (check,) = [check for check in report["checks"] if check["code"] == "L2"]
    assert report["ok"] is False
    assert not check["ok"]
    assert "What to do:" in page.said
