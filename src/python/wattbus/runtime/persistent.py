"""Persistent messages and models as typed JSON: what iop makes of one that is sent, and what a handler gets.

iop makes an object of the message's IRIS class, here a :class:`ModelObject`; a body holds its fields under the
message's Python class; and a handler gets the message again, with fields of their declared types.
"""

from __future__ import annotations

import base64
import datetime
import decimal
from collections.abc import Iterator, Mapping
from typing import Any

from iop.messages.persistent import is_persistent_message_class
from iris_persistence import Model
from iris_persistence.codecs import NULL_STRING, coerce_value_for_load
from iris_persistence.field_utils import is_model_type, walk_declared_value
from iris_persistence.runtime import get_runtime

from wattbus.errors import BadRequest, unknown_name_sentence
from wattbus.runtime.iris_objects import IrisObject, full_name

#: Kept as they are written.
DATE_TYPES = (datetime.datetime, datetime.date, datetime.time)


class ModelObject(IrisObject, iris="%Library.ModelObject"):
    """An object of the IRIS class that a Model or PersistentMessage stands for."""

    def __init__(self, class_name: str = "") -> None:
        self._class_name = class_name
        self._number: int | None = None

    def _ClassName(self, full: int = 0) -> str:
        return self._class_name if full else self._class_name.rpartition(".")[2]

    def _IsA(self, name: str) -> int:
        model = model_named(self._class_name)
        above = getattr(model, "_superclasses", "") or ""
        names = {self._class_name, "%Library.Persistent", *map(full_name, above.split(","))}
        return int(full_name(name) in names)

    def _Id(self) -> str:
        return str(self._number or "")

    def _Save(self, _related: int = 1) -> int:
        return int(get_runtime().save_object(self))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        model = model_named(self._class_name)
        if model is not None and name in model.__model_fields__:
            return ""  # a property that was never set
        return super().__getattr__(name)

    def fields(self) -> dict[str, Any]:
        return {name: json_value(value) for name, value in vars(self).items() if not name.startswith("_")}


def is_message_class(cls: Any) -> bool:
    """Tell whether ``cls`` is a PersistentMessage that somebody wrote."""
    return bool(is_persistent_message_class(cls))


def model_named(class_name: str) -> Any:
    """Return the Model or PersistentMessage of an IRIS class, the newest of several; None where there is none."""
    found = None
    for model in _below(Model):
        is_base = getattr(model, "_iop_persistent_message_abstract", False)
        if getattr(model, "_classname", None) == class_name and not is_base:
            found = model
    return found


def _below(cls: Any) -> Iterator[Any]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _below(sub)


def message_fields(message: Any) -> dict[str, Any]:
    """Return the fields of a model, or of the object that iop made of one, as JSON has them."""
    if isinstance(message, ModelObject):
        return message.fields()
    return {
        name: json_value(vars(message)[name]) for name in message.__model_fields__ if name in vars(message)
    }


def body_class(obj: ModelObject) -> str:
    """Return the class of the body that holds the object: a message's own, so that it is known by one name."""
    name = obj._ClassName(1)
    model = model_named(name)
    return f"{model.__module__}.{model.__name__}" if is_message_class(model) else name


def read_object(class_name: str, fields: Mapping[str, Any]) -> ModelObject:
    """Return the object of stored fields, for a Model that was sent as the object that iop makes of it."""
    made = ModelObject(class_name)
    for name, field in model_named(class_name).__model_fields__.items():
        if name in fields:
            setattr(made, name, _object_leaf(fields[name], field.declared_type))
    return made


def _object_leaf(value: Any, declared: Any) -> Any:
    def leaf(part: Any, kind: Any) -> Any:
        if is_model_type(kind) and isinstance(part, dict):
            return read_object(kind._classname, part)
        return typed_value(part, kind)

    return walk_declared_value(value, declared, leaf)


def json_value(value: Any) -> Any:
    """Return a value of a field as JSON has it."""
    if isinstance(value, ModelObject | Model):
        return message_fields(value)
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, decimal.Decimal):
        return str(value)
    return None if value == NULL_STRING else moment(value)


def read_model(cls: Any, fields: Mapping[str, Any], pk: str | None = None) -> Any:
    """Return the model of stored fields, as IRIS loads it: not validated, and what was never set is empty."""
    made = cls.__new__(cls)
    state = vars(made)
    state["_pk"], state["_iris_obj"] = pk, ModelObject(cls._classname) if pk else None
    for name, field in cls.__model_fields__.items():
        if name in fields:
            state[name] = walk_declared_value(fields[name], field.declared_type, _read_leaf)
        else:
            state[name] = {"list": [], "array": {}, None: None}[field._collection_kind]
            if field.declared_type is str:
                state[name] = ""
    return made


def parse_model(cls: Any, fields: Mapping[str, Any]) -> Any:
    """Build a persistent message from fields that came from outside."""
    known = cls.__model_fields__
    for name in fields:
        if name not in known:
            raise BadRequest(f"{cls.__name__}: {unknown_name_sentence('field', name, known)}")
    try:
        return cls(
            **{
                name: walk_declared_value(value, known[name].declared_type, _parse_leaf)
                for name, value in fields.items()
            }
        )
    except (TypeError, ValueError, ArithmeticError) as error:
        raise BadRequest(f"{cls.__name__}: {error}.") from None


def _read_leaf(value: Any, declared: Any) -> Any:
    if is_model_type(declared) and isinstance(value, dict):
        return read_model(declared, value)
    return typed_value(value, declared)


def _parse_leaf(value: Any, declared: Any) -> Any:
    if is_model_type(declared) and isinstance(value, dict):
        return parse_model(declared, value)
    return typed_value(value, declared)


def typed_value(value: Any, declared: Any) -> Any:
    """Return a value of JSON as its declared type has it; what does not fit stays as it came."""
    if isinstance(value, str) and value:
        if declared is decimal.Decimal:
            return decimal.Decimal(value)
        if declared in (bytes, bytearray):
            return declared(base64.b64decode(value))
    if declared is decimal.Decimal and isinstance(value, int | float) and not isinstance(value, bool):
        return decimal.Decimal(str(value))
    if declared in DATE_TYPES and not isinstance(value, str):
        return value
    return coerce_value_for_load(declared, value) if declared in DATE_TYPES else value


def moment(value: Any) -> Any:
    """Return a date or time as it is written, and any other value as it is."""
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value
