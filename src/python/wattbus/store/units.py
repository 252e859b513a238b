"""What a writer can be asked to make durable: an acceptance, a delivery, a wait for work, notes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from wattbus.errors import StoreError
from wattbus.store.batch import Batch, Slot, StoreTransactions, closed_gate
from wattbus.store.rows import Body, Claimed, Event, Header
from wattbus.store.tables import Outcome, Status


class Acceptance:
    """A message on its way into the store; ``id`` is set when it is durable."""

    __slots__ = (
        "_done",
        "_draft",
        "_error",
        "_on_committed",
        "_on_failed",
        "_store_json",
        "id",
        "json",
        "known",
    )

    def __init__(
        self,
        header: Header,
        json: str | None,
        *,
        inline: bool = True,
        on_committed: Callable[[Acceptance], None] | None = None,
        on_failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._draft, self.json, self.id = header, json, 0
        self.known = False  # True: the idempotency key was there before, nothing new was written
        self._store_json = inline
        self._on_committed, self._on_failed = on_committed, on_failed
        self._error: Exception | None = None
        self._done = closed_gate()

    @property
    def new_messages(self) -> int:
        return 1

    def apply(self, batch: Batch) -> None:
        header = self._draft
        key = header.idempotency_key
        if key is not None and self._known_before(batch, key):
            return
        self.id = batch.new_id()
        body_id = header.body_id
        body = None
        if self.json is not None and body_id is None:
            body_id = self.id
            encoded = self.json.encode()
            digest = hashlib.sha256(encoded).hexdigest()
            body = Body(self.id, digest, len(encoded), self.json if self._store_json else None)
        batch.add_message(
            header._replace(
                id=self.id,
                session_id=header.session_id or self.id,
                body_id=body_id,
                time_created_us=header.time_created_us or batch.now_us,
            ),
            body,
        )

    def _known_before(self, batch: Batch, key: str) -> bool:
        for header in batch.headers:
            if header.idempotency_key == key:
                self.id, self.known = header.id, True
                return True
        found = batch.statements.message_by_idempotency_key.run(batch.cursor, (key,)).fetchone()
        if found is not None:
            self.id, self.known = found[0], True
        return self.known

    def committed(self) -> None:
        if self._on_committed is not None:
            self._on_committed(self)
        self._done.release()

    def failed(self, error: Exception) -> None:
        self._error = error
        if self._on_failed is not None:
            self._on_failed(error)
        self._done.release()

    def wait(self) -> int:
        """Block until the message is durable and return its id."""
        self._done.acquire()
        if self._error is not None:
            raise StoreError(
                f"the message was not accepted, nothing of it is stored: {self._error}"
            ) from self._error
        return self.id


class Delivery:
    """The end of an attempt: outcome, response, children and energy, all in one transaction."""

    __slots__ = (
        "_on_committed",
        "_on_failed",
        "children",
        "claimed",
        "detail",
        "duration_seconds",
        "energy",
        "error_status",
        "put_back",
        "response",
    )

    def __init__(
        self,
        claimed: Claimed,
        *,
        duration_seconds: float,
        error_status: str | None,
        detail: str | None,
        put_back: bool = False,
        response: Acceptance | None,
        children: list[Acceptance],
        energy: list[tuple[Any, ...]],
        on_committed: Callable[[Delivery], None],
        on_failed: Callable[[Delivery, Exception], None],
    ) -> None:
        self.claimed, self.duration_seconds = claimed, duration_seconds
        self.error_status, self.detail, self.put_back = error_status, detail, put_back
        self.response, self.children, self.energy = response, children, energy
        self._on_committed, self._on_failed = on_committed, on_failed

    @property
    def new_messages(self) -> int:
        return len(self.children) + (self.response is not None)

    def apply(self, batch: Batch) -> None:
        claimed, failed = self.claimed, self.error_status is not None
        if self.put_back:
            batch.filled.add(claimed.header.target_queue)
        for child in self.children:
            child.apply(batch)
        if self.response is not None:
            self.response.apply(batch)
        batch.attempt_ends.append(
            (
                claimed.header.id,
                claimed.attempt,
                _PUT_BACK if self.put_back else _ERROR_OUTCOME if failed else _COMPLETED_OUTCOME,
                batch.now_us,
                self.duration_seconds,
                self.detail,
            )
        )
        batch.message_ends.append(
            (
                claimed.header.id,
                _QUEUED if self.put_back else _ERROR if failed else _COMPLETED,
                failed,
                self.error_status,
                self.response.id if self.response is not None else None,
                None if self.put_back else batch.now_us,
            )
        )
        batch.energy += self.energy

    def committed(self) -> None:
        for child in self.children:
            child.committed()
        self._on_committed(self)

    def failed(self, error: Exception) -> None:
        self._on_failed(self, error)


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

    __slots__ = ("_done", "_error", "events", "run", "settled", "touched")
    new_messages = 0

    def __init__(
        self,
        *,
        events: list[Event] | None = None,
        settled: list[tuple[Any, ...]] | None = None,
        touched: list[str] | None = None,
        run: Callable[[Any], None] | None = None,
    ) -> None:
        self.events, self.settled, self.touched, self.run = events, settled, touched, run
        self._error: Exception | None = None
        self._done = closed_gate()

    def apply(self, batch: Batch) -> None:
        if self.events:
            batch.events += self.events
        if self.settled:
            batch.settled += self.settled
        if self.touched:
            batch.filled.update(self.touched)
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


_ERROR_OUTCOME, _COMPLETED_OUTCOME, _PUT_BACK = (
    Outcome.ERROR.value,
    Outcome.COMPLETED.value,
    Outcome.PUT_BACK.value,
)
_QUEUED, _ERROR, _COMPLETED = Status.QUEUED.value, Status.ERROR.value, Status.COMPLETED.value
