"""The real openai client with wattbus as its base address."""

from __future__ import annotations

import asyncio
import doctest
import threading
from collections.abc import Iterator
from typing import Any

import numpy
import openai
import pytest
from doors import OpenDoor
from served_models import serving

from waiting import until
from wattbus.ml.streaming import Decoding
from wattbus.operations.serving import find_model
from wattbus.store.queries import list_messages
from wattbus.web import model_calls, openai_stream
from wattbus.web.openai_stream import ChatStream


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    with serving(tmp_path_factory.mktemp("models")) as client:
        yield client


@pytest.fixture
def client(ask: OpenDoor) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{ask.url}/v1", api_key=ask.token or "", max_retries=0) as made:
        yield made


USER = [{"role": "user", "content": "George Washington lived"}]


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert {"gpt2", "encoder"} <= {one.id for one in client.models.list()}
    assert client.models.retrieve("gpt2").owned_by == "Python.gpt2"


def test_embeddings_are_vectors_of_length_one_and_count_their_tokens(client: openai.OpenAI) -> None:
    texts = ["Two cats sleep.", "the staff was very kind"]
    packed = client.embeddings.create(model="encoder", input=texts)
    plain = client.embeddings.create(model="encoder", input=texts, encoding_format="float")
    alone = client.embeddings.create(model="encoder", input=texts[1])

    vectors = [one.embedding for one in packed.data]
    assert numpy.allclose(vectors, [one.embedding for one in plain.data], atol=1e-6)
    assert numpy.allclose(numpy.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert numpy.allclose(vectors[1], alone.data[0].embedding, atol=1e-5)
    assert packed.usage.prompt_tokens > alone.usage.prompt_tokens > 0


@pytest.mark.parametrize("model", ["gpt2", "chatter", "Python.gpt2"])
def test_a_chat_is_answered_with_a_true_count_of_tokens(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=USER, max_tokens=5, temperature=0)

    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert 0 < answer.usage.completion_tokens <= 5
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.choices[0].finish_reason in ("length", "stop")


@pytest.mark.parametrize("more", [{"max_tokens": 12}, {"stop": ["e", "ing"]}], ids=["length", "stop words"])
def test_a_stream_brings_the_same_text_in_pieces(client: openai.OpenAI, more: dict[str, Any]) -> None:
    asked = {"model": "gpt2", "messages": USER, "temperature": 0, **more}
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )

    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    reasons = [one.choices[0].finish_reason for one in chunks if one.choices]
    assert (set(reasons[:-1]), reasons[-1]) == ({None}, whole.choices[0].finish_reason)
    assert len({one.id for one in chunks}) == 1


class Steps:
    """Counts the tokens that are made, and holds one up, or lets it fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, held: int = 0, fails: int = 0) -> None:
        self.made, self.go = 0, threading.Event()
        plain = Decoding.step

        def step(decoding: Decoding) -> int:
            self.made += 1
            if self.made == held:
                assert self.go.wait(60)
            if self.made == fails:
                raise RuntimeError("the disk of the weights is gone")
            return plain(decoding)

        monkeypatch.setattr(Decoding, "step", step)


def is_left(ask: OpenDoor, session: int) -> bool:
    """Tell whether the model was told to write no further."""
    rows = list_messages(ask.director.current().store.engine, session_id=session)
    return any(row.body_class == "IOP.Generator.Message.Stop" and row.type == "Request" for row in rows)


def written(chunks: Any) -> Iterator[str]:
    """Return the pieces of text as they come."""
    return (one.choices[0].delta.content for one in chunks if one.choices and one.choices[0].delta.content)


def test_the_first_piece_comes_while_the_next_token_is_not_made_yet(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch, held=2)

    with client.chat.completions.create(
        model="chatter", messages=USER, max_tokens=5, seed=1, stream=True
    ) as chunks:
        pieces = written(chunks)
        first, made = next(pieces), steps.made
        steps.go.set()
        rest = list(pieces)

    assert (bool(first), made) == (True, 2)
    assert rest
    assert steps.made == 5


def test_a_client_that_goes_away_stops_the_model_with_the_token_in_hand(
    ask: OpenDoor, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch, held=2)
    asked = {"model": "gpt2", "messages": USER, "seed": 1}

    with client.chat.completions.create(**asked, max_tokens=200, stream=True) as chunks:
        session = int(chunks.response.headers["x-wattbus-message"])
        next(written(chunks))
    until(lambda: is_left(ask, session), "the stream is ended")
    steps.go.set()
    client.chat.completions.create(**asked, max_tokens=2)  # the worker is free

    assert steps.made == 2


def test_what_was_written_before_a_failure_stays_and_the_error_is_told(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"model": "gpt2", "messages": USER, "seed": 1}
    whole = client.chat.completions.create(**asked, max_tokens=9).choices[0].message.content
    Steps(monkeypatch, fails=8)
    told: list[str] = []
    pieces = written(client.chat.completions.create(**asked, max_tokens=9, stream=True))

    with pytest.raises(openai.APIError, match="the disk of the weights is gone"):
        told.extend(pieces)

    assert told
    assert whole.startswith("".join(told))
    assert client.chat.completions.create(**asked, max_tokens=9).choices[0].message.content == whole


def test_a_client_that_takes_nothing_does_not_hold_a_model_for_ever(ask: OpenDoor) -> None:
    running = ask.director.current()
    model = find_model(running.production, "gpt2")
    never = asyncio.Event()

    async def stall(*_message: Any) -> Any:
        await never.wait()

    async def answer() -> int:
        reading = await model_calls.read(running, model, {"inputs": "the meal"}, "OpenAI")
        stream = ChatStream(
            reading, "gpt2", stops=(), most_tokens=None, include_usage=False, headers={}, stalled_seconds=0.01
        )
        await stream({"type": "http"}, stall, stall)
        return reading.message_id

    session = asyncio.run(answer())

    until(lambda: is_left(ask, session), "the stream is ended")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"n": 2}, "a stream brings one answer"),
        ({"messages": [{"role": "user", "content": "meal " * 500}]}, "shorten it"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_what_cannot_be_streamed_is_refused_before_anything_is_sent(
    client: openai.OpenAI, more: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(openai.APIStatusError, match=sentence):
        client.chat.completions.create(**{"model": "gpt2", "messages": USER, "stream": True, **more})


def test_the_examples_in_the_docstrings_are_true() -> None:
    failed, tried = doctest.testmod(openai_stream)

    assert (failed, tried) == (0, 2)


def test_several_answers_and_words_that_end_them(client: openai.OpenAI) -> None:
    several = client.chat.completions.create(model="gpt2", messages=USER, max_tokens=5, n=2, seed=1)
    ended = client.chat.completions.create(
        model="gpt2", messages=USER, max_tokens=20, stop=["e"], temperature=0
    )

    assert [choice.index for choice in several.choices] == [0, 1]
    assert "e" not in (ended.choices[0].message.content or "")


def test_an_unknown_model_is_told_with_the_names_there_are(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gtp2", messages=USER)

    assert "did you mean 'gpt2'?" in caught.value.message
    assert caught.value.code == "model_not_found"


def test_what_is_not_offered_is_refused_and_a_wrong_token_is_told(
    ask: OpenDoor, client: openai.OpenAI
) -> None:
    stranger = openai.OpenAI(base_url=f"{ask.url}/v1", api_key="wrong", max_retries=0)

    with pytest.raises(openai.BadRequestError, match="'tools' is not offered"):
        client.chat.completions.create(
            model="gpt2", messages=USER, tools=[{"type": "function", "function": {"name": "f"}}]
        )
    with pytest.raises(openai.NotFoundError, match="did you mean 'temperature'"):
        client.chat.completions.create(model="gpt2", messages=USER, extra_body={"temprature": 1})
    with pytest.raises(openai.BadRequestError, match="serves text-generation"):
        client.embeddings.create(model="gpt2", input="x")
    with pytest.raises(openai.BadRequestError, match="leave `dimensions` out"):
        client.embeddings.create(model="encoder", input="x", dimensions=3)
    with stranger, pytest.raises(openai.AuthenticationError, match="wants a token"):
        stranger.models.list()
