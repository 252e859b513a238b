"""The store: accepts messages, hands them to workers, takes their results; everything else reads.

It is the queue as well: a message is a row before it is anything else, and no row is lost with a process.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, func, insert, select, update

from wattbus.energy.record import EnergyRecord, EnergyStatus, IntervalRecord, Tier
from wattbus.home import Home, write_durably
from wattbus.store.batch import LEASE_SECONDS, Slot, StoreTransactions
from wattbus.store.database import HomeLock, ensure_schema, open_engine, transaction
from wattbus.store.rows import Claimed, Event, Header, energy_row
from wattbus.store.tables import Outcome, Status, attempts, bodies, energy, instances, jobs, messages
from wattbus.store.units import Acceptance, Delivery, Notes, Wait
from wattbus.store.writer import Writer

#: Bodies longer than this lie in files, named by their sha256.
INLINE_BODY_BYTES = 1_000_000


class Store:
    """Open for writing by one process (SQLite) or by several (PostgreSQL)."""

    def __init__(self, home: Home, url: str | None = None) -> None:
        self.home = home
        self.shared = url is not None
        self.instance = uuid.uuid4().hex[:12]
        self._lock: HomeLock | None = HomeLock(home)
        try:
            home.tidy()
            self.engine: Engine = open_engine(home, url)
            ensure_schema(self.engine)
        except BaseException:
            self._release()
            raise
        self._transactions = StoreTransactions(self.engine, self.instance)
        self._writer = Writer(self._transactions)
        self._due: list[tuple[int, str]] = []
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="wattbus-keeper", daemon=True)

    # -- life ---------------------------------------------------------------------------------------------------

    def begin(self, production: str) -> None:
        """Register this process and take back what a dead one left behind."""
        now = now_us()
        row = {
            "id": self.instance, "production": production, "pid": os.getpid(), "host": socket.gethostname(),
            "status": "Running", "started_us": now, "heartbeat_us": now, "stopped_us": None,
        }  # fmt: skip
        with transaction(self.engine) as connection:
            connection.execute(insert(instances).values(row))
        self.recover()
        with self.engine.connect() as connection:
            delayed = select(messages.c.not_before_us, messages.c.target_queue).where(
                messages.c.status == Status.QUEUED.value, messages.c.not_before_us > now
            )
            self._due = [(due, queue) for due, queue in connection.execute(delayed)]
        heapq.heapify(self._due)
        self._keeper.start()

    def close(self, status: str = "Stopped") -> None:
        """Commit what is waiting, say that this process has stopped, and let go."""
        self._stopping.set()
        if self._keeper.is_alive():
            self._keeper.join()
        self._writer.close()
        with transaction(self.engine) as connection:
            connection.execute(
                update(instances)
                .where(instances.c.id == self.instance)
                .values(status=status, stopped_us=now_us())
            )
        self.engine.dispose()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # -- messages -----------------------------------------------------------------------------------------------

    def accept(self, acceptance: Acceptance) -> None:
        """Hand a message to the writer; ``acceptance.wait()`` returns its id when it is durable."""
        self._writer.submit(acceptance)

    def accept_later(self, acceptance: Acceptance) -> None:
        """Hand a message to the writer's own thread: the caller, an event loop, is never held up by a disk."""
        self._writer.submit_later(acceptance)

    def prepare(self, header: Header, json: str | None, **callbacks: Any) -> Acceptance:
        """Make the unit that accepts a message; a large body is put in its file first."""
        inline = json is None or len(json) <= INLINE_BODY_BYTES
        if not inline:
            assert json is not None
            encoded = json.encode()
            file = self.home.bodies / hashlib.sha256(encoded).hexdigest()
            if not file.exists():
                write_durably(file, encoded)
        return Acceptance(header, json, inline=inline, **callbacks)

    def next(self, queue: str, job: str, *after: Delivery) -> Claimed | None:
        """Make the deliveries durable, then wait for the next message of ``queue``; None: it was closed."""
        slot = Slot(queue, job)
        self._writer.submit(*after, Wait(self._transactions, slot))
        return slot.wait()

    def release_workers(self) -> None:
        """Send every idle worker home."""
        notes = Notes(run=lambda _cursor: self._transactions.close_queues())
        self._writer.submit_later(notes)
        notes.wait()

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

    # -- notes --------------------------------------------------------------------------------------------------

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
        values = (
            self.instance, interval.started_at_us, interval.duration_seconds, interval.total_joules,
            interval.operations_joules, interval.idle_joules, interval.others_joules, interval.overhead_joules,
            str(interval.tier), interval.method,
        )  # fmt: skip
        statement = self._transactions.statements.insert_interval
        return lambda cursor: statement.run_many(cursor, [values])

    def flush(self) -> None:
        """Block until everything handed over so far is durable."""
        notes = Notes()
        self._writer.submit(notes)
        notes.wait()

    def start_job(self, item: str) -> int:
        """Note that an item is being made ready; until :meth:`job_ready` its messages wait in the queue."""
        with transaction(self.engine) as connection:
            made = connection.execute(
                insert(jobs)
                .values(instance=self.instance, item=item, started_us=now_us())
                .returning(jobs.c.id)
            )
            return int(made.scalar_one())

    def job_ready(self, job: int, error: str | None = None) -> None:
        """Note that the item is ready, or why it cannot be."""
        with transaction(self.engine) as connection:
            connection.execute(update(jobs).where(jobs.c.id == job).values(ready_us=now_us(), error=error))

    # -- keeping ------------------------------------------------------------------------------------------------

    def recover(self) -> int:
        """Take back the messages of workers that are gone and return how many; each lost attempt is recorded."""
        lost = select(attempts).where(attempts.c.outcome == Outcome.RUNNING.value)
        if self.shared:
            lost = lost.where(attempts.c.lease_until_us < now_us())
        else:
            lost = lost.where(attempts.c.instance != self.instance)
        with transaction(self.engine) as connection:
            rows = connection.execute(lost).all()
            now = now_us()
            for row in rows:
                _take_back(connection, row, now)
            if not self.shared:
                connection.execute(
                    update(energy)
                    .where(energy.c.status == EnergyStatus.PENDING.value)
                    .values(
                        status=EnergyStatus.NOT_MEASURED.value,
                        reason="the process ended before the interval that holds this attempt was read",
                    )
                )
        return len(rows)

    def _keep(self) -> None:
        """Renew leases, wake delayed messages, and look for work that another process accepted."""
        renewed = time.monotonic()
        while not self._stopping.wait(0.1 if self.shared else 0.25):
            touched = self._transactions.queues_waited_for() if self.shared else []
            now = now_us()
            while self._due and self._due[0][0] <= now:
                touched.append(heapq.heappop(self._due)[1])
            if touched:
                self._writer.submit_later(Notes(touched=touched))
            if time.monotonic() - renewed > LEASE_SECONDS / 3:
                renewed = time.monotonic()
                self._renew()

    def _renew(self) -> None:
        until = now_us() + int(LEASE_SECONDS * 1e6)
        statement = self._transactions.statements.renew_leases
        self._writer.submit_later(Notes(run=lambda cursor: statement.run(cursor, (self.instance, until))))
        with transaction(self.engine) as connection:
            connection.execute(
                update(instances).where(instances.c.id == self.instance).values(heartbeat_us=now_us())
            )
        if self.shared:
            self.recover()


def _take_back(connection: Any, row: Any, now: int) -> None:
    ended = min(now, row.lease_until_us)
    closed = connection.execute(
        update(attempts)
        .where(
            attempts.c.message_id == row.message_id,
            attempts.c.number == row.number,
            attempts.c.outcome == Outcome.RUNNING.value,
        )
        .values(outcome=Outcome.WORKER_LOST.value, ended_us=ended, detail="the process that ran it is gone")
    )
    if closed.rowcount != 1:
        return
    connection.execute(
        update(messages)
        .where(messages.c.id == row.message_id, messages.c.status == Status.DELIVERED.value)
        .values(status=Status.QUEUED.value)
    )
    lost = EnergyRecord(
        message_id=row.message_id,
        attempt=row.number,
        item=row.item,
        started_at_us=row.started_us,
        duration_seconds=None,
        tier=Tier.NONE,
        status=EnergyStatus.NOT_MEASURED,
        reason="the worker was lost: its start is known, its end is not",
        partial=True,
    )
    connection.execute(insert(energy).values(dict(zip(energy.c.keys(), energy_row(lost), strict=True))))


def now_us() -> int:
    """Return the time, UTC, in microseconds since the epoch."""
    return time.time_ns() // 1000


def counts(engine: Engine) -> dict[str, int]:
    """Return how many messages stand in each status."""
    with engine.connect() as connection:
        rows = connection.execute(select(messages.c.status, func.count()).group_by(messages.c.status))
        return {status: count for status, count in rows}
