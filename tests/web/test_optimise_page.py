"""The page that optimises a model: one click, the report with both answers of what changed, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from doors import OpenDoor, open_door
from iop import Production

import tinymodels
from components import echo_production
from optimising import TEXTS, load_texts, serving
from optimising import stage as keep
from waiting import until
from wattbus.home import Home
from wattbus.messages import MLRequest
from wattbus.ml.models import ModelStore

ADDRESS = "/models/toy/optimise"
ROWS: dict[str, Any] = {"to": "fp32", "table": "Review", "text_column": "ReviewText", "min_speedup": 0.01}


@pytest.fixture(autouse=True)
def _not_metered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WATTBUS_ENERGY", "off")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinymodels.build("text-classification", tmp_path_factory.mktemp("tiny") / "model")


def opened(folder: Path, model: Path, production: Production | None = None) -> Any:
    home = Home(folder / "home", durable=False).create()
    keep(ModelStore(home.models), "toy", model)
    url = load_texts(folder)
    return open_door(home.root, production or serving(url), tables_url=url)


def ended(ask: OpenDoor, address: str) -> dict[str, Any]:
    def done() -> bool:
        return not ask("GET", f"/api/v1{address}").said["doing"]

    until(done, "it is optimised", 240)
    return dict(ask("GET", f"/api/v1{address}").said)


def test_one_click_asks_the_item_of_the_production_and_the_page_has_the_report(
    tmp_path: Path, model: Path
) -> None:
    with opened(tmp_path, model) as ask:
        for text in TEXTS:
            ask.director.current().request("ML", MLRequest(inputs=text))
        clicked = ask.form(ADDRESS, {"to": "fp32", "min_speedup": "0.01", "back": "/models/toy"})
        said = ended(ask, clicked.headers["location"])
        page = ask.page(clicked.headers["location"]).said
        published = ask("POST", "/api/v1/models/toy/publish", {"version": said["report"]["new_version"]}).said
        back = ask.page(ADDRESS).said

    assert clicked.headers["location"].startswith(f"{ADDRESS}?message=")
    assert said["item"] == "Optimise"
    assert (said["report"]["chosen"], said["report"]["rows"]) == ("fp32", len(TEXTS))
    assert f"Publish {said['staged']}" in page and "Joules per 1,000" in page and "100.00 %" in page
    assert "None: each input is answered as before." in page
    assert published["version"] == said["staged"]
    assert f"Let {said['published']} answer again" in back


def test_a_production_without_an_optimiser_leaves_it_to_the_portal(tmp_path: Path, model: Path) -> None:
    with opened(tmp_path, model, echo_production()) as ask:
        begun = ask("POST", f"/api/v1{ADDRESS}", {**ROWS, "min_speedup": 100})
        busy = ask("POST", f"/api/v1{ADDRESS}", ROWS)
        said = ended(ask, ADDRESS)
        page = ask.page(ADDRESS).said
        left = list((tmp_path / "home" / "runs").iterdir())

    assert begun.said["message_id"] is None
    assert busy.status == 409 and "it is optimising toy now" in busy.said["detail"]
    assert said["item"] == "" and said["staged"] is None
    assert said["report"]["reason"].startswith("do not convert. fp32: it does not pay")
    assert "Do not convert. fp32: it does not pay" in page
    assert left == []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"budget_seconds": "0", "requests": "50"}, "budget_seconds"),
        ({"to": "fp23", "requests": "50"}, "did you mean 'fp32'"),
        ({"table": "Review"}, "name the one with the texts"),
        ({}, "there are 0 rows in the kept requests to toy"),
    ],
)
def test_what_cannot_be_optimised_is_a_sentence_on_the_page_and_keeps_what_was_typed(
    fields: dict[str, str], sentence: str, tmp_path: Path, model: Path
) -> None:
    with opened(tmp_path, model, echo_production()) as ask:
        shown = ask.form(ADDRESS, {"text_column": "", "back": ADDRESS, **fields})

    assert shown.status == 422
    assert sentence in shown.said.replace("&#39;", "'")
    assert all(value in shown.said for name, value in fields.items() if name != "to")
