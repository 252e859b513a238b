"""The real InferenceClient of huggingface_hub, with a model of wattbus as its address."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy
import pytest
from doors import OpenDoor
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image
from served_models import serving

from wattbus.store.queries import list_messages, message_body


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    with serving(tmp_path_factory.mktemp("models")) as client:
        yield client


def client(ask: OpenDoor, name: str, token: str = "") -> InferenceClient:
    return InferenceClient(model=f"{ask.url}/models/{name}", token=token or ask.token)


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "orange").save(file, "PNG")
    return file.getvalue()


def test_text_classification(ask: OpenDoor) -> None:
    every = client(ask, "grader").text_classification("This was a really bad experience")
    best = client(ask, "Python.grader").text_classification("This was a really bad experience", top_k=1)

    assert len(every) > 1
    assert sum(one.score for one in every) == pytest.approx(1, abs=0.01)
    assert best == every[:1]


def test_token_classification(ask: OpenDoor) -> None:
    found = client(ask, "camembert-ner").token_classification("George Washington lived in washington")

    assert found and all(one.entity_group and one.word and one.end > one.start for one in found)


def test_fill_mask(ask: OpenDoor) -> None:
    found = client(ask, "bert").fill_mask("George Washington lived in [MASK].", top_k=2)

    assert len(found) == 2 and "George".lower() in found[0].sequence.lower()


def test_feature_extraction(ask: OpenDoor) -> None:
    one = client(ask, "encoder").feature_extraction("Two cats sleep.")
    raw = client(ask, "encoder").feature_extraction("Two cats sleep.", normalize=False)

    assert one.shape[0] == 1 and one.ndim == 2
    assert numpy.linalg.norm(one) == pytest.approx(1, abs=1e-4)
    assert numpy.linalg.norm(raw) != pytest.approx(1, abs=1e-3)


def test_text_generation(ask: OpenDoor) -> None:
    text = client(ask, "gpt2").text_generation("George Washington lived", max_new_tokens=5, seed=1)
    whole = client(ask, "gpt2").text_generation(
        "George Washington lived", max_new_tokens=5, seed=1, return_full_text=True
    )

    assert not text.startswith("George") and whole == "George Washington lived" + text


def test_chat_completion_by_the_same_address(ask: OpenDoor) -> None:
    answer = client(ask, "chatter").chat_completion([{"role": "user", "content": "Two cats"}], max_tokens=4)

    assert isinstance(answer.choices[0].message.content, str)
    assert answer.usage.completion_tokens <= 4


def test_pictures_are_sent_as_bytes_and_removed_when_they_are_done(ask: OpenDoor) -> None:
    labels = client(ask, "vit").image_classification(picture())
    three = client(ask, "vit").image_classification(picture(), top_k=2)
    found = client(ask, "detr").object_detection(picture(), threshold=0.0)

    assert labels and len(three) == 2
    assert found and found[0].box.xmax >= found[0].box.xmin
    assert list(ask.director.home.uploads.iterdir()) == []


def test_every_call_is_a_message_on_the_bus(ask: OpenDoor) -> None:
    client(ask, "grader").text_classification("traced")
    running = ask.director.current()
    rows = [row for row in list_messages(running.store.engine, limit=4) if row.type == "Request"]

    assert rows[0].source_item == "Door.Models" and rows[0].target_item == "Python.grader"
    body = message_body(running.store.engine, running.home.bodies, rows[0].body_id)
    assert json.loads(body or "") == {"inputs": "traced", "top_k": None}


@pytest.mark.parametrize(
    ("name", "token", "sentence"),
    [
        ("gradr", "", "unknown model 'gradr': did you mean 'grader'?"),
        ("grader", "wrong", "this door wants a token"),
        ("bert", "", "the text has no [MASK]"),
    ],
)
def test_an_error_is_a_sentence_in_the_client_s_own_error(
    ask: OpenDoor, name: str, token: str, sentence: str
) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        client(ask, name, token).fill_mask("no mask here")

    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("name", "body", "kind", "sentence"),
    [
        ("vit", b"no picture", "image/png", "is not an image: it must be a JPEG, PNG or WebP file"),
        ("vit", b"", "image/png", "the request has no picture"),
        ("vit", b'{"inputs": "%%%"}', "application/json", "`inputs` is no picture"),
        ("grader", b"[]", "application/json", "send a JSON object"),
        (
            "grader",
            b'{"inputs": "a", "parameters": {"topk": 1}}',
            "application/json",
            "did you mean 'top_k'?",
        ),
        ("gpt2", b'{"inputs": "a", "stream": true}', "application/json", "/v1/chat/completions"),
        (
            "gpt2",
            b'{"inputs": "a", "parameters": {"details": true}}',
            "application/json",
            "'details' is not offered",
        ),
    ],
)
def test_what_a_model_cannot_take_is_told(
    ask: OpenDoor, name: str, body: bytes, kind: str, sentence: str
) -> None:
    answer = ask("POST", f"/models/{name}", body, content_type=kind)

    assert answer.status in (400, 502)
    assert sentence in answer.said["error"] == answer.said["detail"]
    assert list(ask.director.home.uploads.iterdir()) == []
