"""The pages of the visual trace: the list, the drawing, the panes, long sessions, hostile texts."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from doors import open_door
from iop import BusinessOperation, Production
from sqlalchemy import event, insert

from components import Text, echo_production
from waiting import until
from wattbus.errors import RequestFailed
from wattbus.store.rows import Body, Header
from wattbus.store.tables import bodies, messages

XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


class Pictures(BusinessOperation):
    def on_message(self, request: Text) -> Text:
        return request


def many(engine: object, session: int, count: int) -> None:
    """Put a session of ``count`` messages into a store."""
    rows = [
        Header(
            session + number, session, None, None if number == 0 else session, None, "Request", "Queue", "Door.Test",
            "BusinessService", "Echo", "BusinessOperation", "Echo", None, "components.Text", session + number, "", 6,
            "Completed", False, None, None, 1, 0, False, None, None, 1_700_000_000_000_000 + number,
            1_700_000_000_000_500 + number,
        )._asdict()
        for number in range(count)
    ]  # fmt: skip
    texts = [Body(session + number, "0" * 64, 12, '{"text":"x"}')._asdict() for number in range(count)]
    with engine.begin() as connection:  # type: ignore[attr-defined]
        connection.execute(insert(messages), rows)
        connection.execute(insert(bodies), texts)


def test_the_list_has_the_newest_session_first_and_pages_both_ways(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        sessions = [door.director.current().exchange("Echo", Text("x"))[0] for _ in range(5)]

        first = door("GET", "/api/v1/sessions?limit=2").said["page"]
        second = door("GET", f"/api/v1/sessions?limit=2&before={first['older']}").said["page"]
        back = door("GET", f"/api/v1/sessions?limit=2&after={second['newer']}").said["page"]

    assert [line["id"] for line in first["lines"]] == sessions[:2:-1]
    assert [line["id"] for line in second["lines"]] == sessions[2:0:-1]
    assert [line["id"] for line in back["lines"]] == sessions[:2:-1]
    assert first["newer"] is None
    assert first["lines"][0]["items"] == ["Door.Python", "Echo"]


def test_a_home_without_messages_says_what_to_do_next(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as door:
        page = door.page("/trace")

    assert page.status == 200
    assert "There is no session here: send a message to an item." in page.said


def test_a_session_is_drawn_with_a_box_for_each_message_and_its_waterfall(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        session, _ = door.director.current().exchange("Relay", Text("x"))
        twin = door("GET", f"/api/v1/sessions/{session}").said

        page = door.page(f"/trace/{session}").said

    assert len(re.findall(r'id="step-\d+"', page)) == len(twin["trace"]["steps"])
    assert "its children at work" in page
    assert page.count('class="attempt"') == sum(one["type"] == "Request" for one in twin["trace"]["steps"])


def test_a_message_id_leads_to_its_session_and_an_unknown_one_to_a_sentence(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        session, _ = door.director.current().exchange("Echo", Text("x"))

        by_response = door("GET", f"/api/v1/sessions/{session + 1}")
        unknown = door("GET", "/api/v1/sessions/424242")
        beyond = door("GET", f"/api/v1/sessions/{session}?step=77")

    assert by_response.said["trace"]["session_id"] == session
    assert unknown.status == 400
    assert "there is no session and no message 424242" in unknown.said["detail"]
    assert f"session {session} has no message 77" in beyond.said["detail"]


@pytest.mark.parametrize("pane", ["header", "body", "contents"])
def test_a_box_opens_its_pane_and_only_the_body_panes_read_the_body(tmp_path: Path, pane: str) -> None:
    with open_door(tmp_path, echo_production()) as door:
        session, _ = door.director.current().exchange("Echo", Text("something said"))

        page = door.page(f"/trace/{session}?step=1&pane={pane}").said
        chosen = door("GET", f"/api/v1/sessions/{session}?step=1&pane={pane}").said["chosen"]

    assert (chosen["body"] is None) == (pane == "header")
    pane_part = page[page.index('id="pane"') :]
    assert ("something said" in pane_part) == (pane != "header")
    assert ("priority" in pane_part) == (pane == "header")


def test_hostile_texts_are_text_on_every_page(tmp_path: Path) -> None:
    prod = Production("Test.Production")
    prod.operation(f"Echo{XSS}", Pictures)
    with open_door(tmp_path, prod) as door:
        running = door.director.current()
        session, _ = running.exchange(f"Echo{XSS}", Text(XSS))
        running.bus.log("Error", XSS, f"Echo{XSS}", None, session)
        running.store.flush()

        pages = [
            door.page(path).said
            for path in (
                "/trace", f"/trace/{session}", f"/trace/{session}?step=1", f"/trace/{session}?step=1&pane=body",
                f"/trace/{session}?step=1&pane=contents", "/messages", f"/messages/{session}",
                f"/messages/{session}/edit",
            )
        ]  # fmt: skip

    for page in pages:
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert not re.search(r"\sstyle=", page)


def test_the_svg_is_a_file_with_all_messages_and_its_own_style(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        session, _ = door.director.current().exchange("Relay", Text(XSS))
        count = len(door("GET", f"/api/v1/sessions/{session}").said["trace"]["steps"])

        answer = door("GET", f"/trace/{session}.svg")

    root = ElementTree.fromstring(answer.said)
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["content-disposition"] == f'attachment; filename="session-{session}.svg"'
    assert len([one for one in root.iter() if one.get("id")]) == count


def test_a_session_of_a_thousand_messages_is_drawn_in_parts_with_a_bounded_number_of_statements(
    tmp_path: Path,
) -> None:
    with open_door(tmp_path, echo_production()) as door:
        engine = door.director.current().store.engine
        many(engine, 10_000, 1_000)
        statements: list[str] = []
        event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

        first = door.page("/trace/10000").said
        asked = len(statements)
        last = door.page("/trace/10000?first=950").said
        chosen = door.page("/trace/10000?step=650").said
        svg = door("GET", "/trace/10000.svg").said

    assert len(re.findall(r'id="step-\d+"', first)) == 300
    assert asked < 25
    assert len(first) < 600_000
    assert re.findall(r'id="step-(\d+)"', last)[0] == "901"
    assert re.findall(r'id="step-(\d+)"', chosen)[0] == "601"
    assert "messages 1 to 300 of 1,000" in first
    assert len(re.findall(r'id="step-\d+"', svg)) == 1_000


def test_a_session_without_end_is_drawn_up_to_a_bound_that_the_page_names(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        many(door.director.current().store.engine, 10_000, 5_003)

        page = door.page("/trace/10000").said
        line = door("GET", "/api/v1/sessions").said["page"]["lines"][0]

    assert "The session has 3 more messages: here are the first 5,000" in page
    assert line["messages"] == 5_003
    assert line["more"] is True


def test_a_live_session_says_where_its_news_are_and_an_ended_one_does_not(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        running = door.director.current()
        ended, _ = running.exchange("Echo", Text("x"))
        running.stop_item("Echo")
        waiting = running.submit("Echo", Text("x"))

        live = door.page(f"/trace/{waiting}").said
        until(lambda: "data-events" not in door.page(f"/trace/{ended}").said, "the session has ended")

    assert f'data-events="/api/v1/sessions/{waiting}/events"' in live
    assert ">Reload</a>" in live


def test_a_failed_message_is_red_with_its_text_and_counted(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as door:
        with pytest.raises(RequestFailed):
            door.director.current().request("Echo", Text("boom"))
        session = door("GET", "/api/v1/sessions").said["page"]["lines"][0]

        page = door.page(f"/trace/{session['id']}").said

    assert session["errors"] >= 1
    assert "✕ 1 Text" in page
    assert "the text is boom" in page


def test_pictures_named_by_a_response_are_shown_and_only_those_of_the_folder_are_served(
    tmp_path: Path,
) -> None:
    with open_door(tmp_path, echo_production()) as door:
        home = door.director.home
        (home.pictures / "7-1-1.png").write_bytes(b"\x89PNG picture")
        (home.pictures / "trick.html").write_text(XSS)
        (home.pictures / "link.png").symlink_to(home.access_file)
        answers = {
            name: door("GET", f"/pictures/{name}")
            for name in (
                "7-1-1.png", "trick.html", "link.png", "..%2faccess.json", "%2e%2e%2faccess.json", ".hidden.png",
                "none.png",
            )
        }  # fmt: skip

    assert answers.pop("7-1-1.png").headers["content-type"] == "image/png"
    assert {answer.status for answer in answers.values()} == {404}
