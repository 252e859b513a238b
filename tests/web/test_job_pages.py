"""The jobs: workers, what they have in hand, attempts, processes, and a cancel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from doors import open_door
from iop import Production

from components import Gate, Text, echo_production
from isolated_components import Trouble
from waiting import until
from wattbus.errors import RequestFailed


def gate_production() -> Production:
    prod = Production("Test.Gate")
    prod.operation("Gate", Gate, pool_size=2)
    return prod


@pytest.fixture(autouse=True)
def closed_gate() -> Iterator[None]:
    Gate.opened.clear()
    Gate.entered.clear()
    yield
    Gate.opened.set()


def test_a_message_in_hand_tells_its_worker_its_attempt_and_its_lease(tmp_path: Path) -> None:
    with open_door(tmp_path, gate_production()) as ask:
        message_id = ask.director.current().submit("Gate", Text("x"))
        assert Gate.entered.wait(20)

        jobs = ask("GET", "/api/v1/jobs").said
        page = ask.page("/jobs")
        refused = ask("POST", f"/api/v1/jobs/{message_id}/cancel", {"reason": "enough"})
        Gate.opened.set()

    (held,) = jobs["held"]
    (worker,) = jobs["workers"]
    message = held["message"]
    assert (message["message_id"], message["item"], message["attempt"]) == (message_id, "Gate", 1)
    assert message["lease_until_us"] > message["started_us"]
    assert (held["here"], held["can_cancel"]) == (True, False)
    assert (worker["pool_size"], worker["busy"], worker["idle"]) == (2, 1, 1)
    assert "cannot be cancelled" in page.said
    assert refused.status == 400
    assert "only a message of an isolated item" in refused.said["detail"]


def test_an_isolated_item_shows_its_child_process_and_its_message_can_be_cancelled(tmp_path: Path) -> None:
    prod = Production("Test.Isolated")
    prod.operation("Sleeper", Trouble, settings={"Isolated": "1"})
    with open_door(tmp_path, prod) as ask:
        running = ask.director.current()
        assert running.wait_ready()
        message_id = running.submit("Sleeper", Text("wait"))
        until(
            lambda: any(one["can_cancel"] for one in ask("GET", "/api/v1/jobs").said["held"]),
            "it can be cancelled",
        )

        processes = ask("GET", "/api/v1/jobs").said["processes"]
        done = ask.form(f"/jobs/{message_id}/cancel", {"reason": "enough", "back": "/jobs"})

        def ended() -> bool:
            header = running.store.header(message_id)
            return header is not None and header.status == "Error"

        until(ended, "the message has ended")
        (attempt,) = ask("GET", "/api/v1/attempts?outcome=error").said["page"]["attempts"]

    (child,) = [one for one in processes if one["what"] == "isolated item"]
    assert child["item"] == "Sleeper"
    assert child["pid"] != os.getpid()
    assert child["memory_bytes"] > 1_000_000
    assert (done.status, done.headers["location"]) == (303, "/jobs")
    assert attempt["message_id"] == message_id


def test_the_attempts_tell_outcome_duration_wait_and_error_newest_first(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        running = ask.director.current()
        good, _ = running.exchange("Echo", Text("hello"))
        with pytest.raises(RequestFailed):
            running.request("Echo", Text("boom"))

        every = ask("GET", "/api/v1/attempts").said["page"]["attempts"]
        errors = ask("GET", "/api/v1/attempts?outcome=error&item=Echo").said["page"]["attempts"]
        first = ask("GET", "/api/v1/attempts?limit=1").said["page"]
        second = ask("GET", f"/api/v1/attempts?limit=1&before={first['next_before']}").said["page"]
        page = ask.page("/attempts")

    assert [one["outcome"] for one in every] == ["error", "completed"]
    assert every[1]["message_id"] == good
    assert every[1]["duration_seconds"] > 0
    assert every[1]["wait_seconds"] >= 0
    assert [one["error_status"] for one in errors] == ["ValueError: the text is boom"]
    assert [one["message_id"] for one in second["attempts"]] == [good]
    assert "ValueError: the text is boom" in page.said


def test_what_is_not_understood_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        outcome = ask("GET", "/api/v1/attempts?outcome=lost")
        place = ask("GET", "/api/v1/attempts?before=1;2")
        nothing = ask("POST", "/api/v1/jobs/4711/cancel", {})
        viewer = ask.as_role("viewer")("POST", "/api/v1/jobs/1/cancel", {})

    assert outcome.status == 404 and "worker lost" in outcome.said["detail"]
    assert place.status == 400
    assert nothing.status == 400 and "there is no message 4711" in nothing.said["detail"]
    assert viewer.status == 403


def test_with_nothing_running_the_page_says_so(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        jobs, attempts = ask.page("/jobs"), ask.page("/attempts")

    assert "nobody is at work" in jobs.said
    assert "Nothing was tried yet" in attempts.said
