"""TuningOperation beyond text classification: what it trains for is named, served, metered, and refused elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from iop import Production

import tinymodels
from optimising import TEXTS, load_texts, stage
from wattbus import testing
from wattbus.door import PythonDoor
from wattbus.energy import FakeFeed
from wattbus.errors import RequestFailed
from wattbus.home import Home
from wattbus.messages import MLRequest, OverrideRequest, TrainRequest
from wattbus.ml.models import ModelStore
from wattbus.operations import MLOperation, TuningOperation
from wattbus.store.queries import energy_records

ASKED = {"table": "Review", "columns": "ReviewText", "seed": 1, "learning_rate": 0.01}
MASKED = "Two cats sleep on a pink [MASK]"


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[PythonDoor]:
    """A production that fine-tunes a model and serves it for three tasks."""
    home = Home(tmp_path / "home").create()
    stage(ModelStore(home.models), "toy", tinymodels.build("fill-mask", tmp_path / "model"))
    prod = Production("Test.Objectives")
    for item, task in (
        ("Fill", "fill-mask"),
        ("Label", "text-classification"),
        ("Vec", "feature-extraction"),
    ):
        prod.operation(item, MLOperation, settings={"name": "toy", "task": task})
    tuning = {"model_name": "toy", "tables": load_texts(tmp_path), "num_labels": 5}
    prod.operation("Tune", TuningOperation, settings=tuning)
    with testing.production(prod, home.root, feed=FakeFeed()) as bus:
        bus.production.ledger.wait_ready()
        yield bus


def test_a_model_that_learnt_to_fill_texts_is_published_serves_that_and_is_refused_where_it_does_not_fit(
    bus: PythonDoor,
) -> None:
    request = TrainRequest(objective="masked-lm", **ASKED)

    trained = bus.request("Tune", request, timeout_seconds=240)
    bus.request("Tune", OverrideRequest())
    filled = bus.request("Fill", MLRequest(inputs=MASKED))
    vectors = bus.request("Vec", MLRequest(inputs=TEXTS[0]))
    with pytest.raises(RequestFailed, match=r"was trained for fill-mask and the item asks for text-classif"):
        bus.request("Label", MLRequest(inputs=TEXTS[0]))

    assert (trained.objective, trained.task, trained.labels) == ("masked-lm", "fill-mask", [])
    assert trained.new_metrics["perplexity"] < trained.old_metrics["perplexity"]
    assert any("num_labels 5 has no effect" in note for note in trained.notes)
    assert filled.version == vectors.version == trained.new_version
    version = ModelStore(bus.production.place.home.models).current("toy")
    assert (version.facts["objective"], version.facts["task"]) == ("masked-lm", "fill-mask")
    assert version.metrics == trained.new_metrics
    bus.production.store.flush()
    (record,) = [
        one for one in energy_records(bus.production.store.engine) if one.operation_kind == "fine-tuning"
    ]
    assert record.facts is not None
    assert (record.facts.family, record.facts.data[0].shape) == ("fillMask", f"({len(TEXTS)}, 1)")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"objective": "masked-ml"}, "did you mean 'masked-lm'"),
        ({"objective": "image-classification"}, "image-classification takes 2 columns"),
        ({"objective": "causal-lm"}, r"is a bert \(BertForMaskedLM\), which cannot be trained for causal-lm"),
    ],
)
def test_an_objective_that_cannot_be_trained_is_a_sentence_and_the_model_goes_on_answering(
    fields: dict[str, str], sentence: str, bus: PythonDoor
) -> None:
    with pytest.raises(RequestFailed, match=sentence):
        bus.request("Tune", TrainRequest(**{**ASKED, **fields}), timeout_seconds=240)

    assert bus.request("Fill", MLRequest(inputs=MASKED)).output
