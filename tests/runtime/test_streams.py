"""Generator requests, several at once; and asyncio requests that are told, not polled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from iop import BusinessOperation, BusinessProcess, Production, target

from components import Echo, Text
from waiting import wait_for
from wattbus import testing
from wattbus.errors import RequestFailed
from wattbus.store.queries import list_messages
from wattbus.store.tables import Status


class Counts(BusinessOperation):
    closed: ClassVar[list[str]] = []

    def count(self, request: Text) -> Iterator[Text]:
        return self._count(request)

    def _count(self, request: Text) -> Iterator[Text]:
        try:
            for number in range(request.times):
                if request.text == "boom" and number == 2:
                    raise ValueError("the third is broken")
                yield Text(f"{request.text}{number}")
        finally:
            Counts.closed.append(request.text)


class Reads(BusinessProcess):
    Output = target()

    def on_message(self, request: Text) -> Text:
        if request.text == "zip":
            one = self.send_generator_request(self.Output, Text("a", 3))
            two = self.send_generator_request(self.Output, Text("b", 3))
            return Text(" ".join(f"{left.text}{right.text}" for left, right in zip(one, two, strict=True)))
        if request.text == "leave":
            return next(iter(self.send_generator_request(self.Output, Text("left", 100))))
        return Text("".join(part.text for part in self.send_generator_request(self.Output, request)))


def reads_production(pool_size: int) -> Production:
    prod = Production("Test.Streams")
    counts = prod.operation("Counts", Counts, pool_size=pool_size)
    reads = prod.process("Reads", Reads, pool_size=2)
    prod.connect(reads.Output, counts)
    return prod


def test_a_generator_request_yields_value_after_value(tmp_path: Path) -> None:
    with testing.production(reads_production(1), tmp_path) as bus:
        answers = [bus.request("Reads", Text("x", 4)).text for _ in range(3)]

    assert answers == ["x0x1x2x3"] * 3


def test_a_pool_serves_several_streams_at_once_and_confuses_none(tmp_path: Path) -> None:
    with testing.production(reads_production(2), tmp_path) as bus:
        answer = bus.request("Reads", Text("zip"))

    assert answer.text == "a0b0 a1b1 a2b2"


def test_a_stream_that_is_not_read_to_its_end_is_closed_and_frees_its_worker(tmp_path: Path) -> None:
    Counts.closed.clear()

    with testing.production(reads_production(1), tmp_path) as bus:
        first = bus.request("Reads", Text("leave"))
        second = bus.request("Reads", Text("x", 2))
        wait_for(bus, lambda rows: all(row.status == Status.COMPLETED for row in rows))

    assert (first.text, second.text) == ("left0", "x0x1")
    assert Counts.closed == ["left", "x"]


def test_a_stream_that_fails_tells_its_reader_and_frees_its_worker(tmp_path: Path) -> None:
    with testing.production(reads_production(1), tmp_path) as bus:
        with pytest.raises(RequestFailed, match="the third is broken"):
            bus.request("Reads", Text("boom", 5))
        answer = bus.request("Reads", Text("x", 2))

    assert answer.text == "x0x1"


def test_every_value_of_a_stream_is_in_the_trace(tmp_path: Path) -> None:
    with testing.production(reads_production(1), tmp_path) as bus:
        bus.request("Reads", Text("x", 2))
        rows = list_messages(bus.production.store.engine)

    asked = [row.body_class for row in reversed(rows) if row.type == "Request"][1:]
    assert asked == ["IOP.Generator.Message.Start", *["IOP.Generator.Message.Poll"] * 3]


class Awaits(BusinessProcess):
    Output = target()

    def on_message(self, request: Text) -> Text:
        return asyncio.run(self._ask(request))

    async def _ask(self, request: Text) -> Text:
        answers = await asyncio.gather(
            *(self.send_request_async_ng(self.Output, Text(str(number))) for number in range(request.times))
        )
        return Text("".join(answer.text for answer in answers))


def test_asyncio_requests_are_answered_without_polling(tmp_path: Path) -> None:
    prod = Production("Test.Awaits")
    echo = prod.operation("Echo", Echo)
    awaits = prod.process("Awaits", Awaits)
    prod.connect(awaits.Output, echo)

    with testing.production(prod, tmp_path) as bus:
        answer = bus.request("Awaits", Text("x", 5))
        looks = _looks_of(bus)

    assert answer.text == "01234"
    assert looks <= 5


def _looks_of(bus: Any) -> int:
    """Count how often the process asked whether one of ten requests, one after the other, is done."""
    from wattbus.runtime.handle import Handle

    asked = 0
    plain = Handle.dispatchIsRequestDone

    def counted(self: Any, *arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        return plain(self, *arguments)

    Handle.dispatchIsRequestDone = counted  # type: ignore[method-assign]
    try:
        bus.request("Awaits", Text("x", 5))
    finally:
        Handle.dispatchIsRequestDone = plain  # type: ignore[method-assign]
    return asked


class Slow(BusinessOperation):
    def fail(self, request: Text) -> Text:
        raise ValueError("no")


class AwaitsFailure(Awaits):
    async def _ask(self, request: Text) -> Text:
        try:
            await self.send_request_async_ng(self.Output, request)
        except RuntimeError as error:
            return Text(str(error))
        return Text("answered")


def test_an_asyncio_request_that_fails_raises_in_its_coroutine(tmp_path: Path) -> None:
    prod = Production("Test.Awaits")
    slow = prod.operation("Slow", Slow)
    awaits = prod.process("Awaits", AwaitsFailure)
    prod.connect(awaits.Output, slow)

    with testing.production(prod, tmp_path) as bus:
        answer = bus.request("Awaits", Text("x"))

    assert answer.text == "ValueError: no"
