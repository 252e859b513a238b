"""A call of a model by a program of another kind: it becomes an MLRequest on the bus, and its answer comes back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.concurrency import run_in_threadpool

from wattbus.errors import BadRequest
from wattbus.messages import MLRequest
from wattbus.ml.images import decode
from wattbus.operations.serving import ServedModel, find_model
from wattbus.runtime import uploads
from wattbus.runtime.running import RunningProduction
from wattbus.runtime.types import type_name
from wattbus.web.asking import Asking, Reading
from wattbus.web.desk import Desk

#: The longest that a call waits for a model; its message goes on after that.
LONGEST_SECONDS = 600.0


@dataclass(frozen=True)
class Called:
    """What a model answered, and the message that asked it."""

    message_id: int
    output: Any
    input_tokens: int | None
    output_tokens: int | None


async def served(desk: Desk, name: str, tasks: Collection[str] = ()) -> tuple[RunningProduction, ServedModel]:
    """Return the production and the model called ``name``, or say which models there are."""
    running = await run_in_threadpool(desk.current)
    return running, find_model(running.production, name, tasks)


async def call(
    running: RunningProduction,
    model: ServedModel,
    fields: Mapping[str, Any],
    door: str,
    key: str | None = None,
) -> Called:
    """Send the fields to the model's item and wait for the answer."""
    message = await run_in_threadpool(running.message, type_name(MLRequest), dict(fields))
    asking = Asking(running, model.item, door=door, key=key)
    message_id = await asking.send(message)
    found = await asking.wait(LONGEST_SECONDS)
    if not found.done:
        asking.too_late(LONGEST_SECONDS)
    body = found.body if isinstance(found.body, dict) else {}
    if "output" not in body:
        raise BadRequest(f"item {model.item!r} answered with a {found.type}, not with an MLResponse.")
    return Called(message_id, body["output"], body.get("input_tokens"), body.get("output_tokens"))


async def read(
    running: RunningProduction, model: ServedModel, fields: Mapping[str, Any], door: str
) -> Reading:
    """Send the fields to the model's item as a generator request, and return its stream once it is open."""
    message = await run_in_threadpool(running.message, type_name(MLRequest), dict(fields))
    reading = Reading(running, model.item, door=door, seconds=LONGEST_SECONDS)
    await reading.open(message)
    return reading


async def call_with_picture(
    running: RunningProduction, model: ServedModel, picture: bytes, fields: Mapping[str, Any], door: str
) -> Called:
    """Do as :func:`call` with a picture that came with the request; it is removed when its message has ended."""

    def keep() -> tuple[str, str]:
        if not picture:
            raise BadRequest("the request has no picture: send the bytes of a JPEG, PNG or WebP file.")
        return uploads.keep(running.home, picture, decode(picture, "of the request").format)

    name, key = await run_in_threadpool(keep)
    try:
        return await call(running, model, {"url": name, **fields}, door, key)
    finally:
        await run_in_threadpool(uploads.sweep, running.home, running.store.engine, name)
