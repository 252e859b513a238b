"""Fields of a form, made from a message type's JSON schema; and the body that a filled form stands for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wattbus.errors import BadRequest, UnknownName

#: What the names of fields begin with, so that none is taken for one of the page's own.
PREFIX = "field."
_LONG_TEXTS = ("text", "prompt", "inputs", "payload", "body", "content", "message")


@dataclass(frozen=True)
class Field:
    """One field: ``kind`` is text, long, number, whole, choice or json."""

    name: str
    kind: str
    hint: str
    needed: bool
    value: str
    choices: tuple[str, ...] = ()

    @property
    def input_name(self) -> str:
        return PREFIX + self.name


def fields_of(schema: Mapping[str, Any], values: Mapping[str, Any]) -> list[Field]:
    """Return the fields of a schema, filled with values of a body."""
    needed = schema.get("required", ())
    return [
        _field(name, _plain(one, schema), name in needed, values)
        for name, one in schema.get("properties", {}).items()
    ]


def typed_fields(fields: list[Field], typed: Mapping[str, str]) -> list[Field]:
    """Return the fields with what somebody typed, whatever it is."""
    return [
        Field(one.name, one.kind, one.hint, one.needed, typed.get(one.input_name, ""), one.choices)
        for one in fields
    ]


def body_of(fields: list[Field], typed: Mapping[str, str]) -> dict[str, Any]:
    """Return the body that a filled form stands for; an empty field is left out. Raises BadRequest."""
    known = {one.input_name: one.name for one in fields}
    for name in typed:
        if name.startswith(PREFIX) and name not in known:
            raise UnknownName("field", name.removeprefix(PREFIX), known.values())
    body = {}
    for one in fields:
        text = typed.get(one.input_name, "").replace("\r\n", "\n")
        if text != "":
            body[one.name] = _read(one, text)
    return body


def _read(field: Field, text: str) -> Any:
    if field.kind in ("text", "long"):
        return text
    if field.kind == "choice":
        return {"true": True, "false": False}.get(text, text) if set(field.choices) == _TRUTH else text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if field.kind == "json":
            return _text_or_json(field, text)
        raise BadRequest(f"field {field.name!r} is {text[:80]!r}: a number is needed.") from None


def _text_or_json(field: Field, text: str) -> str:
    """Take a plain text for a text; what begins like JSON was meant as JSON."""
    if text.lstrip()[:1] in ("{", "[", '"'):
        raise BadRequest(f"field {field.name!r} is not JSON: mend its brackets and quotes.")
    return text


def _plain(one: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a property without the reference to a definition and without ``or null``."""
    if "$ref" in one:
        return {**schema.get("$defs", {}).get(str(one["$ref"]).rpartition("/")[2], {}), **one}
    kinds = [kind for kind in one.get("anyOf", ()) if kind.get("type") != "null"]
    return {**one, **_plain(kinds[0], schema)} if len(kinds) == 1 else one


def _field(name: str, one: Mapping[str, Any], needed: bool, values: Mapping[str, Any]) -> Field:
    value = values.get(name)
    kind, choices = _kind(name, one)
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and "\n" in value and kind == "text":
        kind = "long"
    said = str(one.get("description", ""))
    default = one.get("default")
    if default not in (None, "", [], {}):
        said = f"{said + '; ' if said else ''}{json.dumps(default, ensure_ascii=False)} when left out"
    return Field(name, kind, said, needed, text, choices)


def _kind(name: str, one: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    if "enum" in one and all(isinstance(choice, str) for choice in one["enum"]):
        return "choice", tuple(one["enum"])
    kind = one.get("type")
    if kind == "boolean":
        return "choice", ("true", "false")
    if kind == "string":
        return ("long" if name.lower() in _LONG_TEXTS else "text"), ()
    return {"integer": "whole", "number": "number"}.get(str(kind), "json"), ()


_TRUTH = {"true", "false"}
