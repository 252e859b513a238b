"""What a writer can be asked to make durable: an acceptance, a delivery, a reply, a claim, notes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from wattbus.energy.record import EnergyRecord, EnergyStatus, Tier
from wattbus.errors import QueueFull, StoreBusy, StoreError, StoreFailed, StoreFull, UsedKey, WattbusError
from wattbus.store.batch import Batch
from wattbus.store.rows import Body, Claimed, Event, Header, ProcessRow, accepted, energy_row
from wattbus.store.slots import Slot, closed_gate
from wattbus.store.tables import Status

if TYPE_CHECKING:
    from wattbus.store.transactions import StoreTransactions


class Acceptance:
    """A message on its way into the store; ``id`` is set when it is durable."""

    __slots__ = (
        "_draft",
        "_error",
        "_gate",
        "_keep_file",
        "_limit",
        "_on_committed",
        "_on_failed",
        "_settled",
        "id",
        "json",
        "known",
        "refusal",
    )

    def __init__(
        self,
        header: Header,
        json: str | None,
        *,
        keep_file: Callable[[], None] | None = None,
        limit: int = 0,
        on_committed: Callable[[Acceptance], None] | None = None,
        on_failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._draft, self.json, self.id = header, json, 0
        self.known = False  # True: the idempotency key was there before, nothing new was written
        self._keep_file = keep_file  # set where the body lies in a file
        self._limit = limit  # refuse it where so many requests stand in its queue; 0: never
        self.refusal: WattbusError | None = None  # why it was not taken, though the store could
        self._on_committed, self._on_failed = on_committed, on_failed
        self._error: Exception | None = None
        self._settled = False
        self._gate: threading.Lock | None = None  # of who waits: a request's answer says more

    @property
    def new_messages(self) -> int:
        return 1

    @property
    def response_required(self) -> bool:
        return self._draft.response_required

    @property
    def is_first(self) -> bool:
        """Tell whether it comes from outside: no message in hand sends it."""
        return self._draft.parent_id is None

    def apply(self, batch: Batch) -> None:
        header = self._draft
        key = header.idempotency_key
        self.known, self.refusal = False, None
        if key is not None and self._known_before(batch, key):
            return
        if self._limit and batch.depths.full(header.target_queue, self._limit, batch):
            self.refusal = QueueFull(header.target_item, self._limit)
            return
        self.id = batch.new_id()
        if header.not_before_us:
            batch.due.append((header.not_before_us, header.target_queue))
        body_id = header.body_id
        body = None
        if self.json is not None and body_id is None:
            body_id = self.id
            encoded = self.json.encode()
            digest = hashlib.sha256(encoded).hexdigest()
            if self._keep_file is not None:
                self._keep_file()
            body = Body(self.id, digest, len(encoded), self.json if self._keep_file is None else None)
        batch.add_message(accepted(header, self.id, body_id, batch.now_us), body)

    def _known_before(self, batch: Batch, key: str) -> bool:
        for header in batch.headers:
            if header.idempotency_key == key:
                sums = (body.sha256 for body in batch.bodies if body.id == header.body_id)
                self._is_known(
                    key, (header.id, header.target_item, header.body_class, header.body_id, next(sums, None))
                )
                return True
        found = batch.statements.message_by_idempotency_key.run(batch.cursor, (key,)).fetchone()
        if found is not None:
            self._is_known(key, found)
        return self.known

    def _is_known(self, key: str, found: Sequence[Any]) -> None:
        """Take the id of the message that came with this key before; another message under the same key is refused."""
        self.id, self.known = found[0], True
        draft, json = self._draft, self.json
        given = None if json is None else hashlib.sha256(json.encode()).hexdigest()
        same_body = found[4] == given if draft.body_id is None else found[3] == draft.body_id
        if not same_body or tuple(found[1:3]) != (draft.target_item, draft.body_class):
            self.refusal = UsedKey(
                f"the idempotency key {key!r} was used before, for message {found[0]} "
                f"({found[2].rpartition('.')[2]} to {found[1]}), and this is another message: give it a key of its own."
            )

    def committed(self) -> None:
        if self.refusal is not None:
            self.failed(self.refusal)
            return
        if self._on_committed is not None:
            self._on_committed(self)
        self._settle()

    def failed(self, error: Exception) -> None:
        self._error = error
        if self._on_failed is not None:
            self._on_failed(error)
        self._settle()

    def _settle(self) -> None:
        self._settled = True
        if self._gate is not None:
            self._gate.release()

    def wait(self) -> int:
        """Block until the message is durable and return its id."""
        self._gate = gate = closed_gate()
        if not self._settled:  # else it was settled before the gate was there
            gate.acquire()
        if self.refusal is not None:
            raise self.refusal
        if isinstance(self._error, StoreBusy | StoreFull | StoreFailed):
            raise self._error
        if self._error is not None:
            raise StoreError(
                f"the message was not accepted, nothing of it is stored: {self._error}"
            ) from self._error
        return self.id


class Ending(StrEnum):
    """What becomes of a message when an attempt ends."""

    COMPLETED = "completed"
    ERROR = "error"
    DEFERRED = "deferred"  # a process waits for responses
    PUT_BACK = "put back"  # the production stops
    RETRY = "retry"
    SUSPENDED = "suspended"
    WORKER_LOST = "worker lost"


@dataclass(frozen=True)
class ProcessChange:
    """What the end of an attempt does to the process that the attempt belongs to."""

    message_id: int  # the request that the process handles
    row: ProcessRow | None  # None: the process has ended
    version: int  # the version that was read; 0: there is no row yet
    ends_request: Ending | None = (
        None  # set where the claimed message is a response and the process has ended
    )
    error_status: str | None = None


class Delivery:
    """The end of an attempt: outcome, response, children, process and energy, all in one transaction."""

    __slots__ = (
        "_on_committed",
        "_on_failed",
        "children",
        "claimed",
        "detail",
        "duration_seconds",
        "ending",
        "energy",
        "error_status",
        "job",
        "poison",
        "process",
        "response",
        "wait_seconds",
    )

    def __init__(
        self,
        claimed: Claimed,
        *,
        duration_seconds: float,
        ending: Ending,
        error_status: str | None,
        detail: str | None,
        wait_seconds: float = 0.0,
        response: Acceptance | None,
        children: list[Acceptance],
        energy: list[tuple[Any, ...]],
        process: ProcessChange | None = None,
        poison: bool = False,
        on_committed: Callable[[Delivery], None],
        on_failed: Callable[[Delivery, Exception], None],
    ) -> None:
        self.claimed, self.duration_seconds, self.ending = claimed, duration_seconds, ending
        self.error_status, self.detail, self.wait_seconds = error_status, detail, wait_seconds
        self.response, self.children, self.energy, self.process = response, children, energy, process
        self.job = threading.current_thread().name
        self.poison = poison  # one worker lost too many: nobody is to touch the message again
        self._on_committed, self._on_failed = on_committed, on_failed

    @property
    def new_messages(self) -> int:
        return len(self.children) + (self.response is not None)

    def apply(self, batch: Batch) -> None:
        claimed, ending = self.claimed, self.ending
        queued = ending in _BACK_IN_QUEUE and not self.poison
        if queued:
            batch.filled.add(claimed.header.target_queue)
            batch.depths.move(claimed.header, 1)
        for child in self.children:
            child.apply(batch)
            if child.refusal is not None:
                self._tell_refused(batch, child.refusal)
        if self.response is not None:
            self.response.apply(batch)
        batch.attempt_ends.append(
            (
                claimed.header.id,
                claimed.attempt,
                self.duration_seconds,
                self.job,
                ending._value_,
                batch.now_us,
                self.detail,
            )
        )
        not_before_us = None
        if queued and self.wait_seconds > 0:
            not_before_us = batch.steady_us + int(self.wait_seconds * 1e6)
            batch.due.append((not_before_us, claimed.header.target_queue))
        process = self.process
        answers_claimed = process is None or process.message_id == claimed.header.id
        response_id = self.response.id if self.response is not None else None
        batch.message_ends.append(
            (
                claimed.header.id,
                response_id if answers_claimed else None,
                Status.SUSPENDED.value if self.poison else _STATUS_AFTER[ending],
                self.poison or ending in _FAILED,
                None if queued else self.error_status,
                None if queued or ending is Ending.DEFERRED else batch.now_us,
                not_before_us,
            )
        )
        if process is not None:
            self._apply_process(batch, process, response_id)
        batch.energy += self.energy

    def _tell_refused(self, batch: Batch, refusal: WattbusError) -> None:
        """Say what became of a child that the store did not take: nobody waits for it to be told."""
        header = self.claimed.header
        batch.events.append(
            Event(
                batch.now_us, "Error", header.target_item, "", header.id, header.session_id, None, None,
                f"a message that was sent while this one was handled was not accepted: {refusal}",
            )
        )  # fmt: skip

    def _apply_process(self, batch: Batch, process: ProcessChange, response_id: int | None) -> None:
        queue = self.claimed.header.target_queue
        if process.row is not None:
            (batch.new_processes if process.version == 0 else batch.changed_processes).append(process.row)
        elif process.version:
            batch.ended_processes.append((process.message_id, process.version))
            batch.dropped_timers.append((queue, process.message_id, batch.now_us))
        if process.ends_request is not None:
            batch.message_ends.append(
                (
                    process.message_id,
                    response_id,
                    _STATUS_AFTER[process.ends_request],
                    process.ends_request in _FAILED,
                    process.error_status,
                    batch.now_us,
                    None,
                )
            )

    def committed(self) -> None:
        for child in self.children:
            child.committed()
        self._on_committed(self)

    def failed(self, error: Exception) -> None:
        self._on_failed(self, error)


def unhandled(claimed: Claimed, once_more: Callable[[Claimed], None]) -> Delivery:
    """Make the end of an attempt that never began: its message was claimed ahead, and its workers are gone.

    ``once_more`` is told of it where the store cannot take that now.
    """

    def failed(_delivery: Delivery, error: Exception) -> None:
        if isinstance(error, StoreBusy | StoreFull):
            once_more(claimed)

    record = EnergyRecord(
        message_id=claimed.header.id,
        attempt=claimed.attempt,
        item=claimed.header.target_item,
        started_at_us=claimed.started_us,
        duration_seconds=0.0,
        tier=Tier.NONE,
        status=EnergyStatus.NOT_MEASURED,
        reason="the attempt never began",
    )
    return Delivery(
        claimed,
        duration_seconds=0.0,
        ending=Ending.PUT_BACK,
        error_status=None,
        detail="it was claimed, and never handled",
        response=None,
        children=[],
        energy=[energy_row(record)],
        on_committed=lambda _delivery: None,
        on_failed=failed,
    )


class Reply:
    """The answer that a process gives before it ends; only the first counts."""

    __slots__ = ("_done", "_error", "_request_id", "response")
    new_messages = 1

    def __init__(self, request_id: int, response: Acceptance) -> None:
        self._request_id, self.response = request_id, response
        self._error: Exception | None = None
        self._done = closed_gate()

    def apply(self, batch: Batch) -> None:
        self.response.apply(batch)
        batch.replies.append((self._request_id, self.response.id))

    def committed(self) -> None:
        self._done.release()

    def failed(self, error: Exception) -> None:
        self._error = error
        self._done.release()

    def wait(self) -> None:
        """Block until the answer is durable."""
        self._done.acquire()
        if self._error is not None:
            raise StoreError(f"the reply was not stored: {self._error}") from self._error


class Grab:
    """A claim that does not wait: one given message, or as many of a queue as are ready."""

    __slots__ = ("_done", "_error", "claimed", "count", "job", "message_id", "queue")
    new_messages = 0

    def __init__(self, queue: str, job: str, *, message_id: int | None = None, count: int = 1) -> None:
        self.queue, self.job, self.message_id, self.count = queue, job, message_id, count
        self.claimed: list[Claimed] = []
        self._error: Exception | None = None
        self._done = closed_gate()

    def apply(self, batch: Batch) -> None:
        batch.grabs.append(self)

    def committed(self) -> None:
        self._done.release()

    def failed(self, error: Exception) -> None:
        self._error = error
        self._done.release()

    def wait(self) -> list[Claimed]:
        """Block until the claim is durable and return what was claimed, in order."""
        self._done.acquire()
        if self._error is not None:
            raise StoreError(f"nothing was claimed: {self._error}") from self._error
        return self.claimed


class Wait:
    """A worker asks for the next message of its queue."""

    __slots__ = ("_slot", "_transactions")
    new_messages = 0

    def __init__(self, transactions: StoreTransactions, slot: Slot) -> None:
        self._transactions, self._slot = transactions, slot

    def apply(self, batch: Batch) -> None:
        self._transactions.wait_for_work(self._slot)
        batch.asked.add(self._slot.queue)

    def committed(self) -> None:
        """The slot is given its message by the transaction itself."""

    def failed(self, error: Exception) -> None:
        # Registered all the same: the next commit that touches the queue serves the slot.
        self._transactions.wait_for_work(self._slot)


class Notes:
    """Rows that nobody waits for, unless :meth:`wait` is called: events, settled energy, a statement."""

    __slots__ = ("_done", "_error", "asked", "events", "run", "settled", "touched")
    new_messages = 0

    def __init__(
        self,
        *,
        events: list[Event] | None = None,
        settled: list[tuple[Any, ...]] | None = None,
        touched: list[str] | None = None,
        asked: str | None = None,
        run: Callable[[Any], None] | None = None,
    ) -> None:
        self.events, self.settled, self.touched, self.run = events, settled, touched, run
        self.asked = asked
        self._error: Exception | None = None
        self._done = closed_gate()

    def apply(self, batch: Batch) -> None:
        if self.events:
            batch.events += self.events
        if self.settled:
            batch.settled += self.settled
        if self.touched:
            batch.filled.update(self.touched)
        if self.asked:
            batch.asked.add(self.asked)
        if self.run is not None:
            batch.run.append(self.run)

    def committed(self) -> None:
        self._done.release()

    def failed(self, error: Exception) -> None:
        self._error = error
        self._done.release()

    def wait(self) -> None:
        """Block until the rows are durable."""
        self._done.acquire()
        if self._error is not None:
            raise StoreError(f"nothing of this was stored: {self._error}") from self._error


_BACK_IN_QUEUE = frozenset((Ending.PUT_BACK, Ending.RETRY, Ending.WORKER_LOST))
_FAILED = frozenset((Ending.ERROR, Ending.SUSPENDED))
_STATUS_AFTER = {
    Ending.COMPLETED: Status.COMPLETED.value,
    Ending.ERROR: Status.ERROR.value,
    Ending.DEFERRED: Status.DEFERRED.value,
    Ending.PUT_BACK: Status.QUEUED.value,
    Ending.RETRY: Status.QUEUED.value,
    Ending.SUSPENDED: Status.SUSPENDED.value,
    Ending.WORKER_LOST: Status.QUEUED.value,
}
