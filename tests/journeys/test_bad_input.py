"""Bad input gets a sentence with what, why and the cure; nothing is lost or half done."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from iop import Production
from sqlalchemy import create_engine, text

import fakehub
import tinymodels
from wattbus import testing
from wattbus.energy.feed import PowerFacts, PowerReading, PowerSource
from wattbus.energy.record import Tier
from wattbus.errors import BadRequest, RequestFailed, WattbusError
from wattbus.home import Home
from wattbus.ml.models import ModelStore
from wattbus.operations import HFOperation, MLOperation, TuningOperation
from wattbus.store.queries import energy_records, list_events

TRAIN = {"columns": "label,text", "table": "Review", "p_of_train": 0.8, "num_train_epochs": 1}


def production() -> Production:
    prod = Production("Test.BadInput")
    prod.operation("HF", HFOperation)
    prod.operation("Text", MLOperation, settings={"%settings": "name=tiny\ntask=text-classification"})
    prod.operation("Image", MLOperation, settings={"%settings": "name=eyes\ntask=image-classification"})
    prod.operation("Tuning", TuningOperation, settings={"model_name": "tiny"})
    return prod


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[testing.PythonDoor]:
    home = Home(tmp_path_factory.mktemp("bad")).create()
    tinymodels.build("text-classification", home.models / "tiny")
    tinymodels.build("image-classification", home.models / "eyes")
    engine = create_engine(f"sqlite:///{home.tables_file}")
    with engine.begin() as connection:
        for name in ("Review", "Empty", "OneClass"):
            connection.execute(text(f"CREATE TABLE {name} (label TEXT, text TEXT)"))
        for number in range(20):
            connection.execute(text(f"INSERT INTO Review VALUES ('{number % 2}', 'row {number}')"))
            connection.execute(text(f"INSERT INTO OneClass VALUES ('same', 'row {number}')"))
    engine.dispose()
    (home.uploads / "notes.png").write_text("no picture at all")
    (home.uploads / "bomb.png").write_bytes(_png_header(50_000, 50_000))
    with testing.production(production(), home.root) as bus:
        assert bus.wait_ready(120)
        yield bus


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"table": "Reviw"}, "did you mean 'Review'"),
        ({"columns": "label,txet"}, "did you mean 'text'"),
        ({"columns": "label"}, "takes 2 columns"),
        ({"table": "Empty"}, "no rows|empty|0 rows"),
        ({"table": "OneClass"}, "same label"),
        ({"p_of_train": 1.0}, "p_of_train"),
        ({"p_of_train": 0}, "p_of_train"),
        ({"p_of_train": "half"}, "p_of_train"),
        ({"table": "Review; DROP TABLE Review"}, "unknown table|no table|not a table"),
        ({"table": "(SELECT 1)"}, "unknown table|no table"),
        ({"table": "sqlite_master"}, "unknown table|no table"),
        ({"columns": "label,(SELECT text FROM Review)"}, "unknown column|no column"),
        ({"columns": "label,*"}, "unknown column|no column"),
        ({"limit": -1}, "limit"),
        ({"limit": "1; DROP"}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": 1e18}, "limit"),
        ({"trust_remote_code": True}, "trust_remote_code"),
        ({"push_to_hub": True}, "push_to_hub"),
        ({"deepspeed": "x.json"}, "deepspeed"),
        ({"resume_from_checkpoint": "/etc"}, "resume_from_checkpoint"),
        ({"output_dir": "../../etc"}, "output_dir"),
        ({"learning_rat": 0.1}, "learning_rate"),
    ],
)
def test_a_wrong_training_is_refused_in_a_sentence_and_stages_nothing(
    bus: testing.PythonDoor, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(WattbusError, match=f"(?i){said}") as told:
        bus.request("Tuning", bus.message("msg.TrainRequest", {**TRAIN, **changes}), timeout_seconds=120)

    assert "Traceback" not in str(told.value)
    assert ModelStore(bus.production.home.models).staged("tiny") is None


@pytest.mark.parametrize(
    ("item", "body", "said"),
    [
        ("Text", {"inptus": "x"}, "did you mean 'inputs'"),
        ("Text", {}, "inputs"),
        ("Text", {"inputs": 5}, "inputs"),
        ("Text", {"inputs": "x", "trust_remote_code": True}, "trust_remote_code"),
        ("Image", {"url": "notes.png"}, "picture|image"),
        ("Image", {"url": "bomb.png"}, "pixels"),
        ("Image", {"url": "../secrets.json"}, "upload|secrets"),
        ("Image", {"url": "file:///etc/passwd"}, "http|file"),
        ("Image", {"url": "http://127.0.0.1/x.png"}, "only public"),
        ("Image", {"url": "http://2130706433/x.png"}, "odd way|only public"),
        ("Image", {"url": "http://169.254.169.254/latest"}, "only public"),
        ("Image", {"url": "http://[::ffff:127.0.0.1]/"}, "only public"),
        ("Image", {"url": "nowhere.png"}, "nowhere.png"),
    ],
)
def test_a_wrong_question_is_refused_in_a_sentence(
    bus: testing.PythonDoor, item: str, body: dict[str, Any], said: str
) -> None:
    with pytest.raises(RequestFailed, match=f"(?i){said}") as told:
        bus.request(item, bus.message("MLRequest", body), timeout_seconds=60)

    assert "Traceback" not in str(told.value)
    assert "object at 0x" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:8080/models/x", "only 80|only public"),
        ("https://metadata.google.internal/", "only public"),
        ("https://10.0.0.1/models/x", "not one of|only public"),
        ("https://example.com/models/x", "not one of|resolved"),
        ("ftp://huggingface.co/x", "neither http"),
    ],
)
def test_a_key_never_goes_to_another_host(bus: testing.PythonDoor, url: str, said: str) -> None:
    body = {"api_url": url, "payload": "x", "api_key": "hf_CanaryCanaryCanary99"}

    with pytest.raises(RequestFailed, match=said):
        bus.request("HF", bus.message("HFRequest", body), timeout_seconds=60)


def test_a_missing_field_and_a_body_that_is_no_object_are_named(bus: testing.PythonDoor) -> None:
    with pytest.raises(BadRequest, match="payload"):
        bus.message("HFRequest", {"api_url": "https://huggingface.co/x"})
    with pytest.raises(BadRequest, match="JSON object"):
        bus.message("HFRequest", "[1]")
    with pytest.raises(BadRequest, match="not JSON"):
        bus.message("MLRequest", '{"inputs": NaN}')
    with pytest.raises(BadRequest, match="nested too deeply"):
        bus.message("MLRequest", '{"inputs": ' + "[" * 200_000 + "]" * 200_000 + "}")


@pytest.mark.parametrize("name", ["../../etc", "/etc/passwd", "a\0b", "..", "-x", "CON", "a" * 300])
def test_a_model_name_that_is_no_name_makes_nothing(tmp_path: Path, name: str) -> None:
    prod = Production("Test.Name")
    prod.operation("Text", MLOperation, settings={"name": name, "task": "text-classification"})

    with testing.production(prod, tmp_path / "home") as bus:
        assert bus.wait_ready(60)
        error = bus.items()[0].error

    assert error is not None
    assert "name" in error
    assert [path.name for path in (tmp_path / "home" / "models").iterdir()] == []


def test_weights_that_are_only_pickled_are_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    folder = tinymodels.build("text-classification", home.models / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    prod = Production("Test.Pickle")
    prod.operation("Text", MLOperation, settings={"name": "pickled", "task": "text-classification"})

    with testing.production(prod, home.root) as bus:
        assert bus.wait_ready(60)
        error = bus.items()[0].error or ""

    assert "safetensors" in error
    assert ModelStore(home.models).versions("pickled") == []


def test_a_hub_out_of_reach_matters_only_where_the_model_is_not_cached(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    with fakehub.FakeHub() as hub:
        hub.add("org/tiny", tinymodels.build("text-classification", tmp_path / "tiny"))
        prod = Production("Test.Hub")
        prod.operation("Here", MLOperation, settings=_hub_settings("here", "org/tiny"))
        with testing.production(prod, home.root, hub_url=hub.endpoint) as bus:
            assert bus.request("Here", bus.message("MLRequest", {"inputs": "x"}), timeout_seconds=60).output
    prod.operation("Away", MLOperation, settings=_hub_settings("away", "org/other"))

    with testing.production(prod, home.root, hub_url="http://127.0.0.1:9") as bus:
        assert bus.request("Here", bus.message("MLRequest", {"inputs": "x"}), timeout_seconds=60).output
        assert bus.wait_ready(60)
        error = next(item.error for item in bus.items() if item.name == "Away") or ""

    assert "away" in error
    assert str(home.models) in error


class _BrokenFeed:
    """A tracker that misbehaves in the way that its name says."""

    def __init__(self, way: str) -> None:
        self._way = way

    def start(self) -> PowerFacts:
        if self._way == "raises at start":
            raise RuntimeError("no power source")
        return PowerFacts(method="broken", cpu=PowerSource(Tier.MODELLED, "broken", max_watts=10.0))

    def read(self) -> PowerReading:
        if self._way == "raises at read":
            raise OSError("gone")
        if self._way == "hangs":
            import threading

            threading.Event().wait(3)
        return PowerReading(1.0, cpu_joules={"zero": 0.0, "nan": float("nan")}.get(self._way, -1.0))

    def stop(self) -> None:
        if self._way == "raises at stop":
            raise RuntimeError("still no")


@pytest.mark.parametrize("way", ["raises at start", "raises at read", "hangs", "zero", "nan", "negative"])
def test_a_broken_energy_tracker_changes_no_answer_and_leaves_no_false_figure(
    tmp_path: Path, way: str
) -> None:
    from components import Text, echo_production

    with testing.production(echo_production(), tmp_path / "home", feed=_BrokenFeed(way)) as bus:
        answer = bus.request("Echo", Text("x"), timeout_seconds=10)
        bus.production.ledger.settle(1)
        bus.production.store.flush()
        records = energy_records(bus.production.store.engine)

    assert answer == Text("x")
    assert [record.energy_joules for record in records] == [None]


def test_an_operation_that_raises_leaves_its_traceback_in_the_event_log_only(bus: testing.PythonDoor) -> None:
    with pytest.raises(RequestFailed) as told:
        bus.request("Text", bus.message("MLRequest", {"inptus": "x"}))
    bus.production.store.flush()
    lines = list_events(bus.production.store.engine, item="Text", type="Error")

    assert "\n" not in str(told.value)
    assert "Traceback" in lines[-1].text


def _hub_settings(name: str, repository: str) -> dict[str, str]:
    return {
        "%settings": f"name={name}\nmodel_url=https://huggingface.co/{repository}\ntask=text-classification"
    }


def _png_header(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    file = io.BytesIO()
    file.write(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(head)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    data = zlib.compress(b"\0" * 1000)
    file.write(struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data)))
    file.write(struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND")))
    return file.getvalue()
