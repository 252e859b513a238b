"""The message types that a production accepts, by name; and how a body from outside becomes a typed message.

Only a class that is in this registry can be named from outside: no name that a client sends is ever imported.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import typing
from collections.abc import Callable, Iterable
from typing import Any

import iop
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from wattbus import messages
from wattbus.errors import BadRequest, UnknownName, unknown_name_sentence
from wattbus.runtime.iris import Envelope
from wattbus.secrets import Vault

_MESSAGE_BASES = (iop.Message, iop.PydanticMessage)
# JSON has these as they are: a value of this very type needs no conversion.
_AS_IN_JSON = (str, int, float, bool)
#: A body of more than this many characters is refused before it is parsed.
LARGEST_BODY = 256 * 1024 * 1024


class MessageTypes:
    """The registry of one production."""

    def __init__(self, components: Iterable[type]) -> None:
        self._by_name: dict[str, type] = {}
        self._short: dict[str, list[type]] = {}
        self._readers: dict[type, Callable[[str], Any]] = {}
        for cls in messages.PUBLIC:
            self._add(cls)
        modules = {base.__module__ for component in components for base in component.__mro__}
        for name in sorted(modules):
            for value in list(vars(sys.modules.get(name, object)).values()) if name in sys.modules else ():
                if is_message_type(value):
                    self._add(value)
        self._aliases = dict(messages.ALIASES)

    def _add(self, cls: type) -> None:
        name = type_name(cls)
        if name not in self._by_name:
            self._by_name[name] = cls
            self._short.setdefault(cls.__name__, []).append(cls)

    def names(self) -> list[str]:
        """Return the full names of all types."""
        return sorted(self._by_name)

    def resolve(self, name: str) -> type:
        """Return the type called ``name``: in full, by its class name where that is unique, or by an old name."""
        if name in self._by_name:
            return self._by_name[name]
        if len(self._short.get(name, ())) == 1:
            return self._short[name][0]
        if name in self._aliases:
            return self._aliases[name]
        if name in messages.ENVELOPES:
            raise BadRequest(
                f"{name!r} is an envelope, not a message type: name the type inside it, such as msg.MLRequest."
            )
        known = {*self._short, *self._aliases}
        raise UnknownName("message type", name, known)

    def reader(self, cls: type) -> Callable[[str], Any]:
        """Return what makes a message of type ``cls`` from stored JSON."""
        reader = self._readers.get(cls)
        if reader is None:
            reader = self._readers[cls] = _reader_of(cls)
        return reader

    def registered(self, name: str) -> type | None:
        """Return the type with this full name, or None."""
        return self._by_name.get(name)


def read_typed(types: MessageTypes, body: Envelope | None) -> Any:
    """Return the typed message that a stored body stands for, as iop's deserialiser does in a tenth of the time.

    iop builds a type adapter for each field of each message; here a class is looked at once. What is not in the
    registry is left to iop.
    """
    if body is None:
        return None
    cls = types.registered(body.classname)
    if cls is None or cls.__module__.startswith("iris"):
        return body
    message = types.reader(cls)(body.json)
    message._iris_id = body.iris_id
    return message


def write_envelope(message: Any) -> Envelope:
    """Return the body of a typed message, as iop's serialiser makes it."""
    try:
        if isinstance(message, BaseModel):
            text = message.model_dump_json()
        else:
            fields = {name: value for name, value in vars(message).items() if name != "_iris_id"}
            text = to_json(fields).decode()
    except PydanticSerializationError as error:
        raise BadRequest(
            f"{type(message).__name__} cannot be written as JSON ({error}): use text, numbers, lists and objects."
        ) from None
    return Envelope(type_name(type(message)), text)


def _reader_of(cls: type) -> Callable[[str], Any]:
    if issubclass(cls, BaseModel):
        return cls.model_validate_json
    return _dataclass_reader(cls)


def _dataclass_reader(cls: type) -> Callable[[str], Any]:
    """Return a reader with iop's rules: a field that does not fit stays as it came, an unknown key is an attribute."""
    try:
        hints = typing.get_type_hints(cls)
    except (NameError, TypeError):
        hints = {}
    fields: list[tuple[str, Any, Callable[[Any], Any]]] = []
    for name, parameter in inspect.signature(cls).parameters.items():
        kind = hints.get(name, parameter.annotation)
        fields.append((name, kind if kind in _AS_IN_JSON else None, _field_reader(kind)))
    known = {name for name, _, _ in fields}

    def read(text: str) -> Any:
        given = from_json(text)
        values = {}
        for name, exact, convert in fields:
            if name in given:
                value = given[name]
                values[name] = value if value is None or type(value) is exact else convert(value)
        message = cls(**values)
        if len(given) > len(values):
            for name in given.keys() - known:
                setattr(message, name, given[name])
        return message

    return read


def _field_reader(kind: Any) -> Callable[[Any], Any]:
    from iop.messages.serialization import dataclass_from_dict

    if dataclasses.is_dataclass(kind):
        return lambda value: dataclass_from_dict(kind, value)
    if kind is inspect.Parameter.empty or isinstance(kind, str):
        return lambda value: value
    adapter = TypeAdapter(kind)

    def convert(value: Any) -> Any:
        try:
            return adapter.validate_python(value)
        except ValidationError:
            return value

    return convert


def is_message_type(value: Any) -> bool:
    """Tell whether ``value`` is a message class that somebody wrote, and not one of iop's bases."""
    return (
        isinstance(value, type)
        and issubclass(value, _MESSAGE_BASES)
        and not value.__module__.startswith("iop")
        and value is not messages.WattbusMessage
    )


def type_name(cls: type) -> str:
    """Return the name under which iop knows a message class."""
    return f"{cls.__module__}.{cls.__name__}"


def parse(cls: type, body: Any) -> Any:
    """Build a message of type ``cls`` from a JSON text or from the object it stands for."""
    fields = _object_of(body)
    if issubclass(cls, BaseModel):
        _refuse_unknown(cls.__name__, fields, _pydantic_fields(cls))
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise BadRequest(_validation_sentence(cls.__name__, error)) from None
    return _parse_dataclass(cls, fields)


def _object_of(body: Any) -> dict[str, Any]:
    if isinstance(body, str | bytes):
        if len(body) > LARGEST_BODY:
            raise BadRequest(f"the body has {len(body):,} characters: at most {LARGEST_BODY:,} are accepted.")
        try:
            body = json.loads(body or "{}", parse_constant=_no_constant)
        except RecursionError:
            raise BadRequest("the body is nested too deeply: send a flatter JSON object.") from None
        except ValueError as error:
            raise BadRequest(
                f'the body is not JSON ({error}): send an object such as {{"inputs": "text"}}.'
            ) from None
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise BadRequest(f"the body is a {type(body).__name__}: a JSON object of fields is needed.")
    return body


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _pydantic_fields(cls: type[BaseModel]) -> list[str] | None:
    return None if cls.model_config.get("extra") == "allow" else list(cls.model_fields)


def _refuse_unknown(type_name_: str, fields: dict[str, Any], known: list[str] | None) -> None:
    if known is None:
        return
    for name in fields:
        if name not in known:
            raise BadRequest(f"{type_name_}: {unknown_name_sentence('field', name, known)}")


def _validation_sentence(type_name_: str, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the body"
    shown = "" if first["type"] == "missing" else f" (it is {str(first.get('input'))[:80]!r})"
    return f"{type_name_}: field {where!r}: {first['msg'].removeprefix('Value error, ')}{shown}."


def _parse_dataclass(cls: type, fields: dict[str, Any]) -> Any:
    from iop.messages.serialization import dataclass_from_dict

    if not dataclasses.is_dataclass(cls):
        raise BadRequest(f"{type_name(cls)} is no dataclass: decorate the message class with @dataclass.")
    declared = [field.name for field in dataclasses.fields(cls)]
    # A message without fields takes any key: that is how free keywords travel in the seed.
    _refuse_unknown(cls.__name__, fields, declared or None)
    for field in dataclasses.fields(cls):
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if needed and field.name not in fields:
            raise BadRequest(f"{cls.__name__}: field {field.name!r} is missing.")
    return dataclass_from_dict(cls, fields)


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
