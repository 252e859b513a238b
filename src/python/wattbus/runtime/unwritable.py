"""What cannot be a message body: one sentence that says what it was, where in the message, and the cure."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from typing import Any

from iop import Model
from iop.messages.dispatch import dispatch_serializer
from iop.messages.persistent import is_persistent_message_instance
from pydantic import BaseModel

_SHOWN_CHARACTERS = 60
_JSON_KINDS = (str, int, float, bool, type(None))
_MESSAGE = "a Message (dataclass) or PydanticMessage, None or an empty string"


def sentence_for(error: BaseException) -> str | None:
    """Return the sentence for an error of iop's serialiser; None for any other error.

    The serialiser's words fit few cases ("you may have tried to invoke a generator" for every string and list); the
    value it was given is in its frame.
    """
    trace, found = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code is dispatch_serializer.__code__:
            found = trace.tb_frame.f_locals
        trace = trace.tb_next
    if found is None or is_persistent_message_instance(found.get("message")):
        return None  # what fails in making an object of IRIS has words of its own
    return unwritable(found.get("message"))


def unwritable(value: Any) -> str:
    """Say why ``value`` is no message body."""
    kind = type(value)
    if isinstance(value, types.GeneratorType | types.AsyncGeneratorType):
        return "a generator cannot be a message: ask with send_generator_request, or collect the values in a message."
    if isinstance(value, types.CoroutineType):
        return (
            "a coroutine cannot be a message: the handler is `async def` and was not awaited; make it `def`."
        )
    if _is_message(value):
        if not isinstance(value, BaseModel) and not dataclasses.is_dataclass(value):
            return f"{kind.__module__}.{kind.__name__} is no dataclass: decorate the message class with @dataclass."
        for path, part in _foreign(value, ""):
            return f"{kind.__name__} cannot be written as JSON: its field {path} is {_article(part)}; {_cure(part)}."
        return f"{kind.__name__} cannot be written as JSON: use text, numbers, lists and objects."
    if isinstance(value, Model):
        cure = "send what its to_iris() returns, or make it a PersistentMessage"
        return f"{kind.__name__} is a Model and no message: {cure}."
    shown = f" ({value[:_SHOWN_CHARACTERS]!r})" if isinstance(value, str) else ""
    cure = f": {_cure(value)}" if _kind_of(value) else ""
    return f"{_article(value)}{shown} is no message{cure}; send or return {_MESSAGE}."


def _is_message(value: Any) -> bool:
    from iop.messages.base import _Message

    return isinstance(value, BaseModel | _Message)


def _article(value: Any) -> str:
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _kind_of(value: Any) -> str:
    """Return numpy array, numpy number, picture, or nothing, by what the value can do: no library is imported."""
    root = type(value).__module__.partition(".")[0]
    if root in ("numpy", "torch", "pandas"):
        return "number" if getattr(value, "shape", None) == () else "array"
    return "picture" if root == "PIL" else ""


def _cure(value: Any) -> str:
    kind = _kind_of(value)
    if kind == "array":
        return "make a list of it with .tolist()"
    if kind == "number":
        return "make a plain number of it with .item()"
    if kind == "picture":
        return "save it to a file and send the file's name, or send its bytes as base64 text"
    if isinstance(value, bytes | bytearray):
        return "send it as base64 text"
    if isinstance(value, set | frozenset):
        return "make a list of it"
    return "use text, numbers, lists and objects"


def _foreign(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield what JSON does not have, with where it is in the message."""
    if isinstance(value, BaseModel):
        fields: dict[Any, Any] = {name: getattr(value, name) for name in type(value).model_fields}
        fields |= value.__pydantic_extra__ or {}
    elif _is_message(value) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        fields = {name: part for name, part in vars(value).items() if name != "_iris_id"}
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _foreign(part, f"{path}[{key!r}]")
        return
    elif isinstance(value, list | tuple):
        for place, part in enumerate(value):
            yield from _foreign(part, f"{path}[{place}]")
        return
    else:
        if _kind_of(value) or not isinstance(value, _JSON_KINDS):
            yield path, value
        return
    for name, part in fields.items():
        yield from _foreign(part, f"{path}.{name}" if path else str(name))
