"""Streamed text is what generate would have written, a token at a time, with no half character."""

from __future__ import annotations

import contextlib
import doctest
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tinymodels
from wattbus.errors import BadRequest
from wattbus.ml import streaming
from wattbus.ml.pipelines import Predictor, load
from wattbus.ml.streaming import Settled


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinymodels.build("text-generation", tmp_path_factory.mktemp("models") / "gpt2")


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return load(folder, "text-generation", {})


@contextlib.contextmanager
def dictated(predictor: Predictor, text: str) -> Iterator[None]:
    """Have the model write ``text`` and then its end, whatever it read."""
    tokenizer, model = predictor._pipeline.tokenizer, predictor._pipeline.model
    ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    left = iter(ids)

    def say(_model: Any, _arguments: Any, outputs: Any) -> Any:
        outputs.logits[:, -1] = 0
        outputs.logits[:, -1, next(left)] = 100
        return outputs

    hook = model.register_forward_hook(say)
    try:
        yield
    finally:
        hook.remove()


@contextlib.contextmanager
def read_lengths(predictor: Predictor) -> Iterator[list[int]]:
    """Note how many tokens the model reads each time."""
    lengths: list[int] = []

    def note(_model: Any, _arguments: Any, named: Any) -> None:
        lengths.append(named["input_ids"].shape[1])

    hook = predictor._pipeline.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield lengths
    finally:
        hook.remove()


MEAL = "the meal of my life was"


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": MEAL, "do_sample": False},
        {"inputs": MEAL, "seed": 3, "max_new_tokens": 40},
        {"inputs": MEAL, "seed": 4, "temperature": 2.0, "top_k": 7, "return_full_text": False},
        {"inputs": MEAL, "seed": 5, "top_p": 0.6, "min_new_tokens": 30, "max_new_tokens": 31},
        {"inputs": MEAL, "do_sample": False, "repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
        {"inputs": MEAL, "seed": 6, "max_new_tokens": 200, "stop_sequence": ["e", "ou"]},
        {"inputs": MEAL, "seed": 7, "max_length": 20},
        {"inputs": MEAL, "seed": 8, "prefix": "Two cats sleep. ", "max_length": 30},
        {"inputs": MEAL, "seed": 9, "max_new_tokens": 1000},
        {"inputs": MEAL, "seed": 9, "clean_up_tokenization_spaces": True, "max_new_tokens": 60},
        {"inputs": "", "seed": 12, "max_new_tokens": 5},
        {"inputs": [MEAL], "seed": 10, "max_new_tokens": 5},
        {"inputs": [{"role": "user", "content": MEAL}], "seed": 11, "max_new_tokens": 5},
    ],
)
def test_a_streamed_text_is_the_text_of_a_call_without_a_stream(
    predictor: Predictor, body: dict[str, Any]
) -> None:
    whole = predictor.predict(body)
    stream = predictor.stream(body)
    parts = list(stream)

    assert stream.prediction() == whole
    answer = whole.output[0][0] if body["inputs"] == [MEAL] else whole.output[0]
    assert answer["generated_text"].endswith("".join(parts))
    assert len(parts) == whole.output_tokens
    stream.close()


def test_the_model_reads_the_prompt_once_and_then_only_the_last_token(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "gpt2")
    file = tmp_path / "gpt2" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "use_cache": False}))
    trained = load(tmp_path / "gpt2", "text-generation", {})
    body = {"inputs": MEAL, "max_new_tokens": 4, "min_new_tokens": 4}

    with read_lengths(trained) as whole:
        read = trained.predict(body).input_tokens
    with read_lengths(trained) as streamed:
        list(trained.stream(body))

    assert whole == streamed == [read, 1, 1, 1]


def test_nothing_is_computed_before_a_token_is_asked_for_and_nothing_after_the_stream_is_closed(
    predictor: Predictor,
) -> None:
    with read_lengths(predictor) as lengths:
        stream = predictor.stream({"inputs": MEAL, "max_new_tokens": 50})
        before = len(lengths)
        next(stream)
        stream.close()
        left = list(stream)

    assert (before, len(lengths), left) == (0, 1, [])


def test_no_part_holds_half_a_character(predictor: Predictor) -> None:
    text = "na\u00efve \U0001f600\u6f22\u5b57 \U0001f469\u200d\U0001f680 fin"

    with dictated(predictor, text):
        parts = list(predictor.stream({"inputs": MEAL, "do_sample": False}))

    assert "".join(parts) == text
    assert not any("\ufffd" in part for part in parts)
    assert {"\U0001f600", "\u6f22", "\u5b57"} <= set(parts)


def test_a_text_that_ends_in_half_a_character_ends_as_a_call_without_a_stream_ends(
    predictor: Predictor,
) -> None:
    body = {"inputs": MEAL, "do_sample": False, "max_new_tokens": 3, "return_full_text": False}

    with dictated(predictor, "ok\U0001f600"):
        whole = predictor.predict(body).output[0]["generated_text"]
    with dictated(predictor, "ok\U0001f600"):
        parts = list(predictor.stream(body))

    assert "".join(parts) == whole
    assert whole.endswith("\ufffd")


@pytest.mark.parametrize(
    ("cleans", "texts", "told"),
    [
        (False, ["\U0001f600", "\ufffd" * 6, "\U0001f600\u20ac"], ["\U0001f600", "", "\u20ac"]),
        (True, ["do", "do n", "do n't", "don't go"], ["", "do", "", "don't go"[2:]]),
    ],
    ids=["bytes made whole together", "a space that is cleaned up"],
)
def test_what_a_later_token_may_change_waits_for_it(cleans: bool, texts: list[str], told: list[str]) -> None:
    settled = Settled(cleans)

    parts = [settled.more(text, ended=text is texts[-1]) for text in texts]

    assert parts == told
    assert "".join(parts) == texts[-1]


def test_the_example_in_the_docstring_is_true() -> None:
    failed, tried = doctest.testmod(streaming)

    assert (failed, tried) == (0, 2)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"inputs": [MEAL, MEAL]}, "a stream goes on with one text, and this has 2"),
        ({"inputs": MEAL, "num_return_sequences": 2}, "'num_return_sequences' is 2: set it to 1"),
        ({"inputs": MEAL, "num_beams": 3}, "'num_beams' is 3: set it to 1"),
        ({"inputs": MEAL, "max_new_tokens": 0}, "from 1 to 4096, not 0"),
        ({"inputs": "meal " * 500}, "the model reads 256 in all: shorten it"),
        ({"inputs": MEAL, "max_length": 2}, "counts the prompt too"),
        ({"inputs": [{"role": "system", "content": MEAL}]}, "no chat template"),
    ],
)
def test_what_cannot_be_streamed_is_refused_before_the_first_token(
    predictor: Predictor, body: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadRequest, match=sentence):
        predictor.stream(body)


def test_a_model_whose_own_settings_ask_for_beams_says_how_to_stream_it(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "gpt2")
    (tmp_path / "gpt2" / "generation_config.json").write_text('{"num_beams": 2, "do_sample": false}')
    beams = load(tmp_path / "gpt2", "text-generation", {})

    with pytest.raises(BadRequest, match="set 'num_beams' to 1"):
        beams.stream({"inputs": MEAL, "do_sample": False})
    parts = list(beams.stream({"inputs": MEAL, "num_beams": 1, "do_sample": False, "max_new_tokens": 3}))

    assert len(parts) == 3


def test_a_task_that_gives_its_answer_whole_says_so(tmp_path: Path) -> None:
    predictor = load(tinymodels.build("text-classification", tmp_path / "grader"), "text-classification", {})

    with pytest.raises(BadRequest, match="text-classification gives its answer whole"):
        predictor.stream({"inputs": MEAL})
