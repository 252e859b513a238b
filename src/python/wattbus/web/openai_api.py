"""OpenAI's shape: ``/v1/models``, ``/v1/embeddings`` and ``/v1/chat/completions``, for clients that speak it."""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from wattbus.access import Role
from wattbus.errors import BadRequest, UnknownName
from wattbus.operations.serving import ServedModel, served_models
from wattbus.runtime.parsing import validation_sentence
from wattbus.runtime.running import RunningProduction
from wattbus.web import model_calls
from wattbus.web.desk import Desk
from wattbus.web.openai_stream import ChatStream, cut, finish_reason, usage
from wattbus.web.roles import needs

_DOOR = "OpenAI"
_CHAT, _VECTORS = ("text-generation",), ("feature-extraction",)
#: What clients send that changes nothing where it has this value, or at all (Ellipsis).
_WITHOUT_EFFECT: Mapping[str, Any] = {
    "user": ..., "metadata": ..., "store": ..., "service_tier": ..., "safety_identifier": ..., "prompt_cache_key": ...,
    "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False, "logit_bias": {}, "tools": [],
    "parallel_tool_calls": ..., "modalities": ["text"],
}  # fmt: skip
_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "What was wrong, in OpenAI's shape.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIError"}}},
    }
}


class Turn(BaseModel):
    """One message of a chat."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[dict[str, JsonValue]]

    @property
    def text(self) -> str:
        """Return the content as one text; a picture in it is refused."""
        if isinstance(self.content, str):
            return self.content
        for part in self.content:
            if part.get("type") != "text":
                raise BadRequest(f"a message holds a part of type {part.get('type')!r}: only text is taken.")
        return "".join(str(part.get("text", "")) for part in self.content)


class ChatRequest(BaseModel):
    """A chat to go on with."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "model": "gpt2",
                    "messages": [{"role": "user", "content": "George Washington lived"}],
                    "max_tokens": 20,
                }
            ]
        },
    )

    model: str
    messages: list[Turn] = Field(min_length=1, max_length=1_000)
    max_tokens: int | None = Field(default=None, ge=1, le=4096)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=4096)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1, le=16)
    stop: str | list[str] | None = None
    seed: int | None = Field(default=None, ge=0, le=2**63 - 1)
    stream: bool | None = None
    stream_options: dict[str, JsonValue] | None = None


class EmbeddingsRequest(BaseModel):
    """Texts to make vectors of."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"model": "all-MiniLM-L6-v2", "input": ["Two cats sleep."]}]},
    )

    model: str
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


def router(desk: Desk) -> APIRouter:
    """Return the routes."""
    api = APIRouter(prefix="/v1", tags=["openai"])

    async def list_models() -> Response:
        """List the models that items of the production serve."""
        running = await run_in_threadpool(desk.current)
        known = [_model_card(one) for one in served_models(running.production)]
        return JSONResponse({"object": "list", "data": known})

    async def one_model(name: str) -> Response:
        """Describe a model."""
        _, model = await model_calls.served(desk, name)
        return JSONResponse(_model_card(model))

    async def embed(asked: EmbeddingsRequest) -> Response:
        """Make one vector of each text: pooled as the model does it, of the length 1."""
        return await _embeddings(desk, asked)

    async def chat(request: Request, asked: ChatRequest) -> Response:
        """Go on with a chat; `stream` sends it while the model writes it."""
        return await _chat(desk, asked)

    look, operate = [needs(Role.VIEWER)], [needs(Role.OPERATOR)]
    for path, function, method, role in (
        ("/models", list_models, "GET", look),
        ("/models/{name:path}", one_model, "GET", look),
        ("/embeddings", embed, "POST", operate),
        ("/chat/completions", chat, "POST", operate),
    ):
        said = (function.__doc__ or "").strip()
        api.add_api_route(
            path, function, methods=[method], dependencies=role, responses=_RESPONSES, summary=said
        )
    return api


async def complete(desk: Desk, request: Request, name: str) -> Response:
    """Answer a chat whose model is named by the path, as huggingface_hub asks for one."""
    try:
        asked = ChatRequest.model_validate({**json.loads(await request.body()), "model": name})
    except ValidationError as error:
        raise BadRequest(validation_sentence("the chat", error)) from None
    except (TypeError, ValueError, RecursionError):
        raise BadRequest(
            'the body is not JSON: send {"messages": [{"role": "user", "content": "text"}]}.'
        ) from None
    return await _chat(desk, asked)


def _model_card(model: ServedModel) -> dict[str, Any]:
    return {
        "id": model.name or model.item,
        "object": "model",
        "created": 0,
        "owned_by": model.item,
        "task": model.task,
    }


# -- embeddings ---------------------------------------------------------------------------------------------------


async def _embeddings(desk: Desk, asked: EmbeddingsRequest) -> Response:
    _refuse_extra(asked)
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise BadRequest(
            "`input` is a text or a list of texts, none of them empty; lists of token numbers are not read."
        )
    running, model = await model_calls.served(desk, asked.model, _VECTORS)
    called = await model_calls.call(
        running, model, {"inputs": texts, "pooling": "model", "normalize": True}, _DOOR
    )
    vectors = called.output
    if asked.dimensions not in (None, len(vectors[0])):
        raise BadRequest(
            f"{asked.model!r} makes vectors of {len(vectors[0])} numbers, not of {asked.dimensions}: leave "
            "`dimensions` out."
        )
    as_text = asked.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": place, "embedding": _packed(vector) if as_text else vector}
        for place, vector in enumerate(vectors)
    ]
    told: dict[str, Any] = {"object": "list", "data": data, "model": asked.model}
    if called.input_tokens is not None:
        told["usage"] = {"prompt_tokens": called.input_tokens, "total_tokens": called.input_tokens}
    return JSONResponse(told, headers=_trace(called.message_id))


def _packed(vector: list[float]) -> str:
    """Return the numbers as little-endian floats in base64, as the openai client unpacks them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


# -- chats ----------------------------------------------------------------------------------------------------------


async def _chat(desk: Desk, asked: ChatRequest) -> Response:
    _refuse_extra(asked)
    running, model = await model_calls.served(desk, asked.model, _CHAT)
    if asked.stream:
        return await _stream(running, model, asked)
    called = await model_calls.call(running, model, _generation(asked), _DOOR)
    texts = [cut(str(row["generated_text"]), _stops(asked)) for row in called.output]
    made = int(time.time())
    head = {"id": f"chatcmpl-{called.message_id}", "created": made, "model": asked.model}
    most = _most_tokens(asked)
    reason = finish_reason(None if most is None else most * len(texts), called.output_tokens)
    choices = [
        {
            "index": place,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": reason,
        }
        for place, text in enumerate(texts)
    ]
    counted = usage(called.input_tokens, called.output_tokens)
    told = {**head, "object": "chat.completion", "choices": choices, **counted}
    return JSONResponse(told, headers=_trace(called.message_id))


def _generation(asked: ChatRequest) -> dict[str, Any]:
    turns = [
        {"role": "system" if turn.role == "developer" else turn.role, "content": turn.text}
        for turn in asked.messages
    ]
    fields: dict[str, Any] = {"inputs": turns, "return_full_text": False}
    most = _most_tokens(asked)
    if most is not None:
        fields["max_new_tokens"] = most
    if asked.temperature is not None:
        fields |= (
            {"do_sample": False}
            if asked.temperature == 0
            else {"do_sample": True, "temperature": max(0.01, asked.temperature)}
        )
    if asked.top_p is not None and asked.temperature != 0:
        fields |= {"do_sample": True, "top_p": asked.top_p}
    if asked.n is not None and asked.n > 1:
        fields["num_return_sequences"] = asked.n
    if asked.seed is not None:
        fields["seed"] = asked.seed
    if _stops(asked):
        fields["stop_sequence"] = _stops(asked)
    return fields


def _stops(asked: ChatRequest) -> list[str]:
    return [asked.stop] if isinstance(asked.stop, str) else asked.stop or []


def _most_tokens(asked: ChatRequest) -> int | None:
    return asked.max_completion_tokens or asked.max_tokens


async def _stream(running: RunningProduction, model: ServedModel, asked: ChatRequest) -> Response:
    """Answer with the text while it is written; what cannot be written is refused before anything is sent."""
    if (asked.n or 1) > 1:
        raise BadRequest(f"a stream brings one answer, and `n` is {asked.n}: leave it out, or do not stream.")
    reading = await model_calls.read(running, model, _generation(asked), _DOOR)
    return ChatStream(
        reading,
        asked.model,
        stops=_stops(asked),
        most_tokens=_most_tokens(asked),
        include_usage=bool((asked.stream_options or {}).get("include_usage")),
        headers=_trace(reading.message_id),
    )


def _refuse_extra(asked: BaseModel) -> None:
    """Refuse what would change the answer and is not offered; what would not is passed over."""
    known = [*type(asked).model_fields, *_WITHOUT_EFFECT]
    for name, value in (asked.__pydantic_extra__ or {}).items():
        if name not in _WITHOUT_EFFECT:
            raise UnknownName("field", name, known)
        usual = _WITHOUT_EFFECT[name]
        if usual is not ... and value is not None and value != usual:
            raise BadRequest(f"{name!r} is not offered: leave it out.")


def _trace(message_id: int) -> dict[str, str]:
    return {"X-Wattbus-Message": str(message_id)}
