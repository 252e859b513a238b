"""A model is optimised, compared, published, served and rolled back while it answers."""

from __future__ import annotations

from pathlib import Path

import pytest

import tinymodels
from optimising import TEXTS, load_texts, serving, stage
from wattbus import doctor, testing
from wattbus.energy import FakeFeed
from wattbus.home import Home
from wattbus.messages import MLRequest, OptimiseRequest, OverrideRequest
from wattbus.ml.models import ModelStore


def test_a_model_is_optimised_published_and_rolled_back_while_fifty_requests_run_and_none_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "WATTBUS_ENERGY", "off"
    )  # the two sides of the comparison are not metered: it starts sooner
    home = Home(tmp_path / "home").create()
    store = ModelStore(home.models)
    old = stage(store, "toy", tinymodels.build("text-classification", tmp_path / "model"))
    request = OptimiseRequest(to="fp32", table="Review", text_column="ReviewText", min_speedup=0.01)

    with testing.production(serving(load_texts(tmp_path)), home.root, feed=FakeFeed()) as bus:
        first = bus.request("ML", MLRequest(inputs=TEXTS[0]))
        optimising = bus.begin("Optimise", request)
        answers = [bus.begin("ML", MLRequest(inputs=TEXTS[0])) for _ in range(20)]
        report = optimising.result(240)
        answers += [bus.begin("ML", MLRequest(inputs=TEXTS[0])) for _ in range(15)]
        override = bus.begin("Tune", OverrideRequest())
        answers += [bus.begin("ML", MLRequest(inputs=TEXTS[0])) for _ in range(15)]
        given = [answer.result(120) for answer in answers]
        override.result(60)
        served = bus.request("ML", MLRequest(inputs=TEXTS[0]))
        store.rollback("toy")
        rolled_back = bus.request("ML", MLRequest(inputs=TEXTS[0]))

    (candidate,) = report.candidates
    assert (report.old_version, report.chosen, candidate.passes) == (old, "fp32", True)
    assert candidate.likeness is not None and candidate.likeness.agreement == 1.0
    assert candidate.before is not None and candidate.after is not None
    assert len(given) == 50
    assert {answer.version for answer in given} <= {old, report.new_version}
    assert (first.version, served.version, rolled_back.version) == (old, report.new_version, old)
    assert {answer.output[0]["label"] for answer in (*given, served)} == {first.output[0]["label"]}
    assert abs(served.output[0]["score"] - first.output[0]["score"]) < 1e-4
    assert rolled_back.output == first.output
    assert doctor.examine(home).ok
