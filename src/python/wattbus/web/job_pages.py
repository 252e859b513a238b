"""The jobs: workers and what they have in hand, the processes of the production, the last attempts, and a cancel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, Field

from wattbus.errors import BadRequest
from wattbus.runtime import jobs as runtime_jobs
from wattbus.runtime.jobs import Held, ItemWorkers, Process
from wattbus.store import tried
from wattbus.store.actions import Acted, By
from wattbus.store.tables import Outcome
from wattbus.store.tried import TriedPage
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.queue_pages import acted_sentence
from wattbus.web.twin import Twins

_OUTCOMES = tuple(outcome.value for outcome in Outcome)
_MessageId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_Before = Annotated[
    str, Query(description="next_before of the page before", pattern=r"^(\d{1,18}\.\d{1,9})?$")
]


@dataclass(frozen=True)
class JobsView:
    """What the page of the jobs shows."""

    running: bool
    workers: list[ItemWorkers]
    held: list[Held]
    processes: list[Process]


@dataclass(frozen=True)
class AttemptsView:
    """What the page of the attempts shows."""

    page: TriedPage
    item: str
    outcome: str
    first_page: bool
    outcomes: tuple[str, ...] = _OUTCOMES


class Why(BaseModel):
    """Why somebody does something."""

    reason: str = Field(default="", max_length=500, description="for the event log")


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages."""

    def jobs() -> JobsView:
        """Return the workers of each item, the messages in hand, and the processes of the production."""
        running = desk.running
        if running is None:
            return JobsView(False, [], [], [])
        return JobsView(
            True, runtime_jobs.workers(running), runtime_jobs.held(running), runtime_jobs.processes(running)
        )

    def attempts(
        item: Annotated[str, Query(max_length=200)] = "",
        outcome: Annotated[str, Query(max_length=20)] = "",
        before: _Before = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> AttemptsView:
        """Return the last attempts: how each ended, how long it took, how long its message had waited."""
        with desk.reading() as engine:
            page = TriedPage([], None)
            if engine is not None:
                page = tried.tried(
                    engine, limit=limit, item=item or None, outcome=outcome or None, before=_place(before)
                )
        return AttemptsView(page, item, outcome, not before)

    def cancel(message_id: _MessageId, body: Why, who: Who) -> Acted:
        """End the handling of a message in hand; one that still waits is taken out of its queue."""
        acted = desk.current().actions.abort([message_id], By(f"the portal ({who.name})", body.reason))
        if acted.refused:
            raise BadRequest(
                f"message {message_id} was not cancelled: {acted.refused[0].why} In hand, only a message of an "
                "isolated item, or a training, can be stopped."
            )
        return acted

    twins.view("/jobs", "jobs.html", jobs, tag="jobs")
    twins.view("/attempts", "attempts.html", attempts, tag="jobs")
    twins.action("/jobs/{message_id}/cancel", cancel, tag="jobs", said=acted_sentence)


def _place(before: str) -> tuple[int, int] | None:
    if not before:
        return None
    message_id, _, number = before.partition(".")
    return int(message_id), int(number)
