"""The queues: what waits in each and for how long, their history, and the messages of one queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from wattbus import words
from wattbus.errors import BadRequest, UnknownName
from wattbus.runtime import queue_standing
from wattbus.runtime.queue_history import STEP_SECONDS, QueuePoints
from wattbus.runtime.queue_standing import QueueStanding
from wattbus.store.actions import Acted, By
from wattbus.store.waiting import WaitingMessage, queues_of, waiting_messages
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.twin import Twins

#: The most messages that one call acts on; a filter of the messages page takes any number.
_MOST_CHOSEN = 500


@dataclass(frozen=True)
class QueuesView:
    """What the page of all queues shows."""

    running: bool
    queues: list[QueueStanding]


@dataclass(frozen=True)
class QueueView:
    """What the page of one queue shows."""

    queue: QueueStanding
    waiting: list[WaitingMessage]
    next_after: str | None  # as ``after`` of the next page
    first_page: bool


class Chosen(BaseModel):
    """Messages that somebody has chosen."""

    ids: list[int] = Field(
        min_length=1, max_length=_MOST_CHOSEN, description="the ids of the messages", examples=[[12, 13]]
    )
    reason: str = Field(default="", max_length=500, description="why, for the event log")


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages."""

    def queues() -> QueuesView:
        """Return every queue: its depth, its oldest message, its workers, how fast it moves."""
        with desk.reading() as engine:
            rows = [] if engine is None else queue_standing.queues(engine, desk.running)
        return QueuesView(desk.running is not None, rows)

    def queue(
        name: str,
        after: Annotated[
            str, Query(description="next_after of the page before", pattern=r"^(\d{1,4}\.\d{1,18})?$")
        ] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> QueueView:
        """Return how a queue stands and what waits in it, in the order in which it will be served."""
        with desk.store() as engine:
            standing = _named(queue_standing.queues(engine, desk.running), name)
            rows = waiting_messages(engine, name, limit=limit, after=_place(after))
        further = f"{rows[-1].priority}.{rows[-1].id}" if len(rows) == limit else None
        return QueueView(standing, rows, further, not after)

    def history(name: str) -> QueuePoints:
        """Return the depth of a queue over the last hours, a look every few seconds, with what came and went."""
        running = desk.running
        if running is None:
            return QueuePoints(name, STEP_SECONDS, (), (), (), (), ())
        running.production.item(name)
        return running.queue_history.points(name)

    def abort(name: str, body: Chosen, who: Who) -> Acted:
        """Take messages out of a queue for good; who waits for one is told."""
        return desk.current().actions.abort(
            _in_queue(name, body), By(f"the portal ({who.name})", body.reason)
        )

    def suspend(name: str, body: Chosen, who: Who) -> Acted:
        """Set messages of a queue aside until they are resumed."""
        return desk.current().actions.suspend(
            _in_queue(name, body), By(f"the portal ({who.name})", body.reason)
        )

    def _in_queue(name: str, body: Chosen) -> list[int]:
        with desk.store() as engine:
            astray = [one for one, queue in queues_of(engine, body.ids).items() if queue != name]
        if astray:
            raise BadRequest(
                f"message {astray[0]} is not of the queue of {name!r}, so nothing was changed: look at the queue again."
            )
        return body.ids

    twins.view("/queues", "queues.html", queues, tag="queues")
    twins.read("/queues/{name:path}/history", history, tag="queues")  # first: the next takes any path
    twins.view("/queues/{name:path}", "queue.html", queue, tag="queues")
    for action in (abort, suspend):
        twins.action(f"/queues/{{name:path}}/{action.__name__}", action, tag="queues", said=acted_sentence)


def acted_sentence(acted: Acted) -> str:
    """Say what became of the messages that an action was done to."""
    done = {"abort": "aborted", "suspend": "suspended"}.get(acted.action, f"{acted.action}: done")
    parts = [f"{done} {words.counted(len(acted.changed), 'message')}"] if acted.changed else []
    if acted.cancelling:
        parts.append(f"{words.counted(len(acted.cancelling), 'message')} in hand told to stop")
    if acted.already:
        parts.append(f"{words.counted(len(acted.already), 'message')} so before")
    parts += [
        f"message {refusal.message_id} was left as it is: {refusal.why}" for refusal in acted.refused[:3]
    ]
    if len(acted.refused) > 3:
        parts.append(f"and {len(acted.refused) - 3} more were left as they are")
    return "; ".join(parts) + "." if parts else "nothing was changed."


def _named(rows: list[QueueStanding], name: str) -> QueueStanding:
    for row in rows:
        if row.name == name:
            return row
    raise UnknownName("queue", name, [row.name for row in rows])


def _place(after: str) -> tuple[int, int] | None:
    if not after:
        return None
    priority, _, message_id = after.partition(".")
    return int(priority), int(message_id)
