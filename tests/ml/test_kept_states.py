"""The last layers are trained on what the frozen ones make of each row: read once, and the same model comes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinyencoders import TEXTS, bert, bert_with_a_head, gpt2, other
from wattbus.errors import TrainingFailed
from wattbus.ml import kept_states
from wattbus.ml.classifier import Classifier, load_classifier
from wattbus.ml.kept_states import keep_states
from wattbus.ml.metrics import predict_logits
from wattbus.ml.trainable import Trainable, _layers, trainable

LABELS = ("1", "2", "3")


def always(_read: int, _rows: int) -> bool:
    return True


def loaded(build: Callable[[Path], Path], folder: Path) -> tuple[Classifier, list[dict[str, Any]]]:
    base = load_classifier(build(folder / "model"), LABELS, len(LABELS), seed=3)
    for part in base.model.modules():
        if type(part).__name__ == "Dropout":
            part.p = 0.0
    return base, [{**row, "labels": place % 3} for place, row in enumerate(base.encode(TEXTS))]


def gradients(base: Classifier, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the gradient of each weight that is trained, by its name among the upper layers."""
    base.model.train().zero_grad()
    base.model(**base.collate(rows)).loss.backward()
    return {
        f"{tuple(weight.shape)} {place}": weight.grad.clone()
        for place, weight in enumerate(one for one in base.model.parameters() if one.requires_grad)
    }


@pytest.mark.parametrize(
    "build",
    [bert, bert_with_a_head, other("distilbert"), other("roberta"), other("roberta with a head")],
    ids=["bert", "bert with a head", "distilbert", "roberta", "roberta with a head"],
)  # fmt: skip
def test_the_upper_layers_get_the_gradients_that_they_get_in_the_whole_model(
    build: Callable[[Path], Path], tmp_path: Path
) -> None:
    import torch

    base, rows = loaded(build, tmp_path)
    before = predict_logits(base.model, base.collate, base.encode(TEXTS), 8)
    setting = trainable(base, "last-layers", 3, rows, always)
    found = gradients(setting.base, setting.rows(rows[5:9]))

    assert "read once" in setting.words
    whole = setting.finish()
    assert whole.model is base.model
    assert predict_logits(base.model, base.collate, base.encode(TEXTS), 8) == pytest.approx(before)
    layers = _layers(base.model)
    base.model.requires_grad_(False)
    for part in (layers[-1], *_heads(base.model)):
        part.requires_grad_(True)
    expected = gradients(base, rows[5:9])
    assert list(found) == list(expected)
    assert any(bool(gradient.abs().max() > 0) for gradient in found.values())
    for name, gradient in found.items():
        assert torch.allclose(gradient, expected[name], atol=2e-2, rtol=2e-2), name


def _heads(model: Any) -> list[Any]:
    from wattbus.ml.trainable import _head_names

    return [model.get_submodule(name) for name in _head_names(model)]


@pytest.mark.parametrize(
    "build", [gpt2, other("longformer")], ids=["no embeddings of their own", "pads rows by itself"]
)
def test_a_model_that_cannot_be_parted_is_trained_as_a_whole(
    build: Callable[[Path], Path], tmp_path: Path
) -> None:
    base, rows = loaded(build, tmp_path)

    setting: Trainable = trainable(base, "last-layers", 3, rows, always)

    assert setting.base.model is base.model
    assert (setting.rows(rows), setting.mark) == (rows, "")
    assert "read once" not in setting.words


def test_a_part_that_answers_otherwise_than_the_whole_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, rows = loaded(bert, tmp_path)
    before = predict_logits(base.model, base.collate, base.encode(TEXTS), 8)
    padded = kept_states._padded
    monkeypatch.setattr(
        kept_states, "_padded", lambda rows: {**padded(rows), "inputs_embeds": -padded(rows)["inputs_embeds"]}
    )
    monkeypatch.setattr(kept_states, "SAME_CHANCE", 1e-4)

    assert keep_states(base, _layers(base.model), 1, rows, always) is None
    assert predict_logits(base.model, base.collate, base.encode(TEXTS), 8) == pytest.approx(before)


def test_states_that_would_fill_the_memory_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, rows = loaded(bert, tmp_path)
    monkeypatch.setattr(kept_states, "MOST_BYTES", 1000)

    assert keep_states(base, _layers(base.model), 1, rows, always) is None


def test_a_budget_that_is_spent_while_the_rows_are_read_ends_it_in_words(tmp_path: Path) -> None:
    base, rows = loaded(bert, tmp_path)
    before = predict_logits(base.model, base.collate, base.encode(TEXTS), 8)

    with pytest.raises(TrainingFailed, match="before the frozen layers had read all rows"):
        keep_states(base, _layers(base.model), 1, rows, lambda read, rows: False)
    assert predict_logits(base.model, base.collate, base.encode(TEXTS), 8) == pytest.approx(before)
