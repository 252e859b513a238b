"""The page of the API: every call with its role, its fields and an example, drawn from the OpenAPI document."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from wattbus.access import Role
from wattbus.web.openapi import describe
from wattbus.web.roles import needs
from wattbus.web.twin import Twins

_LOOK = [needs(Role.VIEWER)]


@dataclass(frozen=True)
class Parameter:
    """A parameter, or a field of a body."""

    name: str
    place: str
    kind: str
    needed: bool
    said: str


@dataclass(frozen=True)
class Operation:
    """One call."""

    id: str
    method: str
    path: str
    summary: str
    said: str
    role: str
    parameters: tuple[Parameter, ...]
    fields: tuple[Parameter, ...]
    example: str
    curl: str
    answers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Group:
    """The calls under one tag."""

    name: str
    said: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class ApiView:
    """What the page shows."""

    title: str
    version: str
    groups: tuple[Group, ...]


def router(twins: Twins, app: FastAPI) -> APIRouter:
    """Return the routes of the page and of the document."""
    pages = APIRouter(include_in_schema=False)

    @pages.get("/openapi.json", dependencies=_LOOK)
    async def document() -> Response:
        return JSONResponse(await run_in_threadpool(describe, app))

    @pages.get("/docs", dependencies=_LOOK)
    async def page(request: Request) -> Response:
        view = read(await run_in_threadpool(describe, app), str(request.base_url).rstrip("/"))
        return twins.draw(request, "docs.html", view)

    return pages


def read(document: Mapping[str, Any], base: str) -> ApiView:
    """Return the page of an OpenAPI document; ``base`` is the address that the examples call."""
    groups: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            tag = (one.get("tags") or ["portal"])[0]
            groups.setdefault(tag, []).append(_operation(document, base, path, method, one))
    said = {tag["name"]: tag["description"] for tag in document.get("tags", ())}
    order = [*said, *(name for name in groups if name not in said)]
    return ApiView(
        str(document["info"]["title"]),
        str(document["info"]["version"]),
        tuple(Group(name, said.get(name, ""), tuple(groups[name])) for name in order if name in groups),
    )


def _operation(
    document: Mapping[str, Any], base: str, path: str, method: str, one: Mapping[str, Any]
) -> Operation:
    media = one.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = _resolved(document, media.get("schema", {}))
    example = _example(media, schema)
    said = str(one.get("description", "")).partition("\n\n")[2]
    return Operation(
        f"{method}{path}".replace("/", "-").replace("{", "").replace("}", ""),
        method.upper(),
        path,
        str(one.get("summary", "")),
        said,
        str(one.get("x-role", "")),
        tuple(_parameter(document, parameter) for parameter in one.get("parameters", ())),
        tuple(_field(document, schema, name) for name in schema.get("properties", {})),
        "" if example is None else json.dumps(example, indent=2, ensure_ascii=False),
        _curl(base, method, path, example),
        tuple((code, str(answer.get("description", ""))) for code, answer in one.get("responses", {}).items()),
    )  # fmt: skip


def _parameter(document: Mapping[str, Any], one: Mapping[str, Any]) -> Parameter:
    schema = one.get("schema", {})
    said = str(one.get("description") or schema.get("description", ""))
    if "default" in schema and schema["default"] not in (None, ""):
        said = f"{said + '; ' if said else ''}{json.dumps(schema['default'])} when left out"
    return Parameter(one["name"], one["in"], _kind(document, schema), bool(one.get("required")), said)


def _field(document: Mapping[str, Any], schema: Mapping[str, Any], name: str) -> Parameter:
    field = schema["properties"][name]
    needed = name in schema.get("required", ())
    return Parameter(name, "body", _kind(document, field), needed, str(field.get("description", "")))


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    if len(kinds) == 1:
        return _resolved(document, kinds[0])
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"].get(
        str(schema["$ref"]).rpartition("/")[2], {}
    )
    return found


def _kind(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Say what kind of value a schema takes, in a few words."""
    resolved = _resolved(document, schema)
    if "enum" in resolved:
        return ", ".join(map(str, resolved["enum"]))
    kinds = [kind for kind in resolved.get("anyOf", ()) if kind.get("type") != "null"]
    if kinds:
        return " or ".join(dict.fromkeys(_kind(document, kind) for kind in kinds))
    kind = str(resolved.get("type", "any JSON"))
    if kind == "array":
        return f"list of {_kind(document, resolved.get('items', {}))}"
    return {"integer": "whole number", "string": "text", "boolean": "true, false"}.get(kind, kind)


def _example(media: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    named = media.get("examples") or {}
    if named:
        return next(iter(named.values())).get("value")
    examples = schema.get("examples") or ()
    if examples:
        return examples[0]
    return None if not media else {}


def _curl(base: str, method: str, path: str, example: Any) -> str:
    lines = [
        f"curl -X {method.upper()} {shlex.quote(base + path)}",
        '-H "Authorization: Bearer $WATTBUS_TOKEN"',
    ]
    if example is not None:
        lines += [
            "-H 'Content-Type: application/json'",
            f"-d {shlex.quote(json.dumps(example, ensure_ascii=False))}",
        ]
    return " \\\n  ".join(lines)
