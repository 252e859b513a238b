"""Server-Sent Events: news as they come, over one answer that stays open.

What there is to tell is asked of a plain function, in a thread of the pool that is given back at once; between two
looks a stream holds nothing but its connection. A client that lost the connection sends ``Last-Event-ID`` and misses
nothing. A stream ends when its subject has ended, after some minutes (the browser asks again, with a token that must
still hold), and when the server stops.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

LOOK_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
LONGEST_SECONDS = 600.0
_MOST_DIGITS = 18


@dataclass(frozen=True)
class Event:
    """One piece of news; ``id`` grows within a stream."""

    id: int
    data: Any  # a value that JSON can say
    name: str = "news"


@dataclass(frozen=True)
class News:
    """What came after an id; ``ended``: nothing will come any more."""

    events: Sequence[Event] = ()
    ended: bool = False


#: Returns what came after the id that the client has; None: the client has none yet.
Look = Callable[[int | None], News]


class Streams:
    """The streams that are open: so many a client, so many in all."""

    def __init__(
        self,
        most: int = 200,
        most_of_one: int = 12,
        look_seconds: float = LOOK_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._look_seconds, self._heartbeat_seconds = look_seconds, heartbeat_seconds
        self._open: Counter[str] = Counter()
        self._closing = False

    @property
    def open(self) -> int:
        """Return how many streams are open."""
        return self._open.total()

    @property
    def closing(self) -> bool:
        """Tell whether the server stops."""
        return self._closing

    def close(self) -> None:
        """End every stream within one look; the server stops."""
        self._closing = True

    def answer(self, request: Request, look: Look, seconds: float = LONGEST_SECONDS) -> StreamingResponse:
        """Return the answer that tells what ``look`` finds, for ``seconds`` at most."""
        who = request.state.who
        client = f"{who.token_id} {request.client.host if request.client else ''}"
        if self.open >= self._most or self._open[client] >= self._most_of_one:
            raise HTTPException(
                429,
                f"{self._open[client]} live streams of yours are open, {self.open} in all, and that is the limit: "
                "close a page that updates itself, then ask again.",
                {"Retry-After": "5"},
            )
        return _Stream(self._told(look, _last_of(request), seconds), lambda by: self._count(client, by))

    def _count(self, client: str, by: int) -> None:
        self._open[client] += by
        if not self._open[client]:
            del self._open[client]

    async def _told(self, look: Look, last: int | None, seconds: float) -> AsyncIterator[bytes]:
        began = said = time.monotonic()
        yield b"retry: 2000\n\n"
        while True:
            news = await run_in_threadpool(look, last)
            for event in news.events:
                last, said = event.id, time.monotonic()
                yield written(event)
            if news.ended:
                yield written(Event(last or 0, None, "end"))
                return
            if self._closing or time.monotonic() - began >= seconds:
                return
            if time.monotonic() - said >= self._heartbeat_seconds:
                said = time.monotonic()
                yield b": still here\n\n"
            await asyncio.sleep(self._look_seconds)


class _Stream(StreamingResponse):
    """An answer that is counted from when it is made until its connection ends."""

    def __init__(self, told: AsyncIterator[bytes], count: Callable[[int], None]) -> None:
        super().__init__(told, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self._count = count
        count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._count(-1)


def _last_of(request: Request) -> int | None:
    """Return the id of the last event that a client has."""
    given = request.headers.get("last-event-id", "")
    if not given.isascii() or not given.isdecimal() or len(given) > _MOST_DIGITS:
        return None
    return int(given)


def written(event: Event) -> bytes:
    r"""Return an event as it goes over the line; JSON has no line breaks of its own.

    >>> written(Event(7, {"state": "a\nb"}))
    b'id: 7\nevent: news\ndata: {"state": "a\\nb"}\n\n'
    """
    return f"id: {event.id}\nevent: {event.name}\ndata: {json.dumps(event.data)}\n\n".encode()
