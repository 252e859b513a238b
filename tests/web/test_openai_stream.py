"""A chat is sent while it is written, and nothing is written that nobody takes."""

from __future__ import annotations

import asyncio
import doctest
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import openai
import pytest
from doors import OpenDoor, open_door
from iop import Production

from waiting import until
from wattbus.messages import MLRequest, MLResponse, MLToken
from wattbus.operations import MLOperation
from wattbus.operations.serving import find_model
from wattbus.store.queries import list_messages
from wattbus.web import model_calls, openai_stream
from wattbus.web.openai_stream import BeforeStop, ChatStream

TEXT = "Two cats sleep on a pink couch"


class Pen(MLOperation):
    """Writes TEXT, a word a token; holds the second one up for who asks it to, and breaks at a pencil."""

    _go: ClassVar[threading.Event] = threading.Event()
    _written: ClassVar[list[str]] = []

    def on_init(self) -> None:
        pass

    def predict(self, request: MLRequest) -> MLResponse:
        return self._whole()

    def _stream(self, request: Any) -> Iterator[MLToken | MLResponse]:
        return self._words(str(request.inputs_by_name()["inputs"]))

    def _words(self, asked: str) -> Iterator[MLToken | MLResponse]:
        for place, word in enumerate(TEXT.split()):
            if "slowly" in asked and place == 1:
                assert self._go.wait(60)
            if "pencil" in asked and place == 3:
                raise ValueError("a pencil breaks")
            self._written.append(word)
            yield MLToken(text=word if place == 0 else f" {word}")
        yield self._whole()

    def _whole(self) -> MLResponse:
        output = [{"generated_text": TEXT}]
        return MLResponse(
            output=output, model="pen", version="v", task="text-generation", input_tokens=3, output_tokens=7
        )


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[OpenDoor]:
    Pen._go.clear()
    Pen._written.clear()
    production = Production("Test.Pen")
    production.operation("Pen", Pen, settings={"%settings": "name=pen\ntask=text-generation"})
    with open_door(tmp_path, production) as door:
        yield door
        Pen._go.set()


@pytest.fixture
def client(ask: OpenDoor) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{ask.url}/v1", api_key=ask.token or "", max_retries=0) as made:
        yield made


def streamed(client: openai.OpenAI, how: str, **more: Any) -> Any:
    messages = [{"role": "user", "content": f"write {how}"}]
    return client.chat.completions.create(model="pen", messages=messages, stream=True, **more)


def pieces(chunks: Any) -> Iterator[str]:
    """Return the pieces of text as they come."""
    return (one.choices[0].delta.content for one in chunks if one.choices and one.choices[0].delta.content)


def is_left(ask: OpenDoor, session: int) -> bool:
    """Tell whether the item was told to write no further."""
    rows = list_messages(ask.director.current().store.engine, session_id=session)
    return any(row.body_class == "IOP.Generator.Message.Stop" and row.type == "Request" for row in rows)


def test_the_first_piece_comes_before_the_second_token_is_written(client: openai.OpenAI) -> None:
    with streamed(client, "slowly") as chunks:
        coming = pieces(chunks)
        first, written = next(coming), list(Pen._written)
        Pen._go.set()
        rest = list(coming)

    assert (first, written) == ("Two", ["Two"])
    assert first + "".join(rest) == TEXT


def test_a_client_that_goes_away_stops_the_text_with_the_token_in_hand_and_frees_the_worker(
    ask: OpenDoor, client: openai.OpenAI
) -> None:
    with streamed(client, "slowly") as chunks:
        session = int(chunks.response.headers["x-wattbus-message"])
        next(pieces(chunks))
    until(lambda: is_left(ask, session), "the stream is ended")
    Pen._go.set()
    after = "".join(pieces(streamed(client, "again")))

    assert after == TEXT
    assert Pen._written == ["Two", "cats", *TEXT.split()]


def test_what_was_written_before_a_failure_stays_and_the_error_is_told(client: openai.OpenAI) -> None:
    told: list[str] = []
    coming = pieces(streamed(client, "with a pencil"))

    with pytest.raises(openai.APIError, match="a pencil breaks"):
        told.extend(coming)

    assert told == ["Two", " cats", " sleep"]
    assert "".join(pieces(streamed(client, "again"))) == TEXT


def test_the_end_of_a_stream_has_its_reason_and_its_counts(client: openai.OpenAI) -> None:
    whole = list(streamed(client, "all", stream_options={"include_usage": True}))
    long = list(streamed(client, "all", max_tokens=7))
    cut = list(streamed(client, "all", stop=[" on a", "nothing"]))

    assert (whole[-2].choices[0].finish_reason, long[-1].choices[0].finish_reason) == ("stop", "length")
    assert (whole[-1].usage.prompt_tokens, whole[-1].usage.completion_tokens) == (3, 7)
    assert "".join(pieces(cut)) == "Two cats sleep"


def test_the_whole_answer_and_every_token_are_messages_of_one_session(
    ask: OpenDoor, client: openai.OpenAI
) -> None:
    with streamed(client, "all") as chunks:
        session = int(chunks.response.headers["x-wattbus-message"])
        list(chunks)

    rows = list_messages(ask.director.current().store.engine, session_id=session, limit=100)
    answers = [row.body_class.rpartition(".")[2] for row in reversed(rows) if row.type == "Response"]
    assert answers == ["Ack", *["MLToken"] * 7, "MLResponse", "Stop"]


def test_a_client_that_takes_nothing_does_not_hold_a_worker_for_ever(ask: OpenDoor) -> None:
    running = ask.director.current()
    model = find_model(running.production, "pen")
    never = asyncio.Event()

    async def stall(*_message: Any) -> Any:
        await never.wait()

    async def answer() -> int:
        reading = await model_calls.read(running, model, {"inputs": "all"}, "OpenAI")
        stream = ChatStream(
            reading,
            "pen",
            stops=(),
            most_tokens=None,
            include_usage=False,
            headers={},
            stalled_seconds=0.01,
        )
        await stream({"type": "http"}, stall, stall)
        return reading.message_id

    session = asyncio.run(answer())

    until(lambda: is_left(ask, session), "the stream is ended")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [({"n": 2}, "a stream brings one answer, and `n` is 2"), ({"max_tokens": 0}, "max_tokens")],
)
def test_what_cannot_be_streamed_is_refused_before_anything_is_sent(
    client: openai.OpenAI, more: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=sentence):
        streamed(client, "all", **more)


@pytest.mark.parametrize(
    ("stops", "told"),
    [
        ([], ["ab", "ab", "abc", ""]),
        (["abc"], ["", "ab", "ab", ""]),
        (["abd", ""], ["", "ab", "ababc", ""]),
        (["abcx"], ["", "ab", "ab", "abc"]),
    ],
)
def test_what_may_begin_a_word_that_ends_the_text_waits(stops: list[str], told: list[str]) -> None:
    text = BeforeStop(stops)

    assert [*(text.more(piece) for piece in ("ab", "ab", "abc")), text.rest()] == told


def test_the_examples_in_the_docstrings_are_true() -> None:
    failed, tried = doctest.testmod(openai_stream)

    assert (failed, tried) == (0, 2)
