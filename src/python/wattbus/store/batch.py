"""What the units of a group commit ask for; :mod:`wattbus.store.transactions` runs it in few statements.

Order within a batch: new messages, ends of attempts, everything else, and last the claims, so that a message can be
accepted and handed to a waiting worker in one commit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from wattbus import killpoints
from wattbus.errors import StoreError
from wattbus.store.depths import Depths
from wattbus.store.rows import Attempt, Body, Claimed, Event, Header, ProcessRow
from wattbus.store.statements import Statements
from wattbus.store.tables import Status

_QUEUED = Status.QUEUED.value


class Grabbing(Protocol):
    """A claim that does not wait; see :class:`wattbus.store.units.Grab`."""

    queue: str
    job: str
    message_id: int | None
    count: int
    claimed: list[Claimed]


class LeaseLost(StoreError):
    """The attempt was taken over by another worker: its result is refused."""


class InProgress(StoreError):
    """A transaction of a connection that was lost is not decided yet."""


class ProcessChanged(StoreError):
    """Another worker has gone on with the process: this attempt must be made again."""


class Batch:
    """What the units of one group commit have asked for."""

    __slots__ = (
        "asked",
        "attempt_ends",
        "bodies",
        "changed_processes",
        "cursor",
        "depths",
        "dropped_timers",
        "due",
        "ended_processes",
        "energy",
        "events",
        "filled",
        "grabs",
        "headers",
        "message_ends",
        "new_id",
        "new_processes",
        "now_us",
        "opened",
        "replies",
        "run",
        "settled",
        "statements",
        "steady_us",
        "texts",
    )

    def __init__(
        self,
        cursor: Any,
        statements: Statements,
        new_id: Callable[[], int],
        now_us: int,
        steady_us: int,
        depths: Depths,
    ) -> None:
        self.cursor = cursor
        self.depths = depths
        self.statements = statements
        self.new_id = new_id
        self.now_us, self.steady_us = now_us, steady_us
        self.headers: list[Header] = []
        self.bodies: list[Body] = []
        self.opened: list[Attempt] = []
        self.attempt_ends: list[tuple[Any, ...]] = []
        self.message_ends: list[tuple[Any, ...]] = []
        self.energy: list[tuple[Any, ...]] = []
        self.settled: list[tuple[Any, ...]] = []
        self.events: list[Event] = []
        self.run: list[Callable[[Any], None]] = []
        self.asked: set[str] = set()  # queues that a worker asks for work
        self.filled: set[str] = set()  # queues in which a message may have become ready
        self.new_processes: list[ProcessRow] = []
        self.changed_processes: list[ProcessRow] = []
        self.ended_processes: list[tuple[int, int]] = []
        self.dropped_timers: list[tuple[str, int, int]] = []
        self.replies: list[tuple[int, int]] = []
        self.grabs: list[Grabbing] = []
        self.due: list[tuple[int, str]] = []  # when a message of a queue may be handed out, steady time
        self.texts: list[str | None] = []  # of each header, the body's text where it comes with it

    def add_message(self, header: Header, body: Body | None) -> None:
        """Write a header, and its body unless the body is there already."""
        if self.depths.watched and header.status == _QUEUED:
            self.depths.move(header, 1)
        self.headers.append(header)
        self.texts.append(None if body is None else body.json)
        if body is not None:
            self.bodies.append(body)


def pass_kill_points(batch: Batch, when: str) -> None:
    """Name what the commit holds, for the fault tests."""
    if any(header.type == "Request" for header in batch.headers):
        killpoints.reached(f"accept.{when}")
    if batch.opened:
        killpoints.reached(f"claim.{when}")
    if batch.attempt_ends:
        killpoints.reached(f"deliver.{when}")
    if batch.new_processes or batch.changed_processes:
        killpoints.reached(f"defer.{when}")
    if batch.ended_processes:
        killpoints.reached(f"complete.{when}")
    if batch.replies:
        killpoints.reached(f"reply.{when}")
    if batch.settled:
        killpoints.reached(f"settle.{when}")
