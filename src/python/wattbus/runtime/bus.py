"""The bus: how a message is sent, and how its outcome is delivered. Read this first.

A message is a row before it is anything else. :meth:`Bus.send` writes header and body and returns; a worker of the
target item claims the row, with a lease and an attempt number, and hands it to the component; :meth:`Bus.deliver`
stores outcome, response, children and energy in one transaction, and only then is the waiting caller woken. So a
crash at any point leaves either a message to be worked on again or a finished one, and the trace is a query.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from wattbus.errors import BadRequest, RequestFailed
from wattbus.runtime.callers import Callers, Waiter
from wattbus.runtime.context import Place, Progress
from wattbus.runtime.iris import Envelope
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.result import Result
from wattbus.runtime.tally import EndOf, Tally
from wattbus.runtime.types import MessageTypes, sealed
from wattbus.runtime.undelivered import Undelivered
from wattbus.store.batch import ProcessChanged
from wattbus.store.rows import Claimed, Event, Header, energy_row, header_of
from wattbus.store.store import Store
from wattbus.store.tables import Priority, Status
from wattbus.store.units import Acceptance, Delivery, Ending

#: The body class of the message that tells a process that its timer has run out.
ALARM = "Ens.AlarmResponse"


@dataclass(frozen=True)
class Origin:
    """Who sends: an item, or a door; and the message that is being handled meanwhile, if any.

    ``session_id`` is for who sends without a cause: a service, whose sends of one call belong together; 0 begins one.
    """

    item: str
    business_type: str
    cause: Header | None = None
    session_id: int = 0


class Bus(Callers):
    """Sends and delivers for one production."""

    def __init__(self, store: Store, production: ProductionConfig, types: MessageTypes, place: Place) -> None:
        super().__init__(store, place)
        self.production, self.types = production, types
        #: How far the messages in hand are, for those that tell.
        self.progress: dict[int, Progress] = {}
        #: The messages in hand, so that a circle of items that wait for each other is seen before it closes.
        self.in_hand: dict[int, Header] = {}
        #: How many alerts each item has raised since the start.
        self.alerts: Counter[str] = Counter()
        #: When each item last sent or finished something, in seconds of the clock that only grow.
        self.active: dict[str, float] = {}
        #: What has ended since the start, counted.
        self.tally = Tally()
        #: Hears of each attempt that has ended, where somebody wants to; it must return at once.
        self.hears_of_ends: Callable[[EndOf], None] | None = None
        #: The results that the store could not take yet.
        self.undelivered = Undelivered(self)

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
        return_queue: str | None = None,
        completion_key: str | None = None,
        queue: str | None = None,
        limit: int = 0,
        waiter: Waiter | None = None,
    ) -> Acceptance:
        """Make a message for ``target``: to be sent now, or with the end of the attempt that makes it.

        ``limit`` refuses it where so many requests stand in its queue.
        """
        item = self.production.item(target)
        if waiter is not None:
            waiter.target, waiter.asked = target, self.place.clock.monotonic()
            if target in self._broken:
                raise RequestFailed(self._broken[target])
        cause = origin.cause
        self.active[origin.item] = self.place.clock.monotonic()
        header = header_of(
            type="Request",
            session_id=cause.session_id if cause is not None else origin.session_id,
            parent_id=cause.id if cause is not None else None,
            source=(origin.item, origin.business_type),
            target=(item.name, item.business_type),
            target_queue=queue or item.name,
            return_queue=return_queue,
            body_class=body.classname if body is not None else "",
            description=description or "",
            priority=priority,
            status=_QUEUED,
            response_required=response_required,
            completion_key=completion_key,
            idempotency_key=idempotency_key,
        )
        return self.store.prepare(
            header,
            self._written(body),
            on_committed=None if waiter is None else functools.partial(self._expect, waiter),
            on_failed=None if waiter is None else waiter.refuse,
            limit=limit,
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

    def refuse_circle(self, target: str, asking: Header | None) -> None:
        """Refuse a synchronous request that could never be answered: all workers of its target wait for it."""
        waiting, link = 0, asking
        while link is not None:
            waiting += link.target_item == target
            # Only a caller that waits holds its worker; one that went on will end by itself.
            waits = link.response_required and link.return_queue is None and link.parent_id is not None
            link = self.in_hand.get(link.parent_id or 0) if waits else None
        item = self.production.items.get(target)
        if item is not None and waiting and waiting >= item.pool_size:
            raise BadRequest(
                f"a circle of synchronous requests: {target!r} waits for this very request, and its pool size is "
                f"{item.pool_size}, so nobody is left to answer. Send it asynchronously, or raise the pool size."
            )

    def adopt(self, production: ProductionConfig, types: MessageTypes) -> None:
        """Go on with another reading of the production: what is sent from now on goes by it."""
        self.types, self.production = types, production

    # -- delivering ---------------------------------------------------------------------------------------------

    def deliver(self, claimed: Claimed, result: Result) -> Delivery:
        """Make the end of an attempt: outcome, response, children, process and energy become durable together."""
        self.active[claimed.header.target_item] = self.place.clock.monotonic()
        answered = result.answers or claimed.header
        ending = result.ending
        poison = ending is Ending.WORKER_LOST and self.store.recovery.is_poison_now(claimed.header.id)
        if poison:
            ending = Ending.SUSPENDED
            why = (result.error_status or result.detail or "it is not known why").removesuffix(".")
            result.error_status = f"{self.store.recovery.poison_sentence} The last time: {why}."
        if result.answers is not None:
            ending = (result.process.ends_request if result.process is not None else None) or Ending.DEFERRED
        return Delivery(
            claimed,
            duration_seconds=result.duration_seconds,
            ending=result.ending,
            error_status=result.error_status,
            detail=result.detail,
            wait_seconds=result.wait_seconds,
            response=self._response(answered, ending, result),
            children=result.children,
            energy=[energy_row(record) for record in result.energy],
            process=result.process,
            poison=poison,
            on_committed=functools.partial(self._stored, answered, ending, result),
            on_failed=functools.partial(self._refused, result),
        )

    def _response(self, request: Header, ending: Ending, result: Result) -> Acceptance | None:
        """Make the response of a request that ends; a waiting process is told of an error as well."""
        if result.replied or request.corresponding_id is not None:
            return None
        if ending is Ending.COMPLETED and (request.response_required or result.response is not None):
            return self.store.prepare(
                self._response_header(request, result.response, None), self._written(result.response)
            )
        if ending is Ending.ERROR and request.return_queue is not None:
            return self.store.prepare(self._response_header(request, None, result.error_status), None)
        return None

    def reply(self, request: Header, response: Envelope | None) -> None:
        """Answer a request before its handling ends: durable, and the caller goes on, when this returns."""
        header = self._response_header(request, response, None)
        self.store.reply(request.id, self.store.prepare(header, self._written(response)))
        self._wake(request.id, response, None)

    def timer(self, request: Header, item: str, seconds: float, key: str | None) -> Acceptance:
        """Make the message that tells a process that its time is over."""
        return self.store.prepare(
            self._response_header(request, None, None)._replace(
                corresponding_id=request.id,
                source_item="Ens.Alarm",
                source_business_type="BusinessService",
                target_item=item,
                target_business_type="BusinessProcess",
                target_queue=item,
                body_class=ALARM,
                status=_QUEUED,
                completion_key=key,
                time_processed_us=None,
                not_before_us=max(1, self.store.steady_us() + int(seconds * 1e6)),
            ),
            None,
        )

    def _response_header(
        self, request: Header, response: Envelope | None, error_status: str | None
    ) -> Header:
        # The response to a process is a message of its queue; to everyone else it is delivered as it is written.
        queued = request.return_queue is not None
        return header_of(
            type="Response",
            session_id=request.session_id,
            super_session=request.super_session,
            parent_id=request.id,
            corresponding_id=request.id,
            source=(request.target_item, request.target_business_type),
            target=(request.source_item, request.source_business_type),
            target_queue=request.return_queue or "",
            body_class=response.classname if response is not None else "",
            priority=request.priority,
            status=_QUEUED if queued else _COMPLETED,
            error_status=error_status,
            completion_key=request.completion_key,
            time_processed_us=None if queued else self.store.now_us(),
        )

    def _stored(self, request: Header, ending: Ending, result: Result, delivery: Delivery) -> None:
        claimed = delivery.claimed
        if result.when_stored is not None:
            result.when_stored(True)
        self.tally.ended(claimed, request, result.ending, ending, result.duration_seconds)
        self.tally.settled(result.energy)
        if self.hears_of_ends is not None:
            self.hears_of_ends(EndOf(claimed.header.id, claimed.attempt, request.id))
        self.progress.pop(request.id, None)
        if ending in (Ending.COMPLETED, Ending.ERROR, Ending.SUSPENDED):
            self._wake(request.id, result.response, result.error_status)
        if self.alert_watch is not None and ending in (Ending.ERROR, Ending.SUSPENDED):
            self.alert_watch.error(
                request.target_item, request.id, request.session_id, result.error_status or ""
            )

    def _refused(self, result: Result, delivery: Delivery, error: Exception) -> None:
        """The store did not take the result: it is kept and delivered again, unless another worker has the message."""
        claimed = delivery.claimed
        if result.when_stored is not None:
            result.when_stored(False)
        if isinstance(error, ProcessChanged):
            self.store.deliver(self.deliver(claimed, Result(result.duration_seconds, ending=Ending.PUT_BACK)))
            return
        why = self.undelivered.keep(claimed, result, error)
        if why is not None:
            self._wake((result.answers or claimed.header).id, None, why)

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
        if type == "Alert":
            self.alerts[item] += 1
            if self.alert_watch is not None:
                self.alert_watch.logged(item, message_id, session_id, text)
        words = self.writable(text)
        self.store.log(
            Event(
                self.store.now_us(),
                type,
                item,
                job,
                message_id,
                session_id,
                source_class,
                source_method,
                words,
            )
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


_QUEUED, _COMPLETED = Status.QUEUED.value, Status.COMPLETED.value
