"""The Hugging Face shape: ``POST /models/{name}``, which the real ``InferenceClient`` calls as it stands.

What it sends is in ``huggingface_hub/inference/_providers/hf_inference.py``: JSON with ``inputs`` and ``parameters``,
or the bytes of a picture; feature-extraction has its parameters beside ``inputs``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from wattbus.access import Role
from wattbus.errors import BadRequest
from wattbus.ml.pipeline_tasks import TASKS, Feed
from wattbus.operations.serving import ServedModel
from wattbus.web import model_calls, openai_api
from wattbus.web.desk import Desk
from wattbus.web.roles import needs
from wattbus.web.twin import PROBLEMS

_DOOR = "Models"
#: Sent by the client whatever is asked; what they ask for beyond "no" is not offered.
_OF_OTHER_SERVERS = ("details", "decoder_input_details", "watermark")
_NAMES = {"stop": "stop_sequence"}
#: Of feature extraction, which the servers of Hugging Face know and which change nothing here.
_FOR_EMBEDDINGS = ("truncate", "truncation_direction", "prompt_name", "dimensions", "encoding_format")
#: What an endpoint of Hugging Face does unasked, by task.
_USUAL: Mapping[str, Mapping[str, Any]] = {
    "text-classification": {"top_k": None},
    "token-classification": {"aggregation_strategy": "simple"},
    "text-generation": {"return_full_text": False},
    "feature-extraction": {"pooling": "model", "normalize": True},
}
_EXAMPLES = {
    "a text": {"value": {"inputs": "This was a really bad experience", "parameters": {"top_k": 2}}},
    "a mask": {"value": {"inputs": "George Washington lived in [MASK]."}},
    "a beginning": {"value": {"inputs": "George Washington lived", "parameters": {"max_new_tokens": 20}}},
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {"inputs": {}, "parameters": {"type": "object"}},
                },
                "examples": _EXAMPLES,
            },
            **{
                kind: {"schema": {"type": "string", "format": "binary"}}
                for kind in ("image/jpeg", "image/png")
            },
        },
    }
}


def router(desk: Desk) -> APIRouter:
    """Return the route; it has to stand behind the pages under ``/models``."""
    api = APIRouter(tags=["models"])

    async def infer(name: str, request: Request) -> Response:
        for end in ("/v1/chat/completions", "/chat/completions"):
            if name.endswith(end):
                return await openai_api.complete(desk, request, name.removesuffix(end))
        running, model = await model_calls.served(desk, name)
        content = await request.body()
        is_image = TASKS[model.task].feed is Feed.IMAGE
        if is_image and not _is_json(request):
            called = await model_calls.call_with_picture(running, model, content, {}, _DOOR)
        else:
            inputs, parameters = _read(model, content)
            if is_image and not _is_address(inputs):
                picture = _decoded(inputs)
                called = await model_calls.call_with_picture(running, model, picture, parameters, _DOOR)
            else:
                field = "url" if is_image else "inputs"
                called = await model_calls.call(running, model, {field: inputs, **parameters}, _DOOR)
        headers = {"X-Wattbus-Message": str(called.message_id)}
        return JSONResponse(in_their_shape(model.task, called.output), headers=headers)

    api.add_api_route(
        "/models/{name:path}",
        infer,
        methods=["POST"],
        dependencies=[needs(Role.OPERATOR)],
        responses=PROBLEMS,
        openapi_extra=_BODY,
        summary="Ask a model, in the shape of the Hugging Face inference API",
    )
    return api


def _is_json(request: Request) -> bool:
    return "json" in request.headers.get("content-type", "")


def _is_address(inputs: Any) -> bool:
    return isinstance(inputs, str) and inputs.startswith(("http://", "https://"))


def _read(model: ServedModel, content: bytes) -> tuple[Any, dict[str, Any]]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, Mapping) or "inputs" not in body:
        raise BadRequest(
            f'{model.name!r} serves {model.task}: send a JSON object such as {{"inputs": "text"}}'
            + (", or the bytes of a picture." if TASKS[model.task].feed is Feed.IMAGE else ".")
        )
    if body.get("stream"):
        raise BadRequest("a stream is served at /v1/chat/completions; here, leave `stream` out.")
    rest = {
        name: value
        for name, value in body.items()
        if name not in ("inputs", "parameters", "options", "stream")
    }
    given = body.get("parameters") or {}
    if not isinstance(given, Mapping):
        raise BadRequest("`parameters` is an object of options by their names.")
    asked = {_NAMES.get(name, name): value for name, value in {**rest, **given}.items() if value is not None}
    for name in _OF_OTHER_SERVERS:
        if asked.pop(name, False):
            raise BadRequest(f"{name!r} is not offered: leave it out; the text itself is the answer.")
    return body["inputs"], _with_their_defaults(model, asked)


def _with_their_defaults(model: ServedModel, asked: dict[str, Any]) -> dict[str, Any]:
    """Add what an endpoint of Hugging Face does unasked, where the item's settings do not say otherwise."""
    if model.task == "feature-extraction":
        for name in _FOR_EMBEDDINGS:
            if asked.pop(name, None) not in (None, True, "float", "right"):
                raise BadRequest(
                    f"{name!r} is not offered: the text is read as it is, cut to what the model takes."
                )
    usual = _USUAL.get(model.task, {})
    return {**{name: value for name, value in usual.items() if name not in model.options}, **asked}


def _decoded(inputs: Any) -> bytes:
    try:
        return base64.b64decode(inputs, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise BadRequest(
            "`inputs` is no picture: send its bytes as base64, or the http(s) address of one."
        ) from None


def in_their_shape(task: str, output: Any) -> Any:
    """Return the output of a pipeline as the Hugging Face API answers it.

    >>> in_their_shape("text-classification", [{"label": "5", "score": 0.9}])
    [[{'label': '5', 'score': 0.9}]]
    """
    if task == "text-classification":
        rows = [output] if isinstance(output, Mapping) else output
        return [rows] if rows and isinstance(rows[0], Mapping) else rows
    if task == "feature-extraction" and output and isinstance(output[0], int | float):
        return [output]
    if task == "zero-shot-classification" and isinstance(output, Mapping):
        pairs = zip(output.get("labels", ()), output.get("scores", ()), strict=True)
        return [{"label": label, "score": score} for label, score in pairs]
    return output
