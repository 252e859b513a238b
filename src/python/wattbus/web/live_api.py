"""What is told live: how far a session has come, and what is written into the event log."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from wattbus.access import Role
from wattbus.errors import BadRequest
from wattbus.store import queries
from wattbus.trace.sessions import progress
from wattbus.web.desk import Desk
from wattbus.web.roles import needs
from wattbus.web.sse import LONGEST_SECONDS, Event, News
from wattbus.web.twin import MessageId, PageId, Twins

_MOST_LINES = 500
Seconds = Annotated[float, Query(ge=0, le=LONGEST_SECONDS)]


def add(twins: Twins, desk: Desk) -> None:
    """Open the streams."""
    streamed: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/event-stream": {}}, "description": "Server-Sent Events"}
    }

    @twins.api.get(
        "/sessions/{session_id}/events", dependencies=[needs(Role.VIEWER)], tags=["sessions"], responses=streamed,
        response_class=Response,
    )  # fmt: skip
    async def session_news(
        request: Request, session_id: MessageId, since: PageId = None, seconds: Seconds = LONGEST_SECONDS
    ) -> Response:
        """Tell live how far a session has come, until it has ended."""

        def look(last: int | None) -> News:
            with desk.store() as engine:
                now = progress(engine, session_id)
            told = Event(
                now.step, {"messages": now.messages, "open": now.open_messages, "events": now.events}
            )
            seen = since if last is None else last
            return News(() if seen == now.step else (told,), ended=now.ended)

        await run_in_threadpool(_session_is_there, desk, session_id)
        return desk.streams.answer(request, look, seconds)

    @twins.api.get(
        "/log/events",
        dependencies=[needs(Role.VIEWER)],
        tags=["log"],
        responses=streamed,
        response_class=Response,
    )
    async def log_news(
        request: Request,
        item: str | None = None,
        type: str | None = None,
        session_id: PageId = None,
        since: PageId = None,
        seconds: Seconds = LONGEST_SECONDS,
    ) -> Response:
        """Tell live what is written into the event log."""
        start = since

        def look(last: int | None) -> News:
            nonlocal start
            with desk.reading() as engine:
                if engine is None:
                    return News()
                if last is None and start is None:
                    start = queries.newest_event(engine)
                lines = queries.events_after(
                    engine,
                    start or 0 if last is None else last,
                    _MOST_LINES,
                    item=item,
                    type=type,
                    session_id=session_id,
                )
            return News([Event(line.id, asdict(line), "line") for line in lines])

        return desk.streams.answer(request, look, seconds)


def _session_is_there(desk: Desk, session_id: int) -> None:
    with desk.store() as engine:
        if not progress(engine, session_id).messages:
            raise BadRequest(f"there is no session {session_id}: see the newest at /trace.")
