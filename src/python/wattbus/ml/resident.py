"""A model that is in memory while it is used: loaded by the first who asks, let go of when nobody asks for a while."""

from __future__ import annotations

import gc
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from wattbus.clock import Clock
from wattbus.memory import return_freed

T = TypeVar("T")


class Resident(Generic[T]):
    """What ``load`` returns, shared by all threads; loaded again where it is asked for after it was let go of.

    ``released`` is called with the seconds that nobody had asked. ``ended`` ends the thread that looks for that.
    """

    def __init__(
        self, load: Callable[[], T], clock: Clock, ended: threading.Event, released: Callable[[float], None]
    ) -> None:
        self._load, self._clock, self._ended, self._released = load, clock, ended, released
        self._loading = threading.Lock()  # the first one loads, the others wait
        self._lock = threading.Lock()
        self._held: T | None = None
        self._borrowers = 0
        self._returned = self._until = 0.0
        self._watched = False

    @contextmanager
    def borrowed(self, keep_seconds: float = 0.0) -> Iterator[T]:
        """Lend it for a block and keep it so long afterwards, 0: for good; raises what ``load`` raises."""
        with self._lock:
            self._borrowers += 1
        try:
            yield self._get()
        finally:
            self._return(keep_seconds)

    def _get(self) -> T:
        with self._loading:
            if self._held is None:
                self._held = self._load()
            return self._held

    def _return(self, keep_seconds: float) -> None:
        with self._lock:
            self._borrowers -= 1
            self._returned = self._clock.monotonic()
            self._until = max(self._until, self._returned + (keep_seconds or math.inf))
            if self._borrowers or self._watched or self._held is None or self._until == math.inf:
                return
            self._watched = True
        threading.Thread(target=self._watch, name="model#idle", daemon=True).start()

    def _watch(self) -> None:
        """Wait until nobody has asked for long enough; who borrows it meanwhile has it watched anew."""
        while not self._ended.is_set():
            with self._lock:
                left_seconds = self._until - self._clock.monotonic()
                if self._borrowers or left_seconds == math.inf:
                    self._watched = False
                    return
                if left_seconds <= 0:
                    self._held, self._watched = None, False
                    break
            self._clock.wait(self._ended, left_seconds)
        else:
            return
        gc.collect()  # what a call leaves behind points to the model in a circle
        return_freed()
        self._released(self._clock.monotonic() - self._returned)
