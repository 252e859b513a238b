"""R5: kill -9 while a request to a model elsewhere is on its way, or has come back: it may have run, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakehub import FakeHub, HubRequest
from modelwork import Requests, Work
from waiting import wait_for
from wattbus.store.actions import By
from wattbus.store.queries import list_events
from wattbus.store.tables import Status


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.answers["org/far"] = (200, [{"generated_text": "done"}], {})
        yield hub


def ask(hub: FakeHub) -> Requests:
    return {
        "ask": ("HF", "HFRequest", {"api_url": f"{hub.endpoint}/hf-inference/models/org/far", "payload": "x"})
    }


def posts(hub: FakeHub) -> int:
    return sum(request.method == "POST" for request in hub.requests)


def test_a_request_whose_answer_was_lost_is_sent_again_with_a_warning_and_a_note(
    tmp_path: Path, hub: FakeHub
) -> None:
    work = Work(tmp_path, hub.endpoint, hub.address).declare()

    work.die_at("handle.after-effect", ask(hub))
    sent = posts(hub)
    with work.start() as bus:
        (request,) = work.ended(bus)
        response = bus.production.request("HF", bus.message(*ask(hub)["ask"][1:]), idempotency_key="ask")
        warnings = [
            event.text for event in list_events(bus.production.store.engine, item="HF", type="Warning")
        ]

    said = "attempt 1 was cut off: the request may have run on 127.0.0.1 already"
    assert (sent, posts(hub)) == (1, 2)
    assert (request.status, request.attempts) == (Status.COMPLETED, 2)
    assert f"{said}; it was sent again" in response.notes
    assert f"{said}; it is sent again" in warnings
    assert work.whole()


def test_a_request_that_may_have_run_is_suspended_where_that_is_set_and_goes_on_when_a_person_says_so(
    tmp_path: Path, hub: FakeHub
) -> None:
    work = Work(tmp_path, hub.endpoint, hub.address).declare(may_have_run="suspend")

    work.die_at("handle.after-effect", ask(hub))
    with work.start() as bus:
        wait_for(bus, lambda rows: any(row.status == Status.SUSPENDED for row in rows))
        (suspended,) = work.ended(bus)
        kept = posts(hub)
        bus.actions.resume([suspended.id], By("a test"))
        (request,) = work.ended(bus)

    assert kept == 1
    assert "attempt 1 was cut off: the request may have run" in (suspended.error_status or "")
    assert f"`wattbus messages resume {suspended.id}` sends it again" in (suspended.error_status or "")
    assert (request.status, posts(hub)) == (Status.COMPLETED, 2)
    assert work.whole()


def test_a_request_that_is_killed_while_the_other_side_works_may_have_run(
    tmp_path: Path, hub: FakeHub
) -> None:
    work = Work(tmp_path, hub.endpoint, hub.address).declare()
    killed: list[int] = []

    def kill_the_asker(request: HubRequest) -> tuple[int, dict[str, str], bytes]:
        if not killed:
            killed.append(process.pid)
            process.kill()
        return 200, {"Content-Type": "application/json"}, b'"done"'

    hub.answers.clear()
    hub.serve_inference("org/far", kill_the_asker)
    process = work.begin(ask(hub))
    try:
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    with work.start() as bus:
        (request,) = work.ended(bus)
        response = bus.production.request("HF", bus.message(*ask(hub)["ask"][1:]), idempotency_key="ask")

    assert killed
    assert (request.status, request.attempts, posts(hub)) == (Status.COMPLETED, 2, 2)
    assert any("may have run" in note for note in response.notes)
    assert work.whole()


def test_a_request_that_failed_in_words_did_not_run_in_secret(tmp_path: Path, hub: FakeHub) -> None:
    hub.answers["org/far"] = [(500, {"error": "oops"}, {}), (200, [{"generated_text": "done"}], {})]
    work = Work(tmp_path, hub.endpoint, hub.address).declare(ReplyCodeActions="E=R", RetryInterval="0.01")

    with work.start() as bus:
        response = bus.request("HF", bus.message(*ask(hub)["ask"][1:]), timeout_seconds=30)

    assert posts(hub) == 2
    assert not any("may have run" in note for note in response.notes)
