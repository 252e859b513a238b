"""Pickle messages: refused unless the production switches them on, since loading one runs whatever its sender wants.

Switched on (``WATTBUS_ALLOW_PICKLE``), a body is the base64 text of the pickle in a JSON string. From outside, through
a door, none is accepted in any case.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from iop.messages import dispatch
from iop.messages.base import _PickleMessage, _PydanticPickleMessage
from iop.messages.serialization import deserialize_pickle_message, serialize_pickle_message

from wattbus.errors import Refused
from wattbus.runtime import context
from wattbus.runtime.iris_objects import Envelope, GeneratorStart, Persistent
from wattbus.runtime.iris_streams import CharacterStream

_serialize: Callable[[Any], Any] = serialize_pickle_message
_deserialize: Callable[[Any], Any] = deserialize_pickle_message
#: How the JSON string of a pickle begins: every pickle protocol since the second starts with the byte 0x80.
_BEGINNING = '"gA'


class PickleEnvelope(Persistent, iris="IOP.PickleMessage"):
    """``IOP.PickleMessage``: a pickle as iop writes it, base64 text in a stream."""

    @classmethod
    def _New(cls, *arguments: Any) -> Any:
        if not context.place().allow_pickle:
            raise Refused(
                "pickle messages are refused, since loading one runs what its sender wants: send a Message (dataclass) "
                "or a PydanticMessage instead, or switch them on for this production with WATTBUS_ALLOW_PICKLE=true."
            )
        return cls(*arguments)

    def __init__(self, classname: str = "", pickle: str = "") -> None:
        super().__init__()
        self.classname = classname
        self.jstr = CharacterStream(pickle)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


class GeneratorStartPickle(PickleEnvelope, GeneratorStart, iris="IOP.Generator.Message.StartPickle"):
    """``IOP.Generator.Message.StartPickle``: asks the target to open a stream."""


def install() -> None:
    """Let iop tell pickle messages from JSON messages, of which they are subclasses: it asks for those first."""
    seam: Any = dispatch
    is_json_message = seam.is_message_instance
    seam.is_message_instance = lambda value: not is_pickle_class(type(value)) and is_json_message(value)


def is_pickle_class(cls: type) -> bool:
    """Tell whether messages of the class travel as pickles."""
    return issubclass(cls, (_PickleMessage, _PydanticPickleMessage))


def is_pickled(text: str) -> bool:
    """Tell whether a stored body is a pickle."""
    return text.startswith(_BEGINNING)


def write_pickle(message: Any) -> Envelope:
    """Return the body of a message that travels as a pickle, or of iop's envelope of one."""
    envelope = message if isinstance(message, PickleEnvelope) else _serialize(message)
    envelope.jstr.Rewind()
    text = "".join(envelope.jstr.Read(max(1, envelope.jstr.Size)).split())
    return Envelope(envelope.classname, json.dumps(text))


def read_pickle(body: Envelope, allowed: bool) -> Any:
    """Return the message of a stored pickle."""
    if not allowed:
        raise Refused(
            f"message {body.iris_id} holds a pickle of {body.classname} and pickle messages are switched off: switch "
            "them on with WATTBUS_ALLOW_PICKLE=true, or discard the message."
        )
    return _deserialize(PickleEnvelope(body.classname, json.loads(body.json)))
