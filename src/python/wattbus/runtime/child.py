"""The child side of an isolated item: makes the component in a process of its own and does what it is told.

The production (isolated.py) makes, sets and calls the component over the pipe, in the order of host.py; what the
component asks of its handle, the event log, progress, secrets and what it tells its energy window go back the same
way and are answered by the production. So this side has no bus and no store, and loads nothing that it does not need.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from wattbus.energy.attempt_window import NullWindow, entered
from wattbus.errors import BadSettings
from wattbus.home import Home
from wattbus.runtime import context, iris
from wattbus.runtime.childline import Line, RemoteHandle, RemoteLogs, RemoteVault, RemoteWindow
from wattbus.runtime.context import Current, Place
from wattbus.runtime.pipe import Frame, Values, write_error
from wattbus.runtime.types import MessageTypes


class AskedToEnd(SystemExit):
    """SIGTERM: the message in hand took too long, or was cancelled."""


class Server:
    """Makes objects here and calls them, one call after the other, in the main thread."""

    def __init__(self, line: Line, start: Frame) -> None:
        self._line, self._start = line, start
        place = start["place"]
        self._place = Place(
            Home(Path(place["home"])),
            RemoteVault(line),
            tables_url=place["tables_url"],
            store_url=place["store_url"],
            allow_hosts=frozenset(place["allow_hosts"]),
            hub_url=place["hub_url"],
            stopping=line.stopping,
        )
        self._logs = RemoteLogs(line)
        self._classes = _classes(start)
        self._values = Values(MessageTypes(self._classes), self._name_of, self._object_of)
        self._objects: dict[int, Any] = {}  # what the production knows by a number, the component first
        self._numbers: dict[int, int] = {}
        self._next_number = 0
        self._handle: RemoteHandle | None = None
        self._marks = 0
        signal.signal(signal.SIGTERM, self._asked_to_end)

    def serve(self) -> None:
        """Do what comes, for ever."""
        while True:
            frame, began = self._line.told.get()
            if frame["do"] == "drop":
                self._numbers.pop(id(self._objects.pop(frame["on"])))
                continue
            answer: Frame = {"answer": frame["id"]}
            with self._at_work(frame.get("now")):
                try:
                    answer |= self._done(frame)
                except BaseException as error:  # noqa: BLE001 - a user's component: whatever it raises is told
                    answer["error"] = write_error(error)
            self._mark(answer)
            self._line.finish(answer, began)

    def _done(self, frame: Frame) -> Frame:
        do = frame["do"]
        if do == "new":
            return {"ok": self._name_of(self._new(frame["class"]))}
        on = self._objects[frame["on"]]
        if do == "set":
            setattr(on, frame["name"], self._values.read(frame["value"]))
            return {"ok": None}
        if do == "get":
            value = getattr(on, frame["name"])
            return {"method": True} if callable(value) else {"ok": self._value_or_name(value)}
        if do == "attributes":
            return {"ok": {name: self._value_or_name(value) for name, value in vars(on).items()}}
        if do == "replace":
            state = {name: self._values.read(value) for name, value in frame["values"].items()}
            vars(on).clear()
            vars(on).update(state)
            return {"ok": None}
        arguments = self._values.read(frame["args"])
        return {"ok": self._values.write(getattr(on, frame["name"])(*arguments, **self._named(frame)))}

    def _named(self, frame: Frame) -> dict[str, Any]:
        return {name: self._values.read(value) for name, value in frame.get("named", {}).items()}

    def _new(self, role: int) -> Any:
        # iop's contract: __init__ is never called.
        made: Any = object.__new__(self._classes[role])
        if self._handle is None:
            self._handle = RemoteHandle(self._line, self._values, made)
        return made

    def _name_of(self, value: Any) -> Frame | None:
        if isinstance(value, RemoteHandle):
            return {"$": "handle"}
        if isinstance(value, tuple(self._classes)) or id(value) in self._numbers:
            return self._named_object(value)
        return None

    def _value_or_name(self, value: Any) -> Any:
        """Return an attribute as JSON; what cannot leave this process gets a number instead."""
        try:
            return self._values.write(value)
        except Exception:  # noqa: BLE001 - an attribute of a user's component may be anything
            return self._named_object(value)

    def _named_object(self, value: Any) -> Frame:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = self._next_number
            self._objects[number] = value
            self._next_number += 1
        return {"$": "object", "number": number}

    def _object_of(self, tag: Frame) -> Any:
        return self._handle if tag["$"] == "handle" else self._objects[tag["number"]]

    @contextlib.contextmanager
    def _at_work(self, now: Frame | None) -> Iterator[None]:
        told = now or {}
        window = RemoteWindow(self._line) if told.get("message_id") is not None else NullWindow()
        before = context.enter(
            Current(
                self._place, self._logs, self._start["item"], told.get("message_id"), told.get("session_id"),
                told.get("attempt", 0), window, told.get("cut_off", False),
            )
        )  # fmt: skip
        try:
            with entered(window):
                yield
        finally:
            context.enter(before)

    def _mark(self, answer: Frame) -> None:
        """Mark in the output where the call has ended, so that each line is told of its message."""
        self._marks += 1
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # a component may have closed or replaced it
                stream.flush()
        mark = f"{self._start['mark']}{self._marks}\n".encode()
        answer["marks"] = [self._marks if _written(descriptor, mark) else 0 for descriptor in (1, 2)]

    def _asked_to_end(self, _number: int, _frame: FrameType | None) -> None:
        now = context.current()
        if now is None or now.message_id is None:
            raise AskedToEnd(0)
        if not self._place.cancel(now.message_id, "its runtime"):
            raise AskedToEnd("asked to end")


def main(descriptor: int) -> None:
    """Serve the production at the other end of ``descriptor``."""
    faulthandler.enable()
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(write_through=True)  # a crash must not take with it what was printed
    iris.stand_in()
    line = Line(descriptor)
    line.send({"hello": os.getpid()})
    threading.Thread(target=line.read, name="wattbus-line", daemon=True).start()
    frame, began = line.told.get()
    server, answer = None, {"answer": frame["id"], "ok": None, "marks": [0, 0]}
    try:
        server = Server(line, frame)
    except BaseException as error:  # noqa: BLE001 - a user's module: whatever its import raises is told
        answer["error"] = write_error(error)
    line.finish(answer, began)
    if server is not None:
        server.serve()


def _classes(start: Frame) -> list[type]:
    """Return the component's class, and that of its adapter, as the production has them."""
    sys.path[:] = start["path"]
    if start["settings"]:
        from wattbus.runtime.reading import load

        item = load(Path(start["settings"]), start["production"]).item(start["item"])
        return [cls for cls in (item.component, getattr(item, "adapter", None)) if cls is not None]
    return [_imported(module, name) for module, name in start["classes"]]


def _imported(module: str, name: str) -> type:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if not isinstance(found, type):
        raise BadSettings(f"{module}.{name} is no class.")
    return found


def _written(descriptor: int, data: bytes) -> bool:
    try:
        return os.write(descriptor, data) == len(data)
    except OSError:
        return False
