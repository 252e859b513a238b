"""BoAmps in the portal: scores, the optional organisation, export and download; through the door."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from doors import OpenDoor, basic, open_door
from iop import Production
from sqlalchemy import insert

from boamps_samples import record
from components import Echo
from wattbus.export.boamps_model import validate
from wattbus.export.organisation import Organisation, read_organisation
from wattbus.home import Home
from wattbus.store.rows import energy_row
from wattbus.store.tables import energy

TOKEN = "a-token-for-tests"
BOAMPS = "/api/v1/energy/boamps"


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[OpenDoor]:
    production = Production("Boamps.Test")
    production.operation("Echo", Echo)
    with open_door(tmp_path / "home", production, password=TOKEN, token=TOKEN) as door:
        now_us = int(datetime.now(UTC).timestamp() * 1e6)
        rows = [
            energy_row(record(message_id=1_000_000 + number, started_at_us=now_us)) for number in range(3)
        ]
        with door.director.current().store.engine.begin() as connection:
            for row in rows:
                values = dict(zip(energy.c.keys(), row, strict=True))
                values["facts"] = json.loads(values["facts"])
                connection.execute(insert(energy).values(values))
        yield door


def home_of(door: OpenDoor) -> Home:
    return door.director.home


def page(door: OpenDoor, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(door.url).netloc, timeout=30)
    connection.request("GET", path, headers={"accept": "text/html", "authorization": basic(TOKEN)})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_the_page_says_what_could_be_written_its_score_and_what_is_left_to_whom(ask: OpenDoor) -> None:
    view = ask("GET", BOAMPS).said
    status, text = page(ask, "/energy/boamps")

    (report,) = view["reports"]
    assert report["attempts"] == 3 and report["score"]["filled"] >= 30
    left = {one["path"]: one for one in view["left_to_fill"]}
    assert (
        left["header.publisher.name"]["yours"]
        and "organisation.toml" in left["header.publisher.name"]["remedy"]
    )
    assert status == 200 and f"{report['score']['filled']} / {report['score']['applicable']}" in text
    assert "you, once" in text


def test_an_export_writes_valid_reports_that_can_be_downloaded(ask: OpenDoor) -> None:
    made = ask("POST", f"{BOAMPS}/export", {})

    (name,) = made.said["files"]
    answer = ask("GET", f"/energy/boamps/reports/{name}")
    assert answer.status == 200 and validate(answer.said) == []
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert ask("GET", f"{BOAMPS}/reports/{name}").said == answer.said
    (file,) = ask("GET", BOAMPS).said["files"]
    assert (file["name"], file["fault"]) == (name, "")


def test_only_names_of_reports_that_are_there_are_read(ask: OpenDoor) -> None:
    home = home_of(ask)
    (home.exports / "other.json").write_text("{}")
    (home.exports / "boamps-bad.json").write_text('{"header": {}}')

    for name in (
        "../access.json",
        "..%2Faccess.json",
        "other.json",
        "boamps-x.json",
        quote("/etc/passwd", safe=""),
    ):
        assert ask("GET", f"{BOAMPS}/reports/{name}").status == 404, name
    broken = ask("GET", f"{BOAMPS}/reports/boamps-bad.json")
    assert broken.status == 403 and "not a valid BoAmps report" in broken.said["detail"]


def test_what_the_organisation_says_once_is_in_the_next_reports(ask: OpenDoor) -> None:
    before = ask("GET", BOAMPS).said["reports"][0]["score"]["filled"]
    said = {
        "name": 'Acme "Söhne" \\ & Co \x7f',
        "country": "France",
        "latitude": 48.85,
        "confidentiality": "public",
    }

    kept = ask("POST", f"{BOAMPS}/organisation", said)

    file = home_of(ask).root / "organisation.toml"
    assert kept.status == 200 and file.stat().st_mode & 0o777 == 0o600
    assert read_organisation(home_of(ask), {}) == Organisation(**said)
    assert ask("GET", BOAMPS).said["reports"][0]["score"]["filled"] > before
    assert "S&ouml;hne" in page(ask, "/energy/boamps")[1] or "Söhne" in page(ask, "/energy/boamps")[1]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"nam": "Acme"}, "name"),
        ({"latitude": 95}, "latitude"),
        ({"country_code": "France"}, "country_code"),
        ({"confidentiality": "loud"}, "confidentiality"),
    ],
)
def test_a_wrong_field_of_the_organisation_is_refused_and_nothing_is_written(
    ask: OpenDoor, said: dict[str, object], sentence: str
) -> None:
    answer = ask("POST", f"{BOAMPS}/organisation", said)

    assert answer.status in (400, 422) and sentence in answer.said["detail"]
    assert not (home_of(ask).root / "organisation.toml").exists()


def test_an_organisation_that_is_said_elsewhere_is_changed_there(
    ask: OpenDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTBUS_ORGANISATION", '{"name": "Elsewhere"}')

    answer = ask("POST", f"{BOAMPS}/organisation", {"name": "Here"})

    assert answer.status == 403 and "WATTBUS_ORGANISATION" in answer.said["detail"]


def test_an_organisation_file_that_is_broken_blocks_nothing_but_is_named(ask: OpenDoor) -> None:
    (home_of(ask).root / "organisation.toml").write_text("name = ")

    status, text = page(ask, "/energy/boamps")

    assert status == 200 and "is not TOML" in text


def test_a_store_without_anything_to_report_says_so(tmp_path: Path) -> None:
    production = Production("Boamps.Empty")
    production.operation("Echo", Echo)
    with open_door(tmp_path / "home", production, password=TOKEN, token=TOKEN) as door:
        answer = door("POST", f"{BOAMPS}/export", {})

    assert answer.status == 400 and "there is nothing to report" in answer.said["detail"]
