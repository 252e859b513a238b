"""The pages of imported runs: a file comes in, one of its runs is kept, and nothing in a file is believed or run."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from doors import Asked, OpenDoor, open_door

from components import echo_production
from wattbus.access import Role
from wattbus.web.run_pages import About

RUNS = "/api/v1/energy/runs"
HOSTILE = "<script>alert(1)</script>"
HEADER = "timestamp,project_name,run_id,duration,emissions,energy_consumed,country_iso_code\n"
ONE = HEADER + "2024-09-26T10:46:51,reviews,a1,3.5,4e-05,0.0005,FRA\n"
TWO = ONE + f"2024-09-26T10:47:51,{HOSTILE},b2,7,8e-05,0.001,FRA\n2024,x,c3,1,nan,nan,FRA\n"


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[OpenDoor]:
    with open_door(tmp_path, echo_production()) as door:
        yield door


def send(ask: OpenDoor, text: str | bytes, query: str = "") -> Asked:
    content = text if isinstance(text, bytes) else text.encode()
    return ask("POST", RUNS + query, content, content_type="text/csv")


def upload(
    ask: OpenDoor, fields: dict[str, str], content: bytes | None, filename: str = "emissions.csv"
) -> Asked:
    """Send the form with its file, as a browser does."""
    mark = uuid.uuid4().hex
    parts = [
        f'--{mark}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if content is not None:
        head = f'--{mark}\r\ncontent-disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    body = b"".join(parts) + f"--{mark}--\r\n".encode()
    return ask(
        "POST", "/energy/runs", body, content_type=f"multipart/form-data; boundary={mark}", accept="text/html"
    )


def said(answer: Asked) -> str:
    """Return the sentence that the next page shows."""
    return unquote(answer.headers.get("set-cookie", ""))


def test_a_run_is_kept_shown_and_forgotten(ask: OpenDoor) -> None:
    empty = ask("GET", RUNS).said["runs"]
    kept = send(ask, ONE, "?file=emissions.csv&stage=inference&model=distilbert&requests=1000").said
    (listed,) = ask("GET", RUNS).said["runs"]
    one = ask("GET", f"{RUNS}/{quote(kept['name'])}").said
    page = ask.page("/energy/runs").said
    forgotten = ask("POST", f"{RUNS}/forget", {"name": kept["name"]}).said

    assert empty == []
    assert kept["sentence"] == "reviews, run a1 is kept."
    assert (listed["energy_joules"], listed["model"], listed["requests"]) == (1800.0, "distilbert", 1000)
    assert (one["figures"], one["known"]["country"]) == (listed, "FRA")
    assert "1.8 kJ of unknown origin" in page and "emissions.csv, run a1" in page
    assert (
        "reviews, run a1" in ask.page(f"/energy/runs/{quote(kept['name'])}").said
        or forgotten["versions"] == 1
    )
    assert ask("GET", RUNS).said["runs"] == []


def test_the_page_of_a_run_shows_what_its_file_said(ask: OpenDoor) -> None:
    send(ask, ONE, "?file=emissions.csv")

    page = ask.page(f"/energy/runs/{quote('reviews, run a1')}").said

    assert "1.8 kJ of unknown origin" in page
    assert "carbon intensity g per kwh" in page


def test_by_the_form_a_file_with_one_run_is_kept_at_once(ask: OpenDoor) -> None:
    answer = upload(ask, {"model": "distilbert", "requests": "10", "stage": ""}, ONE.encode())

    assert (answer.status, answer.headers["location"]) == (303, "/energy/runs")
    assert "reviews, run a1 is kept." in said(answer)
    (listed,) = ask("GET", RUNS).said["runs"]
    assert (listed["stage"], listed["requests"]) == ("training", 10)


def test_by_the_form_a_file_with_several_runs_shows_them_and_keeps_none(ask: OpenDoor) -> None:
    shown = upload(ask, {}, TWO.encode())
    chosen = upload(ask, {"run": "b2"}, TWO.encode())

    assert shown.status == 422
    assert "holds 2 runs: choose the file again, with one of these rows" in shown.said
    assert HOSTILE not in shown.said and "row 3" in shown.said
    assert chosen.status == 303 and "1 row could not be used" in said(chosen)
    assert HOSTILE not in ask.page("/energy/runs").said
    assert [one["energy_joules"] for one in ask("GET", RUNS).said["runs"]] == [3600.0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b"a,b\n1,2\n", "no known form"),
        (b"{", "is no JSON"),
        (TWO.encode(), "choose one by its run id or its row"),
        ((HEADER + "2024,x,c3,1,nan,nan,FRA\n").encode(), "holds no run that can be used: row 1: "),
        (b"\xff\xfe\x00", "no UTF-8 text"),
        (HEADER.encode() + b"\xe9,1\n", "is no UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_sentence_and_nothing_is_kept(
    ask: OpenDoor, content: bytes, sentence: str
) -> None:
    answer = send(ask, content)

    assert answer.status == 400, answer.said
    assert sentence in answer.said["detail"]
    assert ".part" not in answer.said["detail"]
    assert ask("GET", RUNS).said["runs"] == []
    assert list(ask.director.home.root.glob(".load-*")) == []


def test_json_that_is_nested_too_deeply_is_refused_before_it_is_read(ask: OpenDoor) -> None:
    answer = send(ask, b"[" * 100_000)

    assert answer.status == 413
    assert "nested" in answer.said["detail"]


def test_what_is_wrong_in_the_form_is_said_on_the_page(ask: OpenDoor) -> None:
    for fields, content, sentence in (
        ({}, None, "no file was chosen"),
        ({"stage": "sleeping"}, ONE.encode(), "stage"),
        ({"requests": "0"}, ONE.encode(), "requests"),
        ({"run": "zz"}, ONE.encode(), "unknown run 'zz'"),
    ):
        answer = upload(ask, fields, content)

        assert answer.status == 303
        assert sentence in said(answer)
    assert ask("GET", RUNS).said["runs"] == []


def test_a_run_that_is_not_there_is_not_found(ask: OpenDoor) -> None:
    send(ask, ONE)

    answer = ask("GET", f"{RUNS}/{quote('reviews, run a2')}")

    assert answer.status == 404
    assert "did you mean 'reviews, run a1'" in answer.said["detail"]
    assert ask("POST", f"{RUNS}/forget", {"name": "x"}).status == 404
    assert ask.page("/energy/runs/nothing").status == 404


def test_a_viewer_sees_runs_and_changes_none(ask: OpenDoor) -> None:
    send(ask, ONE)
    viewer = ask.as_role(Role.VIEWER)

    assert send(viewer, ONE).status == 403
    assert "Forget" not in viewer.page("/energy/runs").said
    assert len(viewer("GET", RUNS).said["runs"]) == 1


def test_what_is_said_about_a_run_has_bounds() -> None:
    assert About(requests=5).given().requests == 5
