"""Texts that share a call of a PyTorch model are answered as each is alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tinymodels
from wattbus.errors import WattbusError
from wattbus.ml import pipelines
from wattbus.ml.length_groups import MOST_TEXTS, MOST_TOKENS, TEXTS_AT_ONCE, length_groups
from wattbus.ml.pipelines import Predictor

LONG = " ".join(tinymodels.SENTENCES * 12)
SENTENCES = tinymodels.SENTENCES
REQUESTS: dict[str, list[dict[str, Any]]] = {
    "text-classification": [
        *({"inputs": text} for text in SENTENCES), {"inputs": list(SENTENCES[:3])}, {"inputs": ""},
        {"inputs": SENTENCES[0], "top_k": 2}, {"inputs": [SENTENCES[1]], "top_k": 2}, {"inputs": LONG},
        {"inputs": SENTENCES[0], "text_pair": "Two cats."}, {"inputs": "x", "top_k": 0}, {"inputs": ["a"] * 1000},
    ],
    "token-classification": [
        *({"inputs": text} for text in SENTENCES), {"inputs": list(SENTENCES[:3])}, {"inputs": ""},
        *({"inputs": text, "aggregation_strategy": "simple"} for text in SENTENCES[:3]),
        {"inputs": LONG, "aggregation_strategy": "simple", "stride": 16}, {"inputs": 5},
    ],
    "fill-mask": [
        {"inputs": "George Washington lived in [MASK]."}, {"inputs": "The food was [MASK], and [MASK]."},
        {"inputs": ["The food was [MASK]."]}, {"inputs": ["The [MASK] was great.", "[MASK]"]}, {"inputs": "no mask"},
        {"inputs": f"{LONG} [MASK]"}, {"inputs": "The food was [MASK].", "targets": "great,clean"},
    ],
    "feature-extraction": [
        *({"inputs": text} for text in SENTENCES[:4]), {"inputs": list(SENTENCES[:3])}, {"inputs": LONG},
        *({"inputs": text, "pooling": "mean", "normalize": True} for text in SENTENCES[:4]), {"inputs": []},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Predictor]:
    root = tmp_path_factory.mktemp("models")

    def load(task: str) -> Predictor:
        found = pipelines.load(tinymodels.build(task, root / task), task, {})
        assert isinstance(found, Predictor)
        return found

    return load


def _near(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return list(one) == list(other) and all(_near(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_near, one, other))
    return abs(one - other) < 1e-5 if isinstance(one, float) else bool(one == other)


def _alone(predictor: Predictor, request: dict[str, Any]) -> Any:
    try:
        return predictor.predict(request)
    except WattbusError as error:
        return error


@pytest.mark.parametrize("task", REQUESTS)
def test_requests_that_come_together_are_answered_as_alone_and_bad_ones_fail_alone(
    task: str, loaded: Callable[[str], Predictor]
) -> None:
    predictor = loaded(task)
    expected = [_alone(predictor, one) for one in REQUESTS[task]]

    answers = predictor.predict_all(REQUESTS[task])

    for answer, alone in zip(answers, expected, strict=True):
        if isinstance(alone, WattbusError):
            assert (type(answer), str(answer)) == (type(alone), str(alone))
            continue
        assert not isinstance(answer, WattbusError), answer
        assert _near(answer.output, alone.output)
        for name in ("notes", "input_tokens", "input_items", "input_bytes", "output_items", "input_kind"):
            assert getattr(answer, name) == getattr(alone, name), name


def test_the_texts_of_several_requests_share_calls_of_the_model(
    loaded: Callable[[str], Predictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = loaded("text-classification")
    rows: list[int] = []
    forward = predictor._pipeline.forward

    def counted(inputs: Any, **parameters: Any) -> Any:
        rows.append(inputs["input_ids"].shape[0])
        return forward(inputs, **parameters)

    monkeypatch.setattr(predictor._pipeline, "forward", counted)
    predictor.predict_all([{"inputs": text} for text in SENTENCES])

    assert sum(rows) == len(SENTENCES) and max(rows) >= TEXTS_AT_ONCE


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([], []),
        ([0], [1]),
        ([512] * 4, [4]),
        ([512] * 6, [4, 2]),
        ([16] * 64, [64]),
        ([16] * 100, [64, 36]),
        ([128] * 20, [8, 8, 4]),
        ([5, 50, 500, 512], [4]),
    ],
)
def test_many_short_texts_go_together_and_few_long_ones(lengths: list[int], sizes: list[int]) -> None:
    assert [len(group) for group in length_groups(lengths)] == sizes


def test_no_group_is_beyond_its_limits_and_no_text_is_left_out() -> None:
    lengths = [(number * 37) % 130 + 2 for number in range(500)]

    groups = list(length_groups(lengths))

    assert sorted(place for group in groups for place in group) == list(range(500))
    for group in groups:
        whole = len(group) * max(lengths[place] for place in group)
        real = sum(lengths[place] for place in group)
        assert len(group) <= TEXTS_AT_ONCE or (
            len(group) <= MOST_TEXTS and whole <= MOST_TOKENS and whole - real <= 0.1 * whole
        )
