"""The event log: filtered, newest first, live, and as a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Path, Query
from fastapi.responses import StreamingResponse

from wattbus.access import Role
from wattbus.export.event_lines import csv_lines, json_lines
from wattbus.store import events
from wattbus.store.events import TYPES, EventFilter, EventPage
from wattbus.store.queries import EventLine
from wattbus.web.desk import Desk
from wattbus.web.roles import needs
from wattbus.web.twin import Twins

_FILE_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
_Types = Annotated[list[str] | None, Query(description="types of lines, such as Error; by default all")]
_Text = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True)
class Asked:
    """What was asked for, as it was typed."""

    type: list[str]
    item: str
    session: str
    message: str
    contains: str
    since: str
    until: str

    @property
    def query(self) -> str:
        """Return it as the query of an address; empty where everything is asked for."""
        return urlencode({name: value for name, value in vars(self).items() if value}, doseq=True)


@dataclass(frozen=True)
class LogView:
    """What the page of the event log shows."""

    asked: Asked
    page: EventPage
    first_page: bool
    items: list[str]
    query: str
    types: tuple[str, ...] = TYPES


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages and the export."""

    def log(
        type: _Types = None,
        item: _Text = "",
        session: _Text = "",
        message: _Text = "",
        contains: _Text = "",
        since: Annotated[str, Query(max_length=40, description="15m, 2h, 7d or 2026-05-01T10:30")] = "",
        until: Annotated[str, Query(max_length=40)] = "",
        before: Annotated[
            int | None, Query(ge=1, le=2**62, description="next_before of the page before")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> LogView:
        """Return lines of the event log, the newest first."""
        asked = Asked([one for one in type or [] if one], item, session, message, contains, since, until)
        which = _filter(asked)
        running = desk.running
        with desk.reading() as engine:
            page = (
                EventPage([], None)
                if engine is None
                else events.event_page(engine, which, limit=limit, before=before)
            )
        items = sorted(running.production.items) if running is not None else []
        return LogView(asked, page, before is None, items, asked.query)

    def line(line_id: Annotated[int, Path(ge=1, le=2**63 - 1)]) -> EventLine:
        """Return one line of the event log with its whole text."""
        with desk.store() as engine:
            return events.event_line(engine, line_id)

    def export(
        format: Literal["csv", "jsonl"] = "jsonl",
        type: _Types = None,
        item: _Text = "",
        session: _Text = "",
        message: _Text = "",
        contains: _Text = "",
        since: Annotated[str, Query(max_length=40)] = "",
        until: Annotated[str, Query(max_length=40)] = "",
    ) -> StreamingResponse:
        """Send the lines that a filter finds as a file, the newest first; it is made while it is sent."""
        which = _filter(
            Asked([one for one in type or [] if one], item, session, message, contains, since, until)
        )

        def lines() -> Iterator[EventLine]:
            with desk.store() as engine:
                yield from events.every_event(engine, which)

        written = csv_lines(lines()) if format == "csv" else json_lines(lines())
        name = {"content-disposition": f'attachment; filename="event-log.{format}"'}
        return StreamingResponse(written, media_type=_FILE_TYPES[format], headers=name)

    twins.api.add_api_route(
        "/log/export", export, methods=["GET"], dependencies=[needs(Role.VIEWER)], tags=["log"],
        response_class=StreamingResponse, operation_id="get_log_export",
    )  # fmt: skip
    twins.view("/log", "log.html", log, tag="log")
    twins.view("/log/{line_id}", "log_line.html", line, tag="log")


def _filter(asked: Asked) -> EventFilter:
    return events.event_filter(
        types=asked.type,
        item=asked.item,
        session=asked.session,
        message=asked.message,
        contains=asked.contains,
        since=asked.since,
        until=asked.until,
    )
