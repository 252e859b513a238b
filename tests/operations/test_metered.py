"""Operations inside IRIS, whose loop calls them directly: they meter themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from iop import BusinessOperation, Message
from iop.messages.dispatch import dispatch_serializer

from wattbus import testing
from wattbus.home import Home
from wattbus.operations import MLOperation, metered
from wattbus.operations.metered import Metered
from wattbus.runtime import context
from wattbus.runtime.iris import stand_in


@dataclass
class Count(Message):
    number: int = 0


class Works(Metered, BusinessOperation):
    def work(self, request: Count) -> Count:
        if request.number < 0:
            raise ValueError("no")
        return Count(sum(range(request.number)))


@pytest.fixture
def in_iris(monkeypatch: pytest.MonkeyPatch, home: Home) -> Iterator[Path]:
    """A process in which no wattbus runs, on a home of its own."""
    stand_in()
    monkeypatch.setenv("WATTBUS_ENERGY", "0")
    monkeypatch.setattr(metered, "_meter", None)
    monkeypatch.setattr(context, "_elsewhere", None)
    yield home.root / "energy.jsonl"
    metered.meter().stop()


def _component(cls: type) -> Any:
    """Make a component as ``IOP.BusinessOperation`` does: without ``__init__``, then its dispatch table."""
    component = object.__new__(cls)
    component._set_iris_handles(None, None)
    component._dispatch_on_init(None)
    return component


def test_each_message_that_iris_hands_over_has_an_energy_record(in_iris: Path) -> None:
    component = _component(Works)

    answer = component._dispatch_on_message(dispatch_serializer(Count(1000)))
    with pytest.raises(ValueError, match="no"):
        component._dispatch_on_message(dispatch_serializer(Count(-1)))
    metered.meter().settle()
    lines = [json.loads(line) for line in in_iris.read_text().splitlines()]

    assert json.loads(answer.json) == {"number": 499500}
    assert [line["item"] for line in lines] == ["Works", "Works"]
    assert all(line["cpu_seconds"] > 0 for line in lines)
    assert (in_iris.stat().st_mode & 0o077) == 0


def test_the_operations_of_wattbus_meter_themselves_inside_iris() -> None:
    for name in ("_dispatch_on_message", "_dispatch_generator_started", "_dispatch_generator_poll"):
        assert getattr(MLOperation, name) is getattr(Metered, name)


def test_in_a_wattbus_production_the_runtime_meters_and_nothing_is_written_twice(tmp_path: Path) -> None:
    from iop import Production

    prod = Production("Test.Metered")
    prod.operation("Works", Works)

    with testing.production(prod, tmp_path) as bus:
        answer = bus.request("Works", Count(10))

    assert answer.number == 45
    assert not (tmp_path / "energy.jsonl").exists()


class Yields(Metered, BusinessOperation):
    def numbers(self, request: Count) -> Iterator[Count]:
        for number in range(request.number):
            yield Count(sum(range(10_000)) + number)


def test_each_value_of_a_stream_that_iris_reads_has_an_energy_record(in_iris: Path) -> None:
    component = _component(Yields)

    component._dispatch_generator_started(dispatch_serializer(Count(2)))
    polled = [component._dispatch_generator_poll() for _ in range(3)]
    metered.meter().settle()

    assert type(polled[-1]).__name__ == "Stop"
    assert len(in_iris.read_text().splitlines()) == 4
