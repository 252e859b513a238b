"""A stream that a door reads: a Start message opens it, each Poll is answered with a value, a Stop frees its worker."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from wattbus.errors import RequestFailed, RequestTimeout, WattbusError
from wattbus.runtime.bus import Bus, Origin
from wattbus.runtime.callers import Waiter
from wattbus.runtime.iris import Envelope
from wattbus.runtime.streams import ACK, POLL, START, STOP, stream_queue
from wattbus.store.tables import Priority
from wattbus.store.units import Acceptance


class StreamReader:
    """One stream: an iterator over its values that waits ``timeout_seconds`` (-1: for ever) for each.

    An event loop calls the parts, none of which waits for the item: :meth:`begin`, :meth:`opened`, then :meth:`ask` and
    :meth:`take` for each value. Who leaves early calls :meth:`close`, leaves the ``with`` block or drops the reader;
    the item then makes no further value.
    """

    def __init__(
        self,
        bus: Bus,
        item: str,
        door: Origin,
        typed: Callable[[Envelope | None], Any],
        timeout_seconds: float = -1,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self._bus, self._item, self._typed = bus, item, typed
        self._line = _Line(bus, item, door)

    @property
    def message_id(self) -> int:
        """Return the id of the Start message, which begins the session; 0 before it is safe."""
        return self._line.message_id

    def begin(
        self, request: Envelope | None, limit: int = 0, notify: Callable[[], object] | None = None
    ) -> Waiter:
        """Send the Start and return, once it is safe, the waiter for the item's readiness."""
        asked = request or Envelope("", "")
        start = Envelope(START, json.dumps({"classname": asked.classname, "body": asked.json}))
        return self._line.begin(start, limit, notify)

    def opened(self, waiter: Waiter) -> None:
        """Look at the answer to the Start; raise in the words of an item that opens no stream."""
        if not waiter.done:
            self.close()
            raise RequestTimeout(
                f"{self._item!r} has not begun the stream within {self.timeout_seconds:g} s: nothing more comes of "
                "it. Ask again, with more time."
            ).about(self.message_id)
        self._bus.answer_of(waiter, self._item, self.timeout_seconds)

    def ask(self, notify: Callable[[], object] | None = None) -> Waiter:
        """Ask for the next value and return its waiter."""
        waiter = Waiter(notify)
        self._bus.store.accept_later(self._line.draft(Envelope(POLL, "{}"), waiter))
        return waiter

    def take(self, waiter: Waiter) -> Any:
        """Return the value that a waiter holds; None: the stream has ended. Raise in words where it failed."""
        try:
            answer = self._bus.answer_of(waiter, self._item, self.timeout_seconds)
        except RequestFailed as error:
            if isinstance(error, RequestTimeout):
                self.close()
            self._line.is_open = False
            raise
        except WattbusError:  # the store does not take the question
            self.close()
            raise
        if answer is None or answer.classname == STOP:
            self._line.is_open = False
            return None
        return self._typed(answer)

    def close(self) -> None:
        """Read no further: the item makes no value more, and its worker is free. Does not wait."""
        self._line.leave()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._line.is_open:
            raise StopIteration
        waiter = self.ask()
        self._bus.wait(waiter, self.timeout_seconds)
        value = self.take(waiter)
        if value is None:
            raise StopIteration
        return value

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class _Line:
    """What connects a reader with its stream; it outlives a reader that leaves before the stream is open."""

    def __init__(self, bus: Bus, item: str, door: Origin) -> None:
        self.message_id = 0
        self.is_open = False
        self._bus, self._item, self._door = bus, item, door
        self._first: Waiter | None = None  # until the item has answered the Start
        self._notify: Callable[[], object] | None = None
        self._left = False
        self._lock = threading.Lock()

    def begin(self, start: Envelope, limit: int, notify: Callable[[], object] | None) -> Waiter:
        self._notify = notify
        self._first = first = Waiter(self._answered)
        message = self._bus.draft(
            self._item,
            start,
            self._door,
            priority=Priority.SYNC,
            response_required=True,
            limit=limit,
            waiter=first,
        )
        self.message_id = first.message_id = self._bus.send(message).wait()
        return first

    def draft(self, body: Envelope, waiter: Waiter | None = None) -> Acceptance:
        return self._bus.draft(
            self._item,
            body,
            Origin(self._door.item, self._door.business_type, session_id=self.message_id),
            priority=Priority.SYNC,
            response_required=waiter is not None,
            queue=stream_queue(self._item, self.message_id),
            waiter=waiter,
        )

    def leave(self) -> None:
        """End the stream, or have it ended as soon as it is open."""
        with self._lock:
            if self._left:
                return
            self._left = True
            is_open, self.is_open, first = self.is_open, False, self._first
        if is_open:
            self._stop()
        elif first is not None and self._bus.store.shared:
            # The answer of another process is heard only where somebody waits for it.
            threading.Thread(
                target=self._bus.wait, args=(first,), name="wattbus-stream-end", daemon=True
            ).start()

    def _answered(self) -> None:
        with self._lock:
            first, self._first = self._first, None
            opens = first is not None and first.response is not None and first.response.classname == ACK
            self.is_open = opens and not self._left
            too_late = opens and self._left
            if first is not None:  # begin() may not have the id yet
                self.message_id = first.message_id
        if too_late:
            self._stop()
        if self._notify is not None:
            self._notify()

    def _stop(self) -> None:
        if not self._bus.place.stopping.is_set():
            self._bus.store.accept_later(self.draft(Envelope(STOP, "{}")))
