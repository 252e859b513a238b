"""A chat in OpenAI's shape while the model writes it: server-sent events, one for each piece of text."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from wattbus.errors import WattbusError
from wattbus.messages import MLResponse, MLToken
from wattbus.web.asking import Reading
from wattbus.web.shapes import error_body

#: A client that takes nothing for so long is gone: it holds a worker of the model.
STALLED_SECONDS = 30.0


class ChatStream(StreamingResponse):
    """The answer to a chat, sent as it is written; where its client goes, the model stops with the token in hand."""

    def __init__(
        self,
        reading: Reading,
        model: str,
        *,
        stops: Sequence[str],
        most_tokens: int | None,
        include_usage: bool,
        headers: Mapping[str, str],
        stalled_seconds: float = STALLED_SECONDS,
    ) -> None:
        self._reading, self._stalled_seconds = reading, stalled_seconds
        self._stops, self._most_tokens, self._include_usage = stops, most_tokens, include_usage
        self._head = {"id": f"chatcmpl-{reading.message_id}", "created": int(time.time()), "model": model}
        super().__init__(
            self._events(),
            media_type="text/event-stream",
            headers={**headers, "x-accel-buffering": "no", "cache-control": "no-cache"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def in_time(message: Message) -> None:
            await asyncio.wait_for(send(message), self._stalled_seconds)

        try:
            with contextlib.suppress(TimeoutError):  # the connection ends with the answer cut short
                await super().__call__(scope, receive, in_time)
        finally:
            self._reading.close()

    async def _events(self) -> AsyncIterator[str]:
        yield self._event([_choice({"role": "assistant", "content": ""})])
        text, answer = BeforeStop(self._stops), None
        try:
            async for value in self._reading:
                if isinstance(value, MLResponse):
                    answer = value
                elif isinstance(value, MLToken) and (piece := text.more(value.text)):
                    yield self._event([_choice({"content": piece})])
        except WattbusError as error:  # what was written so far has been sent, and stays
            told, _ = error_body(
                "/v1/", HTTPStatus.BAD_GATEWAY, str(error), message_id=self._reading.message_id
            )
            yield _line(told)
            return
        if rest := text.rest():
            yield self._event([_choice({"content": rest})])
        read, wrote = (None, None) if answer is None else (answer.input_tokens, answer.output_tokens)
        yield self._event([_choice({}, finish_reason(self._most_tokens, wrote))])
        if self._include_usage:
            yield self._event([], **usage(read, wrote))
        yield "data: [DONE]\n\n"

    def _event(self, choices: list[Mapping[str, Any]], **more: Any) -> str:
        return _line({**self._head, "object": "chat.completion.chunk", "choices": choices, **more})


class BeforeStop:
    """A growing text up to the first of the words that end it; what may begin one of them waits.

    >>> text = BeforeStop(["STOP"])
    >>> [text.more(piece) for piece in ("a S", "o S", "TOP b", "c")], text.rest()
    (['a ', 'So ', '', ''], '')
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._waits, self._ended = "", False

    def more(self, piece: str) -> str:
        """Return what may be told after a further piece."""
        if self._ended:
            return ""
        text = self._waits + piece
        self._ended = any(stop in text for stop in self._stops)
        if self._ended:
            self._waits = ""
            return cut(text, self._stops)
        held = max((_begun(text, stop) for stop in self._stops), default=0)
        told, self._waits = text[: len(text) - held], text[len(text) - held :]
        return told

    def rest(self) -> str:
        """Return what has waited, once the text has ended."""
        return self._waits


def cut(text: str, stops: Sequence[str]) -> str:
    """Return the text before the first of the words that end it."""
    places = [text.find(stop) for stop in stops if stop and stop in text]
    return text[: min(places)] if places else text


def finish_reason(most_tokens: int | None, wrote: int | None) -> str:
    """Say in OpenAI's words why the text ends: it is as long as was asked for, or not."""
    return "length" if most_tokens is not None and wrote is not None and wrote >= most_tokens else "stop"


def usage(read: int | None, wrote: int | None) -> dict[str, Any]:
    """Return OpenAI's count of tokens; nothing where they were not counted."""
    if read is None or wrote is None:
        return {}
    return {"usage": {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}}


def _begun(text: str, stop: str) -> int:
    """Return how many of the last letters of a text may begin ``stop``."""
    lengths = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((length for length in lengths if stop.startswith(text[-length:])), 0)


def _choice(delta: Mapping[str, Any], end: str | None = None) -> Mapping[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}


def _line(told: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(told)}\n\n"
