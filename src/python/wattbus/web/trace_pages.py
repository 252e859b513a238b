"""The visual trace: the newest sessions, and one session as a diagram with its waterfall, live while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Query
from fastapi.responses import Response
from markupsafe import Markup

from wattbus import trace
from wattbus.access import Role
from wattbus.errors import BadRequest
from wattbus.store.single import MessageDetail, message_detail
from wattbus.trace.sessions import Neighbours, SessionPage, list_sessions, neighbours, progress
from wattbus.trace.views import Step, Trace
from wattbus.web import diagram, waterfall
from wattbus.web.bodies import ShownBody, shown_body
from wattbus.web.desk import Desk
from wattbus.web.roles import needs
from wattbus.web.twin import MessageId, PageId, Twins

#: Messages that are drawn on one page, and that are read of one session.
STEPS, MOST_STEPS = 300, 5_000
Pane = Literal["header", "body", "contents"]


@dataclass(frozen=True)
class SessionsView:
    """The list."""

    page: SessionPage


@dataclass(frozen=True)
class ChosenStep:
    """The message of a box that was clicked, as far as its pane shows it."""

    number: int
    pane: Pane
    message: MessageDetail
    body: ShownBody | None
    previous: int | None
    next: int | None


@dataclass(frozen=True)
class TraceView:
    """One session; of a long one the boxes of a page are drawn."""

    trace: Trace
    beside: Neighbours
    first: int  # number of the first message that is drawn
    last: int
    errors: int
    seen: int  # how far the session had come
    live: bool
    chosen: ChosenStep | None

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return what is drawn."""
        return self.trace.steps[self.first - 1 : self.last]

    def address(self, first: int | None = None, step: int | None = None, pane: str = "header") -> str:
        """Return the address of this page, of another part of it, or of one of its boxes."""
        base = f"/trace/{self.trace.session_id}"
        terms = [f"first={first or self.first}"] if (first or self.first) > 1 else []
        if step is not None:
            terms += [f"step={step}"] + ([f"pane={pane}"] if pane != "header" else [])
        return base + (f"?{'&'.join(terms)}" if terms else "") + ("#pane" if step is not None else "")

    def diagram(self) -> Markup:
        """Draw the messages."""
        chosen = self.chosen.number if self.chosen else None
        return Markup(  # noqa: S704 - made by pure functions that escape every text
            diagram.sequence(
                self.trace, steps=self.steps, link=lambda number: self.address(step=number), chosen=chosen
            )
        )

    def waterfall(self) -> Markup:
        """Draw the attempts."""
        return Markup(waterfall.waterfall(self.trace, self.steps))  # noqa: S704 - as above


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages and the download."""

    def sessions(
        before: PageId = None, after: PageId = None, limit: Annotated[int, Query(ge=1, le=200)] = 30
    ) -> SessionsView:
        """List the newest sessions."""
        with desk.reading() as engine:
            if engine is None:
                return SessionsView(SessionPage([], None, None))
            return SessionsView(list_sessions(engine, limit=limit, before=before, after=after))

    def session(
        session_id: MessageId,
        first: Annotated[int, Query(ge=1, le=MOST_STEPS)] = 1,
        step: Annotated[int | None, Query(ge=1, le=MOST_STEPS)] = None,
        pane: Pane = "header",
    ) -> TraceView:
        """Read one session, by its id or by the id of one of its messages."""
        with desk.store() as engine:
            read = trace.read(engine, session_id, most=MOST_STEPS)
            beside = neighbours(engine, read.session_id)
            now = progress(engine, read.session_id)
        count = len(read.steps)
        if step is not None and step > count:
            raise BadRequest(f"session {read.session_id} has no message {step}: there are {count:,}.")
        begin = step if step is not None else min(first, count)
        begin = (begin - 1) // STEPS * STEPS + 1
        return TraceView(
            trace=read,
            beside=beside,
            first=begin,
            last=min(count, begin + STEPS - 1),
            errors=sum(diagram.failed(one) for one in read.steps),
            seen=now.step,
            live=not now.ended,
            chosen=None if step is None else _chosen(desk, read, step, pane),
        )

    twins.view("/trace", "sessions.html", sessions, api="/sessions", tag="sessions")
    twins.view("/trace/{session_id:int}", "trace.html", session, api="/sessions/{session_id}", tag="sessions")

    @twins.pages.get("/trace/{session_id}.svg", dependencies=[needs(Role.VIEWER)])
    def svg(session_id: MessageId) -> Response:
        with desk.store() as engine:
            read = trace.read(engine, session_id, most=MOST_STEPS)
        name = f"session-{read.session_id}.svg"
        # As a file: its style is in it, which a page of this door would not be allowed.
        return Response(
            diagram.standalone(read),
            media_type="image/svg+xml",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )


def _chosen(desk: Desk, read: Trace, number: int, pane: Pane) -> ChosenStep:
    message_id = read.steps[number - 1].id
    with desk.store() as engine:
        detail = message_detail(engine, message_id)
    return ChosenStep(
        number=number,
        pane=pane,
        message=detail,
        body=None if pane == "header" else shown_body(desk, message_id),
        previous=number - 1 if number > 1 else None,
        next=number + 1 if number < len(read.steps) else None,
    )
