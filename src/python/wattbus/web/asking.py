"""Asking: a message is sent to an item and its answer awaited, with no thread held meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi.concurrency import run_in_threadpool

from wattbus.runtime.callers import Waiter
from wattbus.runtime.running import RunningProduction
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
        self._waiter = waiter = Waiter(self._teller())
        await run_in_threadpool(self._running.bus.watch, message_id, waiter)
        await self._until(seconds)
        return waiter.done

    async def send(self, message: Any, priority: int = Priority.SYNC) -> int:
        """Store the message and return its id; what it cannot be is refused in words."""
        tell = self._teller()

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

    def _teller(self) -> Callable[[], None]:
        loop = asyncio.get_running_loop()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(self._answered.set)

        return tell

    async def _until(self, seconds: float) -> Waiter:
        waiter = self._waiter
        assert waiter is not None
        if self._running.store.shared:
            await run_in_threadpool(self._running.bus.wait, waiter, seconds)
        elif not waiter.done:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._answered.wait(), seconds)
        if not waiter.done:
            self._running.bus.forget(waiter)
        return waiter
