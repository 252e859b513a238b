"""What a component in a child process reaches of its production: handle, vault, event log, progress, energy window.

Each is a question over the line, answered by the real one (isolated.py), or a thing told without an answer.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import queue
import resource
import socket
import sys
import threading
import time
import weakref
from typing import Any

from iop.components.generator_request import _GeneratorRequest

from wattbus.energy.attempt_window import NullWindow
from wattbus.energy.record import EnergyRecord
from wattbus.energy.remote import RemoteEstimate
from wattbus.runtime import context
from wattbus.runtime.context import Progress
from wattbus.runtime.iris import GeneratorPoll, GeneratorStart
from wattbus.runtime.pipe import Frame, Frames, Values, packed, read_error, references
from wattbus.secrets import Vault

_READ_BYTES = 1 << 20
_GONE = 3  # the exit status where the production is gone
_FRAMES_TO_LOOK_AT = 12


class Line:
    """The talk with the production: frames that come, and questions that wait for their answer in any thread."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lock = threading.Lock()
        self._waiting: dict[int, queue.SimpleQueue[Frame]] = {}
        self._asked = 0
        self._soon: list[bytes] = []
        self.told: queue.SimpleQueue[tuple[Frame, float]] = queue.SimpleQueue()
        self.stopping = threading.Event()

    def read(self) -> None:
        """Take frames for ever; the end of the pipe is the end of this process."""
        frames, began = Frames(), 0.0
        while data := self._receive():
            if frames.empty:
                began = cpu_seconds()
            for frame in frames.feed(data):
                if "answer" in frame:
                    self._waiting.pop(frame["answer"]).put(frame)
                elif frame["do"] == "stopping":
                    self.stopping.set()
                else:
                    self.told.put((frame, began))
        os._exit(_GONE)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_READ_BYTES)
        except OSError:
            return b""

    def send(self, frame: Frame) -> None:
        """Send a frame whole."""
        data = packed(frame)
        with self._lock:
            self._socket.sendall(b"".join(self._soon) + data)
            self._soon.clear()

    def send_soon(self, frame: Frame) -> None:
        """Send a frame before the next; the collector calls it, which may come while another frame is sent."""
        self._soon.append(packed(frame))

    def finish(self, answer: Frame, began_seconds: float) -> None:
        """Send an answer, with the CPU time that it took since ``began_seconds``, and all so far."""
        spent = cpu_seconds()
        self.send(answer | {"cpu_seconds": spent - began_seconds, "cpu_total": spent})

    def ask(self, **question: Any) -> Frame:
        """Ask the production and return its answer."""
        answers: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        with self._lock:
            self._asked += 1
            number = self._asked
            self._waiting[number] = answers
        self.send({"ask": number, **question})
        return answers.get()


class RemoteHandle:
    """What the component holds as ``self.iris_handle``: the production's handle, at the other end of the pipe."""

    def __init__(self, line: Line, values: Values, component: Any) -> None:
        vars(self).update(_line=line, _values=values, _component=component, _methods=set())

    def GetClass(self) -> Any:
        """Return the Python component behind this handle."""
        return self._component

    def dispatchProcessInput(self, message_input: Any = None) -> Any:
        """Hand an input to the service that this handle belongs to; an inbound adapter calls it."""
        return self._component._dispatch_on_process_input(message_input)

    ProcessInput = dispatchProcessInput

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self._methods or name.startswith("dispatch"):
            return lambda *arguments: self._ask(name, list(arguments))
        answer = self._line.ask(of="handle", do="get", name=name)
        if answer.get("method"):
            self._methods.add(name)
            return lambda *arguments: self._ask(name, list(arguments))
        return self._result(answer)

    def __setattr__(self, name: str, value: Any) -> None:
        self._result(self._line.ask(of="handle", do="set", name=name, value=self._values.write(value)))

    def _ask(self, name: str, arguments: list[Any]) -> Any:
        answer = self._line.ask(
            of="handle",
            do="call",
            name=name,
            args=self._values.write(arguments),
            key=context.options().idempotency_key,
            stream=self._stream_of(arguments),
        )
        for reference, value in zip(references(arguments), answer.get("references", ()), strict=False):
            reference.value = self._values.read(value)
        return self._result(answer)

    def _stream_of(self, arguments: list[Any]) -> int | None:
        """Return the number of the stream that is asked for here: the production knows by it whose poll comes."""
        if not any(isinstance(argument, GeneratorStart | GeneratorPoll) for argument in arguments):
            return None
        reader = _stream_reader()
        if reader is None:
            return None
        if not hasattr(reader, "_wattbus_number"):
            reader._wattbus_number = next(_numbers)
            unread = {"tell": "unread", "stream": reader._wattbus_number}
            weakref.finalize(reader, self._line.send_soon, unread).atexit = False
        return int(reader._wattbus_number)

    def _result(self, answer: Frame) -> Any:
        if "error" in answer:
            raise read_error(answer["error"])
        return self._values.read(answer["ok"])


class RemoteVault(Vault):
    """The production's vault: this process holds neither the secrets nor their key."""

    def __init__(self, line: Line) -> None:
        super().__init__(None)
        self._line = line

    def seal(self, value: str) -> str:
        return self._ask("seal", value)

    def reveal(self, reference: str) -> str:
        return self._ask("reveal", reference)

    def redact(self, text: str) -> str:
        return self._ask("redact", text)

    def _ask(self, name: str, text: str) -> str:
        answer = self._line.ask(of="vault", do="call", name=name, args=[text])
        if "error" in answer:
            raise read_error(answer["error"])
        return str(answer["ok"])


class RemoteLogs:
    """The production's event log and progress."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def tell_progress(self, message_id: int, progress: Progress) -> None:
        self._line.send({"tell": "progress", "id": message_id, **dataclasses.asdict(progress)})

    def log(
        self, type: str, text: str, item: str, message_id: int | None, session_id: int | None,
        source_class: str | None, source_method: str | None,
    ) -> None:  # fmt: skip
        self._line.send(
            {
                "tell": "log", "type": type, "text": text, "message_id": message_id, "session_id": session_id,
                "source_class": source_class, "source_method": source_method,
            }
        )  # fmt: skip


class RemoteWindow(NullWindow):
    """The energy window of the attempt, which is open in the production; a child's CPU time is measured as a whole."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def describe(self, *, facts: Any = None, **what: Any) -> None:
        told = None if facts is None else dataclasses.asdict(facts)
        self._line.send({"tell": "describe", "facts": told, "what": what})

    def remote(self, estimate: RemoteEstimate, **what: Any) -> None:
        self._line.send({"tell": "remote", "estimate": dataclasses.asdict(estimate), "what": what})

    def close(self, failed: str | None = None) -> list[EnergyRecord]:
        return []


def _stream_reader() -> Any:
    """Return iop's generator request that is calling: iop hands its poll to the handle without it."""
    frame = sys._getframe(1)
    for _ in range(_FRAMES_TO_LOOK_AT):
        if frame.f_back is None:
            return None
        frame = frame.f_back
        reader = frame.f_locals.get("self")
        if isinstance(reader, _GeneratorRequest):
            return reader
    return None


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of the children that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


_numbers = itertools.count(1)
