"""The pictures of labels through the door: SVG, PNG, PDF and the badge, of models and of kept evaluations."""

from __future__ import annotations

import http.client
import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import zxingcpp
from doors import OpenDoor, open_door
from iop import Production
from PIL import Image
from pypdf import PdfReader
from sqlalchemy import insert

from components import Echo
from wattbus.energy.figures import RunFigures, Source, Stage
from wattbus.energy.record import EnergyRecord, EnergyStatus, TaskFacts, Tier
from wattbus.labels.evaluate import evaluate
from wattbus.labels.history import save_evaluation
from wattbus.labels.profiles import get_profile
from wattbus.store.rows import energy_row
from wattbus.store.tables import energy

NOW_US = int(datetime.now(UTC).timestamp() * 1e6)
MODEL = "org/tiny"
PATH = "/energy/models/org/tiny"
EVALUATION = "/energy/labels/evaluations/org/tiny%20graded"


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[OpenDoor]:
    production = Production("Pictures.Test")
    production.operation("Echo", Echo)
    with open_door(tmp_path / "home", production) as door:
        put(door, *(record(number, revision="v1") for number in range(3)))
        put(door, *(record(number, revision="v2", tier=Tier.MEASURED) for number in range(3, 7)))
        yield door


def record(number: int, **changes: Any) -> EnergyRecord:
    values: dict[str, Any] = {
        "message_id": 1_000_000 + number, "attempt": 1, "item": "Op", "started_at_us": NOW_US + number,
        "duration_seconds": 0.5, "operation_kind": "text-classification", "model": MODEL, "cpu_seconds": 0.25,
        "energy_joules": 3.6, "low_joules": 3.2, "high_joules": 4.0, "tier": Tier.MODELLED,
        "status": EnergyStatus.ESTIMATED, "facts": TaskFacts("inference"),
    }  # fmt: skip
    return EnergyRecord(**{**values, **changes})


def put(door: OpenDoor, *records: EnergyRecord) -> None:
    rows = [dict(zip(energy.c.keys(), energy_row(one), strict=True)) for one in records]
    for row in rows:
        row["facts"] = {"stage": "inference", "requests": 1, "precision": "fp32", "data": []}
    with door.director.current().store.engine.begin() as connection:
        connection.execute(insert(energy), rows)


def graded(door: OpenDoor) -> None:
    run = RunFigures(
        "a training",
        Stage.TRAINING,
        Source.TYPED,
        "typed by ann",
        model=MODEL,
        carbon_grams=5.0,
        accuracy=0.9,
    )
    with door.desk.writing() as engine:
        save_evaluation(
            engine, evaluate(get_profile(engine, "gaissa-training"), run), "ann", "org/tiny graded"
        )


def fetched(door: OpenDoor, path: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(urlsplit(door.url).netloc, timeout=30)
    connection.request("GET", path, headers={"authorization": f"Bearer {door.token}"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers["content-type"], content


@pytest.mark.parametrize("before", ["", "/api/v1"])
def test_the_label_of_a_model_comes_in_three_forms_and_leads_to_its_page(ask: OpenDoor, before: str) -> None:
    svg, png, pdf = (fetched(ask, f"{before}{PATH}/label.{form}") for form in ("svg", "png", "pdf"))

    assert [one[:2] for one in (svg, png, pdf)] == [
        (200, "image/svg+xml"), (200, "image/png"), (200, "application/pdf"),
    ]  # fmt: skip
    root = ElementTree.fromstring(svg[2])
    assert "Energy label of org/tiny, version v2" in (root.get("aria-label") or "")
    assert [one.text for one in zxingcpp.read_barcodes(Image.open(io.BytesIO(png[2])))] == [ask.url + PATH]
    assert "Wh for 1,000 inferences" in PdfReader(io.BytesIO(pdf[2])).pages[0].extract_text()


def test_a_version_and_a_tier_choose_the_label(ask: OpenDoor) -> None:
    older = ElementTree.fromstring(fetched(ask, f"{PATH}/label.svg?revision=v1")[2])

    assert "version v1" in (older.get("aria-label") or "") and "tier modelled" in (
        older.get("aria-label") or ""
    )
    wrong = ask("GET", f"/api/v1{PATH}/label.svg?revision=v3")
    assert (wrong.status, "Known: v1, v2." in wrong.said["detail"]) == (404, True)
    none = ask("GET", f"/api/v1{PATH}/label.svg?revision=v1&tier=measured")
    assert (none.status, "unknown tier" in none.said["detail"]) == (404, True)


def test_a_png_is_as_large_as_was_asked_for(ask: OpenDoor) -> None:
    sizes = [
        Image.open(io.BytesIO(fetched(ask, f"{PATH}/label.png?scale={scale}")[2])).width for scale in (1, 3)
    ]

    assert sizes == [440, 1320]
    assert fetched(ask, f"/api/v1{PATH}/label.png?scale=100")[0] == 400
    assert fetched(ask, f"/api/v1{PATH}/label.gif")[0] == 400


def test_a_badge_says_figure_and_tier(ask: OpenDoor) -> None:
    status, kind, content = fetched(ask, f"{PATH}/badge.svg")

    root = ElementTree.fromstring(content)
    shown = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert (status, kind, shown[0]) == (200, "image/svg+xml", "energy")
    assert "1 Wh for 1,000 inferences · measured" in (shown[1] or "")


def test_a_model_that_is_not_there_has_no_picture(ask: OpenDoor) -> None:
    answer = ask("GET", "/api/v1/energy/models/nobody/label.svg")

    assert answer.status == 404
    assert "unknown model 'nobody'" in answer.said["detail"]


def test_the_label_of_an_evaluation_comes_in_three_forms_with_a_badge(ask: OpenDoor) -> None:
    graded(ask)

    forms = [fetched(ask, f"{EVALUATION}/label.{form}?version=1") for form in ("svg", "png", "pdf")]
    badge = fetched(ask, f"{EVALUATION}/badge.svg")

    assert [one[0] for one in (*forms, badge)] == [200] * 4
    root = ElementTree.fromstring(forms[0][2])
    assert "CO2 emissions" in (root.get("aria-label") or "")
    (address,) = [one.text for one in zxingcpp.read_barcodes(Image.open(io.BytesIO(forms[1][2])))]
    assert address == f"{ask.url}{EVALUATION}?version=1"
    assert ask("GET", f"/api/v1{EVALUATION}/label.svg?version=2").status == 404
    assert ask("GET", "/api/v1/energy/labels/evaluations/nothing/label.svg").status == 404


def test_a_picture_may_load_and_run_nothing(ask: OpenDoor) -> None:
    answer = ask("GET", f"{PATH}/label.svg")

    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<script" not in answer.said
