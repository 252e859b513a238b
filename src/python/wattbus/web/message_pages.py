"""The messages: found by a filter, page by page; one message; what failed; saved searches; the export of a filter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import Engine

from wattbus.access import Role
from wattbus.errors import BadRequest, UnknownName
from wattbus.export.message_files import csv_lines, json_lines
from wattbus.store.actions import DeadLetters, dead_letters
from wattbus.store.filters import MessageFilter, parse_filter, with_terms
from wattbus.store.listing import MOST_LINES, MessagePage, message_page
from wattbus.store.moves import ABORT, DISCARD, RESENDABLE, RESUME, SUSPEND
from wattbus.store.searches import LONGEST_NAME, SavedSearch, delete_search, list_searches, save_search
from wattbus.store.single import MessageDetail, message_detail
from wattbus.store.tables import Status
from wattbus.web import bodies
from wattbus.web.bodies import ShownBody, shown_body
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.roles import needs
from wattbus.web.twin import MessageId, PageId, Twins

LONGEST_FILTER = 2_000
Typed = Annotated[str, Query(max_length=LONGEST_FILTER)]
_NOTHING = MessagePage([], None, None, None)


@dataclass(frozen=True)
class MessagesView:
    """The list: the filter as one text, what it finds, and what helps to write the next one."""

    filter: str
    page: MessagePage
    searches: list[SavedSearch]
    items: list[str]
    types: list[str]
    wrong: str = ""  # why the filter is not understood

    @property
    def query(self) -> str:
        """Return the filter as the addresses of the pages beside carry it."""
        return f"filter={quote(self.filter, safe='')}&" if self.filter else ""

    @property
    def statuses(self) -> list[str]:
        """Return what a message can stand as."""
        return [status.value for status in Status]


@dataclass(frozen=True)
class MessageView:
    """One message, and what can be done to it now."""

    message: MessageDetail
    body: ShownBody | None
    can: list[str]  # names of actions
    items: list[str]  # where it could be sent


@dataclass(frozen=True)
class DeadView:
    """What failed or was set aside, by item."""

    items: list[DeadLetters]


class Search(BaseModel):
    """A filter under a name."""

    name: str = Field(max_length=LONGEST_NAME)
    filter: str = Field(default="", max_length=LONGEST_FILTER)


class Forgotten(BaseModel):
    """The name of a saved search."""

    name: str


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages."""

    def messages(
        filter: Typed = "",
        since: Typed = "",
        item: Typed = "",
        type: Typed = "",
        status: Typed = "",
        error: Typed = "",
        session: Typed = "",
        text: Typed = "",
        before: PageId = None,
        after: PageId = None,
        limit: Annotated[int, Query(ge=1, le=MOST_LINES)] = 50,
    ) -> MessagesView:
        """List the newest messages of a filter; the other fields are terms of it."""
        wanted = with_terms(
            filter,
            {
                "since": since, "item": item, "body": type, "status": status, "error": error, "session": session,
                "body contains": text,
            },
        )  # fmt: skip
        which = filter_of(wanted)
        with desk.reading() as engine:
            page = (
                _NOTHING
                if engine is None
                else message_page(engine, which, limit=limit, before=before, after=after)
            )
            return _listed(desk, engine, wanted, page)

    def not_understood(problem: BadRequest, /, filter: str = "", **_fields: Any) -> MessagesView:
        with desk.reading() as engine:
            return _listed(desk, engine, filter, _NOTHING, str(problem))

    def message(message_id: MessageId) -> MessageView:
        """Show one message."""
        with desk.store() as engine:
            detail = message_detail(engine, message_id)
        return MessageView(detail, shown_body(desk, message_id), possible(detail), _items(desk))

    def dead() -> DeadView:
        """List what failed or was set aside, by item."""
        with desk.reading() as engine:
            return DeadView([] if engine is None else dead_letters(engine))

    def save(body: Search, who: Who) -> SavedSearch:
        """Save a filter under a name."""
        with desk.writing() as engine:
            return save_search(engine, body.name, body.filter, who.name)

    def forget(body: Forgotten) -> SavedSearch:
        """Delete a saved search."""
        with desk.writing() as engine:
            return delete_search(engine, body.name)

    twins.view("/messages", "messages.html", messages, tag="messages", misread=not_understood)
    twins.view("/messages/dead", "dead_letters.html", dead, tag="messages")
    twins.action(
        "/messages/searches", save, tag="messages", said=lambda saved: f"The search {saved.name!r} is saved."
    )
    twins.action(
        "/messages/searches/delete",
        forget,
        tag="messages",
        said=lambda gone: f"The search {gone.name!r} is deleted.",
    )
    _add_export(twins, desk)
    bodies.add(twins, desk)
    twins.view(
        "/messages/{message_id:int}", "message.html", message, tag="messages", api="/messages/{message_id}"
    )


def filter_of(text: str) -> MessageFilter:
    """Read a filter; a word in it that is not known is a fault of what was sent, not a place that is missing."""
    try:
        return parse_filter(text)
    except UnknownName as error:
        raise BadRequest(str(error)) from None


def possible(detail: MessageDetail) -> list[str]:
    """Return the names of the actions that a message can take as it stands."""
    status, request = detail.header.status, detail.header.type == "Request"
    found = [rule.action for rule in (SUSPEND, RESUME, DISCARD, ABORT) if status in rule.source]
    if request and status in RESENDABLE:
        found += ["resend", "replay"]
        found += ["edit"] if detail.header.body_class else []
    if status == Status.DELIVERED.value:
        found.append("cancel")
    return found


def _listed(desk: Desk, engine: Engine | None, text: str, page: MessagePage, wrong: str = "") -> MessagesView:
    searches = [] if engine is None else list_searches(engine)
    running = desk.running
    types = sorted({line.body_class for line in page.lines if line.body_class})
    return MessagesView(text, page, searches, _items(desk) if running else [], types, wrong)


def _items(desk: Desk) -> list[str]:
    running = desk.running
    return [] if running is None else list(running.production.items)


def _add_export(twins: Twins, desk: Desk) -> None:
    lines: dict[str, tuple[Callable[..., Iterator[str]], str]] = {
        "csv": (csv_lines, "text/csv; charset=utf-8"),
        "jsonl": (json_lines, "application/jsonl"),
    }

    def export(filter: Typed = "", format: Literal["csv", "jsonl"] = "csv") -> Response:
        """Export the messages of a filter, header and body, as CSV or JSON Lines."""
        which = filter_of(filter)
        made, media_type = lines[format]
        with desk.store():
            pass  # that there is none is said before the answer begins

        def pieces() -> Iterator[str]:
            with desk.store() as engine:
                yield from made(engine, desk.home.bodies, which)

        return StreamingResponse(
            pieces(),
            media_type=media_type,
            headers={"content-disposition": f'attachment; filename="messages.{format}"'},
        )

    described: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/csv": {}, "application/jsonl": {}}, "description": "the messages"}
    }
    routers: tuple[APIRouter, APIRouter] = (twins.pages, twins.api)
    for router in routers:
        router.add_api_route(
            "/messages/export", export, methods=["GET"], dependencies=[needs(Role.OPERATOR)], tags=["messages"],
            response_class=Response, responses=described,
        )  # fmt: skip
