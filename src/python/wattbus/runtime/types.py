"""The message types that a production accepts, by name; and how a body from outside becomes a typed message.

Only a class that is in this registry can be named from outside: no name that a client sends is ever imported.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from iop.messages.base import _Message, _PydanticMessage
from iop.messages.persistent import register_persistent_message_class
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, from_json, to_json

from wattbus import messages
from wattbus.errors import BadRequest, BadSettings, UnknownName
from wattbus.runtime import iris_pickle, persistent, unwritable
from wattbus.runtime.iris import Envelope, GeneratorStart, IrisObject
from wattbus.runtime.iris_messages import MessageBody
from wattbus.runtime.iris_objects import full_name, known_classes
from wattbus.runtime.iris_streams import Stream
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.readers import reader_of
from wattbus.secrets import Vault

T = TypeVar("T")
_MESSAGE_BASES = (_Message, _PydanticMessage)


def once_a_class(function: Callable[[type], T]) -> Callable[[type], T]:
    """Have a question about a class asked once, and not again for each message of the class."""
    return functools.lru_cache(maxsize=1024)(function)


class MessageTypes:
    """The registry of one production.

    ``listed`` are message classes that ``settings.py`` names itself, ``by_iris_name`` the persistent ones among them
    under the names that they have on IRIS; ``allow_pickle`` says whether stored pickles are loaded.
    """

    def __init__(
        self,
        components: Iterable[type],
        listed: Iterable[type] = (),
        by_iris_name: Mapping[str, type] | None = None,
        *,
        allow_pickle: bool = False,
    ) -> None:
        self.allow_pickle = allow_pickle
        self._by_name: dict[str, type] = {}
        self._short: dict[str, list[type]] = {}
        self._readers: dict[str, Callable[[Envelope], Any]] = {}
        for cls in chain[type](messages.PUBLIC, listed, (by_iris_name or {}).values()):
            self._add(cls)
        for component in components:
            for cls in _named_by(component):
                self._add(cls)
        self._aliases: dict[str, type] = dict(messages.ALIASES)
        for name, cls in (by_iris_name or {}).items():
            try:
                register_persistent_message_class(cls, name, sync_schema=False)
            except ValueError as error:
                raise BadSettings(f"CLASSES[{name!r}]: {error}: give it one name.") from None
            self._aliases[name] = cls
        self._native = {
            name: cls
            for name, cls in known_classes().items()
            if issubclass(cls, MessageBody | Stream) and not issubclass(cls, iris_pickle.PickleEnvelope)
        }

    @classmethod
    def of(cls, production: ProductionConfig, *, allow_pickle: bool = False) -> MessageTypes:
        """Return the registry of a production as it was read."""
        components = (item.component for item in production.items.values())
        return cls(components, production.message_types, production.persistent, allow_pickle=allow_pickle)

    def _add(self, cls: type) -> None:
        name = type_name(cls)
        if name not in self._by_name:
            self._by_name[name] = cls
            self._short.setdefault(cls.__name__, []).append(cls)

    def names(self) -> list[str]:
        """Return the full names of all types that were written in Python."""
        return sorted(self._by_name)

    def resolve(self, name: str) -> type:
        """Return the type called ``name``: in full, by its class name where that is unique, or by an old name.

        A body class of IRIS goes by its name there, such as ``Ens.StringRequest``.
        """
        if name in self._by_name:
            return self._by_name[name]
        if len(self._short.get(name, ())) == 1:
            return self._short[name][0]
        if name in self._aliases:
            return self._aliases[name]
        native = full_name(name.removeprefix("iris.").replace("_", "%", name.startswith("iris._")))
        if native in self._native:
            return self._native[native]
        if name in messages.ENVELOPES:
            raise BadRequest(
                f"{name!r} is an envelope, not a message type: name the type inside it, such as msg.MLRequest."
            )
        known = {*self._short, *self._aliases, *self._native}
        raise UnknownName("message type", name, known)

    def reader(self, name: str) -> Callable[[Envelope], Any] | None:
        """Return what makes a message of the type with this full name from a stored body; None for an unknown type."""
        reader = self._readers.get(name)
        if reader is None and name in self._by_name:
            reader = self._readers[name] = self._reader_of(self._by_name[name])
        return reader

    def _reader_of(self, cls: Any) -> Callable[[Envelope], Any]:
        if iris_pickle.is_pickle_class(cls):
            return lambda body: iris_pickle.read_pickle(body, self.allow_pickle)
        if persistent.is_message_class(cls):
            return lambda body: persistent.read_model(cls, from_json(body.json), body.iris_id)
        if cls.__module__.startswith("iris"):
            return lambda body: body  # iop takes it for an object of IRIS and so wants to read it itself
        read_text = reader_of(cls)

        def read(body: Envelope) -> Any:
            message = read_text(body.json)
            message._iris_id = body.iris_id
            return message

        return read

    def registered(self, name: str) -> type | None:
        """Return the Python type with this full name, or None."""
        return self._by_name.get(name)


def _named_by(component: type) -> Iterator[type]:
    """Yield the message types that the modules of a component name, and those of modules that these name."""
    for base in component.__mro__:
        yield from _plain_models(base)
        for value in list(_namespace(base).values()):
            if is_message_type(value):
                yield value
            elif (
                isinstance(value, ModuleType) and value.__name__.partition(".")[0] not in _NOT_OF_PRODUCTIONS
            ):
                yield from (found for found in list(vars(value).values()) if is_message_type(found))


def _plain_models(cls: type) -> Iterator[type]:
    """Yield the pydantic models, no messages of iop, that methods of a component are annotated with: iop takes them."""
    for method in vars(cls).values():
        if isinstance(method, FunctionType):
            for kind in method.__annotations__.values():
                kind = _namespace(cls).get(kind) if isinstance(kind, str) else kind
                if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not BaseModel:
                    yield kind


#: Modules that components import and that hold no messages of theirs.
_NOT_OF_PRODUCTIONS = {*sys.stdlib_module_names, "iop", "iris", "wattbus"}


def _namespace(cls: type) -> Mapping[str, Any]:
    """Return the names of the module that a class was made in, which need not be in ``sys.modules`` any more."""
    for value in vars(cls).values():
        function = getattr(value, "__func__", value)
        if isinstance(function, FunctionType) and function.__globals__.get("__name__") == cls.__module__:
            return function.__globals__
    return vars(sys.modules.get(cls.__module__, object))


# -- bodies ---------------------------------------------------------------------------------------------------------


def read_typed(types: MessageTypes, body: Envelope | None) -> Any:
    """Return what a handler gets for a stored body: a typed message, or an object of an IRIS class.

    A Python class that is not in the registry is left to iop's deserialiser.
    """
    if body is None:
        return None
    reader = types.reader(body.classname)
    return object_of(body, allow_pickle=types.allow_pickle) if reader is None else reader(body)


def object_of(body: Envelope, *, allow_pickle: bool = False) -> Any:
    """Return what a body is without a registry: an object of an IRIS class, or an envelope that iop reads."""
    native = known_classes().get(body.classname)
    if native is not None:
        made = native.from_fields(from_json(body.json or "{}"))
        made._id = body.iris_id
        return made
    if iris_pickle.is_pickled(body.json):
        return iris_pickle.read_pickle(body, allow_pickle)
    if persistent.model_named(body.classname) is not None:
        return persistent.read_object(body.classname, from_json(body.json or "{}"))
    return body


def to_envelope(value: Any) -> Envelope | None:
    """Return the body to write for what a component sends or returns, in iop's form or not."""
    if value is None or (isinstance(value, str) and not value):
        return None
    if _plain_name(type(value)) is not None:
        return write_envelope(value)
    if type(value) is Envelope:
        return value
    if isinstance(value, iris_pickle.GeneratorStartPickle):
        return _start(iris_pickle.write_pickle(value))
    if isinstance(value, iris_pickle.PickleEnvelope):
        return iris_pickle.write_pickle(value)
    if isinstance(value, GeneratorStart):
        return _start(value)
    if isinstance(value, persistent.ModelObject):
        return Envelope(persistent.body_class(value), _json_of(value, value.fields()))
    if isinstance(value, IrisObject) and (value._IsA("%Persistent") or value._IsA("%Stream.Object")):
        return Envelope(value.CLASSNAME, _json_of(value, value.fields()))
    return write_envelope(value)


def _start(request: Envelope) -> Envelope:
    start = {"classname": request.classname, "body": request.json}
    return Envelope(GeneratorStart.CLASSNAME, json.dumps(start, ensure_ascii=False))


def write_envelope(message: Any) -> Envelope:
    """Return the body of a typed message, as iop's serialiser makes it."""
    cls = type(message)
    name = _plain_name(cls)
    if name is not None:
        fields = vars(message).copy()
        fields.pop("_iris_id", None)
        return Envelope(name, _json_of(message, fields))
    if iris_pickle.is_pickle_class(cls):
        return iris_pickle.write_pickle(message)
    if isinstance(message, BaseModel):
        try:
            return Envelope(type_name(cls), message.model_dump_json())
        except PydanticSerializationError:
            raise BadRequest(unwritable.unwritable(message)) from None
    if persistent.is_message_class(cls):
        return Envelope(type_name(cls), _json_of(message, persistent.message_fields(message)))
    written = to_envelope(message) if isinstance(message, IrisObject) else None
    if written is None:
        raise BadRequest(unwritable.unwritable(message))
    return written


@once_a_class
def _plain_name(cls: type) -> str | None:
    """Return the name of a class whose messages are written field by field; None for another kind of class."""
    plain = issubclass(cls, _Message) and dataclasses.is_dataclass(cls)
    return type_name(cls) if plain and not iris_pickle.is_pickle_class(cls) else None


def _json_of(message: Any, fields: Mapping[str, Any]) -> str:
    try:
        return to_json(fields).decode()
    except PydanticSerializationError:
        raise BadRequest(unwritable.unwritable(message)) from None


def is_message_type(value: Any) -> bool:
    """Tell whether ``value`` is a message class that somebody wrote, and not one of iop's bases."""
    if not isinstance(value, type) or value.__module__.partition(".")[0] == "iop":
        return False
    if issubclass(value, _MESSAGE_BASES):
        return value is not messages.WattbusMessage
    return persistent.is_message_class(value)


def type_name(cls: type) -> str:
    """Return the name under which iop knows a message class."""
    return f"{cls.__module__}.{cls.__name__}"


def handler_keys(cls: type) -> tuple[str, ...]:
    """Return the names under which a dispatch table may have a handler for the class."""
    if issubclass(cls, IrisObject):
        return (type_name(cls), cls.CLASSNAME)
    return (type_name(cls),)


def sealed(cls: type | None, text: str, vault: Vault) -> str:
    """Return the body without secrets: declared ones become references, known ones are masked."""
    secret_fields = getattr(cls, "SECRET_FIELDS", ())
    if secret_fields:
        fields = json.loads(text)
        for name in secret_fields:
            if isinstance(fields.get(name), str) and fields[name]:
                fields[name] = vault.seal(fields[name])
        text = json.dumps(fields, ensure_ascii=False)
    return vault.redact(text)
