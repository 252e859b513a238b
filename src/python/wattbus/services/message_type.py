"""The message type that a service sends: named in its settings, built from the fields of what it found."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

from pydantic import BaseModel

from wattbus import messages
from wattbus.errors import BadSettings, UnknownName
from wattbus.runtime.parsing import parse
from wattbus.runtime.types import is_message_type


def message_type(name: str, default: type) -> type:
    """Return the class called ``module.Class``, or by its name alone one of wattbus; ``default`` where it is empty."""
    if not name.strip():
        return default
    module_name, _, class_name = name.strip().rpartition(".")
    ours = {cls.__name__: cls for cls in messages.PUBLIC}
    if not module_name:
        if class_name not in ours:
            raise UnknownName("MessageType", class_name, ours, "A type of your own is module.Class.")
        return ours[class_name]
    try:
        # A setting is written by the author of the production; no name that came with a message is imported.
        found = getattr(importlib.import_module(module_name), class_name, None)
    except ImportError as error:
        raise BadSettings(
            f"MessageType {name!r} cannot be imported ({error}): write module.Class."
        ) from error
    if not isinstance(found, type) or not is_message_type(found):
        raise BadSettings(
            f"MessageType {name!r} is no Message or PydanticMessage: write module.Class of one."
        )
    return found


def build(cls: type, fields: dict[str, Any]) -> Any:
    """Build a message; raise :class:`~wattbus.errors.BadRequest` where the fields do not fit."""
    return parse(cls, fields)


def build_from_some(cls: type, fields: dict[str, Any]) -> Any:
    """Build a message from those of the fields that its type declares; from all where it declares none."""
    if issubclass(cls, BaseModel):
        declared = set(cls.model_fields)
    else:
        declared = (
            {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
        )
    return parse(cls, {name: value for name, value in fields.items() if not declared or name in declared})
