"""The bus: how a message is sent, and how its outcome is delivered. Read this first.

A message is a row before it is anything else. :meth:`Bus.send` writes header and body and returns; a worker of the
target item claims the row, with a lease and an attempt number, and hands it to the component; :meth:`Bus.deliver`
stores outcome, response, children and energy in one transaction, and only then is the waiting caller woken. So a
crash at any point leaves either a message to be worked on again or a finished one, and the trace is a query.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from wattbus.energy.record import EnergyRecord
from wattbus.errors import RequestFailed, RequestTimeout
from wattbus.runtime.context import Place, Progress
from wattbus.runtime.iris import Envelope
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.types import MessageTypes, sealed
from wattbus.store.rows import Claimed, Event, Header, energy_row
from wattbus.store.store import Store, now_us
from wattbus.store.tables import Priority, Status
from wattbus.store.units import Acceptance, Delivery

_LOOK_AGAIN_SECONDS = 0.05


@dataclass(frozen=True)
class Origin:
    """Who sends: an item, or a door; and the message that is being handled meanwhile, if any."""

    item: str
    business_type: str
    cause: Header | None = None


@dataclass(frozen=True)
class Result:
    """What came of an attempt."""

    duration_seconds: float
    response: Envelope | None = None
    error_status: str | None = None
    detail: str | None = None
    put_back: bool = False
    children: list[Acceptance] = field(default_factory=list)
    energy: list[EnergyRecord] = field(default_factory=list)


class Waiter:
    """A caller that waits for the response to one message: a thread, or an event loop that is notified."""

    __slots__ = ("_gate", "_notify", "done", "error_status", "message_id", "response", "target")

    def __init__(self, notify: Callable[[], object] | None = None) -> None:
        self._notify = notify
        self.target = ""
        self.message_id = 0
        self.response: Envelope | None = None
        self.error_status: str | None = None
        self.done = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def answer(self, response: Envelope | None, error_status: str | None) -> None:
        self.response, self.error_status, self.done = response, error_status, True
        self._gate.release()
        if self._notify is not None:
            self._notify()

    def wait(self, seconds: float) -> bool:
        """Wait ``seconds`` at most (-1: for ever) and tell whether the answer is there."""
        if not self.done and self._gate.acquire(timeout=seconds):
            self._gate.release()
        return self.done


class Bus:
    """Sends and delivers for one production."""

    def __init__(self, store: Store, production: ProductionConfig, types: MessageTypes, place: Place) -> None:
        self.store, self.production, self.types, self.place = store, production, types, place
        #: How far the messages in hand are, for those that tell.
        self.progress: dict[int, Progress] = {}
        self._waiters: dict[int, Waiter] = {}
        self._broken: dict[str, str] = {}  # items that could not start, and why

    # -- sending ------------------------------------------------------------------------------------------------

    def send(self, message: Acceptance) -> Acceptance:
        """Write a message; it is accepted, and safe, when ``wait()`` of what is returned comes back."""
        self.store.accept(message)
        return message

    def draft(
        self,
        target: str,
        body: Envelope | None,
        origin: Origin,
        *,
        priority: int = Priority.ASYNC,
        description: str | None = None,
        response_required: bool = False,
        idempotency_key: str | None = None,
        waiter: Waiter | None = None,
    ) -> Acceptance:
        """Make a message for ``target``: to be sent now, or with the end of the attempt that makes it."""
        item = self.production.item(target)
        if waiter is not None:
            waiter.target = target
            if target in self._broken:
                raise RequestFailed(self._broken[target])
        cause = origin.cause
        header = Header(
            id=0,
            session_id=cause.session_id if cause is not None else 0,
            super_session=None,
            parent_id=cause.id if cause is not None else None,
            corresponding_id=None,
            type="Request",
            invocation="Queue",
            source_item=origin.item,
            source_business_type=origin.business_type,
            target_item=item.name,
            target_business_type=item.business_type,
            target_queue=item.name,
            return_queue=None,
            body_class=body.classname if body is not None else "",
            body_id=None,
            description=description or "",
            priority=priority,
            status=_QUEUED,
            is_error=False,
            error_status=None,
            resent=None,
            attempts=0,
            not_before_us=0,
            response_required=response_required,
            completion_key=None,
            idempotency_key=idempotency_key,
            time_created_us=0,
            time_processed_us=None,
        )
        return self.store.prepare(
            header,
            self._written(body),
            on_committed=None if waiter is None else lambda accepted: self._expect(accepted, waiter),
            on_failed=None if waiter is None else lambda error: waiter.answer(None, f"not accepted: {error}"),
        )

    def request(
        self,
        target: str,
        body: Envelope | None,
        origin: Origin,
        *,
        timeout_seconds: float = -1,
        priority: int = Priority.SYNC,
        description: str | None = None,
        idempotency_key: str | None = None,
    ) -> Waiter:
        """Send, and wait until the answer is stored; the caller looks at the waiter for it."""
        waiter = Waiter()
        message = self.draft(
            target,
            body,
            origin,
            priority=priority,
            description=description,
            response_required=True,
            idempotency_key=idempotency_key,
            waiter=waiter,
        )
        # No need to wait for the acceptance as well: an answer can only follow it.
        self.send(message)
        self.wait(waiter, timeout_seconds)
        return waiter

    def wait(self, waiter: Waiter, timeout_seconds: float = -1) -> bool:
        """Wait for an answer, from this process or from another that shares the store."""
        if not self.store.shared:
            return waiter.wait(timeout_seconds)
        ends = time.monotonic() + timeout_seconds if timeout_seconds >= 0 else float("inf")
        while not waiter.wait(_LOOK_AGAIN_SECONDS) and time.monotonic() < ends:
            self._look_for_answer(waiter)
        return waiter.done

    def answer_of(self, waiter: Waiter, target: str, timeout_seconds: float) -> Envelope | None:
        """Return the answer that a waiter holds, or raise in the words of the item that failed."""
        if not waiter.done:
            self._waiters.pop(waiter.message_id, None)
            raise RequestTimeout(
                f"no response from {target!r} within {timeout_seconds:g} s: message {waiter.message_id} stays in the "
                f"store and goes on; look at it with `wattbus trace {waiter.message_id}`."
            )
        if waiter.error_status is not None:
            raise RequestFailed(waiter.error_status)
        return waiter.response

    def item_failed(self, item: str, error: str) -> None:
        """Tell those who wait for an item that it could not start; its messages stay queued for the next start."""
        self._broken[item] = (
            f"item {item!r} does not run: {error} Its messages are kept: mend it and start again."
        )
        self._tell_broken(item)

    def _tell_broken(self, item: str) -> None:
        for message_id, waiter in list(self._waiters.items()):
            if waiter.target == item and self._waiters.pop(message_id, None) is not None:
                waiter.answer(None, self._broken[item])

    # -- delivering ---------------------------------------------------------------------------------------------

    def deliver(self, claimed: Claimed, result: Result) -> Delivery:
        """Make the end of an attempt: outcome, response, children and energy become durable together."""
        request = claimed.header
        response = None
        if (
            result.error_status is None
            and not result.put_back
            and (request.response_required or result.response is not None)
        ):
            response = self.store.prepare(
                self._response_header(request, result), self._written(result.response)
            )
        return Delivery(
            claimed,
            duration_seconds=result.duration_seconds,
            error_status=result.error_status,
            detail=result.detail,
            put_back=result.put_back,
            response=response,
            children=result.children,
            energy=[energy_row(record) for record in result.energy],
            on_committed=lambda _delivery: self._answer(request.id, result),
            on_failed=lambda _delivery, error: self._refused(claimed, error),
        )

    def _response_header(self, request: Header, result: Result) -> Header:
        return request._replace(
            parent_id=request.id,
            corresponding_id=request.id,
            type="Response",
            source_item=request.target_item,
            source_business_type=request.target_business_type,
            target_item=request.source_item,
            target_business_type=request.source_business_type,
            target_queue="",
            body_class=result.response.classname if result.response is not None else "",
            body_id=None,
            description="",
            status=_COMPLETED,
            attempts=0,
            response_required=False,
            idempotency_key=None,
            time_created_us=0,
            time_processed_us=now_us(),
        )

    def _answer(self, message_id: int, result: Result) -> None:
        self.progress.pop(message_id, None)
        if result.put_back:
            return
        waiter = self._waiters.pop(message_id, None)
        if waiter is not None:
            waiter.answer(result.response, result.error_status)

    def _refused(self, claimed: Claimed, error: Exception) -> None:
        """The store did not take the result; the message goes to whoever holds it now, or to the next start."""
        waiter = self._waiters.pop(claimed.header.id, None)
        if waiter is not None:
            waiter.answer(
                None,
                f"the result could not be stored ({error}); the message is kept and will be tried again.",
            )

    # -- the rest -----------------------------------------------------------------------------------------------

    def log(
        self,
        type: str,
        text: str,
        item: str,
        message_id: int | None = None,
        session_id: int | None = None,
        source_class: str | None = None,
        source_method: str | None = None,
    ) -> None:
        """Write a line of the event log."""
        job = threading.current_thread().name
        words = self.writable(text)
        self.store.log(
            Event(now_us(), type, item, job, message_id, session_id, source_class, source_method, words)
        )

    def writable(self, text: str) -> str:
        """Return a text as it may be written: without secrets, and without what no database takes."""
        return self.place.vault.redact(text).encode("utf-8", "replace").decode().replace("\0", "\\0")

    def tell_progress(self, message_id: int, progress: Progress) -> None:
        """Keep how far the handling of a message is, until it ends."""
        self.progress[message_id] = progress

    def _written(self, body: Envelope | None) -> str | None:
        """Return the JSON text of a body as it may be written: without secrets."""
        if body is None:
            return None
        return sealed(self.types.registered(body.classname), body.json, self.place.vault)

    def _expect(self, accepted: Acceptance, waiter: Waiter) -> None:
        waiter.message_id = accepted.id
        self._waiters[accepted.id] = waiter
        if waiter.target in self._broken:  # it failed while the message was on its way
            self._tell_broken(waiter.target)
        if accepted.known:
            # The key was used before: its message may have ended already.
            threading.Thread(
                target=self._look_for_answer, args=(waiter,), name="wattbus-answer", daemon=True
            ).start()

    def _look_for_answer(self, waiter: Waiter) -> None:
        header = self.store.header(waiter.message_id)
        if header is None or header.status not in _ENDED or waiter.done:
            return
        self._waiters.pop(waiter.message_id, None)
        response = None
        if header.corresponding_id is not None:
            answer = self.store.header(header.corresponding_id)
            if answer is not None and answer.body_id is not None:
                text = self.store.body(answer.body_id)
                response = Envelope(answer.body_class, text or "", str(answer.id))
        waiter.answer(response, header.error_status if header.is_error else None)


_QUEUED, _COMPLETED = Status.QUEUED.value, Status.COMPLETED.value
_ENDED = (Status.COMPLETED.value, Status.ERROR.value, Status.DISCARDED.value, Status.ABORTED.value)
