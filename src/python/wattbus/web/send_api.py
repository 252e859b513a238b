"""The door of services that live in another process: ``/api/wattbus``, where they send and wait for answers.

The other side is ``wattbus.runtime.remote``. A message comes with an idempotency key, so that a repeated call sends
nothing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from wattbus.access import Role
from wattbus.errors import BadRequest, NotRunning, UnknownName
from wattbus.runtime import streams
from wattbus.runtime.bus import Bus, Origin
from wattbus.runtime.callers import Waiter
from wattbus.runtime.director import Director
from wattbus.runtime.iris import Envelope
from wattbus.runtime.parsing import from_outside
from wattbus.runtime.running import RunningProduction
from wattbus.store.store import STREAM
from wattbus.store.tables import Priority
from wattbus.web.roles import needs

#: The longest that one call waits for an answer; who wants to wait longer calls again.
LONGEST_WAIT_SECONDS = 30.0
_LOG_TYPES = ("Assert", "Error", "Warning", "Info", "Trace", "Alert", "Status")


class Sending(BaseModel):
    """A message from a service to an item."""

    source: str
    target: str
    queue: str | None = None  # of a stream: the queue that its Start has opened
    type: str | None = None  # None: no body
    body: str = "{}"
    description: str | None = None
    priority: int = Priority.ASYNC
    response_required: bool = False
    session_id: int = Field(default=0, ge=0)
    idempotency_key: str | None = Field(default=None, max_length=128)


class Sent(BaseModel):
    """A message that is safe in the store."""

    message_id: int


class Answer(BaseModel):
    """The end of a request, or ``done`` false while it is not there."""

    done: bool
    type: str | None = None
    body: str | None = None
    error: str | None = None


class Line(BaseModel):
    """A line for the event log."""

    item: str
    type: str
    text: str
    session_id: int | None = None
    source_class: str | None = None
    source_method: str | None = None


def router(director: Director) -> APIRouter:
    """Return the routes of ``/api/wattbus``."""
    api = APIRouter(tags=["wattbus"])

    @api.post("/send", dependencies=[needs(Role.OPERATOR)])
    def send(sending: Sending) -> Sent:
        running = _running(director)
        source = running.production.item(sending.source)
        message = running.bus.draft(
            sending.target,
            _body(running, sending),
            Origin(source.name, source.business_type, session_id=sending.session_id),
            priority=sending.priority,
            description=sending.description,
            response_required=sending.response_required,
            idempotency_key=sending.idempotency_key,
            queue=_queue(running, sending),
        )
        return Sent(message_id=running.bus.send(message).wait())

    @api.get("/answers/{message_id}", dependencies=[needs(Role.OPERATOR)])
    async def answer(
        message_id: int, wait_seconds: Annotated[float, Query(ge=0, le=LONGEST_WAIT_SECONDS)] = 0
    ) -> Answer:
        waiter = await _watched(_running(director).bus, message_id, wait_seconds)
        if not waiter.done:
            return Answer(done=False)
        body = waiter.response
        return Answer(
            done=True,
            type=None if body is None else body.classname,
            body=None if body is None else body.json,
            error=waiter.error_status,
        )

    @api.post("/log", dependencies=[needs(Role.OPERATOR)])
    def log(line: Line) -> dict[str, bool]:
        running = _running(director)
        if line.type not in _LOG_TYPES:
            raise UnknownName("type of the event log", line.type, _LOG_TYPES)
        item = running.production.item(line.item).name
        running.bus.log(
            line.type, line.text, item, None, line.session_id, line.source_class, line.source_method
        )
        return {"logged": True}

    return api


def _running(director: Director) -> RunningProduction:
    running = director.current()
    if running.state != "Running":
        raise NotRunning(f"{running.production.name} is {running.state}: start it, then send again.")
    return running


def _body(running: RunningProduction, sending: Sending) -> Envelope | None:
    if sending.type is None:
        return None
    if sending.type == streams.START:
        start = streams.start_of(sending.body)
        inner = from_outside(running.message(start.classname, start.json or "{}"))
        return Envelope(streams.START, json.dumps({"classname": inner.classname, "body": inner.json}))
    if sending.type in (streams.POLL, streams.STOP):
        return Envelope(sending.type, "{}")
    return from_outside(running.message(sending.type, sending.body))


def _queue(running: RunningProduction, sending: Sending) -> str | None:
    """Return the queue of a stream; every other message goes to the queue of its item."""
    item = running.production.item(sending.target).name
    if sending.queue in (None, item):
        return None
    if sending.queue is None or not sending.queue.startswith(f"{item}{STREAM}"):
        raise BadRequest(f"the queue {sending.queue!r} is no stream of {item!r}: leave it out.")
    return sending.queue


async def _watched(bus: Bus, message_id: int, seconds: float) -> Waiter:
    """Wait for an answer without holding a thread."""
    loop, answered = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(answered.set)

    waiter = Waiter(tell)
    await run_in_threadpool(bus.watch, message_id, waiter)
    if bus.store.shared:
        await run_in_threadpool(bus.wait, waiter, seconds)
    elif not waiter.done:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(answered.wait(), seconds)
    if not waiter.done:
        bus.forget(waiter)
    return waiter
