"""The seed's text, followed from its first request to its last, with its bodies as they stand there."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fakehub
import tinymodels
from seed_production import REPOSITORIES, seed_production
from wattbus import testing
from wattbus.errors import BadRequest, RequestFailed
from wattbus.home import Home
from wattbus.ml.models import ModelStore
from wattbus.ml.tables import TrainingTables

KEY = "hf_CanaryCanaryCanaryCanary42"
HF = """{
    "api_url":"https://api-inference.huggingface.co/models/gpt2",
    "payload":"Can you please let us know more details about your ",
    "api_key":"----------------------"
}"""
OWN = """{
    "text_inputs":"Unfortunately, the outcome",
    "max_length":100,
    "num_return_sequences":3
}"""
GPT2 = """{
    "text_inputs":"George Washington lived",
    "max_length":30,
    "num_return_sequences":3
}"""
CAMEMBERT = """{
    "inputs":"George Washington lived in washington"
}"""
BERT = """{
    "inputs":"George Washington lived in [MASK]."
}"""
DETR = """{
    "url":"http://images.cocodataset.org/val2017/000000039769.jpg"
}"""
PANOPTIC = """{
    "url":"/irisdev/app/misc/000000039769.jpg"
}"""
TRAIN = """{
    "columns":"ReviewLabel,ReviewText",
    "table":"iris.Review",
    "limit":20,
    "p_of_train":0.8,

    "output_dir":"/irisdev/app/src/model/checkpoints",
    "evaluation_strategy":"steps",
    "learning_rate":0.01,
    "num_train_epochs":1
}"""
OVERRIDE = "{}"
TUNED = """{
    "inputs":"This was a really bad experience"
}"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fakehub.FakeHub]:
    with fakehub.FakeHub() as hub:
        for repository, task in REPOSITORIES.items():
            hub.add(repository, tinymodels.build(task, tmp_path_factory.mktemp("model")))
        hub.serve_inference("gpt2", _generated)
        yield hub


@pytest.fixture(scope="module")
def bus(hub: fakehub.FakeHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[testing.PythonDoor]:
    home = Home(tmp_path_factory.mktemp("seed")).create()
    tinymodels.build("text-generation", home.models / "yourmodelname")
    (home.uploads / "000000039769.jpg").write_bytes(_picture())
    reviews = home.root / "reviews.csv"
    grades = "".join(
        f"{number % 5 + 1},text number {number} of grade {number % 5 + 1}\n" for number in range(40)
    )
    reviews.write_text("ReviewLabel,ReviewText\n" + grades)
    TrainingTables(f"sqlite:///{home.tables_file}").load_csv("iris.Review", reviews)
    door = testing.production(
        seed_production(f"{hub.endpoint}/hf-inference/models/", hub.address),
        home.root,
        allow_hosts=frozenset({hub.address}),
        hub_url=hub.endpoint,
    )
    with door as bus:
        assert bus.wait_ready(120)
        assert [item.error for item in bus.items() if item.error] == []
        yield bus


def ask(bus: testing.PythonDoor, item: str, type_name: str, body: str) -> Any:
    return bus.request(item, bus.message(type_name, body), timeout_seconds=120)


def test_4_the_hugging_face_api_is_called_at_its_present_address(
    bus: testing.PythonDoor, hub: fakehub.FakeHub
) -> None:
    answer = ask(bus, "Python.HFOperation", "msg.HFRequest", HF)

    assert answer.output == [{"generated_text": "Can you please let us know more details about your order"}]
    assert answer.api_url == f"{hub.endpoint}/hf-inference/models/gpt2"
    assert any("api-inference.huggingface.co answers no more" in note for note in answer.notes)
    sent = [request for request in hub.requests if request.method == "POST"][-1]
    assert json.loads(sent.body) == {"inputs": "Can you please let us know more details about your "}


def test_5_1_a_model_of_the_users_own_is_taken_from_its_folder(bus: testing.PythonDoor) -> None:
    answer = ask(bus, "Python.Own", "msg.MLRequest", OWN)

    assert len(answer.output) == 3
    assert all(row["generated_text"].startswith("Unfortunately, the outcome") for row in answer.output)


def test_5_2_gpt2_generates_three_texts(bus: testing.PythonDoor) -> None:
    answer = ask(bus, "Python.GPT2", "msg.MLRequest", GPT2)

    assert len(answer.output) == 3
    assert (answer.model, answer.task) == ("gpt2", "text-generation")


def test_5_2_camembert_finds_entities(bus: testing.PythonDoor) -> None:
    answer = ask(bus, "Python.Camembert", "msg.MLRequest", CAMEMBERT)

    assert answer.task == "token-classification"
    assert all({"entity_group", "score", "word"} <= row.keys() for row in answer.output)


def test_5_2_bert_fills_the_mask(bus: testing.PythonDoor) -> None:
    answer = ask(bus, "Python.Bert", "msg.MLRequest", BERT)

    assert len(answer.output) == 5
    assert all("token_str" in row for row in answer.output)


def test_5_2_detr_fetches_the_picture_and_draws_what_it_finds(hub: fakehub.FakeHub, tmp_path: Path) -> None:
    """The address is the seed's, so the picture's server needs port 80 of this machine."""
    try:
        server = _picture_server()
    except PermissionError:
        pytest.skip("port 80 is not ours to listen on: the seed's address of the picture names it")
    prod = seed_production(f"{hub.endpoint}/hf-inference/models/", hub.address)
    for ref in list(prod._items):
        if ref.name != "Python.Detr":
            ref.disable()
    door = testing.production(
        prod,
        tmp_path / "home",
        allow_hosts=frozenset({"images.cocodataset.org:80"}),
        hub_url=hub.endpoint,
        resolver=lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80))],
    )

    with server, door as bus:
        answer = ask(bus, "Python.Detr", "msg.MLRequest", DETR)
        picture = bus.production.home.pictures / answer.pictures[0]

        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_mode & 0o077 == 0


def test_5_2_panoptic_takes_the_picture_from_the_upload_folder(bus: testing.PythonDoor) -> None:
    answer = ask(bus, "Python.Panoptic", "msg.MLRequest", PANOPTIC)

    assert any("000000039769.jpg" in note for note in answer.notes)
    json.dumps(answer.output)


def test_5_2_what_was_downloaded_once_is_not_downloaded_again(
    bus: testing.PythonDoor, hub: fakehub.FakeHub
) -> None:
    before = hub.bytes_served

    got = ModelStore(bus.production.home.models).ensure("gpt2", model_url="https://huggingface.co/gpt2")

    assert (got.already_cached, got.bytes_fetched, hub.bytes_served) == (True, 0, before)


def test_6_train_compare_override_and_use(bus: testing.PythonDoor) -> None:
    with pytest.raises(RequestFailed, match="stag"):
        ask(bus, "Python.TuningOperation", "msg.OverrideRequest", OVERRIDE)
    untuned = ask(bus, "Python.MLOperation", "msg.MLRequest", TUNED)

    trained = ask(bus, "Python.TuningOperation", "msg.TrainRequest", TRAIN)
    still = ask(bus, "Python.MLOperation", "msg.MLRequest", TUNED)
    override = ask(bus, "Python.TuningOperation", "msg.OverrideRequest", OVERRIDE)
    tuned = ask(bus, "Python.MLOperation", "msg.MLRequest", TUNED)

    assert set(trained.old_metrics) == {"accuracy", "precision", "recall", "f1"} == set(trained.new_metrics)
    assert trained.labels == ["1", "2", "3", "4", "5"]
    assert (trained.train_rows, trained.test_rows) in ((16, 4), (15, 5))
    assert any("output_dir" in note for note in trained.notes)
    assert untuned.version == still.version == trained.old_version == override.replaced
    assert tuned.version == trained.new_version == override.version
    assert tuned.output[0]["label"] in trained.labels
    trace = bus.trace()
    assert trace.steps[0].target == "Python.MLOperation"


def test_an_envelope_is_no_message_type(bus: testing.PythonDoor) -> None:
    with pytest.raises(BadRequest, match=r"msg\.MLRequest"):
        bus.message("Grongier.PEX.Message", "{}")


def test_the_api_key_is_in_no_byte_of_the_home(hub: fakehub.FakeHub, tmp_path: Path) -> None:
    prod = seed_production(f"{hub.endpoint}/hf-inference/models/", hub.address)
    for ref in list(prod._items):
        if ref.name != "Python.HFOperation":
            ref.disable()
    body = json.loads(HF) | {"api_key": KEY, "payload": f"echo {KEY}"}
    hub.serve_inference("gpt2", lambda request: (401, {}, b'{"error": "bad key ' + KEY.encode() + b'"}'))

    door = testing.production(
        prod, tmp_path / "home", allow_hosts=frozenset({hub.address}), hub_url=hub.endpoint
    )
    try:
        with door as bus:
            with pytest.raises(RequestFailed, match="401") as told:
                ask(bus, "Python.HFOperation", "msg.HFRequest", json.dumps(body))
            drawn = bus.trace()
            shown = json.dumps(drawn.to_dict()) + drawn.to_text() + drawn._repr_html_()
    finally:
        hub.serve_inference("gpt2", _generated)

    sent = [request for request in hub.requests if request.method == "POST"][-1]
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(told.value) + shown
    holding = [
        path
        for path in (tmp_path / "home").rglob("*")
        if path.is_file() and KEY.encode() in path.read_bytes()
    ]
    assert holding == []


def _generated(request: fakehub.HubRequest) -> tuple[int, dict[str, str], bytes]:
    text = json.loads(request.body)["inputs"] + "order"
    return 200, {"Content-Type": "application/json"}, json.dumps([{"generated_text": text}]).encode()


def _picture() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.effect_noise((96, 64), 90).convert("RGB").save(file, "JPEG")
    return file.getvalue()


class _picture_server:
    def __init__(self) -> None:
        import http.server
        import threading

        picture = _picture()

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/val2017/000000039769.jpg" else 404)
                self.send_header("Content-Length", str(len(picture)))
                self.end_headers()
                self.wfile.write(picture)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 80), Answer)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
