"""The pages of messages: the filter, paging, one message, actions on one and many, searches, the export."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest
from doors import OpenDoor, open_door
from iop import Production
from sqlalchemy import event
from sqlalchemy import text as sql
from test_trace_pages import XSS, many

from components import Echo, Gate, Text, echo_production
from waiting import until
from wattbus.errors import RequestFailed
from wattbus.export.message_files import COLUMNS
from wattbus.store.filters import MessageFilter, parse_filter
from wattbus.store.listing import message_page
from wattbus.store.store import INLINE_BODY_BYTES


def ids(page: dict[str, object]) -> list[int]:
    return [line["id"] for line in page["lines"]]  # type: ignore[attr-defined]


def failed(door: OpenDoor, item: str = "Echo") -> int:
    """Let a request fail and return its id."""
    with pytest.raises(RequestFailed):
        door.director.current().request(item, Text("boom"))
    found: int = door("GET", "/api/v1/messages?filter=status%3DError%20type%3DRequest").said["page"]["lines"][
        0
    ]["id"]
    return found


def stopped_echo(door: OpenDoor, count: int = 3) -> list[int]:
    """Queue messages for an item that is stopped."""
    running = door.director.current()
    running.stop_item("Echo")
    return [running.submit("Echo", Text(f"waits {number}")) for number in range(count)]


# -- the list ----------------------------------------------------------------------------------------------------------


def test_the_list_pages_both_ways_without_a_gap(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        many(door.director.current().store.engine, 10_000, 100)
        seen: list[int] = []
        query = "/api/v1/messages?limit=30"
        page = door("GET", query).said["page"]
        while True:
            seen += ids(page)
            if page["older"] is None:
                break
            page = door("GET", f"{query}&before={page['older']}").said["page"]
        back = door("GET", f"{query}&after={page['newer']}").said["page"]

    assert seen == list(range(10_099, 9_999, -1))
    assert ids(back) == list(range(10_039, 10_009, -1))


def test_the_fields_of_the_form_make_the_same_filter_as_its_text(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        door.director.current().request("Echo", Text("needle in a body"))
        door.director.current().request("Echo", Text("hay"))

        by_fields = door(
            "GET",
            "/api/v1/messages?item=Echo&type=Text&text=needle%20in&since=1h&error=no&filter=status%3DCompleted",
        ).said
        by_text = door("GET", f"/api/v1/messages?filter={by_fields['filter'].replace(' ', '%20')}").said

    assert (
        by_fields["filter"]
        == "status=Completed since=1h item=Echo body=Text error=no 'body contains needle in'"
    )
    assert ids(by_fields["page"]) == ids(by_text["page"])
    assert len(by_fields["page"]["lines"]) == 2


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("status=Eror", "did you mean 'Error'"),
        ("stats=Error", "did you mean 'status'"),
        ('"body contains', "close the quotation mark"),
        ("since=yesterday", "write how long ago"),
        ("session=x", "is no id"),
    ],
)
def test_a_filter_that_is_not_understood_is_kept_with_a_sentence(
    tmp_path: Path, typed: str, said: str
) -> None:
    with open_door(tmp_path, echo_production()) as door:
        page = door.page(f"/messages?filter={quote(typed)}")
        twin = door("GET", f"/api/v1/messages?filter={quote(typed)}")

    assert page.status == twin.status == 400
    assert said in unescape(page.said)
    assert f'value="{typed}"' in unescape(page.said)
    assert said in twin.said["detail"]


def test_a_rare_message_is_found_by_searching_on(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        engine = door.director.current().store.engine
        many(engine, 10_000, 200)
        with engine.begin() as connection:
            connection.execute(sql("UPDATE messages SET source_item = 'Rare' WHERE id = 10010"))
        which = parse_filter("item=Rare")

        first = message_page(engine, which, reach=50)
        page, looks = first, 1
        while not page.lines and page.older is not None:
            page, looks = message_page(engine, which, reach=50, before=page.older), looks + 1

    assert first.lines == []
    assert first.looked_through == 50
    assert [line.id for line in page.lines] == [10_010]
    assert looks == 4


def test_dead_letters_and_sessions_are_found_without_looking_through_the_rest(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        engine = door.director.current().store.engine
        dead = failed(door)
        many(engine, 10_000, 300)

        by_status = message_page(engine, parse_filter("status=Error type=Request"), reach=50)
        by_session = message_page(engine, parse_filter(f"session={dead}"), reach=50)

    assert [line.id for line in by_status.lines] == [dead]
    assert by_status.looked_through is None
    assert dead in [line.id for line in by_session.lines]


def test_a_range_of_time_is_found_by_halving(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        engine = door.director.current().store.engine
        many(engine, 10_000, 100)
        at = 1_700_000_000_000_000

        page = message_page(engine, MessageFilter(since_us=at + 10, until_us=at + 20), limit=50)

    assert [line.id for line in page.lines] == list(range(10_019, 10_009, -1))


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "status=Error",
        "status=Completed",
        "item=Echo",
        "session=10000",
        "body=Text",
        "error=yes",
        '"body contains x"',
    ],
)
def test_no_page_sorts_or_scans_the_whole_table(tmp_path: Path, typed: str) -> None:
    with open_door(tmp_path, echo_production()) as door:
        engine = door.director.current().store.engine
        many(engine, 10_000, 10)
        asked: list[tuple[str, object]] = []
        event.listen(engine, "before_cursor_execute", lambda *args: asked.append((args[2], args[3])))
        message_page(engine, parse_filter(typed), before=10_009)
        statement, parameters = asked[-1]
        with engine.connect() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()

    steps = [row[3] for row in plan]
    assert not any("TEMP B-TREE" in step for step in steps), steps
    assert not any(step.startswith("SCAN messages") and "INDEX" not in step for step in steps), steps


# -- one message -------------------------------------------------------------------------------------------------------


def test_a_message_shows_header_body_attempts_and_what_belongs_to_it(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        message_id, _ = door.director.current().exchange("Echo", Text("hello"))

        view = door("GET", f"/api/v1/messages/{message_id}").said
        page = door.page(f"/messages/{message_id}").said

    assert view["message"]["header"]["target_item"] == "Echo"
    assert [one["relation"] for one in view["message"]["related"]] == ["response"]
    assert [one["outcome"] for one in view["message"]["attempts"]] == ["completed"]
    assert {field["name"]: field["value"] for field in view["body"]["fields"]} == {
        "text": "hello",
        "times": "1",
    }
    assert view["can"] == ["resend", "replay", "edit"]
    assert "echoing hello" in page


def test_a_message_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        unknown = door("GET", "/api/v1/messages/424242")
        too_large = door("GET", f"/api/v1/messages/{2**70}")
        page = door.page("/messages/424242")

    assert "there is no message 424242" in unknown.said["detail"]
    assert too_large.status == 400
    assert page.status == 400
    assert "there is no message 424242" in page.said


def test_a_body_is_downloaded_whole_as_a_file_by_an_operator_and_not_by_a_viewer(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        large = "x" * (INLINE_BODY_BYTES + 1)
        message_id = stopped_echo(door, 0) or door.director.current().submit("Echo", Text(large))

        view = door("GET", f"/api/v1/messages/{message_id}").said
        answer = door("GET", f"/api/v1/messages/{message_id}/body")
        refused = door.as_role("viewer")("GET", f"/messages/{message_id}/body")
        missing = door("GET", "/messages/424242/body")

    assert len(view["body"]["text"]) == 200_000
    assert view["body"]["whole"] is False
    assert answer.said["text"] == large
    assert answer.headers["content-disposition"] == f'attachment; filename="message-{message_id}.json"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert refused.status == 403
    assert missing.status == 400


# -- actions -----------------------------------------------------------------------------------------------------------


def test_a_queued_message_is_suspended_resumed_and_discarded_by_its_buttons(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        (message_id,) = stopped_echo(door, 1)

        def status() -> str:
            found: str = door("GET", f"/api/v1/messages/{message_id}").said["message"]["header"]["status"]
            return found

        found = []
        for action in ("suspend", "resume", "suspend", "discard"):
            answer = door.form(f"/messages/{message_id}/{action}", {"back": f"/messages/{message_id}"})
            found.append((answer.status, answer.headers["location"], status()))

    place = f"/messages/{message_id}"
    assert found == [
        (303, place, "Suspended"), (303, place, "Queued"), (303, place, "Suspended"), (303, place, "Discarded"),
    ]  # fmt: skip


def test_an_action_that_does_not_fit_the_status_is_a_sentence(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        message_id, _ = door.director.current().exchange("Echo", Text("x"))

        answer = door("POST", f"/api/v1/messages/{message_id}/suspend", {})
        nobody = door("POST", "/api/v1/messages/424242/resend", {})

    assert answer.status == nobody.status == 400
    assert "Completed" in answer.said["detail"]
    assert "there is no message 424242" in nobody.said["detail"]


def test_a_failed_message_is_edited_and_sent_again_to_another_item(tmp_path: Path) -> None:
    prod = Production("Test.Production")
    prod.operation("Echo", Echo)
    prod.operation("Other", Echo)
    with open_door(tmp_path, prod) as door:
        message_id = failed(door)
        form = door.page(f"/messages/{message_id}/edit")

        answer = door.form(
            f"/messages/{message_id}/edit", {"body": '{"text": "better"}', "to": "Other", "reason": "a typo"}
        )
        new_id = int(answer.headers["location"].rpartition("/")[2])
        until(
            lambda: (
                door("GET", f"/api/v1/messages/{new_id}").said["message"]["header"]["status"] == "Completed"
            ),
            "the new message is handled",
        )
        new = door("GET", f"/api/v1/messages/{new_id}").said

    assert "boom" in form.said
    assert new["message"]["header"]["target_item"] == "Other"
    assert new["message"]["header"]["resent"] == str(message_id)
    assert '"better"' in new["body"]["text"]


@pytest.mark.parametrize(("typed", "said"), [('{"text": ', "JSON"), ('{"txt": "x"}', "txt"), ("", "body")])
def test_an_edited_body_that_does_not_fit_keeps_what_was_typed(tmp_path: Path, typed: str, said: str) -> None:
    with open_door(tmp_path, echo_production()) as door:
        message_id = failed(door)

        answer = door.form(f"/messages/{message_id}/edit", {"body": typed})

    assert answer.status == 422
    told = re.search(r'role="alert">([^<]+)<', answer.said)
    assert told is not None
    assert said in told[1]
    assert typed.replace('"', "&#34;") in answer.said


def test_a_message_is_replayed_in_a_session_of_its_own(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        message_id, _ = door.director.current().exchange("Echo", Text("again"))

        done = door("POST", f"/api/v1/messages/{message_id}/replay", {}).said
        new = door("GET", f"/api/v1/messages/{done['new'][0]}").said

    assert new["message"]["header"]["session_id"] == done["new"][0] != message_id


@pytest.fixture
def gate() -> Iterator[None]:
    Gate.opened, Gate.entered = threading.Event(), threading.Event()
    yield
    Gate.opened.set()


def test_a_message_in_hand_offers_to_be_cancelled(tmp_path: Path, gate: None) -> None:
    prod = Production("Test.Production")
    prod.operation("Gate", Gate)
    with open_door(tmp_path, prod) as door:
        message_id = door.director.current().submit("Gate", Text("x"))
        assert Gate.entered.wait(20)

        can = door("GET", f"/api/v1/messages/{message_id}").said["can"]
        answer = door("POST", f"/api/v1/messages/{message_id}/cancel", {"reason": "enough"})
        Gate.opened.set()

    assert "cancel" in can
    assert answer.status == 400  # this item cannot be stopped, and the sentence says how it stands
    assert "Delivered" in answer.said["detail"]


def test_many_messages_are_acted_on_after_their_count_was_shown(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        queued = stopped_echo(door, 4)
        plan = door("GET", "/api/v1/messages/bulk?action=suspend&filter=status%3DQueued").said
        page = door.page("/messages/bulk?action=suspend&filter=status%3DQueued").said
        late = door.director.current().submit("Echo", Text("came later"))

        answer = door.form(
            "/messages/bulk", {"action": "suspend", "filter": "status=Queued", "up_to": plan["up_to"]}
        )
        left = door("GET", "/api/v1/messages?filter=status%3DQueued").said["page"]

    assert (plan["matching"], plan["actionable"]) == (4, 4)
    assert "Suspend 4 messages?" in page
    assert answer.status == 303
    assert ids(left) == [late]
    assert late not in queued


def test_selected_messages_are_acted_on_and_what_is_refused_is_told(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        done_id, _ = door.director.current().exchange("Echo", Text("x"))
        first, second, _ = stopped_echo(door, 3)
        address = f"/messages/bulk?action=discard&scope=selected&ids={first}&ids={second}&ids={done_id}"

        plan = door("GET", f"/api/v1{address}").said
        answer = door(
            "POST", "/api/v1/messages/bulk", {"action": "discard", "ids": [first, second, done_id]}
        ).said

    assert (plan["matching"], plan["actionable"]) == (3, 2)
    assert answer["changed"] == 2
    assert [one["message_id"] for one in answer["refusals"]] == [done_id]


def test_bulk_without_a_message_or_with_an_unknown_action_is_a_sentence(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        nothing = door("POST", "/api/v1/messages/bulk", {"action": "discard"})
        unknown = door("POST", "/api/v1/messages/bulk", {"action": "explode", "ids": [1]})
        unticked = door.page("/messages/bulk?action=discard&scope=selected")
        viewer = door.as_role("viewer")("POST", "/api/v1/messages/bulk", {"action": "discard", "filter": ""})

    assert "no message is named" in nothing.said["detail"]
    assert unknown.status == 400
    assert "no message is selected" in unticked.said
    assert viewer.status == 403


def test_actions_need_a_running_production_and_the_pages_do_not(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        message_id, _ = door.director.current().exchange("Echo", Text("x"))
        door.director.stop_production()

        page = door.page("/messages")
        answer = door("POST", f"/api/v1/messages/{message_id}/resend", {})
        trace = door.page(f"/trace/{message_id}")

    assert page.status == trace.status == 200
    assert answer.status == 409


def test_dead_letters_are_listed_by_item_with_their_actions(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        failed(door)

        view = door("GET", "/api/v1/messages/dead").said
        page = door.page("/messages/dead").said

    assert [(one["item"], one["errors"]) for one in view["items"]] == [("Echo", 1)]
    assert "/messages/bulk?action=resend" in page


# -- saved searches ----------------------------------------------------------------------------------------------------


def test_a_search_is_saved_replaced_shown_and_deleted(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        door.form("/messages/searches", {"name": XSS[:60], "filter": "status=Error"})
        door("POST", "/api/v1/messages/searches", {"name": "errors", "filter": "status=Error"})
        door("POST", "/api/v1/messages/searches", {"name": "errors", "filter": "status=Error since=1d"})
        page = door.page("/messages").said
        saved = door("GET", "/api/v1/messages").said["searches"]

        for one in saved:
            door.form("/messages/searches/delete", {"name": one["name"]})
        left = door("GET", "/api/v1/messages").said["searches"]

    assert sorted(one["filter"] for one in saved) == ["status=Error", "status=Error since=1d"]
    assert "<script>alert" not in page
    assert left == []


def test_a_search_that_is_not_understood_or_not_there_is_a_sentence(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        wrong = door("POST", "/api/v1/messages/searches", {"name": "x", "filter": "stat=1"})
        nameless = door("POST", "/api/v1/messages/searches", {"name": " ", "filter": ""})
        gone = door("POST", "/api/v1/messages/searches/delete", {"name": "x"})

    assert "did you mean" in wrong.said["detail"]
    assert "cannot be used" in nameless.said["detail"]
    assert gone.status == 404


def test_searches_can_be_saved_while_nothing_runs(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        door.director.stop_production()

        answer = door("POST", "/api/v1/messages/searches", {"name": "errors", "filter": "status=Error"})
        saved = door("GET", "/api/v1/messages").said["searches"]

    assert answer.status == 200
    assert [one["name"] for one in saved] == ["errors"]


# -- the export --------------------------------------------------------------------------------------------------------


def test_the_export_as_csv_has_header_and_body_and_guards_formulas(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        running = door.director.current()
        for text in ("plain", 'line\nbreak, and "quotes"'):
            running.request("Echo", Text(text))
        running.bus.store.flush()
        with running.store.engine.begin() as connection:
            connection.execute(sql("UPDATE messages SET description = '=cmd|x' WHERE type = 'Request'"))

        answer = door("GET", "/messages/export?filter=type%3DRequest&format=csv")

    rows = list(csv.reader(io.StringIO(answer.said)))
    assert rows[0] == list(COLUMNS)
    assert len(rows) == 3
    described = COLUMNS.index("description")
    assert {row[described] for row in rows[1:]} == {"'=cmd|x"}
    assert json.loads(rows[1][-1])["text"] == 'line\nbreak, and "quotes"'
    assert answer.headers["content-disposition"] == 'attachment; filename="messages.csv"'


def test_the_export_as_json_lines_has_every_message_of_the_filter(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        many(door.director.current().store.engine, 10_000, 450)

        answer = door("GET", "/api/v1/messages/export?filter=session%3D10000&format=jsonl")

    lines = [json.loads(line) for line in answer.said.splitlines()]
    assert [line["id"] for line in lines] == list(range(10_449, 9_999, -1))
    assert lines[0]["body"] == {"text": "x"}
    assert lines[0]["time_created"] == "2023-11-14T22:13:20.000Z"


def test_the_export_is_for_operators_and_a_wrong_filter_is_a_sentence(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        viewer = door.as_role("viewer")("GET", "/messages/export")
        wrong = door.as_role("operator")("GET", "/api/v1/messages/export?filter=stat%3D1")
        fine = door.as_role("operator")("GET", "/api/v1/messages/export")

    assert (viewer.status, wrong.status, fine.status) == (403, 400, 200)
    assert "did you mean" in wrong.said["detail"]
