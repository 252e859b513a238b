"""The pipe between a production and a child process: frames of a length and JSON, and the values inside them.

Only JSON crosses, never a pickle. What is no JSON carries a tag under ``$``: a message by its class and text, an IRIS
object by its class and properties, a reference that the callee writes into, an object that stays on the other side.
"""

from __future__ import annotations

import base64
import builtins
import json
import struct
import traceback
from collections.abc import Callable
from typing import Any

from wattbus import errors
from wattbus.errors import BadRequest, WattbusError
from wattbus.runtime import context
from wattbus.runtime.iris import Envelope, IrisObject, Reference
from wattbus.runtime.iris_objects import known_classes
from wattbus.runtime.types import MessageTypes, is_message_type, read_typed, write_envelope

Frame = dict[str, Any]
#: A frame that claims to be longer is none: something else was written into the pipe.
LONGEST_FRAME_BYTES = 1 << 31
_LENGTH = struct.Struct("!Q")
_TAG = "$"


class BrokenPipe(WattbusError):
    """What came through the pipe is no frame."""


def packed(frame: Frame) -> bytes:
    """Return a frame as it goes through the pipe."""
    # ASCII: a lone surrogate in a log line must not end the conversation.
    text = json.dumps(frame).encode()
    return _LENGTH.pack(len(text)) + text


class Frames:
    """Cuts what comes out of a pipe into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def empty(self) -> bool:
        """Tell whether no frame has begun."""
        return not self._rest

    def feed(self, data: bytes) -> list[Frame]:
        """Take what was read and return the frames that are whole."""
        self._rest += data
        whole: list[Frame] = []
        while len(self._rest) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._rest)
            if length > LONGEST_FRAME_BYTES:
                raise BrokenPipe("something that is no frame was written into the pipe to the child process.")
            ends = _LENGTH.size + length
            if len(self._rest) < ends:
                break
            try:
                whole.append(json.loads(bytes(self._rest[_LENGTH.size : ends])))
            except ValueError as error:
                raise BrokenPipe(f"a frame of the pipe to the child process is no JSON: {error}.") from None
            del self._rest[:ends]
        return whole


class Values:
    """Writes and reads the values of calls, for one side of the pipe.

    ``name_of`` gives the tag of an object that stays on this side or lives on the other one, None for all others;
    ``object_of`` gives what such a tag stands for here.
    """

    def __init__(
        self,
        types: MessageTypes,
        name_of: Callable[[Any], Frame | None],
        object_of: Callable[[Frame], Any],
    ) -> None:
        self._types, self._name_of, self._object_of = types, name_of, object_of

    def write(self, value: Any) -> Any:
        """Return ``value`` as JSON; raise BadRequest for what cannot leave its process."""
        if value is None or type(value) in (str, int, float, bool):
            return value
        if (name := self._name_of(value)) is not None:
            return name
        if is_message_type(type(value)):
            body = write_envelope(value)
            return {_TAG: "message", "class": body.classname, "json": body.json, "id": value.get_iris_id()}
        if isinstance(value, Reference):
            return {_TAG: "reference", "value": self.write(value.value)}
        if isinstance(value, IrisObject):
            state = {name: self.write(kept) for name, kept in vars(value).items()}
            return {_TAG: "iris", "class": type(value).CLASSNAME, "state": state}
        if isinstance(value, bytes):
            return {_TAG: "bytes", "base64": base64.b64encode(value).decode()}
        if isinstance(value, list | tuple):
            return [self.write(part) for part in value]
        if isinstance(value, dict):
            return {
                _TAG: "dict",
                "pairs": [[self.write(key), self.write(part)] for key, part in value.items()],
            }
        if isinstance(value, str | int | float):  # a subclass, such as an enumeration
            return self.write(value.value if hasattr(value, "value") else _plain(value))
        raise BadRequest(
            f"a {type(value).__name__} cannot go to or come from the child process of an isolated item: "
            "use messages, text, numbers, lists and dictionaries, or take the setting Isolated away."
        )

    def read(self, value: Any) -> Any:
        """Return the value that :meth:`write` wrote on the other side."""
        if isinstance(value, list):
            return [self.read(part) for part in value]
        if not isinstance(value, dict):
            return value
        tag = value[_TAG]
        if tag == "message":
            return self._message(value)
        if tag == "reference":
            return Reference(self.read(value["value"]))
        if tag == "iris":
            made: Any = object.__new__(known_classes()[value["class"]])
            for name, kept in value["state"].items():
                object.__setattr__(made, name, self.read(kept))
            return made
        if tag == "bytes":
            return base64.b64decode(value["base64"])
        if tag == "dict":
            return {self.read(key): self.read(part) for key, part in value["pairs"]}
        return self._object_of(value)

    def _message(self, value: Frame) -> Any:
        from iop.messages.dispatch import dispatch_deserializer

        # A type that the registry does not have is left to iop.
        body = Envelope(value["class"], value["json"], value["id"])
        return dispatch_deserializer(read_typed(self._types, body))


def references(values: list[Any]) -> list[Reference]:
    """Return the references among the arguments of a call, which the callee writes into."""
    return [value for value in values if isinstance(value, Reference)]


def write_error(error: BaseException) -> Frame:
    """Return an exception as JSON: its kind, its words, its traceback."""
    return {
        "kind": type(error).__name__,
        "text": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def read_error(told: Frame) -> Exception:
    """Return the exception that was raised on the other side, as near as can be, with its traceback as a note."""
    kind, text = told["kind"], told["text"]
    ours = getattr(errors, kind, None)
    if kind == context.PutBack.__name__:
        error: Exception = context.PutBack(text)
    elif isinstance(ours, type) and issubclass(ours, WattbusError):
        error = ours.__new__(ours)
        Exception.__init__(error, text)
    else:
        # A built-in error stays one, so that who expects it can catch it; another is known by its name alone.
        base = getattr(builtins, kind, Exception)
        base = base if isinstance(base, type) and issubclass(base, Exception) else Exception
        error = _named(kind, base, text)
    error.add_note(f"in the child process:\n{told['traceback']}")
    return error


def _named(kind: str, base: type[Exception], text: str) -> Exception:
    cls: Any = type(kind, (base,), {"__str__": lambda _self: text, "__module__": "builtins"})
    # Without its __init__: some want arguments that did not come along.
    made: Exception = cls.__new__(cls)
    return made


def _plain(value: Any) -> Any:
    return next(kind(value) for kind in (str, int, float) if isinstance(value, kind))
