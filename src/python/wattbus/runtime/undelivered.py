"""Results that the store did not take, a full disk or a lost database: kept here and delivered again until it does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from wattbus.errors import StoreBusy, StoreFailed, StoreFull
from wattbus.store.batch import LeaseLost
from wattbus.store.failures import is_operational
from wattbus.store.rows import Claimed

if TYPE_CHECKING:
    from wattbus.runtime.bus import Bus
    from wattbus.runtime.result import Result

_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 5.0


class Undelivered:
    """The results that wait for the store, by message.

    A message whose result is here is Delivered, in the hands of this process; its caller goes on waiting. When the
    production stops before the store is well again, the next start finds the attempt without an end and makes another.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._kept: dict[int, tuple[Claimed, Result]] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, claimed: Claimed, result: Result, error: Exception) -> str | None:
        """Take a result that was not stored; return why it is given up, or None where it is kept.

        Called by the writer, which holds up everybody meanwhile: it only takes note.
        """
        message_id = claimed.header.id
        with self._changed:
            if isinstance(error, LeaseLost | StoreFailed):
                self._kept.pop(message_id, None)
                self._changed.notify_all()
                return str(error)
            known = message_id in self._kept
            if self._stopping.is_set() or (known and not is_temporary(error)):
                self._kept.pop(message_id, None)
                self._changed.notify_all()
                return (
                    f"the result could not be stored ({error}); the message is kept and will be tried again."
                )
            if not is_temporary(error):
                result = result.failed(f"the response cannot be stored: {error}")
            self._kept[message_id] = claimed, replace(result, when_stored=self._forgets(message_id))
            if self._thread is None:
                self._thread = threading.Thread(target=self._deliver, name="wattbus-undelivered", daemon=True)
                self._thread.start()
        return None

    def wait(self, message_id: int) -> None:
        """Wait until the result of a message is stored or given up; at once where it was stored."""
        if not self._kept:
            return
        with self._changed:
            self._changed.wait_for(lambda: message_id not in self._kept or self._stopping.is_set())

    def close(self) -> int:
        """Try a last time, and return how many results are given up."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        with self._changed:
            left = list(self._kept.values())
            self._changed.notify_all()
        for claimed, result in left:
            self._bus.store.deliver(self._bus.deliver(claimed, result))
        return len(left)

    def _deliver(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        clock = self._bus.place.clock
        while not clock.wait(self._stopping, pause):
            with self._changed:
                if not self._kept:
                    self._thread = None
                    return
                waiting = list(self._kept.values())
            for claimed, result in waiting:
                self._bus.store.deliver(self._bus.deliver(claimed, result))
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)

    def _forgets(self, message_id: int) -> Callable[[bool], None]:
        def stored(durable: bool) -> None:
            if durable:
                with self._changed:
                    self._kept.pop(message_id, None)
                    self._changed.notify_all()

        return stored


def is_temporary(error: BaseException) -> bool:
    """Tell whether the store may take the same thing later: the disk is full, the database is gone or locked.

    >>> is_temporary(StoreFull("the disk is full")), is_temporary(ValueError("a lone surrogate"))
    (True, False)
    """
    return isinstance(error, OSError | StoreBusy | StoreFull) or is_operational(error)
