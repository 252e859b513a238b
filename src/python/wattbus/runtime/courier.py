"""Carries answers into an event loop, all that are ready at once: waking a loop costs more than an answer."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import deque
from collections.abc import Callable


class Courier:
    """The way into one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._ready: deque[Callable[[], None]] = deque()
        self._called = False

    def bring(self, answer: Callable[[], None]) -> None:
        """Call ``answer`` in the loop, soon; from any thread. A loop that is closed waits for nothing any more."""
        self._ready.append(answer)
        if self._called:
            return
        self._called = True
        loop = self._loop()
        if loop is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # First: what comes from here on calls again.
        self._called = False
        ready = self._ready
        while ready:
            ready.popleft()()


_couriers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Courier] = weakref.WeakKeyDictionary()


def courier_of(loop: asyncio.AbstractEventLoop) -> Courier:
    """Return the courier of a loop."""
    courier = _couriers.get(loop)
    if courier is None:
        courier = _couriers.setdefault(loop, Courier(loop))
    return courier
