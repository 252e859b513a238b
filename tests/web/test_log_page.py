"""The event log as a page, as JSON, and as a file."""

from __future__ import annotations

import csv
import io
import json
import urllib.request
from pathlib import Path

import pytest
from doors import OpenDoor, open_door

from components import Text, echo_production
from wattbus.store import events
from wattbus.store.events import EventFilter, event_page

HOSTILE = '<script>alert("x")</script>\x1b[31m'


def write(ask: OpenDoor, *texts: str, type: str = "Info", item: str = "Echo") -> None:
    running = ask.director.current()
    for text in texts:
        running.bus.log(type, text, item)
    running.store.flush()


def texts(ask: OpenDoor, query: str = "") -> list[str]:
    return [line["text"] for line in ask("GET", f"/api/v1/log{query}").said["page"]["lines"]]


def exported(ask: OpenDoor, query: str) -> str:
    asked = urllib.request.Request(
        f"{ask.url}/api/v1/log/export{query}", headers={"authorization": f"Bearer {ask.token}"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return str(answer.read().decode())


def test_the_newest_line_comes_first_and_each_filter_finds_its_lines(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        write(ask, "first", "second")
        write(ask, "third", type="Warning", item="Relay")

        newest = texts(ask, "?limit=3")
        by_item = texts(ask, "?item=Relay")
        by_types = texts(ask, "?type=warning&type=Error")
        by_text = texts(ask, "?contains=SECON")
        recent = texts(ask, "?since=1h&contains=third")
        early = texts(ask, "?until=1h&contains=third")

    assert newest == ["third", "second", "first"]
    assert by_item == by_types == ["third"]
    assert by_text == ["second"]
    assert (recent, early) == (["third"], [])


def test_a_line_leads_to_its_message_and_its_session(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        message_id, _ = ask.director.current().exchange("Echo", Text("hello"))

        page = ask.page(f"/log?session={message_id}")
        by_message = texts(ask, f"?message={message_id}")

    assert f'href="/messages/{message_id}"' in page.said
    assert f'href="/trace/{message_id}"' in page.said
    assert by_message == ["echoing hello"]


def test_stored_text_is_shown_and_never_run(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        write(
            ask, HOSTILE, f"Traceback (most recent call last):\n  line\nValueError: {HOSTILE}", item=HOSTILE
        )

        page = ask.page("/log").said

    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "\\x1b[31m" in page
    assert "<summary>ValueError" in page


def test_pages_follow_each_other_without_a_gap(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        write(ask, *(f"line {number}" for number in range(25)))
        found: list[str] = []
        before = ""
        while True:
            page = ask("GET", f"/api/v1/log?contains=line&limit=10{before}").said["page"]
            found += [line["text"] for line in page["lines"]]
            if page["next_before"] is None:
                break
            before = f"&before={page['next_before']}"

    assert found == [f"line {number}" for number in range(24, -1, -1)]


def test_a_filter_that_finds_little_says_how_far_it_has_looked_and_goes_on_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_LOOKED_AT", 10)
    with open_door(tmp_path, echo_production()) as ask:
        write(ask, "the needle", *(f"hay {number}" for number in range(40)))
        engine = ask.director.current().store.engine
        page = event_page(engine, EventFilter(contains="needle"))
        pages = [page]
        while page.next_before is not None:
            page = event_page(engine, EventFilter(contains="needle"), before=page.next_before)
            pages.append(page)

    assert [line.text for page in pages for line in page.lines] == ["the needle"]
    assert pages[0].lines == []
    assert pages[0].looked_back_to_us is not None
    assert 4 <= len(pages) <= 6


def test_a_long_text_is_cut_in_the_list_and_whole_on_its_own_page(tmp_path: Path) -> None:
    long = "x" * 10_000 + "END"
    with open_door(tmp_path, echo_production()) as ask:
        write(ask, long)

        (line,) = ask("GET", "/api/v1/log?contains=END").said["page"]["lines"]
        whole = ask("GET", f"/api/v1/log/{line['id']}")
        page = ask.page(f"/log/{line['id']}")

    assert len(line["text"]) == events.LONGEST_TEXT + 1
    assert line["text"].endswith("…")
    assert whole.said["text"] == long
    assert "END</pre>" in page.said


def test_the_filtered_lines_are_a_file_that_no_spreadsheet_takes_for_formulas(tmp_path: Path) -> None:
    formula = '=HYPERLINK("http://evil.example")'
    with open_door(tmp_path, echo_production()) as ask:
        write(ask, formula, "two\nlines", "other", item="Relay")

        rows = list(csv.DictReader(io.StringIO(exported(ask, "?format=csv&item=Relay"))))
        lines = [json.loads(line) for line in exported(ask, "?format=jsonl&item=Relay").splitlines()]

    assert [row["text"] for row in rows] == ["other", "two\nlines", f"'{formula}"]
    assert [line["text"] for line in lines] == ["other", "two\nlines", formula]
    assert lines[0]["time"].endswith("Z")


def test_what_is_not_understood_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        type_ = ask("GET", "/api/v1/log?type=Eror")
        time = ask("GET", "/api/v1/log?since=yesterday")
        session = ask("GET", "/api/v1/log/export?session=abc")
        page = ask.page("/log?message=1..5")
        gone = ask("GET", "/api/v1/log/99999")
        large = ask("GET", f"/api/v1/log/{2**64}")

    assert type_.status == 404 and "did you mean 'Error'" in type_.said["detail"]
    assert time.status == 400 and "15m, 2h, 7d" in time.said["detail"]
    assert session.status == 400 and "no id" in session.said["detail"]
    assert page.status == 400 and "no id of one message" in page.said
    assert gone.status == 400 and "there is no line 99999" in gone.said["detail"]
    assert large.status == 400


def test_with_nothing_written_yet_the_page_says_what_to_do(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        page = ask.page("/log")

    assert page.status == 200
    assert "Start the production" in page.said
