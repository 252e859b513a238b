"""Asking: a message is sent to an item, and its answer or its stream awaited with no thread held meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from fastapi.concurrency import run_in_threadpool

from wattbus.runtime.callers import Waiter
from wattbus.runtime.running import RunningProduction
from wattbus.runtime.stream_reader import StreamReader
from wattbus.store.tables import Priority


@dataclass(frozen=True)
class Asked:
    """A message that is safe in the store, and its answer where it came in time."""

    message_id: int
    done: bool
    type: str | None = None
    body: Any = None


class Asking:
    """One message on its way: :meth:`send`, then :meth:`wait`."""

    def __init__(self, running: RunningProduction, item: str, *, door: str, key: str | None = None) -> None:
        self._running, self._item, self._door, self._key = running, item, door, key
        self._answered = asyncio.Event()
        self._waiter: Waiter | None = None

    async def watch(self, message_id: int, seconds: float) -> bool:
        """Wait for a message that was sent before and tell whether it has ended."""
        self._waiter = waiter = Waiter(_teller(self._answered))
        await run_in_threadpool(self._running.bus.watch, message_id, waiter)
        await self._until(seconds)
        return waiter.done

    async def send(self, message: Any, priority: int = Priority.SYNC) -> int:
        """Store the message and return its id; what it cannot be is refused in words."""
        tell = _teller(self._answered)

        def submit() -> Waiter:
            return self._running.submit_and_watch(
                self._item,
                message,
                door=self._door,
                idempotency_key=self._key,
                priority=priority,
                notify=tell,
            )

        self._waiter = await run_in_threadpool(submit)
        return self._waiter.message_id

    async def wait(self, seconds: float) -> Asked:
        """Wait so long at most; raise in the item's own words where the message failed."""
        waiter = await self._until(seconds)
        if not waiter.done:
            return Asked(waiter.message_id, False)
        answer = self._running.bus.answer_of(waiter, self._item, seconds)
        if answer is None:
            return Asked(waiter.message_id, True)
        return Asked(waiter.message_id, True, answer.classname, json.loads(answer.json or "null"))

    def too_late(self, seconds: float) -> None:
        """Give up waiting, in the words of a time-out."""
        assert self._waiter is not None
        self._running.bus.answer_of(self._waiter, self._item, seconds)

    async def _until(self, seconds: float) -> Waiter:
        waiter = self._waiter
        assert waiter is not None
        await _until(self._running, waiter, self._answered, seconds)
        if not waiter.done:
            self._running.bus.forget(waiter)
        return waiter


class Reading:
    """A stream on its way: :meth:`open`, then the typed values one by one, then :meth:`close`."""

    def __init__(self, running: RunningProduction, item: str, *, door: str, seconds: float) -> None:
        self._running, self._item, self._door, self._seconds = running, item, door, seconds
        self._reader: StreamReader | None = None

    @property
    def message_id(self) -> int:
        """Return the id of the message that opened the stream."""
        return 0 if self._reader is None else self._reader.message_id

    async def open(self, message: Any) -> None:
        """Send the message and wait until the item begins; what it cannot stream is refused in words."""
        begun = asyncio.Event()
        tell = _teller(begun)

        def begin() -> tuple[StreamReader, Waiter]:
            return self._running.begin_stream(
                self._item, message, timeout_seconds=self._seconds, door=self._door, notify=tell
            )

        reader, waiter = await run_in_threadpool(begin)
        self._reader = reader
        try:
            await _until(self._running, waiter, begun, self._seconds)
            reader.opened(waiter)
        except BaseException:
            self.close()
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        reader = self._reader
        assert reader is not None
        answered = asyncio.Event()
        waiter = reader.ask(_teller(answered))
        await _until(self._running, waiter, answered, self._seconds)
        value = reader.take(waiter)
        if value is None:
            raise StopAsyncIteration
        return value

    def close(self) -> None:
        """Read no further; the item stops with the value in hand."""
        if self._reader is not None:
            self._reader.close()


def _teller(answered: asyncio.Event) -> Callable[[], None]:
    """Return what sets an event of this loop from another thread."""
    loop = asyncio.get_running_loop()

    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(answered.set)

    return tell


async def _until(running: RunningProduction, waiter: Waiter, answered: asyncio.Event, seconds: float) -> None:
    """Wait so long at most for an answer, from this process or from another that shares the store."""
    if running.store.shared:
        await run_in_threadpool(running.bus.wait, waiter, seconds)
    elif not waiter.done:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(answered.wait(), seconds)
