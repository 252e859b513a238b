"""The store: accepts messages, hands them to workers, takes their results; everything else reads.

It is the queue as well: a message is a row before it is anything else, and no row is lost with a process.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import socket
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, func, insert, select, update

from wattbus import killpoints
from wattbus.clock import SYSTEM, Clock
from wattbus.energy.record import EnergyRecord, IntervalRecord
from wattbus.errors import StoreBusy, StoreError, StoreFailed, StoreFull
from wattbus.home import Home, write_durably
from wattbus.store.database import HomeLock, close_store, open_store, transaction
from wattbus.store.machines import booking
from wattbus.store.recovery import BEGUN, Recovery
from wattbus.store.rows import Claimed, Event, Header, ProcessRow, energy_row
from wattbus.store.slots import Slot
from wattbus.store.space import Space
from wattbus.store.tables import Status, bodies, instances, jobs, messages, processes
from wattbus.store.transactions import LEASE_SECONDS, StoreTransactions
from wattbus.store.troubles import Troubles
from wattbus.store.units import Acceptance, Delivery, Grab, Notes, Reply, Wait, unhandled
from wattbus.store.writer import Unit, Writer

#: Bodies longer than this lie in files, named by their sha256.
INLINE_BODY_BYTES = 1_000_000
#: What stands between an item and the number of a stream in the name of the stream's queue.
STREAM = "::stream:"
_NAP_SECONDS = 1.0
_LOOK_SECONDS = 0.1  # where other processes may fill a queue


class Store:
    """Open for writing by one process (SQLite) or by several (PostgreSQL)."""

    def __init__(
        self, home: Home, url: str | None = None, *, clock: Clock = SYSTEM, poison_after: int = 3
    ) -> None:
        self.home, self.clock = home, clock
        self.shared = url is not None
        self._steady_base_us = clock.now_us() - int(clock.monotonic() * 1e6)
        self.instance = uuid.uuid4().hex[:12]
        self._host = socket.gethostname()
        self._lock: HomeLock | None = HomeLock(home)
        try:
            home.tidy()
            self.space = Space(home, kept=home.durable and not self.shared)
            self.space.prepare()
            self.engine: Engine = open_store(home, url, self._lock)
        except BaseException:
            self._release(opened=False)
            raise
        self.recovery = Recovery(
            self.engine,
            self.instance,
            shared=self.shared,
            poison_after=poison_after,
            now_us=self.now_us,
            steady_us=self.steady_us,
        )
        self._due: list[tuple[int, str]] = []
        self._new_due: deque[tuple[int, str]] = deque()
        self._transactions = StoreTransactions(
            self.engine, self.instance, self, self._add_due, lambda: self.space.is_low
        )
        self._troubles = Troubles(self.engine.url, self.space, clock)
        self._writer = Writer(self._transactions, self._troubles)
        self._stopping, self._nudge = threading.Event(), threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="wattbus-keeper", daemon=True)

    # -- life ---------------------------------------------------------------------------------------------------

    def begin(self, production: str) -> None:
        """Register this process and take back what a dead one left behind."""
        now = self.now_us()
        row = {
            "id": self.instance, "production": production, "pid": os.getpid(), "host": self._host,
            "status": "Running", "started_us": now, "heartbeat_us": now, "stopped_us": None,
        }  # fmt: skip
        with transaction(self.engine) as connection:
            connection.execute(insert(instances).values(row))
        self.recover()
        with transaction(self.engine) as connection:
            if not self.shared:
                connection.execute(
                    update(messages)
                    .where(messages.c.status == Status.QUEUED.value, messages.c.target_queue.contains(STREAM))
                    .values(
                        status=Status.ERROR.value, is_error=True, time_processed_us=now,
                        error_status="the stream has ended with the process that served it: ask for it anew.",
                    )
                )  # fmt: skip
            delayed = (messages.c.status == Status.QUEUED.value) & (messages.c.not_before_us > 0)
            if not self.shared:
                # A retry waits in the hands of its worker. That one is gone: it comes first again.
                connection.execute(
                    update(messages).where(delayed, messages.c.attempts > 0).values(not_before_us=0)
                )
            later = select(messages.c.not_before_us, messages.c.target_queue).where(delayed)
            self._new_due.extend((due, queue) for due, queue in connection.execute(later))
        self._mark()
        self._keeper.start()

    def close(self, status: str = "Stopped") -> None:
        """Commit what is waiting, say that this process has stopped, and let go."""
        self._stopping.set()
        self._nudge.set()
        if self._keeper.is_alive():
            self._keeper.join()
        try:
            for queue in self._transactions.intake_queues():
                self.put_back(queue)
            self._writer.close()
            if self._writer.failure is None:
                with transaction(self.engine) as connection:
                    connection.execute(
                        update(instances)
                        .where(instances.c.id == self.instance)
                        .values(status=status, stopped_us=self.now_us())
                    )
        except StoreError as error:
            # What is left is taken back by the next start, as after a death.
            sys.stderr.write(f"the store could not be closed in order: {error}\n")
            self._writer.close()
        finally:
            self._release(opened=True)

    def _release(self, *, opened: bool) -> None:
        """Let go; ``opened``: the store was in use until now."""
        if self._lock is None:
            return
        if opened:
            close_store(self.engine, self._lock)
        self._lock.release()
        self._lock = None

    # -- messages -----------------------------------------------------------------------------------------------

    def accept(self, acceptance: Acceptance) -> None:
        """Hand a message to the writer; ``acceptance.wait()`` returns its id when it is durable."""
        if not self._refused(acceptance):
            self._writer.submit(acceptance)

    def _refused(self, acceptance: Acceptance) -> bool:
        """Refuse a message from outside while the disk has no room to spare."""
        refusal = self.space.refusal() if acceptance.is_first else None
        if refusal is not None:
            self._troubles.began(refusal)
            acceptance.failed(refusal)
        return refusal is not None

    def submit(self, unit: Unit) -> None:
        """Hand the writer a unit that it does not know by name, such as an action on stored messages."""
        self._writer.submit(unit)

    @property
    def failure(self) -> StoreFailed | None:
        """Return why this process stores nothing more; None: it does."""
        return self._writer.failure

    def limit_queue(self, queue: str) -> None:
        """Count the requests of a queue from now on, so that a limit can be kept; once is enough."""
        transactions = self._transactions
        if transactions.depths.watches(queue):
            return

        def count(cursor: Any) -> None:
            depth = transactions.statements.depth.run(cursor, (queue,)).fetchone()[0]
            transactions.depths.watch(queue, depth, self.steady_us())

        notes = Notes(run=count)
        self._writer.submit(notes)
        notes.wait()

    def accept_later(self, acceptance: Acceptance) -> None:
        """Hand a message to the writer's own thread: the caller, an event loop, is never held up by a disk."""
        if not self._refused(acceptance):
            self._writer.submit_later(acceptance)

    def prepare(self, header: Header, json: str | None, **callbacks: Any) -> Acceptance:
        """Make the unit that accepts a message; a large body is put in its file first."""
        if json is None or len(json) <= INLINE_BODY_BYTES:
            return Acceptance(header, json, **callbacks)
        file = self.home.bodies / hashlib.sha256(json.encode()).hexdigest()

        def keep_file() -> None:
            if not file.exists():
                write_durably(file, json.encode())
                if killpoints.ARMED:
                    killpoints.reached("body.after-file")

        refusal = self.space.refusal() if header.parent_id is None else None
        if refusal is not None:
            raise refusal
        try:
            keep_file()
        except OSError as error:
            raise self._troubles.meaning_of(error) from error
        # Asked once more inside the transaction: a purge may have removed the file of an equal body meanwhile.
        return Acceptance(header, json, keep_file=keep_file, **callbacks)

    def next(self, queue: str, job: str, *after: Delivery) -> Claimed | None:
        """Make the deliveries durable, then wait for the next message of ``queue``; None: it was closed."""
        intake = self._transactions.intake(queue)
        try:
            claimed = intake.ready.popleft()
        except IndexError:
            pass
        else:
            if len(intake.ready) * 2 < intake.limit and not self._transactions.is_empty(queue):
                self._writer.submit_later(*after, Notes(asked=queue))
            elif after:
                self._writer.submit_later(*after)
            return claimed
        slot = Slot(queue, job)
        self._writer.submit(*after, Wait(self._transactions, slot))
        return slot.wait()

    def claim_ahead(self, queue: str, limit: int, usual_seconds: float = 0.0) -> None:
        """Let up to ``limit`` messages of a queue be claimed before a worker asks for them; 0 for none.

        ``usual_seconds`` is what a worker needs for one of them.
        """
        if not self.shared:
            intake = self._transactions.intake(queue)
            intake.limit, intake.usual_seconds = limit, usual_seconds

    def put_back(self, queue: str) -> int:
        """Give back what was claimed ahead for workers that are gone, and return how many messages that were."""
        taken = self._transactions.take_ahead(queue)
        for claimed in taken:
            self.give_back(claimed)
        if taken:
            self.flush()
        return len(taken)

    def give_back(self, claimed: Claimed) -> None:
        """Put a claimed message back that nobody began with, as soon as the store takes it."""
        self._writer.submit_later(unhandled(claimed, self._transactions.hold_no_more))

    def begun(self, claimed: Claimed) -> None:
        """Note durably that a message is in a worker's hands that was in others' before.

        A message of a process that died may only have waited there. So the blame for a death falls on a first attempt,
        or on one that is known to have begun: what waited behind a poison message is not taken for one.
        """
        statement = self._transactions.statements.mark_begun
        values = (claimed.header.id, claimed.attempt, BEGUN)
        notes = Notes(run=lambda cursor: statement.run(cursor, values))
        self._writer.submit(notes)
        notes.wait()

    def take(self, message_id: int, queue: str, job: str) -> Claimed | None:
        """Claim one given message; None: it is not in its queue any more."""
        grab = Grab(queue, job, message_id=message_id)
        self._writer.submit(grab)
        return next(iter(grab.wait()), None)

    def more(self, queue: str, job: str, count: int) -> list[Claimed]:
        """Claim up to ``count`` messages that are ready, without waiting."""
        grab = Grab(queue, job, count=count)
        self._writer.submit(grab)
        return grab.wait()

    def reply(self, request_id: int, response: Acceptance) -> None:
        """Make the answer to a request durable before the attempt on it ends."""
        reply = Reply(request_id, response)
        self._writer.submit(reply)
        reply.wait()

    def release(self, queue: str, count: int | None = None) -> None:
        """Send the idle workers of one queue home, all of them or ``count``."""
        # No transaction: workers can go home as well where the disk is full or the database is away.
        with self._writer.turn():
            self._transactions.close_queue(queue, count)

    def release_workers(self) -> None:
        """Send every idle worker home."""
        for queue in self._transactions.intake_queues():
            self.claim_ahead(queue, 0)
        with self._writer.turn():
            self._transactions.close_queues()

    def deliver(self, delivery: Delivery) -> None:
        """Hand the end of an attempt to the writer."""
        self._writer.submit(delivery)

    def body(self, body_id: int | None) -> str | None:
        """Return a body as JSON text, wherever it lies."""
        if body_id is None:
            return None
        with self.engine.connect() as connection:
            row = connection.execute(
                select(bodies.c.json, bodies.c.sha256).where(bodies.c.id == body_id)
            ).first()
        if row is None:
            return None
        return str(row.json) if row.json is not None else (self.home.bodies / row.sha256).read_text()

    def header(self, message_id: int) -> Header | None:
        """Return the header of a message."""
        with self.engine.connect() as connection:
            row = connection.execute(select(messages).where(messages.c.id == message_id)).first()
        return None if row is None else Header._make(row)

    def process(self, message_id: int) -> ProcessRow | None:
        """Return the process that handles a request, where it waits for responses."""
        with self.engine.connect() as connection:
            row = connection.execute(select(processes).where(processes.c.message_id == message_id)).first()
        return None if row is None else ProcessRow._make(row)

    # -- notes --------------------------------------------------------------------------------------------------

    def trouble(self) -> str | None:
        """Say what the store cannot do now, on a full disk or without its database; None: it works."""
        refusal = self.space.refusal()
        return self._troubles.sentence or (str(refusal) if refusal is not None else None)

    def log(self, event: Event) -> None:
        """Write a line of the event log, soon."""
        self._writer.submit_later(Notes(events=[event]))

    def settle(self, records: list[EnergyRecord], interval: IntervalRecord | None) -> None:
        """Write the energy of one interval of the power feed: the records that it settles and its buckets."""
        rows = [energy_row(record) for record in records]
        steps: Callable[[Any], None] | None = None
        if interval is not None:
            steps = self._interval_step(interval)
        self._writer.submit_later(Notes(settled=rows, run=steps))

    def _interval_step(self, interval: IntervalRecord) -> Callable[[Any], None]:
        def values(of: IntervalRecord, host: str) -> tuple[Any, ...]:
            return (
                self.instance, of.started_at_us, of.duration_seconds, of.total_joules, of.operations_joules,
                of.idle_joules, of.others_joules, of.overhead_joules, str(of.tier), of.method, host,
            )  # fmt: skip

        statement = self._transactions.statements.insert_interval
        if not self.shared:
            return lambda cursor: statement.run_many(cursor, [values(interval, self._host)])

        dialect = self.engine.dialect

        def book(cursor: Any) -> None:
            if (booked := booking(cursor, dialect, self.instance, self._host, interval)) is not None:
                statement.run_many(cursor, [values(*booked)])

        return book

    def flush(self) -> None:
        """Block until everything handed over so far is durable."""
        notes = Notes()
        self._writer.submit(notes)
        notes.wait()

    def start_job(self, item: str) -> int:
        """Note that an item is being made ready; until :meth:`job_ready` its messages wait in the queue."""
        row = {"instance": self.instance, "item": item, "started_us": self.now_us()}
        try:
            with transaction(self.engine) as connection:
                return int(connection.execute(insert(jobs).values(row).returning(jobs.c.id)).scalar_one())
        except (StoreBusy, StoreFull) as error:
            self._troubles.began(error)
            return 0  # an item runs without a note of when it began

    def job_ready(self, job: int, error: str | None = None) -> None:
        """Note that the item is ready, or why it cannot be."""
        try:
            with transaction(self.engine) as connection:
                connection.execute(
                    update(jobs).where(jobs.c.id == job).values(ready_us=self.now_us(), error=error)
                )
        except (StoreBusy, StoreFull) as trouble:
            self._troubles.began(trouble)

    # -- keeping ------------------------------------------------------------------------------------------------

    def recover(self) -> int:
        """Take back the messages of workers that are gone and return how many; each lost attempt is recorded."""
        return self.recovery.take_back()

    def _keep(self) -> None:
        """Renew leases, wake delayed messages, and look for work that another process accepted."""
        renewed = self.clock.monotonic()
        while not self._stopping.is_set():
            self.clock.wait(self._nudge, self._nap_seconds())
            self._nudge.clear()
            self._mark()
            well = self._is_well()
            touched = self._transactions.queues_waited_for() if self.shared or well else []
            while self._new_due:
                heapq.heappush(self._due, self._new_due.popleft())
            now = self.steady_us()
            while self._due and self._due[0][0] <= now:
                touched.append(heapq.heappop(self._due)[1])
            if touched:
                self._writer.submit_later(Notes(touched=touched))
            if self.clock.monotonic() - renewed > LEASE_SECONDS / 3:
                renewed = self.clock.monotonic()
                try:
                    self._renew()
                except StoreError as error:
                    self._troubles.began(error)

    def _mark(self) -> None:
        """Note beside the store what must be in it, should this process die and the store lose its log."""
        newest_id = self._transactions.newest_id
        if self._lock is not None and newest_id is not None:
            self._lock.mark(f"{self.instance} {newest_id}")

    def _is_well(self) -> bool:
        """Tell whether the store has just got over a trouble; workers that asked meanwhile are to be served."""
        roomy_again = self.space.look()
        try:
            if self._troubles.there:
                self.flush()
        except StoreError:
            return False
        if self._transactions.has_unheld:
            self._writer.submit_later(Notes())
        if not self._troubles.there or self.space.is_low:
            return roomy_again
        said = self._troubles.ended()
        if said is not None:
            self.log(Event(self.now_us(), "Warning", "", "wattbus-keeper", None, None, None, None, said))
        return True

    def _nap_seconds(self) -> float:
        longest = _LOOK_SECONDS if self.shared else _NAP_SECONDS
        return min(longest, (self._due[0][0] - self.steady_us()) / 1e6) if self._due else longest

    def _add_due(self, due: list[tuple[int, str]]) -> None:
        self._new_due.extend(due)
        self._nudge.set()

    def _renew(self) -> None:
        until = self.steady_us() + int(LEASE_SECONDS * 1e6)
        statement = self._transactions.statements.renew_leases
        self._writer.submit_later(Notes(run=lambda cursor: statement.run(cursor, (self.instance, until))))
        with transaction(self.engine) as connection:
            connection.execute(
                update(instances).where(instances.c.id == self.instance).values(heartbeat_us=self.now_us())
            )
        if self.shared:
            self.recover()

    # -- time ---------------------------------------------------------------------------------------------------

    def now_us(self) -> int:
        """Return the time of day, UTC, in microseconds since the epoch."""
        return self.clock.now_us()

    def steady_us(self) -> int:
        """Return the time of day when this process began plus what has passed: no jump of the clock moves a lease."""
        return self._steady_base_us + int(self.clock.monotonic() * 1e6)


def now_us() -> int:
    """Return the time, UTC, in microseconds since the epoch."""
    return time.time_ns() // 1000


def counts(engine: Engine) -> dict[str, int]:
    """Return how many messages stand in each status."""
    with engine.connect() as connection:
        rows = connection.execute(select(messages.c.status, func.count()).group_by(messages.c.status))
        return {status: count for status, count in rows}
