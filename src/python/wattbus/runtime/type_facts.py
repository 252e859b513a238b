"""What a message type looks like from outside: its names, its JSON schema, its fields, ready examples."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import to_jsonable_python

from wattbus import messages
from wattbus.errors import BadRequest, UnknownName
from wattbus.runtime.examples import Example, examples_of
from wattbus.runtime.iris import IrisObject
from wattbus.runtime.running import RunningProduction
from wattbus.runtime.types import MessageTypes, handler_keys, type_name


@dataclass(frozen=True)
class TypeName:
    """A message type by all its names."""

    name: str  # in full
    short: str
    old_names: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class TypeFacts:
    """A message type; ``free``: it takes any field, so only JSON says what is meant."""

    name: str
    short: str
    old_names: tuple[str, ...]
    description: str
    free: bool
    json_schema: dict[str, Any] | None  # None: nothing is known of its fields
    examples: tuple[Example, ...]
    handled_by: tuple[str, ...]


def named(cls: type) -> TypeName:
    """Return the names of a message type."""
    old = tuple(sorted(name for name, known in messages.ALIASES.items() if known is cls))
    if issubclass(cls, IrisObject):
        return TypeName(cls.CLASSNAME, cls.__name__, old, _said_of(cls))
    return TypeName(type_name(cls), cls.__name__, old, _said_of(cls))


def facts_of(running: RunningProduction, name: str, task: str | None = None) -> TypeFacts:
    """Describe the type called ``name``; raises UnknownName with the nearest right name."""
    cls = running.types.resolve(name)
    names, schema = named(cls), schema_of(cls)
    return TypeFacts(
        names.name,
        names.short,
        names.old_names,
        names.description,
        is_free(cls),
        schema,
        examples_of(names.short, task),
        tuple(
            item.name for item in running.production.items.values() if cls in (handled(running, item.name) or ())
        ),
    )  # fmt: skip


def all_types(types: MessageTypes) -> list[TypeName]:
    """Return the types that a production accepts."""
    found = (types.registered(name) for name in types.names())
    return [named(cls) for cls in found if cls is not None]


def handled(running: RunningProduction, item: str) -> list[type] | None:
    """Return the types that an item has a handler for; None: it takes all, or is not known yet."""
    pool = running.life.pools.get(running.production.item(item).name)
    if pool is None or not pool.host.handled:
        return None
    keys = set(pool.host.handled)
    found = (running.types.registered(name) for name in running.types.names())
    known = [cls for cls in found if cls is not None and keys.intersection(handler_keys(cls))]
    seen = {key for cls in known for key in handler_keys(cls)}
    for key in sorted(keys - seen):
        try:
            known.append(running.types.resolve(key))
        except BadRequest:  # a type that no message from outside can have
            continue
    return list(dict.fromkeys(known))


def meant(running: RunningProduction, item: str, name: str) -> type:
    """Return the type that somebody names for a message to an item.

    The testing service of IRIS asks for an envelope class first: that is the item's type where it has only one.
    """
    if name in messages.ENVELOPES:
        known = handled(running, item) or []
        if len(known) != 1:
            raise UnknownName(
                "message type",
                name,
                [cls.__name__ for cls in known],
                "It is an envelope: name what is in it.",
            )
        return known[0]
    return running.types.resolve(name)


def is_free(cls: type) -> bool:
    """Tell whether a type takes fields that it does not declare."""
    if issubclass(cls, BaseModel):
        return cls.model_config.get("extra") == "allow"
    return dataclasses.is_dataclass(cls) and not dataclasses.fields(cls)


def schema_of(cls: type) -> dict[str, Any] | None:
    """Return the JSON schema of a type, or None where its fields are not known."""
    if issubclass(cls, IrisObject):
        return {"type": "object", "properties": {name: {} for name in cls.PROPERTIES}}
    try:
        if issubclass(cls, BaseModel):
            return cls.model_json_schema()
        if dataclasses.is_dataclass(cls):
            return _of_dataclass(cls)
    except (PydanticUserError, NameError):  # a field of a type that JSON does not know
        return None
    return None


def _of_dataclass(cls: type) -> dict[str, Any]:
    fields = [field for field in dataclasses.fields(cls) if not field.name.startswith("_")]
    hints = get_type_hints(cls, include_extras=True)
    properties: dict[str, Any] = {}
    needed: list[str] = []
    shared: dict[str, Any] = {}
    for field in fields:
        schema = TypeAdapter(hints[field.name]).json_schema()
        shared |= schema.pop("$defs", {})
        if field.default is not dataclasses.MISSING:
            schema["default"] = to_jsonable_python(field.default, fallback=str)
        elif field.default_factory is dataclasses.MISSING:
            needed.append(field.name)
        properties[field.name] = schema
    found: dict[str, Any] = {"type": "object", "title": cls.__name__, "properties": properties}
    if needed:
        found["required"] = needed
    return {**found, "$defs": shared} if shared else found


def _said_of(cls: type) -> str:
    said = inspect.cleandoc(cls.__doc__ or "")
    # A dataclass without a docstring gets its own signature for one.
    return "" if said.startswith(f"{cls.__name__}(") else said.partition("\n\n")[0].replace("\n", " ")
