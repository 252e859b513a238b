"""A text is streamed token by token: made when it is asked for, counted and metered, one stream a worker."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from iop import BusinessProcess, Production, target

import tinymodels
from components import Text
from wattbus import testing
from wattbus.errors import RequestFailed, RequestTimeout
from wattbus.export.boamps_groups import merge_facts
from wattbus.home import Home
from wattbus.messages import MLRequest, MLResponse, MLToken
from wattbus.ml.streaming import Decoding
from wattbus.operations import MLOperation
from wattbus.store.queries import energy_records, list_messages
from wattbus.store.rows import Header
from wattbus.store.tables import Status
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


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


class Steps:
    """Notes the processor time of each token that is made, and lets it fail where it is to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        self.fails = False
        plain = Decoding.step

        def step(decoding: Decoding) -> int:
            began = time.thread_time()
            if self.fails:
                raise ValueError("the weights are no numbers any more")
            token = plain(decoding)
            self.seconds.append(time.thread_time() - began)
            return token

        monkeypatch.setattr(Decoding, "step", step)


def text_of(tokens: list[MLToken]) -> str:
    return "".join(token.text for token in tokens)


def rows_of(bus: ProductionUnderTest, session: int) -> list[Header]:
    return list_messages(bus.production.store.engine, session_id=session, limit=1000)


def prompt_tokens(folder: Path) -> int:
    """Return how many tokens the prompt has."""
    from transformers import AutoTokenizer

    return len(AutoTokenizer.from_pretrained(folder)(ASKED["inputs"])["input_ids"])


def test_a_stream_brings_each_token_and_then_the_answer_of_a_request_without_a_stream(
    folder: Path, tmp_path: Path
) -> None:
    with writing(folder, tmp_path) as bus:
        whole = bus.request("Writer", MLRequest(**ASKED))
        *tokens, last = bus.stream("Writer", MLRequest(**ASKED))

    assert last == whole
    assert [type(token) for token in tokens] == [MLToken] * 12
    assert "the meal was" + text_of(tokens) == whole.output[0]["generated_text"]


def test_the_processor_time_of_every_token_is_in_the_record_of_its_attempt(
    folder: Path, tmp_path: Path, steps: Steps
) -> None:
    with writing(folder, tmp_path) as bus:
        stream = bus.stream("Writer", MLRequest(**ASKED))
        list(stream)
        bus.settle()
        asked = [row.id for row in reversed(rows_of(bus, stream.message_id)) if row.type == "Request"]
        records = {record.message_id: record for record in energy_records(bus.production.store.engine)}

    opened, *polls = [records[one] for one in asked]
    metered = [record.cpu_seconds or 0.0 for record in polls[:12]]
    assert all(spent >= made for spent, made in zip(metered, steps.seconds, strict=True))
    assert {(one.model, one.facts.stage) for one in (opened, *polls[:-1]) if one.facts} == {
        ("gpt2", "inference")
    }
    facts = merge_facts([one.facts for one in (opened, *polls) if one.facts])
    assert (facts.requests, [data.items for data in facts.data]) == (1, [prompt_tokens(folder), 12])


def test_streams_of_a_pool_interleave_and_one_too_many_waits(folder: Path, tmp_path: Path) -> None:
    with writing(folder, tmp_path, pool_size=2) as bus:
        wholes = [bus.request("Writer", MLRequest(**ASKED | {"seed": seed})) for seed in (1, 2)]
        streams = [bus.stream("Writer", MLRequest(**ASKED | {"seed": seed})) for seed in (1, 2)]
        with pytest.raises(RequestTimeout, match=r"has not begun the stream within 0\.1 s"):
            bus.stream("Writer", MLRequest(**ASKED), timeout_seconds=0.1)
        rounds = list(zip(*streams, strict=True))
        third = list(bus.stream("Writer", MLRequest(**ASKED | {"seed": 1})))

    assert list(rounds[-1]) == wholes
    assert third[-1] == wholes[0]


def test_a_stream_that_fails_fails_alone_and_what_it_wrote_stays(
    folder: Path, tmp_path: Path, steps: Steps
) -> None:
    with writing(folder, tmp_path, pool_size=2) as bus:
        short, long = MLRequest(**ASKED), MLRequest(**ASKED | {"inputs": "the meal was cold and expensive"})
        whole = bus.request("Writer", long)
        one, other = bus.stream("Writer", short), bus.stream("Writer", long)
        told = [next(one), next(one)]
        steps.fails = True
        with pytest.raises(RequestFailed, match="the weights are no numbers any more"):
            next(one)
        steps.fails = False
        *_, last = other
        again = list(bus.stream("Writer", short))
        rows = rows_of(bus, one.message_id)

    assert last == whole
    assert again[:2] == told
    assert [row.body_class for row in reversed(rows)][2::2][:2] == ["IOP.Generator.Message.Poll"] * 2
    kept = [row for row in rows if row.body_class.endswith("MLToken")]
    failed = [row for row in rows if row.status == Status.ERROR]
    assert (len(kept), len(failed)) == (2, 1)
    assert "no numbers any more" in str(failed[0].error_status)


@pytest.mark.parametrize("leave", ["with", "dropped", "unread"])
def test_who_leaves_early_stops_the_model_and_frees_its_worker(
    folder: Path, tmp_path: Path, steps: Steps, leave: str
) -> None:
    with writing(folder, tmp_path) as bus:
        stream = bus.stream("Writer", MLRequest(**ASKED))
        if leave == "with":
            with stream:
                next(stream)
        elif leave == "dropped":
            next(stream)
        del stream
        answer = bus.request("Writer", MLRequest(**ASKED))

    assert isinstance(answer, MLResponse)
    assert len(steps.seconds) == (0 if leave == "unread" else 1)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"inputs": "meal " * 500}, "the model reads 256 in all: shorten it"),
        ({"inputs": "the meal", "num_beams": 2}, "'num_beams' is 2"),
        ({"inputs": "the meal", "max_new_tokens": 0}, "from 1 to 4096, not 0"),
        ({"inputs": "the meal", "tempratur": 1}, "did you mean 'temperature'"),
    ],
)
def test_what_cannot_be_streamed_is_refused_before_the_stream_opens(
    folder: Path, tmp_path: Path, body: dict[str, Any], sentence: str
) -> None:
    with writing(folder, tmp_path) as bus:
        with pytest.raises(RequestFailed, match=sentence):
            bus.stream("Writer", MLRequest(**body))
        left = list(bus.stream("Writer", MLRequest(**ASKED)))

    assert len(left) == 13


class Reads(BusinessProcess):
    Writer = target()

    def on_message(self, request: Text) -> Text:
        tokens = self.send_generator_request(self.Writer, MLRequest(**ASKED | {"inputs": request.text}))
        return Text("".join(one.text for one in tokens if isinstance(one, MLToken)))


def test_a_process_reads_the_tokens_with_a_generator_request(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, Home(tmp_path).create().models / "gpt2")
    production = Production("Test.Reading")
    writer = production.operation(
        "Writer", MLOperation, settings={"%settings": "name=gpt2\ntask=text-generation"}
    )
    production.connect(production.process("Reads", Reads).Writer, writer)

    with testing.production(production, tmp_path) as bus:
        whole = bus.request("Writer", MLRequest(**ASKED, return_full_text=False))
        read = bus.request("Reads", Text(ASKED["inputs"]))

    assert read.text == whole.output[0]["generated_text"]
