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
    :meth:`take` for each value. Who leaves early calls :meth:`close`, or leaves the ``with`` block, and the item makes
    no further value.
    """

    def __init__(
        self,
        bus: Bus,
        item: str,
        door: Origin,
        typed: Callable[[Envelope | None], Any],
        timeout_seconds: float = -1,
    ) -> None:
        self.message_id = 0  # of the Start, which begins the session
        self.timeout_seconds = timeout_seconds
        self._bus, self._item, self._door, self._typed = bus, item, door, typed
        self._first: Waiter | None = None
        self._lock = threading.Lock()
        self._open = self._left = False

    def begin(
        self, request: Envelope | None, limit: int = 0, notify: Callable[[], object] | None = None
    ) -> Waiter:
        """Send the Start and return, once it is safe, the waiter for the item's readiness."""
        asked = request or Envelope("", "")
        start = Envelope(START, json.dumps({"classname": asked.classname, "body": asked.json}))
        self._first = first = Waiter(lambda: self._answered(first, notify))
        draft = self._draft(start, self._door, waiter=first, limit=limit)
        self.message_id = first.message_id = self._bus.send(draft).wait()
        return first

    def opened(self, waiter: Waiter) -> None:
        """Look at the answer to the Start; raise in the words of an item that opens no stream."""
        if not waiter.done:
            self.close()
            raise RequestTimeout(
                f"{self._item!r} has not begun the stream within {self.timeout_seconds:g} s: nothing more comes of "
                "it. Ask again, with more time."
            ).about(self.message_id)
        self._first = None
        self._bus.answer_of(waiter, self._item, self.timeout_seconds)

    def ask(self, notify: Callable[[], object] | None = None) -> Waiter:
        """Ask for the next value and return its waiter."""
        waiter = Waiter(notify)
        self._bus.store.accept_later(self._draft(Envelope(POLL, "{}"), self._within(), waiter=waiter))
        return waiter

    def take(self, waiter: Waiter) -> Any:
        """Return the value that a waiter holds; None: the stream has ended. Raise in words where it failed."""
        try:
            answer = self._bus.answer_of(waiter, self._item, self.timeout_seconds)
        except RequestFailed as error:
            if isinstance(error, RequestTimeout):
                self.close()
            self._open = False
            raise
        except WattbusError:  # the store does not take the question
            self.close()
            raise
        if answer is None or answer.classname == STOP:
            self._open = False
            return None
        return self._typed(answer)

    def close(self) -> None:
        """Read no further: the item makes no value more, and its worker is free. Does not wait."""
        with self._lock:
            if self._left:
                return
            self._left = True
            is_open, self._open = self._open, False
        first = self._first
        if is_open:
            self._stop()
        elif first is not None and not first.done and self._bus.store.shared:
            # Another process tells of its answer only where somebody waits for it.
            threading.Thread(
                target=self._bus.wait, args=(first,), name="wattbus-stream-end", daemon=True
            ).start()

    def _answered(self, first: Waiter, notify: Callable[[], object] | None) -> None:
        """Note that the stream is open, and end it at once where nobody reads it any more."""
        is_open = first.response is not None and first.response.classname == ACK
        with self._lock:
            self._open = is_open and not self._left
            too_late = is_open and self._left
        if too_late:
            self._stop()
        if notify is not None:
            notify()

    def _stop(self) -> None:
        if not self._bus.place.stopping.is_set():
            self._bus.store.accept_later(self._draft(Envelope(STOP, "{}"), self._within()))

    def _within(self) -> Origin:
        return Origin(self._door.item, self._door.business_type, session_id=self._number())

    def _number(self) -> int:
        # Its answer may be there before begin() has the id.
        return self.message_id or (self._first.message_id if self._first is not None else 0)

    def _draft(
        self, body: Envelope, origin: Origin, *, waiter: Waiter | None = None, limit: int = 0
    ) -> Acceptance:
        return self._bus.draft(
            self._item,
            body,
            origin,
            priority=Priority.SYNC,
            response_required=waiter is not None,
            queue=None if body.classname == START else stream_queue(self._item, self._number()),
            limit=limit,
            waiter=waiter,
        )

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._open:
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
