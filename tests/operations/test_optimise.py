"""OptimiseOperation and batches of MLOperation: bad input is a sentence, and the live version keeps answering."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import tinymodels
from optimising import TEXTS, load_texts, serving, stage
from wattbus import testing
from wattbus.door import PythonDoor
from wattbus.energy import FakeFeed
from wattbus.errors import BadRequest, RequestFailed
from wattbus.home import Home
from wattbus.messages import MLRequest, OptimiseRequest
from wattbus.ml import pipelines
from wattbus.ml.models import ModelStore
from wattbus.ml.tables import TrainingTables


@pytest.fixture(autouse=True)
def _not_metered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATTBUS_ENERGY", "off")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinymodels.build("text-classification", tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def bus(tmp_path: Path, model: Path) -> Iterator[PythonDoor]:
    home = Home(tmp_path / "home").create()
    stage(ModelStore(home.models), "toy", model)
    url = load_texts(tmp_path)
    (tmp_path / "one.csv").write_text("ReviewText\n" + "the same text\n" * 30)
    TrainingTables(url).load_csv("One", tmp_path / "one.csv")
    with closing(sqlite3.connect(tmp_path / "tables.sqlite")) as tables, tables:
        tables.execute("CREATE TABLE Numbers (ReviewText INTEGER)")
        tables.executemany("INSERT INTO Numbers VALUES (?)", [(number,) for number in range(30)])
    with testing.production(serving(url), home.root, feed=FakeFeed()) as bus:
        yield bus


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"to": "fp23", "table": "Review", "text_column": "ReviewText"}, "did you mean 'fp32'"),
        ({"to": "int8"}, "name a table with its text column, or a number of kept requests, one of the two"),
        (
            {"to": "int8", "table": "Review"},
            "the table Review has several columns: name the one with the texts",
        ),
        ({"table": "Review", "text_column": "ReviewTxt"}, "did you mean 'ReviewText'"),
        ({"table": "Reviews", "text_column": "ReviewText"}, "did you mean 'Review'"),
        (
            {"to": "int8", "table": "One", "text_column": "ReviewText"},
            r"there is 1 row in the column ReviewText of One .*, and 10 are the least to calibrate",
        ),
        (
            {"table": "Numbers", "text_column": "ReviewText"},
            "there are 0 rows in the column ReviewText of Numbers",
        ),
        ({"requests": 50}, "there are 0 rows in the kept requests to toy"),
    ],
)
def test_a_request_that_cannot_be_served_is_a_sentence_and_the_model_goes_on_answering(
    fields: dict[str, Any], sentence: str, bus: PythonDoor
) -> None:
    with pytest.raises(RequestFailed, match=sentence):
        bus.request("Optimise", OptimiseRequest(**fields))

    assert bus.request("ML", MLRequest(inputs=TEXTS[0])).output


def test_a_budget_of_nothing_is_a_sentence(bus: PythonDoor) -> None:
    with pytest.raises(BadRequest, match=r"budget_seconds.*greater than 0"):
        bus.message("OptimiseRequest", {"requests": 50, "budget_seconds": 0})


def test_a_version_that_fails_the_gate_is_not_kept_and_the_answer_says_do_not_convert(
    bus: PythonDoor,
) -> None:
    for text in TEXTS:
        bus.request("ML", MLRequest(inputs=text))
    request = OptimiseRequest(to="fp32", requests=100, min_speedup=100)

    report = bus.request("Optimise", request, timeout_seconds=240)

    (candidate,) = report.candidates
    store = bus.production.place.home.models
    assert (report.new_version, report.chosen, candidate.passes, report.rows) == (
        None,
        None,
        False,
        len(TEXTS),
    )
    assert report.reason.startswith("do not convert. fp32: it does not pay: ")
    assert ModelStore(store).staged("toy") is None
    assert not list(bus.production.place.home.runs.glob("optimise-*"))
    assert bus.request("ML", MLRequest(inputs=TEXTS[0])).version == report.old_version


def test_messages_that_come_together_are_answered_as_alone_and_a_bad_one_fails_alone(
    tmp_path: Path, model: Path
) -> None:
    home = Home(tmp_path / "home").create()
    stage(ModelStore(home.models), "toy", model)
    bodies: list[dict[str, Any]] = [{"inputs": text} for text in TEXTS] + [{"inputs": ["a"] * 1000}]
    with testing.production(serving(load_texts(tmp_path), batch=32), home.root, feed=FakeFeed()) as bus:
        request = OptimiseRequest(to="fp32", table="Review", text_column="ReviewText", min_speedup=0.01)
        made = bus.request("Optimise", request, timeout_seconds=240).new_version
        ModelStore(home.models).publish("toy", made)
        asked = [bus.begin("ML", MLRequest(**body)) for body in bodies]
        given = [one.result(60) for one in asked[:-1]]
        with pytest.raises(RequestFailed, match="'inputs' has 1000 texts, and one request may have 256"):
            asked[-1].result(60)

    engine = pipelines.load(ModelStore(home.models).current("toy").path, "text-classification", {})
    for text, answer in zip(TEXTS, given, strict=True):
        expected = engine.predict({"inputs": text})
        assert (answer.version, answer.input_tokens) == (made, expected.input_tokens)
        assert answer.output[0]["label"] == expected.output[0]["label"]
        assert abs(answer.output[0]["score"] - expected.output[0]["score"]) < 1e-5
    home_of = {path.relative_to(home.root).parts[:2] for path in home.compiled.rglob("*")}
    assert home_of == {("compiled", "toy")}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (home.compiled, *home.compiled.rglob("*")))


def test_an_optimised_model_is_fine_tuned_from_the_weights_it_was_made_from(
    tmp_path: Path, model: Path
) -> None:
    store = ModelStore(Home(tmp_path / "home").create().models)
    plain = stage(store, "toy", model)
    card = {
        "engine": "openvino", "task": "text-classification", "precision": "fp32", "inputs": ["input_ids"],
        "outputs": ["logits"], "model_type": "bert", "architecture": "B", "class_path": "b.B", "parameters": 1,
        "layers": 1, "foundation_model": None, "made_with": {},
    }  # fmt: skip

    def build(aside: Path) -> None:
        (aside / "config.json").write_text("{}")
        (aside / "engine.json").write_text(json.dumps(card))
        (aside / "openvino_model.xml").write_text("<net/>")
        (aside / "openvino_model.bin").write_bytes(b"")

    store.stage("toy", build, source="optimising", parent=plain)
    store.publish("toy")

    assert store.with_weights("toy").id == plain
    assert os.path.exists(store.with_weights("toy").path / "model.safetensors")
