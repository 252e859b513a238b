"""The API described: the OpenAPI document of every route, with its role, its errors and examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from wattbus.access import Role
from wattbus.web.roles import Needs

_METHODS = ("get", "post", "put", "patch", "delete")
TAGS = {
    "messages": "Send to an item, wait or ask later, list what was sent, act on it.",
    "sessions": "The visual trace: what a message set going, with waits, durations and joules.",
    "models": "Models, their versions, and calls in the shape of the Hugging Face inference API.",
    "openai": "The shapes of OpenAI: embeddings, chats, models.",
    "energy": "What was used, by item, model and day, each figure with its tier.",
    "portal": "What the pages show, as JSON.",
    "iop": "The door of the iop program, as IRIS answers it.",
    "wattbus": "The door of services in another process.",
}
_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "An error in the form of RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what was wrong, why, and what to do next"},
        "instance": {"type": "string"},
        "message_id": {"type": "integer", "description": "the message that failed, where one was stored"},
        "trace_id": {"type": "integer", "description": "its session: /trace/{trace_id} shows what happened"},
    },
    "examples": [
        {
            "type": "about:blank", "title": "Not Found", "status": 404, "instance": "/api/v1/messages",
            "detail": "unknown message type 'msg.MLReqest': did you mean 'msg.MLRequest'?",
        }
    ],
}  # fmt: skip
_OPENAI_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_OLDER_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


@dataclass(frozen=True)
class RouteFacts:
    """A route: its path, its methods, and the role that it takes; None: it says none."""

    path: str
    methods: frozenset[str]
    role: Role | None
    described: bool


def every_route(app: FastAPI) -> Iterator[RouteFacts]:
    """Yield the routes of an application, pages and files too."""
    for route in iter_route_contexts(app.routes):
        found = [one.dependency.role for one in route.dependencies if isinstance(one.dependency, Needs)]
        yield RouteFacts(
            str(route.path),
            frozenset(route.methods or ()),
            found[-1] if found else None,
            bool(route.include_in_schema),
        )


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document; it is made once."""
    document = app.openapi()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    if "Problem" in schemas:
        return document
    schemas |= {"Problem": _PROBLEM, "OpenAIError": _OPENAI_ERROR, "OlderError": _OLDER_ERROR}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    document["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "`wattbus token new NAME --role ROLE`"}
    }
    document["security"] = [{"token": []}]
    roles = {(facts.path.replace(":path", "").replace(":int", ""), method.lower()): facts.role
             for facts in every_route(app) for method in facts.methods}  # fmt: skip
    used = set()
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                used.update(methods[method].get("tags", ()))
                _complete(path, methods[method], roles.get((path, method)))
    document["tags"] = [{"name": name, "description": said} for name, said in TAGS.items() if name in used]
    return document


def _complete(path: str, operation: dict[str, Any], role: Role | None) -> None:
    """Say of one operation which role it takes, and how it fails."""
    answers = operation["responses"]
    answers.pop("422", None)  # what FastAPI would say; here it is one of the problems
    answers.setdefault("default", _failure(path))
    if role is not None:
        operation["x-role"] = str(role)


def _failure(path: str) -> dict[str, Any]:
    if path.startswith(("/api/iop", "/api/wattbus")):
        kind, name = "application/json", "OlderError"
    elif path.startswith("/v1/"):
        kind, name = "application/json", "OpenAIError"
    else:
        kind, name = "application/problem+json", "Problem"
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"description": "What was wrong, in a sentence.", "content": {kind: {"schema": schema}}}
