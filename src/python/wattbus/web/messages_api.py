"""Sending for programs: ``POST /api/v1/messages``, the answer by its id, and the types that there are."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import Header, Path, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from wattbus.access import Role
from wattbus.errors import RequestFailed
from wattbus.runtime import type_facts
from wattbus.runtime.examples import EXAMPLES
from wattbus.runtime.type_facts import TypeFacts, TypeName
from wattbus.store.answers import StoredAnswer, stored_answer
from wattbus.store.filters import PRIORITIES
from wattbus.web.asking import Asking
from wattbus.web.desk import Desk
from wattbus.web.roles import needs
from wattbus.web.twin import PROBLEMS, Twins

#: The longest that one call waits for an answer; who wants to wait longer asks for it by its id.
LONGEST_SECONDS = 600.0
_WAIT = re.compile(r"wait=(\d{1,6})")
_KEY = r"^[\x21-\x7e]{1,128}$"
_EXAMPLES: list[JsonValue] = [
    {"item": "Python.MLOperation", "type": f"msg.{name}", "body": dict(examples[0].body)}
    for name, examples in EXAMPLES.items()
]


class NewMessage(BaseModel):
    """A message for an item."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": _EXAMPLES})

    item: str = Field(max_length=128)
    type: str = Field(
        max_length=500, description="the message type: its class name, or in full, or an old name"
    )
    body: dict[str, JsonValue] = {}
    timeout_seconds: float = Field(default=60.0, gt=0, le=LONGEST_SECONDS, description="how long to wait")
    priority: Literal["high", "sync", "async"] | None = None


class Answered(BaseModel):
    """How a message stands: with its response once it is there."""

    message_id: int
    session_id: int
    item: str
    done: bool
    type: str | None = None
    body: JsonValue = None
    trace: str = Field(description="path of the visual trace")


class TypeList(BaseModel):
    """The message types that the production accepts."""

    types: list[TypeName]


_LATER: dict[int | str, dict[str, Any]] = {
    **PROBLEMS,
    202: {"model": Answered, "description": "It is stored and goes on; `Location` says where the answer will be."},
}  # fmt: skip


def add(twins: Twins, desk: Desk) -> None:
    """Open the routes."""

    @twins.api.post(
        "/messages",
        tags=["messages"],
        dependencies=[needs(Role.OPERATOR)],
        response_model=Answered,
        responses=_LATER,
        summary="Send a message to an item, and wait for its response",
    )
    async def send(
        sending: NewMessage,
        idempotency_key: Annotated[
            str | None, Header(pattern=_KEY, description="the same key: the same message, the same answer")
        ] = None,
        prefer: Annotated[
            str | None,
            Header(max_length=200, description="`respond-async`: do not wait; `wait=N`: N seconds at most"),
        ] = None,
    ) -> Response:
        wait = _WAIT.search(prefer or "")
        later = "respond-async" in (prefer or "") or wait is not None
        seconds = sending.timeout_seconds
        if later:
            seconds = min(float(wait[1]), LONGEST_SECONDS) if wait is not None else 0.0
        running = await run_in_threadpool(desk.current)
        item = running.production.item(sending.item).name
        cls = type_facts.meant(running, item, sending.type)
        message = await run_in_threadpool(running.message, type_facts.named(cls).name, sending.body)
        word = sending.priority or ("async" if later and wait is None else "sync")
        asking = Asking(running, item, door="REST", key=idempotency_key)
        message_id = await asking.send(message, PRIORITIES[word])
        found = await asking.wait(seconds)
        if not found.done and not later:
            asking.too_late(seconds)
        told = _answered(message_id, item, found.done, found.type, found.body)
        headers = {"Preference-Applied": wait[0] if wait is not None else "respond-async"} if later else {}
        if found.done:
            return JSONResponse(told.model_dump(mode="json"), headers=headers)
        headers |= {"Location": f"/api/v1/messages/{message_id}/answer", "Retry-After": "1"}
        return JSONResponse(told.model_dump(mode="json"), 202, headers)

    @twins.api.get(
        "/messages/{message_id}/answer",
        tags=["messages"],
        dependencies=[needs(Role.VIEWER)],
        response_model=Answered,
        responses=_LATER,
        summary="The answer to a message: 200 once it is there, 202 while it runs",
    )
    async def answer(
        message_id: Annotated[int, Path(ge=1, le=2**63 - 1)],
        wait_seconds: Annotated[float, Query(ge=0, le=30, description="wait for it so long at most")] = 0,
    ) -> Response:
        found = await run_in_threadpool(_stored, desk, message_id)
        running = desk.running
        if not found.done and wait_seconds and running is not None:
            await Asking(running, found.request.target_item, door="REST").watch(message_id, wait_seconds)
            found = await run_in_threadpool(_stored, desk, message_id)
        if found.error is not None:
            raise RequestFailed(found.error).about(message_id)
        told = _answered(
            message_id,
            found.request.target_item,
            found.done,
            found.type,
            found.value,
            found.request.session_id,
        )
        if found.done:
            return JSONResponse(told.model_dump(mode="json"))
        return JSONResponse(told.model_dump(mode="json"), 202, {"Retry-After": "1"})

    def list_types() -> TypeList:
        """List the message types that the production accepts."""
        return TypeList(types=type_facts.all_types(desk.current().types))

    def one_type(name: str) -> TypeFacts:
        """Describe a message type: its JSON schema, examples, and the items that handle it."""
        return type_facts.facts_of(desk.current(), name)

    twins.read("/types", list_types, tag="messages")
    twins.read("/types/{name}", one_type, tag="messages")


def _stored(desk: Desk, message_id: int) -> StoredAnswer:
    with desk.store() as engine:
        return stored_answer(engine, desk.home.bodies, message_id)


def _answered(
    message_id: int, item: str, done: bool, kind: str | None, body: Any, session_id: int | None = None
) -> Answered:
    session = session_id or message_id
    return Answered(
        message_id=message_id,
        session_id=session,
        item=item,
        done=done,
        type=kind,
        body=body,
        trace=f"/trace/{session}",
    )
