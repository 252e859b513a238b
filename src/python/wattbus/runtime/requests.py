"""What the doors ask of a running production: to take a message for an item, and to wait for its response."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from iop.messages.dispatch import dispatch_deserializer

from wattbus.errors import BadRequest, NotRunning
from wattbus.runtime.bus import Bus, Origin
from wattbus.runtime.callers import Waiter
from wattbus.runtime.courier import courier_of
from wattbus.runtime.iris import Envelope
from wattbus.runtime.life import Life
from wattbus.runtime.parsing import from_outside, parse
from wattbus.runtime.settings import host_setting
from wattbus.runtime.stream_reader import StreamReader
from wattbus.runtime.types import read_typed
from wattbus.store.store import Store
from wattbus.store.tables import Priority
from wattbus.store.units import Acceptance


class Requests:
    """Sends for doors; the part of a running production that they call for every message."""

    bus: Bus
    store: Store
    life: Life
    state: str

    def message(self, type_name: str, body: Any) -> Any:
        """Build a typed message from a type's name and a body as JSON text or object."""
        return parse(self.bus.types.resolve(type_name), body)

    def request(
        self,
        item: str,
        message: Any,
        *,
        timeout_seconds: float = -1,
        door: str = "Python",
        idempotency_key: str | None = None,
    ) -> Any:
        """Send ``message`` to ``item``, wait, and return the typed response; raise in words where it failed."""
        return self.exchange(
            item, message, timeout_seconds=timeout_seconds, door=door, idempotency_key=idempotency_key
        )[1]

    def exchange(
        self,
        item: str,
        message: Any,
        *,
        timeout_seconds: float = -1,
        door: str = "Python",
        idempotency_key: str | None = None,
    ) -> tuple[int, Any]:
        """Do as :meth:`request` and return the message id beside the response."""
        waiter = Waiter()
        # No need to wait for the acceptance as well: an answer can only follow it.
        self.bus.send(self._watched(item, message, door, idempotency_key, waiter))
        self.bus.wait(waiter, timeout_seconds)
        answer = self.bus.answer_of(waiter, item, timeout_seconds)
        return waiter.message_id, self._typed(answer)

    async def request_async(self, item: str, message: Any, *, door: str = "Python") -> Any:
        """Do as :meth:`request` in an event loop, which goes on meanwhile."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not answered.done():
                answered.set_result(None)

        courier = courier_of(loop)
        waiter = Waiter(functools.partial(courier.bring, settle))
        self.store.accept_later(self._watched(item, message, door, None, waiter))
        if self.store.shared:
            await asyncio.to_thread(self.bus.wait, waiter)
        else:
            await answered
        return self.response(waiter, item)

    def submit(
        self,
        item: str,
        message: Any,
        *,
        door: str = "Python",
        idempotency_key: str | None = None,
        priority: int = Priority.ASYNC,
    ) -> int:
        """Send ``message`` to ``item`` and return its id as soon as it is safe in the store.

        A lower ``priority`` is served first, and within one priority what was accepted first.
        """
        draft = self.bus.draft(
            item,
            self._checked(item, message),
            _door(door),
            priority=priority,
            response_required=False,
            idempotency_key=idempotency_key,
            limit=self._limit(item),
        )
        return self.bus.send(draft).wait()

    def submit_and_watch(
        self,
        item: str,
        message: Any,
        *,
        door: str = "Python",
        idempotency_key: str | None = None,
        priority: int = Priority.SYNC,
        notify: Callable[[], object] | None = None,
    ) -> Waiter:
        """Send ``message`` and return the waiter for its response, once the message is safe.

        ``notify`` is called when the response is there, by the thread that brings it.
        """
        waiter = Waiter(notify)
        draft = self._watched(item, message, door, idempotency_key, waiter, priority)
        waiter.message_id = self.bus.send(draft).wait()
        return waiter

    def stream(
        self, item: str, message: Any, *, timeout_seconds: float = -1, door: str = "Python"
    ) -> StreamReader:
        """Send ``message`` as a generator request and return its values, each made when it is asked for.

        ``timeout_seconds`` is for each of them. Raises in words where the item opens no stream.
        """
        reader, waiter = self.begin_stream(item, message, timeout_seconds=timeout_seconds, door=door)
        self.bus.wait(waiter, timeout_seconds)
        reader.opened(waiter)
        return reader

    def begin_stream(
        self,
        item: str,
        message: Any,
        *,
        timeout_seconds: float = -1,
        door: str = "Python",
        notify: Callable[[], object] | None = None,
    ) -> tuple[StreamReader, Waiter]:
        """Ask for a stream and return, once the message is safe, its reader and the waiter for its beginning."""
        body, limit = self._checked(item, message), self._limit(item)
        reader = StreamReader(
            self.bus, self.bus.production.item(item).name, _door(door), self._typed, timeout_seconds
        )
        return reader, reader.begin(body, limit, notify)

    def _watched(
        self,
        item: str,
        message: Any,
        door: str,
        idempotency_key: str | None,
        waiter: Waiter,
        priority: int = Priority.SYNC,
    ) -> Acceptance:
        return self.bus.draft(
            item,
            self._checked(item, message),
            _door(door),
            priority=priority,
            response_required=True,
            idempotency_key=idempotency_key,
            limit=self._limit(item),
            waiter=waiter,
        )

    def _limit(self, item: str) -> int:
        """Return how many requests may stand in the queue of an item when a door sends one more; 0: any number."""
        limit = host_setting(self.bus.production.item(item), "QueueLimit", 0)
        if limit > 0:
            self.store.limit_queue(item)
        return max(0, limit)

    def response(self, waiter: Waiter, item: str) -> Any:
        """Return the typed response that a waiter holds; raise in words where the item failed."""
        return self._typed(self.bus.answer_of(waiter, item, 0))

    def _typed(self, answer: Envelope | None) -> Any:
        # A type that the registry does not have is left to iop.
        return dispatch_deserializer(read_typed(self.bus.types, answer))

    def _checked(self, item: str, message: Any) -> Any:
        if self.state != "Running":
            raise NotRunning(
                f"production {self.bus.production.name} is {self.state}: start it, then send again."
            )
        config = self.bus.production.item(item)
        body = from_outside(message)
        pool = self.life.pools.get(config.name)
        if pool is not None and not pool.host.accepts(type(message)):
            raise BadRequest(
                f"item {item!r} does not handle {type(message).__name__}; it handles "
                f"{', '.join(name.rpartition('.')[2] for name in pool.host.handled) or 'nothing'}."
            )
        return body


@functools.lru_cache(maxsize=64)
def _door(name: str) -> Origin:
    return Origin(f"Door.{name}", "BusinessService")
