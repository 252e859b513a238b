"""Components that misbehave; each lives in a child process of its own."""

from __future__ import annotations

import asyncio
import collections
import ctypes
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from iop import (
    BusinessOperation,
    BusinessProcess,
    BusinessService,
    InboundAdapter,
    Production,
    PydanticMessage,
    target,
)

from components import Echo, Text


class Numbers(PydanticMessage):
    pid: int
    other: int = 0
    seconds: float = 0.0


class Trouble(BusinessOperation):
    """Does what the text says."""

    greeting: str = "hello"
    begun: int = 0

    def on_init(self) -> None:
        self.begun += 1
        if self.greeting == "crash":
            os._exit(7)
        if self.greeting == "refuse":
            raise RuntimeError("there is no printer")
        if Path(self.greeting).is_file():
            raise RuntimeError("the printer is gone")

    def do(self, request: Text) -> Numbers:
        return Numbers.model_validate(getattr(self, f"_{request.text}")(request) or {"pid": os.getpid()})

    def _pid(self, request: Text) -> None:
        pass

    def _segfault(self, request: Text) -> None:
        ctypes.string_at(0)

    def _exit(self, request: Text) -> None:
        os._exit(3)

    def _late(self, request: Text) -> None:
        self.log_info(f"waiting in {os.getpid()}")
        try:
            threading.Event().wait(60)
        except SystemExit:
            self.log_info("asked to end, and answering all the same")

    def _wait(self, request: Text) -> None:
        self.log_info(f"waiting in {os.getpid()}")
        threading.Event().wait(60)

    def _spin(self, request: Text) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        left = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
        )
        self.log_info(f"spinning in {os.getpid()} and {left.pid}")
        # A loop in C that holds the interpreter: no signal handler, no other thread runs.
        collections.deque(itertools.repeat(0), maxlen=0)

    def _hoard(self, request: Text) -> None:
        self.log_info("hoarding")
        hoard = [bytearray(b"x" * 4_000_000) for _ in range(request.times)]
        threading.Event().wait(60)
        assert hoard

    def _flood(self, request: Text) -> None:
        for number in range(request.times):
            print(f"line {number}")
        print("a word on stderr", file=sys.stderr)
        os.write(1, b"not ended")

    def _burn(self, request: Text) -> dict[str, object]:
        seconds = _burnt(0.3)
        return {"pid": os.getpid(), "seconds": seconds}

    def _burn_and_exit(self, request: Text) -> None:
        _burnt(0.3)
        os._exit(3)

    def _raise(self, request: Text) -> None:
        raise LookupError("no such thing")


def _burnt(seconds: float) -> float:
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass
    return time.process_time() - began


class Router(BusinessProcess):
    """Asks in every way that there is."""

    Output = target()
    seen: int = 0

    def on_request(self, request: Text) -> Text | None:
        if request.text == "later":
            self.total = ""
            self.log_info(f"asking from {os.getpid()}")
            for key in ("a", "b"):
                self.send_request_async(self.Output, Text(key), completion_key=key)
            return None
        first = self.send_request_sync(self.Output, request)
        several = self.send_multi_request_sync([(self.Output, Text("a")), (self.Output, Text("b"))])
        self.send_request_async(self.Output, Text("left behind"), response_required=False)
        return Text(first.text + "".join(response.text for _, _, response, _ in several))

    def on_response(
        self, request: Text, response: Text, call_request: Text, call_response: Text, completion_key: str
    ) -> Text:
        self.total += f"{completion_key}={call_response.text};"
        return Text("".join(sorted(self.total.split(";"))))


class Counts(BusinessOperation):
    """Answers with a stream."""

    def count(self, request: Text) -> Iterator[Text]:
        return (Text(f"{request.text}{number}") for number in range(request.times))


class Reads(BusinessProcess):
    """Reads two streams at once, and asks two at once."""

    Output = target()

    def on_message(self, request: Text) -> Text:
        if request.text == "gather":
            return Text(asyncio.run(self._gather()))
        one = self.send_generator_request(self.Output, Text("a", request.times))
        two = self.send_generator_request(self.Output, Text("b", request.times))
        return Text(" ".join(f"{left.text}{right.text}" for left, right in zip(one, two, strict=True)))

    async def _gather(self) -> str:
        asked = [self.send_request_async_ng(self.Output, Text(text)) for text in ("x", "y")]
        return "".join(answer.text for answer in await asyncio.gather(*asked))


class Bell(InboundAdapter):
    tone: str = "ding"

    def on_task(self) -> None:
        self.BusinessHost.ProcessInput(Text(f"{self.tone} {os.getpid()}"))


class Listens(BusinessService):
    Output = target()

    @staticmethod
    def get_adapter_type() -> str:
        return "Python.Bell"

    def on_process_input(self, message_input: Text) -> None:
        self.send_request_async(self.Output, message_input)


def trouble_production(**settings: object) -> Production:
    prod = Production("Test.Trouble")
    prod.operation("Trouble", Trouble, settings={"Isolated": "true", **settings})
    prod.operation("Echo", Echo)
    return prod
