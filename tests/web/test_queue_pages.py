"""The queues: how they stand, their history, and what waits in one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from doors import OpenDoor, open_door
from iop import Production

from components import Gate, Text, echo_production
from waiting import until
from wattbus.runtime.queue_history import QueueHistory
from wattbus.web.sparkline import sparkline


def gate_production() -> Production:
    prod = Production("Test.Gate")
    prod.operation("Gate", Gate)
    return prod


@pytest.fixture(autouse=True)
def closed_gate() -> Iterator[None]:
    Gate.opened.clear()
    Gate.entered.clear()
    yield
    Gate.opened.set()


def fill(ask: OpenDoor, count: int = 4) -> list[int]:
    """Send messages that wait behind one in hand, and return their ids."""
    running = ask.director.current()
    running.submit("Gate", Text("in hand"))
    assert Gate.entered.wait(20)
    return [running.submit("Gate", Text(f"number {number}")) for number in range(count)]


def status(ask: OpenDoor, message_id: int) -> str:
    header = ask.director.current().store.header(message_id)
    assert header is not None
    return header.status


def test_each_queue_tells_its_depth_its_oldest_message_and_who_works_on_it(tmp_path: Path) -> None:
    with open_door(tmp_path, gate_production()) as ask:
        ids = fill(ask)

        (queue,) = ask("GET", "/api/v1/queues").said["queues"]
        page = ask.page("/queues")
        Gate.opened.set()

    assert (queue["name"], queue["queued"], queue["in_hand"], queue["workers"]) == ("Gate", 4, 1, 1)
    assert queue["oldest_id"] == ids[0]
    assert queue["oldest_seconds"] >= 0
    assert 'href="/queues/Gate"' in page.said


def test_the_waiting_messages_come_in_the_order_of_service_page_by_page(tmp_path: Path) -> None:
    with open_door(tmp_path, gate_production()) as ask:
        ids = fill(ask)
        first_served = ask.director.current().submit("Gate", Text("urgent"), priority=1)

        first = ask("GET", "/api/v1/queues/Gate?limit=3").said
        second = ask("GET", f"/api/v1/queues/Gate?limit=3&after={first['next_after']}").said
        Gate.opened.set()

    assert [one["id"] for one in first["waiting"]] == [first_served, *ids[:2]]
    assert [one["id"] for one in second["waiting"]] == ids[2:]
    assert second["next_after"] is None


def test_chosen_messages_are_suspended_or_aborted_and_the_others_stay(tmp_path: Path) -> None:
    with open_door(tmp_path, gate_production()) as ask:
        ids = fill(ask)

        form = ask.form("/queues/Gate/suspend", {"ids": ids[:2], "reason": "not now", "back": "/queues/Gate"})
        api = ask("POST", "/api/v1/queues/Gate/abort", {"ids": [ids[2]]})
        stand = [status(ask, one) for one in ids]
        told = [line["text"] for line in ask("GET", "/api/v1/log?contains=not%20now").said["page"]["lines"]]
        Gate.opened.set()

    assert (form.status, form.headers["location"]) == (303, "/queues/Gate")
    assert api.said["changed"] == [ids[2]]
    assert stand == ["Suspended", "Suspended", "Aborted", "Queued"]
    assert told and "the portal" in told[0]


def test_what_is_not_in_the_queue_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    with open_door(tmp_path, gate_production()) as ask:
        ids = fill(ask)

        other = ask("POST", "/api/v1/queues/Other/abort", {"ids": [ids[0]]})
        none = ask("POST", "/api/v1/queues/Gate/abort", {"ids": []})
        unknown = ask("GET", "/api/v1/queues/Gaet")
        place = ask("GET", "/api/v1/queues/Gate?after=x")
        viewer = ask.as_role("viewer")("POST", "/api/v1/queues/Gate/abort", {"ids": [ids[0]]})
        kept = status(ask, ids[0])
        Gate.opened.set()

    assert other.status == 400 and "is not of the queue of 'Other'" in other.said["detail"]
    assert none.status == 400
    assert unknown.status == 404 and "did you mean 'Gate'" in unknown.said["detail"]
    assert place.status == 400
    assert viewer.status == 403
    assert kept == "Queued"


def test_a_message_that_has_left_the_queue_meanwhile_is_told_of(tmp_path: Path) -> None:
    with open_door(tmp_path, gate_production()) as ask:
        ids = fill(ask, 1)
        Gate.opened.set()
        until(lambda: status(ask, ids[0]) == "Completed", "the message is done")

        late = ask("POST", "/api/v1/queues/Gate/suspend", {"ids": ids})

    assert late.status == 200
    assert late.said["changed"] == []
    assert late.said["refused"][0]["message_id"] == ids[0]


def test_the_history_counts_what_came_and_what_was_done(tmp_path: Path) -> None:
    with open_door(tmp_path, gate_production()) as ask:
        running = ask.director.current()
        history = QueueHistory(running.bus)  # whose looks this test takes itself
        history.look()
        ids = fill(ask)
        history.look()
        Gate.opened.set()
        until(lambda: status(ask, ids[-1]) == "Completed", "all are done")
        until(lambda: running.bus.tally.done("Gate") == 5 and not running.bus.in_hand, "all are counted")
        history.look()

        points = history.points("Gate")
        over_http = ask("GET", "/api/v1/queues/Gate/history")

    assert (points.depths, points.in_hand) == ((0, 4, 0), (0, 1, 0))
    assert (points.came, points.done) == ((0, 5, 0), (0, 0, 5))
    assert list(points.times_us) == sorted(points.times_us)
    assert set(over_http.said) >= {"depths", "times_us", "step_seconds"}


def test_a_queue_stays_in_sight_when_the_production_is_stopped(tmp_path: Path) -> None:
    with open_door(tmp_path, gate_production()) as ask:
        running = ask.director.current()
        running.stop_item("Gate")
        running.submit("Gate", Text("for later"))
        ask.director.stop_production()

        (queue,) = ask("GET", "/api/v1/queues").said["queues"]
        page = ask.page("/queues/Gate")
        change = ask("POST", "/api/v1/queues/Gate/abort", {"ids": [1]})

    assert (queue["name"], queue["queued"], queue["workers"]) == ("Gate", 1, 0)
    assert queue["in_per_second"] is None
    assert page.status == 200
    assert change.status == 409


def test_a_queue_whose_item_has_a_slash_in_its_name_is_found(tmp_path: Path) -> None:
    prod = echo_production()
    prod.operation("Orders/New", Gate)
    with open_door(tmp_path, prod) as ask:
        page = ask.page("/queues/Orders/New")
        history = ask("GET", "/api/v1/queues/Orders/New/history")

    assert page.status == 200
    assert "Queue of Orders/New" in page.said
    assert history.said["queue"] == "Orders/New"


def test_names_from_outside_are_inert_in_the_page(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        page = ask.page("/queues/%3Cscript%3Ealert(1)%3C%2Fscript%3E")

    assert page.status == 404
    assert "<script>alert" not in page.said


def test_a_peak_is_never_lost_in_the_small_drawing() -> None:
    drawn = sparkline([0] * 500 + [9] + [0] * 500, '"><script>')

    assert ",1.0" in drawn
    assert "<script>" not in drawn
    assert " style=" not in drawn
