"""The cheapest rung: features of a frozen encoder, and a linear head that is written into the model itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import optimising
from tinyencoders import TEXTS, bert, bert_with_a_head, gpt2, other
from wattbus.ml.classifier import load_classifier
from wattbus.ml.feature_store import FeatureStore
from wattbus.ml.features import Features, read_features
from wattbus.ml.head import head_form
from wattbus.ml.ladder_options import class_weights
from wattbus.ml.linear_head import fit_head, more_rows_sentence
from wattbus.ml.metrics import predict_logits
from wattbus.ml.scores import calibration_bins, calibration_error, score
from wattbus.training_report import LearningPoint


def features_of(base: Any, form: Any, folder: Path, **changes: Any) -> Features:
    given: dict[str, Any] = {
        "folder": folder, "engine_folder": None, "file": None, "seed": 1, "progress": lambda *_: None,
        "spent_out": lambda: False,
    }  # fmt: skip
    return read_features(base, form, TEXTS, **{**given, **changes})


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c")])
@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (bert, "mean"),
        (bert_with_a_head, "head input"),
        (gpt2, "head input"),
        (other("distilbert"), "mean"),
        (other("distilbert with a head"), "head input"),
        (other("roberta"), "mean"),
        (other("roberta with a head"), "head input"),
    ],
)
def test_a_model_that_was_saved_with_a_head_gives_the_logits_of_the_head(
    tmp_path: Path, build: Callable[[Path], Path], kind: str, labels: tuple[str, ...]
) -> None:
    folder = build(tmp_path / "model")
    base = load_classifier(folder, labels, None, 1)
    form = head_form(base, folder)
    assert form is not None
    vectors = features_of(base, form, folder).vectors
    features = form.features(numpy.stack([vectors[row] for row in range(len(TEXTS))]))
    truth = [row % len(labels) for row in range(len(TEXTS))]

    head = fit_head(features, truth, len(base.labels), has_bias=form.has_bias)
    form.written(head.weight, head.bias).save(tmp_path / "saved")
    fresh = load_classifier(tmp_path / "saved", base.labels, None, 2)
    logits = predict_logits(fresh.model, fresh.collate, fresh.encode(TEXTS), 8)

    assert form.kind == kind
    assert fresh.old_note is None
    assert numpy.abs(logits - head.logits(features)).max() < 1e-3


def test_features_come_from_the_published_engine_where_it_serves_the_same_encoder(tmp_path: Path) -> None:
    folder = bert(tmp_path / "model")
    engine = optimising.optimised(folder, "feature-extraction", "fp32").model_folder
    base = load_classifier(folder, ("a", "b"), None, 1)
    form = head_form(base, folder)
    assert form is not None

    torch = features_of(base, form, folder)
    by_engine = features_of(base, form, folder, engine_folder=engine)

    assert (torch.by, by_engine.by) == ("torch", "openvino fp32")
    assert max(float(numpy.abs(torch.vectors[n] - by_engine.vectors[n]).max()) for n in torch.vectors) < 1e-4


def test_an_early_end_gives_a_sample_of_the_features_and_keeps_them(tmp_path: Path) -> None:
    folder = bert(tmp_path / "model")
    base = load_classifier(folder, ("a", "b"), None, 1)
    form = head_form(base, folder)
    looks = iter([False, *[True] * 10])

    cut = features_of(base, form, folder, file=tmp_path / "features.sqlite", spent_out=lambda: next(looks))
    again = features_of(base, form, folder, file=tmp_path / "features.sqlite")

    assert not cut.complete or cut.made == len(TEXTS)
    assert again.complete
    assert again.kept == cut.made
    assert again.kept + again.made == len(TEXTS)


def test_the_store_of_features_drops_the_oldest_past_its_size(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "features.sqlite", "maker", largest_bytes=80)
    vector = numpy.ones(4, dtype=numpy.float32)  # 16 bytes

    store.keep({f"text {number}": vector * number for number in range(5)})
    store.keep({"newest": vector * 9})
    found = store.read([f"text {number}" for number in range(5)] + ["newest"])

    assert sorted(found) == [1, 2, 3, 4, 5]
    assert found[5].tolist() == [9.0] * 4
    assert FeatureStore(tmp_path / "features.sqlite", "another").read(["newest"]) == {}


def test_a_store_of_features_that_is_damaged_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "features.sqlite"
    file.write_bytes(b"no database at all" * 100)
    store = FeatureStore(file, "maker")

    found = store.read(["text"])
    store.keep({"text": numpy.ones(2, dtype=numpy.float32)})

    assert found == {}
    assert store.read(["text"])[0].tolist() == [1.0, 1.0]


def test_scores_tell_each_label_and_which_is_taken_for_which() -> None:
    chances = numpy.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])

    found = score([0, 0, 1, 1], chances, ["bad", "good"])

    assert found.confusion == [[1, 1], [1, 1]]
    assert [(one.label, one.precision, one.recall, one.support) for one in found.classes] == [
        ("bad", 0.5, 0.5, 2),
        ("good", 0.5, 0.5, 2),
    ]


def test_the_calibration_error_is_the_distance_of_confidence_and_accuracy() -> None:
    bins = calibration_bins([True, False, True, True], [0.95, 0.95, 0.6, 1.0])

    assert [(one.low, one.rows) for one in bins if one.rows] == [(0.5, 1), (0.9, 3)]
    assert calibration_error(bins) == pytest.approx((1 * 0.4 + 3 * abs(2 / 3 - 2.9 / 3)) / 4, abs=1e-6)


def test_balanced_weights_give_each_label_the_same_part() -> None:
    balanced = class_weights("balanced", ("a", "b"), [0, 0, 0, 1])
    given = class_weights({"b": 3.0}, ("a", "b"), [0, 1])

    assert balanced is not None and given is not None
    assert 3 * balanced[0] == pytest.approx(balanced[1])
    assert given == pytest.approx([0.5, 1.5])


@pytest.mark.parametrize(
    ("half", "whole", "said"),
    [
        ((0.4, 0.6), 0.51, "may help"),
        ((0.5, 0.5), 0.55, "would likely help"),
        ((0.5, 0.5), 0.5, "not likely"),
    ],
)
def test_a_learning_curve_says_whether_more_rows_would_help(
    half: tuple[float, float], whole: float, said: str
) -> None:
    low, high = half
    points = [
        LearningPoint(share=0.5, rows=50, value=(low + high) / 2, low=low, high=high, seeds=2),
        LearningPoint(share=1.0, rows=100, value=whole, low=whole, high=whole, seeds=1),
    ]

    assert said in more_rows_sentence(points, "accuracy")
