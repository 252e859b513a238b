"""One transaction of the writer: what the units of a group commit ask for, run in few statements.

Order within a batch: new messages, ends of attempts, everything else, and last the claims, so that a message can be
accepted and handed to a waiting worker in one commit.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

from wattbus.errors import StoreError
from wattbus.store.rows import Attempt, Body, Claimed, Event, Header
from wattbus.store.statements import Statements
from wattbus.store.tables import Outcome, Status
from wattbus.store.writer import Unit

LEASE_SECONDS = 30.0
_LEASE_US = int(LEASE_SECONDS * 1e6)
_RUNNING = Outcome.RUNNING.value
_QUEUED, _DELIVERED = Status.QUEUED.value, Status.DELIVERED.value


class LeaseLost(StoreError):
    """The attempt was taken over by another worker: its result is refused."""


class Slot:
    """A worker that waits for the next message of a queue."""

    __slots__ = ("_given", "claimed", "job", "queue", "registered")

    def __init__(self, queue: str, job: str) -> None:
        self.queue, self.job = queue, job
        self.registered = False
        self.claimed: Claimed | None = None
        self._given = closed_gate()

    def give(self, claimed: Claimed | None) -> None:
        self.claimed = claimed
        self._given.release()

    def wait(self) -> Claimed | None:
        """Block until a message is given; None means that the queue was closed."""
        self._given.acquire()
        return self.claimed


def closed_gate() -> threading.Lock:
    """Return a lock that is taken: the cheapest thing that one thread waits at and another opens."""
    gate = threading.Lock()
    gate.acquire()
    return gate


class Batch:
    """What the units of one group commit have asked for."""

    __slots__ = (
        "asked",
        "attempt_ends",
        "bodies",
        "cursor",
        "energy",
        "events",
        "filled",
        "headers",
        "message_ends",
        "new_id",
        "now_us",
        "opened",
        "run",
        "settled",
        "statements",
        "texts",
    )

    def __init__(self, cursor: Any, statements: Statements, new_id: Callable[[], int]) -> None:
        self.cursor = cursor
        self.statements = statements
        self.new_id = new_id
        self.now_us = time.time_ns() // 1000
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
        self.texts: list[str | None] = []  # of each header, the body's text where it comes with it

    def add_message(self, header: Header, body: Body | None) -> None:
        """Write a header, and its body unless the body is there already."""
        self.headers.append(header)
        self.texts.append(None if body is None else body.json)
        if body is not None:
            self.bodies.append(body)


class StoreTransactions:
    """Runs batches on one connection of the engine."""

    def __init__(self, engine: Engine, instance: str) -> None:
        self._engine = engine
        self._statements = Statements(engine.dialect)
        self._sqlite = engine.dialect.name == "sqlite"
        self._connection = engine.raw_connection()
        self._cursor = self._connection.cursor()
        self._slots: dict[str, deque[Slot]] = {}
        self._instance = instance
        self._closed = False
        self._ids: deque[int] = deque()
        # Queues that hold nothing ready: what is accepted for one goes straight to a waiting worker. Only where no
        # other process can fill them.
        self._empty: set[str] = set()
        self.errors = _driver_errors(engine)
        if self._sqlite:
            self._begin()
            self._next_id = int(
                self._cursor.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()[0]
            )
            self._connection.driver_connection.commit()  # type: ignore[union-attr]

    @property
    def statements(self) -> Statements:
        return self._statements

    def wait_for_work(self, slot: Slot) -> None:
        """Register a worker; called while a batch is built, so under the writer's turn."""
        if self._closed:
            slot.give(None)
        elif not slot.registered:
            slot.registered = True
            self._slots.setdefault(slot.queue, deque()).append(slot)

    def queues_waited_for(self) -> list[str]:
        """Return the queues that have an idle worker."""
        return [queue for queue, slots in list(self._slots.items()) if slots]

    def commit(self, units: list[Unit]) -> None:
        """Apply all units in one transaction; with nothing applied if one of them cannot be."""
        given: list[tuple[Slot, Claimed]] = []
        try:
            self._begin()
            if not self._sqlite:
                self._draw_ids(sum(unit.new_messages for unit in units))
            batch = Batch(self._cursor, self._statements, self._new_id)
            for unit in units:
                unit.apply(batch)
            self._hand_over(batch, given)
            self._flush(batch)
            for queue in (batch.asked | batch.filled) - self._empty:
                if self._slots.get(queue):
                    self._claim(batch, queue, given)
            if batch.opened:
                self._statements.insert_attempt.run_many(self._cursor, batch.opened)
            self._connection.driver_connection.commit()  # type: ignore[union-attr]
        except self.errors:
            self._connection.driver_connection.rollback()  # type: ignore[union-attr]
            self._empty.clear()
            for slot, _ in reversed(given):
                self._slots[slot.queue].appendleft(slot)
            raise
        for slot, claimed in given:
            slot.give(claimed)

    def close_queues(self) -> None:
        """Send every waiting worker home, and every one that asks from now on; called under the writer's turn."""
        self._closed = True
        for slots in self._slots.values():
            while slots:
                slots.popleft().give(None)

    def close(self) -> None:
        self._cursor.close()
        self._connection.close()

    def _begin(self) -> None:
        if self._sqlite:
            # A read that upgrades to a write fails at once in spite of a busy timeout: take the lock first.
            self._cursor.execute("BEGIN IMMEDIATE")

    def _new_id(self) -> int:
        if self._sqlite:
            self._next_id += 1
            return self._next_id
        return self._ids.popleft()

    def _draw_ids(self, count: int) -> None:
        """Take the ids of a batch from the sequence; none is kept for later, or order would not be that of time."""
        self._ids.clear()
        if count:
            self._cursor.execute("SELECT nextval('message_ids') FROM generate_series(1, %s)", (count,))
            self._ids.extend(row[0] for row in self._cursor.fetchall())

    def _hand_over(self, batch: Batch, given: list[tuple[Slot, Claimed]]) -> None:
        """Give new messages of empty queues to waiting workers: accepted and claimed in one write."""
        self._empty -= batch.filled
        for index, header in enumerate(batch.headers):
            if header.status != _QUEUED:
                continue
            queue = header.target_queue
            slots = self._slots.get(queue)
            if not slots or queue not in self._empty or header.not_before_us:
                self._empty.discard(queue)
                batch.filled.add(queue)
                continue
            header = header._replace(status=_DELIVERED, attempts=1)
            batch.headers[index] = header
            self._give(batch, given, slots.popleft(), header, batch.texts[index])

    def _give(
        self, batch: Batch, given: list[tuple[Slot, Claimed]], slot: Slot, header: Header, text: str | None
    ) -> None:
        given.append((slot, Claimed(header, text, header.attempts, batch.now_us)))
        batch.opened.append(
            Attempt(
                header.id, header.attempts, header.target_item, slot.job, self._instance, batch.now_us,
                batch.now_us + _LEASE_US, None, None, _RUNNING, None,
            )
        )  # fmt: skip

    def _flush(self, batch: Batch) -> None:
        run, cursor = self._statements, self._cursor
        if batch.bodies:
            run.insert_body.run_many(cursor, batch.bodies)
        if batch.headers:
            run.insert_message.run_many(cursor, batch.headers)
        if batch.attempt_ends and run.end_attempt.run_many(cursor, batch.attempt_ends) != len(
            batch.attempt_ends
        ):
            raise LeaseLost(
                "another worker has taken this message over: the result of this attempt is refused."
            )
        if batch.message_ends:
            run.end_message.run_many(cursor, batch.message_ends)
        if batch.energy:
            run.insert_energy.run_many(cursor, batch.energy)
        if batch.settled and run.settle_energy.run_many(cursor, batch.settled) != len(batch.settled):
            run.upsert_energy.run_many(cursor, batch.settled)
        if batch.events:
            run.insert_event.run_many(cursor, batch.events)
        for step in batch.run:
            step(cursor)

    def _claim(self, batch: Batch, queue: str, given: list[tuple[Slot, Claimed]]) -> None:
        slots = self._slots[queue]
        rows = self._statements.claim.run(self._cursor, (queue, batch.now_us, len(slots))).fetchall()
        # RETURNING promises no order.
        rows.sort(key=lambda row: (row[_PRIORITY], row[_ID]))
        if len(rows) < len(slots) and self._sqlite:
            self._empty.add(queue)
        for row in rows:
            self._give(batch, given, slots.popleft(), Header._make(row[:-1]), row[-1])


_ID = Header._fields.index("id")
_PRIORITY = Header._fields.index("priority")


def _driver_errors(engine: Engine) -> tuple[type[Exception], ...]:
    # A value that cannot be bound (a lone surrogate, a number past 64 bits) is a ValueError or an OverflowError.
    common = (StoreError, OSError, ValueError, OverflowError)
    if engine.dialect.name == "sqlite":
        return (sqlite3.Error, *common)
    import psycopg

    return (psycopg.Error, *common)
