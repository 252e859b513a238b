"""Components and messages of the productions that tests run."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import ClassVar

from iop import BusinessOperation, BusinessProcess, Message, Production, PydanticMessage, handler, target


@dataclass
class Text(Message):
    text: str = ""
    times: int = 1


class Checked(PydanticMessage):
    number: int


@dataclass
class Free(Message):
    pass


class Echo(BusinessOperation):
    prefix: str = ""
    factor: int = 1

    def echo(self, request: Text) -> Text:
        if request.text == "boom":
            raise ValueError("the text is boom")
        self.log_info(f"echoing {request.text}")
        return Text(self.prefix + request.text * request.times * self.factor)

    @handler(Checked)
    def check(self, request: Checked) -> Checked:
        return Checked(number=request.number + 1)


class Gate(BusinessOperation):
    """Waits, inside a handler, until the test opens the gate."""

    opened: ClassVar[threading.Event] = threading.Event()
    entered: ClassVar[threading.Event] = threading.Event()

    def wait(self, request: Text) -> Text:
        Gate.entered.set()
        assert Gate.opened.wait(20)
        return request


class Relay(BusinessProcess):
    """Asks synchronously, then several at once, then leaves a message behind."""

    Output = target()

    def on_message(self, request: Text) -> Text:
        first = self.send_request_sync(self.Output, request)
        several = self.send_multi_request_sync([(self.Output, Text("a")), (self.Output, Text("b"))])
        self.send_request_async(self.Output, Text("later"))
        return Text(first.text + "".join(response.text for _, _, response, _ in several))


def echo_production(pool_size: int = 1, **settings: object) -> Production:
    prod = Production("Test.Production")
    echo = prod.operation("Echo", Echo, settings=settings, pool_size=pool_size)
    relay = prod.process("Relay", Relay)
    prod.connect(relay.Output, echo)
    return prod
