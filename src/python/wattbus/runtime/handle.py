"""What a component holds as ``self.iris_handle``: the calls that iop makes on it, answered by the bus."""

from __future__ import annotations

import time
from typing import Any, Protocol

from wattbus.errors import BadRequest, RequestFailed
from wattbus.runtime.bus import Bus, Origin, Waiter
from wattbus.runtime.context import current
from wattbus.runtime.iris import CallStructure, Envelope, Reference
from wattbus.store.rows import Header
from wattbus.store.tables import Priority

_FOUND, _NOT_YET = 2, 1
_ANSWERED, _FAILED, _TIMED_OUT = 1, 0, -1


class Seat(Protocol):
    """The part of a host that a handle needs."""

    name: str
    business_type: str
    bus: Bus


class Handle:
    """One component's way to the bus; IRIS's names, since iop calls them."""

    def __init__(self, seat: Seat) -> None:
        self._seat, self._bus = seat, seat.bus
        self.handling: Header | None = None  # the message in hand, set by the host
        self._open: dict[int, tuple[Waiter, float]] = {}
        self._properties: dict[str, Any] = {}
        self._warned = False

    def _origin(self) -> Origin:
        return Origin(self._seat.name, self._seat.business_type, self.handling)

    def dispatchSendRequestSync(
        self, target: str, request: Any, timeout: float = -1, description: str | None = None
    ) -> Any:
        """Send and wait; None after the time-out, and an error where the target failed."""
        waiter = self._bus.request(
            target, _body(request), self._origin(), timeout_seconds=float(timeout), description=description
        )
        if not waiter.done:
            self._bus.log("Warning", f"no response from {target!r} within {timeout} s", self._seat.name)
            return None
        if waiter.error_status is not None:
            raise RequestFailed(waiter.error_status)
        return waiter.response

    def dispatchSendRequestAsync(self, target: str, request: Any, *rest: Any) -> None:
        """Send and go on; the message becomes durable with the end of the attempt, or at once outside one.

        ``rest`` is the description, and from a process before it whether a response is required and its key.
        """
        description = rest[-1] if rest else None
        if len(rest) > 1 and rest[0] and not self._warned:
            self._warned = True
            self._bus.log(
                "Warning",
                "this release sends a process's asynchronous requests and does not call on_response for their "
                "responses: use send_request_sync, or response_required=False.",
                self._seat.name,
            )
        message = self._bus.draft(target, _body(request), self._origin(), description=description)
        now = current()
        if now is not None and self.handling is not None:
            now.outbox.append(message)
            return
        self._bus.send(message).wait()

    def dispatchSendRequestSyncMultiple(
        self, calls: list[CallStructure], timeout: float = -1
    ) -> list[CallStructure]:
        """Send several requests together and wait for all; ResponseCode is 1, 0 for an error, -1 for a time-out."""
        ends = time.monotonic() + float(timeout) if float(timeout) >= 0 else None
        waiters = [self._start(call.TargetDispatchName, call.Request, None) for call in calls]
        for call, waiter in zip(calls, waiters, strict=True):
            left = -1.0 if ends is None else max(0.0, ends - time.monotonic())
            answered = self._bus.wait(waiter, left)
            call.Response = waiter.response
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
        """Send; the caller asks with :meth:`dispatchIsRequestDone`."""
        waiter = self._start(target, request, description)
        ends = time.monotonic() + float(timeout) if float(timeout) >= 0 else float("inf")
        self._open[waiter.message_id] = (waiter, ends)
        message_id.value, queue.value, end.value = waiter.message_id, self._seat.name, ends
        return 1

    def dispatchIsRequestDone(
        self, timeout: float, end: float, queue: str, message_id: int, response: Reference
    ) -> Any:
        """Return 2 with the response, 1 for not yet, or the error."""
        waiter, ends = self._open[message_id]
        if not self._bus.wait(waiter, 0):
            if time.monotonic() < ends:
                return _NOT_YET
            del self._open[message_id]
            return f"no response within {timeout} s"
        del self._open[message_id]
        if waiter.error_status is not None:
            return waiter.error_status
        response.value = waiter.response
        return _FOUND

    def getPersistentProperty(self, name: str) -> Any:
        """Return a property of the process as it was left by the last call."""
        return self._properties[name]

    def setPersistentProperty(self, name: str, value: Any) -> None:
        self._properties[name] = value

    def _start(self, target: str, request: Any, description: str | None) -> Waiter:
        waiter = Waiter()
        message = self._bus.draft(
            target,
            _body(request),
            self._origin(),
            priority=Priority.SIM_SYNC,
            description=description,
            response_required=True,
            waiter=waiter,
        )
        waiter.message_id = self._bus.send(message).wait()
        return waiter


def _body(request: Any) -> Envelope | None:
    if request is None or request == "":
        return None
    if isinstance(request, Envelope):
        return request
    raise BadRequest(
        f"a {type(request).__name__} cannot be sent: this release carries iop Message and PydanticMessage bodies."
    )
