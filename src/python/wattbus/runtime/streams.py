"""Streams: generator requests, each with a queue of its own; and asyncio requests that are told instead of polling.

A generator request opens with a Start message to the item. The worker that takes it answers with an Ack and then
serves the stream's own queue: each Poll is a message, answered with the next value, until Stop. So a pool serves as
many streams at once as it has workers, every value is durable and traced, and no poll reaches the wrong generator.
"""

from __future__ import annotations

import json
import sys
import weakref
from collections.abc import Callable
from typing import Any

from iop.components.async_request import AsyncRequest
from iop.components.generator_request import _GeneratorRequest

from wattbus.runtime.bus import Bus, Origin
from wattbus.runtime.callers import Waiter
from wattbus.runtime.courier import courier_of
from wattbus.runtime.iris import Envelope, GeneratorAck, GeneratorPoll, GeneratorStart, GeneratorStop
from wattbus.store.store import STREAM
from wattbus.store.tables import Priority

START, POLL, ACK, STOP = (
    cls.CLASSNAME for cls in (GeneratorStart, GeneratorPoll, GeneratorAck, GeneratorStop)
)
_FRAMES_TO_LOOK_AT = 12


def stream_queue(item: str, message_id: int) -> str:
    """Return the name of the queue of the stream that a Start message opens."""
    return f"{item}{STREAM}{message_id}"


def start_of(text: str | None) -> Envelope:
    """Return the request inside the body of a Start message."""
    start = json.loads(text or "{}")
    return Envelope(start.get("classname", ""), start.get("body", ""))


class OpenStreams:
    """The streams that one component has opened and not yet read to their end."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._open: dict[
            int, Callable[[], Any]
        ] = {}  # by the id of iop's request object: what ends the stream

    def queue_of(self, request: Any) -> str | None:
        """Return the queue that a Poll goes to; None for what is no Poll."""
        if not isinstance(request, GeneratorPoll):
            return None
        asking = _caller(_GeneratorRequest)
        return getattr(asking, "_wattbus_queue", None)

    def opened(self, request: Any, target: str, waiter: Waiter) -> None:
        """Note the stream that a Start has opened, and end it when its reader is gone."""
        response = waiter.response
        if isinstance(request, GeneratorStart):
            asking = _caller(_GeneratorRequest)
            if asking is None or response is None or response.classname != ACK:
                return
            queue = stream_queue(target, waiter.message_id)
            asking._wattbus_queue = queue
            self._open[id(asking)] = weakref.finalize(asking, self._stop, id(asking), target, queue)
        elif isinstance(request, GeneratorPoll) and (response is None or response.classname == STOP):
            asking = _caller(_GeneratorRequest)
            ended = self._open.pop(id(asking), None)
            if isinstance(ended, weakref.finalize):
                ended.detach()

    def close(self) -> None:
        """End the streams that were not read to their end."""
        if not self._open:
            return
        for stop in list(self._open.values()):
            stop()
        self._open.clear()

    def _stop(self, asking: int, target: str, queue: str) -> None:
        """Tell the worker of a stream that nobody reads any more. Called by the collector: it must not wait."""
        self._open.pop(asking, None)
        if self._bus.place.stopping.is_set():
            return
        message = self._bus.draft(
            target,
            Envelope(STOP, "{}"),
            Origin(target, "BusinessOperation"),
            priority=Priority.SYNC,
            queue=queue,
        )
        self._bus.store.accept_later(message)


def asyncio_request() -> Callable[[], None] | None:
    """Return what tells the asyncio request that is sending now that its response is there.

    iop looks every 0.1 s; this lets it look once, at the right moment, in its own event loop.
    """
    request = _caller(AsyncRequest)
    if request is None:
        return None
    loop = request.get_loop()

    def look() -> None:
        if request.done():
            return
        request.is_done()
        if request._done and not request.done():
            request.set_result(request._response)
        if request.done():
            request._send_task.cancel()

    courier = courier_of(loop)
    return lambda: courier.bring(look)


def _caller(cls: type) -> Any:
    """Return the object of ``cls`` whose method is calling: iop hands its poll and its future to nobody."""
    frame = sys._getframe(1)
    for _ in range(_FRAMES_TO_LOOK_AT):
        if frame.f_back is None:
            return None
        frame = frame.f_back
        asking = frame.f_locals.get("self")
        if isinstance(asking, cls):
            return asking
    return None
