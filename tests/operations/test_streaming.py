"""A text is streamed token by token: made when it is asked for, counted and metered, one stream a worker."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from iop import Production

import tinymodels
from wattbus import testing
from wattbus.errors import RequestFailed
from wattbus.home import Home
from wattbus.messages import MLRequest, MLResponse, MLToken
from wattbus.operations import MLOperation
from wattbus.store.queries import list_messages
from wattbus.testing import ProductionUnderTest

ASKED = {"inputs": "the meal was", "max_new_tokens": 12, "do_sample": True, "seed": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinymodels.build("text-generation", tmp_path_factory.mktemp("models") / "gpt2")


@contextlib.contextmanager
def writing(folder: Path, tmp_path: Path, pool_size: int = 1) -> Iterator[ProductionUnderTest]:
    shutil.copytree(folder, Home(tmp_path).create().models / "gpt2")
    production = Production("Test.Writing")
    production.operation(
        "Writer",
        MLOperation,
        pool_size=pool_size,
        settings={"%settings": "name=gpt2\ntask=text-generation"},
    )
    with testing.production(production, tmp_path) as bus:
        yield bus


def test_a_stream_brings_each_token_and_then_the_answer_of_a_request_without_a_stream(
    folder: Path, tmp_path: Path
) -> None:
    with writing(folder, tmp_path) as bus:
        whole = bus.request("Writer", MLRequest(**ASKED))
        *tokens, last = bus.stream("Writer", MLRequest(**ASKED))

    assert last == whole
    assert [type(token) for token in tokens] == [MLToken] * 12
    assert "the meal was" + "".join(token.text for token in tokens) == whole.output[0]["generated_text"]
