"""The transactions of the writer: batches on one connection, and the claims that hand messages to workers."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy import Engine

from wattbus import killpoints
from wattbus.errors import StoreError
from wattbus.store.batch import Batch, Grabbing, InProgress, LeaseLost, ProcessChanged, pass_kill_points
from wattbus.store.depths import Depths
from wattbus.store.line import Line
from wattbus.store.rows import Attempt, Claimed, Header, handed_over
from wattbus.store.slots import Intake, Slot
from wattbus.store.statements import Statements
from wattbus.store.tables import Outcome, Status
from wattbus.store.units import unhandled
from wattbus.store.writer import Unit

LEASE_SECONDS = 30.0
_LEASE_US = int(LEASE_SECONDS * 1e6)
_RUNNING = Outcome.RUNNING.value
_QUEUED, _DELIVERED = Status.QUEUED.value, Status.DELIVERED.value


class SteadyClock(Protocol):
    """The two times that rows carry."""

    def now_us(self) -> int:
        """The time of day."""

    def steady_us(self) -> int:
        """The time of day when this process began, plus what has passed: no jump of the clock moves a lease."""


class StoreTransactions:
    """Runs batches on one connection of the engine."""

    def __init__(
        self,
        engine: Engine,
        instance: str,
        clock: SteadyClock,
        on_due: Callable[[list[tuple[int, str]]], None],
        rests: Callable[[], bool],
    ) -> None:
        """``rests`` tells whether nothing more is to be claimed now."""
        self._rests = rests
        self._engine, self._clock, self._on_due = engine, clock, on_due
        self._statements = Statements(engine.dialect)
        self._sqlite = engine.dialect.name == "sqlite"
        self._connection = engine.raw_connection()
        self._cursor = self._connection.cursor()
        self._slots: dict[str, deque[Slot]] = {}
        self._intakes: dict[str, Intake] = {}
        self._left: dict[str, Intake] = {}  # where messages may wait for workers that are not woken yet
        self._meeting = (
            threading.Lock()
        )  # held where a worker and a message claimed ahead may miss each other
        self.depths = Depths(alone=engine.dialect.name == "sqlite")
        self._leaving: dict[str, int] = {}  # how many of those that ask next at a queue are to go home
        self._instance = instance
        self._closed = False
        self._ids: deque[int] = deque()
        # Queues that hold nothing ready: what is accepted for one goes straight to a waiting worker. Only where no
        # other process can fill them.
        self._empty: set[str] = set()
        self.errors = _driver_errors(engine)
        self._line = Line()
        self._xid = ""
        self._in_doubt: list[tuple[str, list[Claimed]]] = []
        self._unheld: deque[Claimed] = deque()
        #: The newest message that is in the store by this process; None where others write it as well.
        self.newest_id: int | None = None
        if self._sqlite:
            self._begin()
            self._next_id = int(
                self._cursor.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()[0]
            )
            self._connection.driver_connection.commit()  # type: ignore[union-attr]
            self.newest_id = self._next_id

    @property
    def statements(self) -> Statements:
        return self._statements

    def wait_for_work(self, slot: Slot) -> None:
        """Register a worker; called while a batch is built, so under the writer's turn."""
        with self._meeting:
            self._register(slot)

    def _register(self, slot: Slot) -> None:
        if self._closed:
            slot.give(None)
        elif not slot.registered and self._leaving.get(slot.queue):
            self._leaving[slot.queue] -= 1
            slot.registered = True
            slot.give(None)
        elif (intake := self._intakes.get(slot.queue)) is not None and intake.ready:
            slot.give(intake.ready.popleft())
        elif not slot.registered:
            slot.registered = True
            self._slots.setdefault(slot.queue, deque()).append(slot)

    @property
    def left_ahead(self) -> bool:
        """Tell whether messages were left to workers that are not woken: :meth:`rouse` is to look after them."""
        return bool(self._left)

    def rouse(self) -> bool:
        """Wake one worker more for a queue whose messages have waited since the last call; tell whether some wait.

        Called by the writer's thread alone, now and then.
        """
        for queue in list(self._left):
            intake = self._left.pop(
                queue
            )  # first, so that what a commit leaves from here on is seen next time
            if not intake.ready or not self._slots.get(
                queue
            ):  # where no worker is idle, the next to ask takes it
                intake.seen = None
                continue
            self._left[queue] = intake
            with self._meeting, contextlib.suppress(IndexError):  # a worker was faster
                seen, intake.seen = intake.seen, intake.ready[0]
                if seen is intake.seen:
                    self._give_ahead(queue, intake)
        return self.left_ahead

    def _give_ahead(self, queue: str, intake: Intake) -> None:
        """Give the next message that is claimed ahead to an idle worker, if there still is one."""
        claimed = intake.ready.popleft()
        slot = self._idle(queue)
        if slot is None:
            intake.ready.appendleft(claimed)
        else:
            slot.give(claimed)

    def take_ahead(self, queue: str) -> list[Claimed]:
        """Take back what is claimed ahead for workers that are gone."""
        intake, taken = self.intake(queue), []
        with self._meeting, contextlib.suppress(IndexError):
            intake.limit = 0
            while True:
                taken.append(intake.ready.popleft())
        return taken

    def _idle(self, queue: str) -> Slot | None:
        """Take an idle worker of a queue out of those that wait."""
        slots = self._slots.get(queue)
        try:
            return slots.popleft() if slots else None
        except IndexError:  # it was woken meanwhile
            return None

    def intake(self, queue: str) -> Intake:
        """Return where messages of a queue wait that are claimed ahead."""
        intake = self._intakes.get(queue)
        if intake is None:
            intake = self._intakes.setdefault(queue, Intake())
        return intake

    def intake_queues(self) -> list[str]:
        """Return the queues that have had an intake."""
        return list(self._intakes)

    def is_empty(self, queue: str) -> bool:
        """Tell whether nothing ready is known in a queue. An idle worker has it looked at all the same."""
        return queue in self._empty

    def queues_waited_for(self) -> list[str]:
        """Return the queues that have an idle worker."""
        return [queue for queue, slots in list(self._slots.items()) if slots]

    def commit(self, units: list[Unit]) -> None:
        """Apply all units in one transaction; with nothing applied if one of them cannot be."""
        given: list[tuple[Slot, Claimed]] = []
        ahead: list[tuple[Intake, Claimed]] = []
        put_back: list[Claimed] = []
        committing = False
        try:
            self._begin()
            self.depths.begin()
            if not self._sqlite:
                self._draw_ids(sum(unit.new_messages for unit in units))
            batch = Batch(
                self._cursor, self._statements, self._new_id, self._clock.now_us(), self._clock.steady_us(),
                self.depths,
            )  # fmt: skip
            put_back = self._put_back_unheld(batch)
            for unit in units:
                unit.apply(batch)
            self._hand_over(batch, given, ahead)
            self._flush(batch)
            for queue in () if self._rests() else (batch.asked | batch.filled) - self._empty:
                if self._slots.get(queue) or self._room(queue):
                    self._claim(batch, queue, given, ahead)
            for grab in batch.grabs:
                self._grab(batch, grab)
            if batch.opened:
                self._statements.insert_attempt.run_many(self._cursor, batch.opened)
            if killpoints.ARMED:
                pass_kill_points(batch, "before-commit")
            if not self._sqlite and not self._xid:
                self._cursor.execute("SELECT coalesce(pg_current_xact_id_if_assigned()::text, '')")
                self._xid = self._cursor.fetchall()[0][0]
            committing = bool(self._xid)
            self._connection.driver_connection.commit()  # type: ignore[union-attr]
            if killpoints.ARMED:
                pass_kill_points(batch, "after-commit")
        except self.errors:
            if not (committing and self._was_committed([claimed for _, claimed in (*given, *ahead)])):
                self._roll_back()
                self._empty.clear()
                self._unheld.extendleft(reversed(put_back))
                for slot, _ in reversed(given):
                    self._slots[slot.queue].appendleft(slot)
                for intake, _ in ahead:
                    intake.coming = 0
                raise
        if self._sqlite and batch.headers:
            self.newest_id = self._next_id
        for intake, claimed in ahead:
            intake.coming = 0
            intake.ready.append(claimed)
            self._left[claimed.header.target_queue] = intake
        if self.depths.watched:
            self.depths.settle()
        if batch.due:
            self._on_due(batch.due)
        for slot, claimed in given:
            slot.give(claimed)

    def close_queue(self, queue: str, count: int | None = None) -> None:
        """Send the idle workers of one queue home, all or ``count``; called under the writer's turn.

        Where fewer are idle, the next that ask are sent home as well: they may be on their way.
        """
        sent = 0
        while (count is None or sent < count) and (slot := self._idle(queue)) is not None:
            slot.give(None)
            sent += 1
        if count is not None and count > sent:
            self._leaving[queue] = self._leaving.get(queue, 0) + count - sent

    def close_queues(self) -> None:
        """Send every waiting worker home, and every one that asks from now on; called under the writer's turn."""
        self._closed = True
        for queue in self._slots:
            while (slot := self._idle(queue)) is not None:
                slot.give(None)

    def close(self) -> None:
        self._cursor.close()
        self._connection.close()

    def _begin(self) -> None:
        if self._sqlite:
            # A read that upgrades to a write fails at once in spite of a busy timeout: take the lock first.
            self._cursor.execute("BEGIN IMMEDIATE")
        elif self._is_lost():
            self._line.try_again(self._connect_again)
            self._resolve_doubts()

    def _roll_back(self) -> None:
        if not self._is_lost():
            self._connection.driver_connection.rollback()  # type: ignore[union-attr]

    # -- a database that was away ------------------------------------------------------------------------------

    def _is_lost(self) -> bool:
        connection: Any = self._connection.driver_connection
        return not self._sqlite and (connection is None or bool(connection.closed))

    def _connect_again(self) -> None:
        if self._connection.is_valid:
            self._connection.invalidate()
        self._connection = self._engine.raw_connection()
        self._cursor = self._connection.cursor()

    def _was_committed(self, claimed: list[Claimed]) -> bool:
        """Tell whether the transaction whose commit got no answer is in the database: the database knows.

        Where it cannot be asked soon, what was claimed in it is remembered, since nobody holds it.
        """
        if not self._is_lost():
            return False
        try:
            self._line.insist(self._connect_again)
            return self._line.insist(lambda: self._ended_well(self._xid))
        except self.errors:
            self._in_doubt.append((self._xid, claimed))
            return False

    def _resolve_doubts(self) -> None:
        """Learn of transactions whose commit got no answer; what was claimed in those that were made, nobody holds."""
        while self._in_doubt:
            xid, claimed = self._in_doubt[0]
            if self._ended_well(xid):
                self._unheld.extend(claimed)
            del self._in_doubt[0]

    def hold_no_more(self, claimed: Claimed) -> None:
        """Note that a message is claimed in the database and in nobody's hands."""
        self._unheld.append(claimed)

    @property
    def has_unheld(self) -> bool:
        """Tell whether something is claimed and in nobody's hands: the next commit puts it back."""
        return bool(self._unheld)

    def _put_back_unheld(self, batch: Batch) -> list[Claimed]:
        """Put back what is claimed and in nobody's hands, and return it.

        That comes before anything is claimed: what was accepted later must not overtake it.
        """
        taken = [self._unheld.popleft() for _ in range(len(self._unheld))]
        for claimed in taken:
            # An earlier commit of this, which got no answer, may have been made.
            running = self._statements.is_running.run(self._cursor, (claimed.header.id, claimed.attempt))
            if running.fetchone() is not None:
                unhandled(claimed, self.hold_no_more).apply(batch)
        return taken

    def _ended_well(self, xid: str) -> bool:
        self._cursor.execute("SELECT pg_xact_status(%s::xid8)", (xid,))
        status = self._cursor.fetchall()[0][0]
        self._connection.driver_connection.commit()  # type: ignore[union-attr]
        if status == "in progress":
            raise InProgress("the database is still busy with what it did when it was lost.")
        return bool(status == "committed")

    def _new_id(self) -> int:
        if self._sqlite:
            self._next_id += 1
            return self._next_id
        return self._ids.popleft()

    def _draw_ids(self, count: int) -> None:
        """Take the ids of a batch from the sequence; none is kept for later, or order would not be that of time."""
        self._ids.clear()
        self._xid = ""
        if not count:
            return
        # With it the number of the transaction: should the answer to its commit be lost, the database is asked by it.
        self._cursor.execute(_BEGIN_SQL, (count,))
        rows = self._cursor.fetchall()
        self._xid = rows[0][0]
        self._ids.extend(row[1] for row in rows[1:])

    def _room(self, queue: str) -> int:
        intake = self._intakes.get(queue)
        return 0 if intake is None else intake.room

    def _hand_over(
        self, batch: Batch, given: list[tuple[Slot, Claimed]], ahead: list[tuple[Intake, Claimed]]
    ) -> None:
        """Give new messages of empty queues to waiting workers: accepted and claimed in one write."""
        self._empty -= batch.filled
        woken: dict[str, int] = defaultdict(int)
        handed: dict[str, int] = defaultdict(int)
        known = self._empty
        for index, header in enumerate(batch.headers):
            if header.status != _QUEUED:
                continue
            queue = header.target_queue
            empty = queue in known and not header.not_before_us
            intake = self._intakes.get(queue)
            slot = None
            if empty and (intake is None or not intake.is_enough(woken[queue], handed[queue])):
                slot = self._idle(queue)
            if not empty or (slot is None and (intake is None or intake.room <= 0)):
                self._empty.discard(queue)
                batch.filled.add(queue)
                continue
            handed[queue] += 1
            header = handed_over(header, _DELIVERED)
            batch.headers[index] = header
            if slot is not None:
                woken[queue] += 1
                self._give(batch, given, slot, header, batch.texts[index])
            elif intake is not None:
                self._keep_ready(batch, ahead, intake, header, batch.texts[index])

    def _give(
        self, batch: Batch, given: list[tuple[Slot, Claimed]], slot: Slot, header: Header, text: str | None
    ) -> None:
        given.append((slot, self._open(batch, slot.job, header, text)))

    def _keep_ready(
        self,
        batch: Batch,
        ahead: list[tuple[Intake, Claimed]],
        intake: Intake,
        header: Header,
        text: str | None,
    ) -> None:
        intake.coming += 1
        ahead.append((intake, self._open(batch, header.target_queue, header, text)))

    def _open(self, batch: Batch, job: str, header: Header, text: str | None) -> Claimed:
        """Open an attempt."""
        if self.depths.watched:
            self.depths.move(header, -1)
        batch.opened.append(
            Attempt(
                header.id, header.attempts, header.target_item, job, self._instance, batch.now_us,
                batch.steady_us + _LEASE_US, None, None, _RUNNING, None,
            )
        )  # fmt: skip
        return Claimed(header, text, header.attempts, batch.now_us)

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
        if batch.new_processes:
            run.insert_process.run_many(cursor, batch.new_processes)
        self._change_processes(batch)
        for reply in batch.replies:
            if run.reply_early.run(cursor, reply).rowcount != 1:
                raise StoreError("the request has an answer already.")
        if batch.energy:
            run.insert_energy.run_many(cursor, batch.energy)
        if batch.settled:
            run.settle_energy.run_many(cursor, batch.settled)
        if batch.events:
            run.insert_event.run_many(cursor, batch.events)
        for step in batch.run:
            step(cursor)

    def _change_processes(self, batch: Batch) -> None:
        run, cursor = self._statements, self._cursor
        changed = [(row.message_id, *row[2:]) for row in batch.changed_processes]
        if changed and run.change_process.run_many(cursor, changed) != len(changed):
            raise ProcessChanged(
                "another worker has gone on with this process: the message is handled again."
            )
        ended = batch.ended_processes
        if ended and run.end_process.run_many(cursor, ended) != len(ended):
            raise ProcessChanged(
                "another worker has gone on with this process: the message is handled again."
            )
        if batch.dropped_timers:
            run.drop_timers.run_many(cursor, batch.dropped_timers)

    def _grab(self, batch: Batch, grab: Grabbing) -> None:
        grab.claimed.clear()
        if grab.message_id is not None:
            rows = self._statements.take.run(self._cursor, (grab.message_id,)).fetchall()
        else:
            values = (grab.queue, batch.steady_us, grab.count)
            rows = self._statements.claim.run(self._cursor, values).fetchall()
            rows.sort(key=lambda row: (row[_PRIORITY], row[_ID]))
        for row in rows:
            grab.claimed.append(self._open(batch, grab.job, Header._make(row[:-1]), row[-1]))

    def _claim(
        self,
        batch: Batch,
        queue: str,
        given: list[tuple[Slot, Claimed]],
        ahead: list[tuple[Intake, Claimed]],
    ) -> None:
        count = len(self._slots.get(queue, ())) + self._room(queue)
        rows = self._statements.claim.run(self._cursor, (queue, batch.steady_us, count)).fetchall()
        # RETURNING promises no order.
        rows.sort(key=lambda row: (row[_PRIORITY], row[_ID]))
        if len(rows) < count and self._sqlite:
            self._empty.add(queue)
        intake, woken = self.intake(queue), 0
        for handed, row in enumerate(rows):
            header = Header._make(row[:-1])
            slot = None if intake.is_enough(woken, handed) else self._idle(queue)
            if slot is not None:
                woken += 1
                self._give(batch, given, slot, header, row[-1])
            else:
                self._keep_ready(batch, ahead, intake, header, row[-1])


_BEGIN_SQL = (
    "SELECT pg_current_xact_id()::text, NULL::bigint UNION ALL "
    "SELECT NULL, nextval('message_ids') FROM generate_series(1, %s)"
)


_ID = Header._fields.index("id")
_PRIORITY = Header._fields.index("priority")


def _driver_errors(engine: Engine) -> tuple[type[Exception], ...]:
    # A value that cannot be bound (a lone surrogate, a number past 64 bits) is a ValueError or an OverflowError.
    common = (StoreError, OSError, ValueError, OverflowError)
    if engine.dialect.name == "sqlite":
        return (sqlite3.Error, *common)
    import psycopg

    return (psycopg.Error, *common)
