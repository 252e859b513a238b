"""What a component holds as ``self.iris_handle``: the calls that iop makes on it, answered by the bus."""

from __future__ import annotations

import re
from typing import Any, Protocol

from wattbus.errors import BadRequest, RequestFailed
from wattbus.runtime import context
from wattbus.runtime.bus import Bus, Origin
from wattbus.runtime.callers import Waiter
from wattbus.runtime.iris import CallStructure, Reference
from wattbus.runtime.streams import OpenStreams, asyncio_request
from wattbus.runtime.types import read_typed, to_envelope
from wattbus.store.rows import Header
from wattbus.store.tables import Priority
from wattbus.store.units import Acceptance

_FOUND, _NOT_YET = 2, 1
_ANSWERED, _FAILED, _TIMED_OUT = 1, 0, -1
_DURATION = re.compile(
    r"P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


class Seat(Protocol):
    """The part of a host that a handle needs."""

    name: str
    business_type: str
    bus: Bus


class Handle:
    """One component's way to the bus; IRIS's names, since iop and components call them."""

    def __init__(self, seat: Seat, component: Any = None) -> None:
        self._seat, self._bus, self._component = seat, seat.bus, component
        self.handling: Header | None = None  # the message in hand, set by the seat
        #: Where the responses to asynchronous requests go: the queue of a process; None: nowhere.
        self.return_queue: str | None = None
        self.replied = False
        self.timers: list[Acceptance] = []
        self.properties: dict[str, Any] = {}  # the persistent properties of the process in hand
        #: What a component may set while it handles a message, as on Ens.BusinessOperation; see the retry rules.
        self.Retry = self.SuspendMessage = 0
        self.RetryCount = 0
        self.RetryInterval, self.FailureTimeout = 5.0, 15.0  # of the item, given with each message
        self._session_id = 0
        self._open: dict[int, tuple[Waiter, float]] = {}
        self._streams = OpenStreams(self._bus)

    # -- the message in hand ------------------------------------------------------------------------------------

    def begin(self, message: Header | None, attempt: int = 0) -> None:
        """Start with a message, or with a call from outside that has none."""
        self.handling, self.replied, self.timers = message, False, []
        self.Retry = self.SuspendMessage = 0
        self.RetryCount = attempt
        self._session_id = message.session_id if message is not None else 0

    def finish(self) -> None:
        """End with the message in hand."""
        self._streams.close()
        self._open.clear()
        self.handling = None

    def _origin(self) -> Origin:
        return Origin(self._seat.name, self._seat.business_type, self.handling, self._session_id)

    def _joins(self, message_id: int) -> None:
        # A service has no message in hand: what it sends in one call is one session, named by its first message.
        if not self._session_id:
            self._session_id = message_id

    # -- sending ------------------------------------------------------------------------------------------------

    def dispatchSendRequestSync(
        self, target: str, request: Any, timeout: float = -1, description: str | None = None
    ) -> Any:
        """Send and wait; None after the time-out, and an error where the target failed."""
        waiter = Waiter()
        queue = self._streams.queue_of(request)
        if queue is None:
            self._bus.refuse_circle(target, self.handling)
        message = self._draft(target, request, description, Priority.SYNC, waiter, queue=queue)
        # No need to wait for the acceptance as well: an answer can only follow it.
        self._bus.send(message)
        self._bus.wait(waiter, float(timeout))
        if not waiter.done:
            self._joins(message.wait())
            self._bus.log("Warning", f"no response from {target!r} within {timeout} s", self._seat.name)
            return None
        self._joins(waiter.message_id)
        if waiter.error_status is not None:
            raise RequestFailed(waiter.error_status)
        self._streams.opened(request, target, waiter)
        return read_typed(self._bus.types, waiter.response)

    def dispatchSendRequestAsync(self, target: str, request: Any, *rest: Any) -> None:
        """Send and go on; the message becomes durable with the end of the attempt, or at once outside one.

        ``rest`` is the description, and from a process before it whether a response is required and its key.
        """
        required = len(rest) > 1 and bool(rest[0]) and self.return_queue is not None
        message = self._bus.draft(
            target,
            to_envelope(request),
            self._origin(),
            description=rest[-1] if rest else None,
            response_required=required,
            return_queue=self.return_queue if required else None,
            completion_key=_key(rest[1]) if len(rest) > 1 else None,
            idempotency_key=context.options().idempotency_key,
        )
        now = context.current()
        if now is not None and self.handling is not None:
            now.outbox.append(message)
            return
        self._joins(self._bus.send(message).wait())

    def dispatchSendRequestSyncMultiple(
        self, calls: list[CallStructure], timeout: float = -1
    ) -> list[CallStructure]:
        """Send several requests together and wait for all; ResponseCode is 1, 0 for an error, -1 for a time-out."""
        for call in calls:
            self._bus.refuse_circle(call.TargetDispatchName, self.handling)
        waiters = [self._start(call.TargetDispatchName, call.Request, None) for call in calls]
        for call, waiter in zip(calls, waiters, strict=True):
            answered = self._bus.wait(waiter, float(timeout))
            call.Response = read_typed(self._bus.types, waiter.response)
            call.ResponseCode = _TIMED_OUT if not answered else _FAILED if waiter.error_status else _ANSWERED
        return calls

    def dispatchSendRequestAsyncNG(
        self,
        target: str,
        request: Any,
        timeout: float,
        description: str | None,
        message_id: Reference,
        queue: Reference,
        end: Reference,
    ) -> int:
        """Send; the event loop that asked is told when the response is there, and need not poll."""
        self._bus.refuse_circle(target, self.handling)
        waiter = Waiter(asyncio_request())
        self._start(target, request, description, waiter)
        ends = waiter.asked + float(timeout) if float(timeout) >= 0 else float("inf")
        self._open[waiter.message_id] = (waiter, ends)
        message_id.value, queue.value, end.value = waiter.message_id, self._seat.name, ends
        return 1

    def dispatchIsRequestDone(
        self, timeout: float, end: float, queue: str, message_id: int, response: Reference
    ) -> Any:
        """Return 2 with the response, 1 for not yet, or the error."""
        if message_id not in self._open:
            return _NOT_YET  # asked before it was sent, or after the message in hand has ended
        waiter, ends = self._open[message_id]
        if not self._bus.wait(waiter, 0):
            return _NOT_YET if self._bus.place.clock.monotonic() < ends else f"no response within {timeout} s"
        if waiter.error_status is not None:
            return waiter.error_status
        response.value = read_typed(self._bus.types, waiter.response)
        return _FOUND

    def _start(
        self, target: str, request: Any, description: str | None, waiter: Waiter | None = None
    ) -> Waiter:
        waiter = waiter or Waiter()
        message = self._draft(target, request, description, Priority.SIM_SYNC, waiter)
        waiter.message_id = self._bus.send(message).wait()
        self._joins(waiter.message_id)
        return waiter

    def _draft(
        self,
        target: str,
        request: Any,
        description: str | None,
        priority: int,
        waiter: Waiter,
        queue: str | None = None,
    ) -> Acceptance:
        return self._bus.draft(
            target,
            to_envelope(request),
            self._origin(),
            priority=priority,
            description=description,
            response_required=True,
            idempotency_key=context.options().idempotency_key,
            queue=queue,
            waiter=waiter,
        )

    # -- a process ----------------------------------------------------------------------------------------------

    def dispatchReply(self, response: Any) -> None:
        """Answer the caller now, and go on; the first reply counts."""
        request = self.handling if self.return_queue is None else self.request
        if request is None:
            raise BadRequest("there is nothing to reply to: reply() belongs into the handling of a request.")
        if self.replied or request.corresponding_id is not None:
            self._bus.log("Warning", "reply() was called again: the first reply was sent.", self._seat.name)
            return
        self._bus.reply(request, to_envelope(response))
        self.replied = True

    def dispatchSetTimer(self, timeout: Any, completion_key: Any = None) -> None:
        """Call ``on_response`` with ``completion_key`` after ``timeout``: seconds, or an XML duration such as PT15S."""
        if self.request is None:
            raise BadRequest("set_timer() belongs into the handling of a request by a process.")
        seconds = _seconds(timeout)
        self.timers.append(self._bus.timer(self.request, self._seat.name, seconds, _key(completion_key)))

    #: The request that the process in hand handles; the message in hand may be a response to it.
    request: Header | None = None

    def getPersistentProperty(self, name: str) -> Any:
        """Return a property of the process as the last call left it."""
        return self.properties[name]

    def setPersistentProperty(self, name: str, value: Any) -> None:
        self.properties[name] = value

    # -- a service ----------------------------------------------------------------------------------------------

    def dispatchProcessInput(self, message_input: Any = None) -> Any:
        """Hand an input to the service that this handle belongs to; an inbound adapter calls it."""
        return self._component._dispatch_on_process_input(message_input)

    ProcessInput = dispatchProcessInput

    def ForceSessionId(self) -> None:
        """Begin a new session with the next message sent."""
        self._session_id = 0

    @property
    def _SessionId(self) -> str:
        return str(self._session_id or "")

    @_SessionId.setter
    def _SessionId(self, value: Any) -> None:
        self._session_id = int(value or 0)

    @property
    def _ConfigName(self) -> str:
        return self._seat.name

    def GetClass(self) -> Any:
        """Return the Python component behind this handle."""
        return self._component

    def GetModule(self) -> str:
        return type(self._component).__module__

    def GetClassname(self) -> str:
        return type(self._component).__name__


def _key(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


def _seconds(timeout: Any) -> float:
    """Read a time-out: a number of seconds, or an XML duration.

    >>> _seconds("PT1M30S")
    90.0
    """
    try:
        return max(0.0, float(timeout))
    except (TypeError, ValueError):
        found = _DURATION.fullmatch(str(timeout).strip())
    if found is None or not any(found.groups()):
        raise BadRequest(f"set_timer({timeout!r}): give seconds, or a duration such as 'PT15S'.")
    parts = {name: float(value or 0) for name, value in found.groupdict().items()}
    return parts["days"] * 86400 + parts["hours"] * 3600 + parts["minutes"] * 60 + parts["seconds"]
