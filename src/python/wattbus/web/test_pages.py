"""Test: pick an item and a message type, send, and see the answer beside the request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response

from wattbus.access import Role
from wattbus.errors import BadRequest, RequestFailed, WattbusError
from wattbus.operations.serving import task_of
from wattbus.runtime import type_facts
from wattbus.runtime.examples import Example
from wattbus.runtime.parsing import parse
from wattbus.runtime.running import RunningProduction
from wattbus.runtime.type_facts import TypeName
from wattbus.store.answers import last_requests, stored_answer
from wattbus.store.filters import PRIORITIES
from wattbus.store.queries import message_body
from wattbus.web.answer_shown import AnswerShown, shown
from wattbus.web.asking import Asking
from wattbus.web.desk import Desk
from wattbus.web.form_fields import Field, body_of, fields_of, typed_fields
from wattbus.web.messages_api import LONGEST_SECONDS
from wattbus.web.roles import needs
from wattbus.web.twin import Twins

_DOOR = "Portal"
_DOORS = tuple(f"Door.{name}" for name in (_DOOR, "REST", "Models", "OpenAI", "CLI", "Testing", "Python"))
_SECONDS = 30.0
_LARGEST_BODY = 200_000


@dataclass(frozen=True)
class ItemChoice:
    """An item that takes messages."""

    name: str
    kind: str
    state: str


@dataclass(frozen=True)
class LastRequest:
    """A request that was sent to the item before; it fills the form again."""

    message_id: int
    session_id: int
    time_us: int
    type: str
    status: str
    door: str


@dataclass(frozen=True)
class TestView:
    """What the page shows: the request to send, and what came of the last one."""

    production: str
    state: str
    items: tuple[ItemChoice, ...] = ()
    item: str = ""
    types: tuple[TypeName, ...] = ()
    type: str = ""  # as it was typed
    type_name: str = ""  # in full
    description: str = ""
    free: bool = False
    as_json: bool = True
    fields: tuple[Field, ...] = ()
    text: str = "{}"
    examples: tuple[Example, ...] = ()
    seconds: str = f"{_SECONDS:g}"  # as it was typed
    wrong: str = ""
    answer: AnswerShown | None = None
    last: tuple[LastRequest, ...] = ()


def add(twins: Twins, desk: Desk) -> None:
    """Open the page."""

    def test(
        item: Annotated[str, Query(max_length=200)] = "",
        type: Annotated[str, Query(max_length=500)] = "",
        example: Annotated[int | None, Query(ge=0, le=1000)] = None,
        message: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="fills the form again")] = None,
        show: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="whose answer is shown")] = None,
        as_json: bool = False,
        body: Annotated[str, Query(max_length=20_000, description="JSON to fill the form with")] = "",
    ) -> TestView:
        """Show what can be sent to an item, ready examples, and the answer to a request."""
        return _view(desk, item, type, example, message or show, show, as_json, _given(body))

    twins.view("/test", "test.html", test, tag="messages")

    async def send(request: Request) -> Response:
        typed = {name: str(value) for name, value in (await request.form()).items()}
        item, kind = typed.get("item", ""), typed.get("type", "")
        empty = await run_in_threadpool(_view, desk, item, kind, None, None, None, "text" in typed)
        if empty.wrong:
            return twins.draw(request, "test.html", _typed(empty, typed), 404)
        try:
            seconds = _seconds(typed.get("seconds", ""))
            running = await run_in_threadpool(desk.current)
            message = await run_in_threadpool(_message, running, empty, typed)
            background = typed.get("how") == "background"
            asking = Asking(running, empty.item, door=_DOOR)
            message_id = await asking.send(message, PRIORITIES["async" if background else "sync"])
        except WattbusError as error:
            return twins.draw(request, "test.html", replace(_typed(empty, typed), wrong=str(error)), 422)
        said = f"Message {message_id} is stored and goes on in the background."
        if not background:
            try:
                found = await asking.wait(seconds)
                said = "" if found.done else _too_late(message_id, seconds)
            except RequestFailed:
                said = ""  # the page shows the error of the message
        mode = "&as_json=true" if empty.as_json and not empty.free else ""
        return twins.back(f"/test?show={message_id}{mode}", said)

    twins.pages.add_api_route(
        "/test", send, methods=["POST"], dependencies=[needs(Role.OPERATOR)], response_class=RedirectResponse
    )


def _too_late(message_id: int, seconds: float) -> str:
    return f"No answer within {seconds:g} s: message {message_id} goes on. This page shows the answer when it is there."


def _seconds(text: str) -> float:
    try:
        seconds = float(text or _SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_SECONDS:
        raise BadRequest(f"the time-out is {text[:40]!r}: give 1 to {LONGEST_SECONDS:g} seconds.")
    return seconds


def _message(running: RunningProduction, view: TestView, typed: Mapping[str, str]) -> Any:
    cls = type_facts.meant(running, view.item, view.type)
    body: Any = typed["text"] if view.as_json else body_of(list(view.fields), typed)
    return parse(cls, body)


def _typed(view: TestView, typed: Mapping[str, str]) -> TestView:
    """Return the page with everything that was typed."""
    return replace(
        view,
        item=typed.get("item", ""),
        type=typed.get("type", ""),
        text=typed.get("text", view.text),
        fields=tuple(typed_fields(list(view.fields), typed)),
        seconds=typed.get("seconds", view.seconds),
    )


def _given(body: str) -> Mapping[str, Any] | None:
    """Read the JSON that an address fills the form with."""
    if not body:
        return None
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise BadRequest("body in the address is no JSON object: leave it out, and fill in the form.")
    return read


def _view(
    desk: Desk,
    item: str,
    kind: str,
    example: int | None,
    message_id: int | None,
    show: int | None,
    as_json: bool,
    body: Mapping[str, Any] | None = None,
) -> TestView:
    running = desk.running
    if running is None or running.state != "Running":
        name = running.production.name if running is not None else desk.director.get_default_production()
        return TestView(name, running.state if running is not None else desk.director.last_state())
    view = TestView(running.production.name, running.state, _items(running))
    if message_id is not None:
        with desk.store() as engine:
            found = stored_answer(engine, desk.home.bodies, message_id)
            text = message_body(engine, desk.home.bodies, found.request.body_id)
            answer = shown(engine, found) if show is not None else None
        view = replace(view, answer=answer)
        item, kind = found.request.target_item, found.request.body_class
        read = json.loads(text) if text is not None and len(text) <= _LARGEST_BODY else None
        body = read if isinstance(read, dict) else None
    item = item or _first(view.items)
    try:
        config = running.production.item(item)
    except WattbusError as error:
        return replace(view, item=item, type=kind, wrong=str(error))
    view = replace(view, item=config.name, last=_last(desk, config.name))
    return _with_type(running, view, kind, example, body, as_json)


def _with_type(
    running: RunningProduction,
    view: TestView,
    kind: str,
    example: int | None,
    body: Mapping[str, Any] | None,
    as_json: bool,
) -> TestView:
    known = type_facts.handled(running, view.item)
    types = (
        [type_facts.named(cls) for cls in known] if known is not None else type_facts.all_types(running.types)
    )
    view = replace(view, types=tuple(types), type=kind)
    if not kind:
        if known is None or len(types) != 1:  # no type is chosen for somebody: one may publish, another train
            return view
        view = replace(view, type=types[0].short)
    try:
        cls = type_facts.meant(running, view.item, view.type)
    except WattbusError as error:
        return replace(view, wrong=str(error))
    if known and cls not in known:
        takes = ", ".join(one.short for one in types)
        sentence = f"item {view.item!r} does not handle {cls.__name__}; it handles {takes}."
        view, cls, body = replace(view, type=types[0].short, wrong=sentence), known[0], None
    if view.type == type_facts.named(cls).name and cls in (known or ()):
        view = replace(view, type=cls.__name__)
    facts = type_facts.facts_of(running, type_facts.named(cls).name, task_of(running.production, view.item))
    if body is None and facts.examples and (example is not None or facts.free):
        body = facts.examples[min(example or 0, len(facts.examples) - 1)].body
    schema = facts.json_schema or {}
    plain = facts.free or not schema.get("properties")
    return replace(
        view,
        type_name=facts.name,
        description=facts.description,
        free=plain,
        as_json=as_json or plain,
        fields=tuple(fields_of(schema, body or {})),
        text=json.dumps(body or {}, indent=2, ensure_ascii=False),
        examples=facts.examples,
    )


def _items(running: RunningProduction) -> tuple[ItemChoice, ...]:
    return tuple(
        ItemChoice(one.name, one.kind, one.state)
        for one in running.items()
        if one.kind in ("operation", "process")
    )


def _first(items: tuple[ItemChoice, ...]) -> str:
    ready = [one.name for one in items if one.state == "Running"]
    return ready[0] if ready else items[0].name if items else ""


def _last(desk: Desk, item: str) -> tuple[LastRequest, ...]:
    with desk.store() as engine:
        found = last_requests(engine, item, _DOORS)
    return tuple(
        LastRequest(
            one.id,
            one.session_id,
            one.time_created_us,
            one.body_class,
            one.status,
            one.source_item.removeprefix("Door."),
        )
        for one in found
    )
