"""What cannot be a message is one sentence with its cure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import pytest
from iop import BusinessOperation, BusinessProcess, Message, Model, Production, PydanticMessage, target
from PIL import Image
from pydantic import ConfigDict

from components import Text
from wattbus import testing
from wattbus.errors import BadRequest, RequestFailed


@dataclass
class Scores(Message):
    values: Any = None
    by_name: dict[str, Any] = field(default_factory=dict)


class Modelled(PydanticMessage):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    value: Any = None


class Undecorated(Message):
    pass


class Stored(Model):
    name: str


def generator() -> Iterator[int]:
    yield 1


RESULTS: dict[str, tuple[Any, str]] = {
    "text": ("done", r"a str \('done'\) is no message; send or return a Message"),
    "list": ([1, 2], "a list is no message; send or return a Message"),
    "dict": ({"a": 1}, "a dict is no message; send or return a Message"),
    "number": (3, "an int is no message"),
    "numpy number": (numpy.float32(1.5), r"a numpy.float32 is no message: make a plain number of it with .item\(\)"),
    "numpy array": (numpy.zeros(3), r"a numpy.ndarray is no message: make a list of it with .tolist\(\)"),
    "picture": (Image.new("RGB", (2, 2)), "an? PIL.Image.Image is no message: save it to a file"),
    "generator": (generator(), "a generator cannot be a message: ask with send_generator_request"),
    "nested number": (
        Scores(by_name={"a": [numpy.float32(1)]}),
        r"Scores cannot be written as JSON: its field by_name\['a'\]\[0\] is a numpy.float32; make a plain number",
    ),
    "nested array": (Scores(numpy.zeros(2)), "its field values is a numpy.ndarray; make a list"),
    "nested picture": (Scores(Image.new("L", (2, 2))), "its field values is a PIL.Image.Image; save it to a file"),
    "pydantic": (Modelled(value=numpy.int64(2)), "Modelled cannot be written.*: its field value is a numpy.int64"),
    "bytes": (Scores(b"\xff"), "its field values is a bytes; send it as base64 text"),
    "model": (Stored(name="a"), r"Stored is a Model and no message: send what its to_iris\(\) returns"),
    "no dataclass": (Undecorated(), "Undecorated is no dataclass: decorate the message class with @dataclass"),
}  # fmt: skip


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_that_cannot_be_a_message_is_a_sentence_with_its_cure(tmp_path: Path, kind: str) -> None:
    class Answer(BusinessOperation):
        def on_message(self, request: Text) -> Any:
            return RESULTS[request.text][0]

    prod = Production("Test.Unwritable")
    prod.operation("Answer", Answer)

    with testing.production(prod, tmp_path) as bus, pytest.raises(RequestFailed, match=RESULTS[kind][1]):
        bus.request("Answer", Text(kind))


def test_a_request_that_cannot_be_a_message_is_the_same_sentence(tmp_path: Path) -> None:
    class Ask(BusinessProcess):
        Output = target()

        def on_message(self, request: Text) -> Any:
            return self.send_request_sync(self.Output, {"a": 1})

    class Echo(BusinessOperation):
        def on_message(self, request: Any) -> Any:
            return request

    prod = Production("Test.Asks")
    ask, echo = prod.process("Ask", Ask), prod.operation("Echo", Echo)
    prod.connect(ask.Output, echo)

    with (
        testing.production(prod, tmp_path) as bus,
        pytest.raises(RequestFailed, match="a dict is no message; send or return a Message"),
    ):
        bus.request("Ask", Text("x"))


def test_an_error_of_a_component_stays_as_it_was_raised(tmp_path: Path) -> None:
    class Fails(BusinessOperation):
        def on_message(self, request: Text) -> Any:
            raise TypeError("the component's own")

    prod = Production("Test.Fails")
    prod.operation("Fails", Fails)

    with (
        testing.production(prod, tmp_path) as bus,
        pytest.raises(RequestFailed, match="TypeError: the component's own"),
    ):
        bus.request("Fails", Text("x"))


def test_a_door_says_the_same(tmp_path: Path) -> None:
    class Echo(BusinessOperation):
        def on_message(self, request: Any) -> Any:
            return request

    prod = Production("Test.Echo")
    prod.operation("Echo", Echo)

    with (
        testing.production(prod, tmp_path) as bus,
        pytest.raises(BadRequest, match=r"its field values is a numpy.ndarray"),
    ):
        bus.submit("Echo", Scores(numpy.zeros(2)))
