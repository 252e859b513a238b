"""The real openai client with wattbus as its base address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy
import openai
import pytest
from doors import OpenDoor
from served_models import serving


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


@pytest.mark.parametrize(
    "more",
    [{"max_tokens": 12}, {"stop": ["e", "ing"]}, {"model": "chatter", "max_tokens": 5}],
    ids=["length", "stop words", "chat template"],
)
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
