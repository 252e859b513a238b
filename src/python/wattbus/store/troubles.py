"""The troubles that a store has now, a full disk or a database that is away: told when they begin and when they end."""

from __future__ import annotations

import sys
import threading

from sqlalchemy import URL

from wattbus.clock import Clock
from wattbus.errors import StoreBusy, StoreError, StoreFull
from wattbus.store.failures import meaning_of
from wattbus.store.space import Space
from wattbus.store.units import Acceptance
from wattbus.store.writer import Unit


class Troubles:
    """What the writer of a store asks when a transaction fails."""

    def __init__(self, url: URL, space: Space, clock: Clock) -> None:
        self._url, self._space, self._clock = url, space, clock
        self._lock = threading.Lock()
        self._began: tuple[float, str] | None = None

    @property
    def there(self) -> bool:
        """Tell whether something did not work the last time."""
        return self._began is not None

    @property
    def sentence(self) -> str | None:
        """Return what does not work now; None: all does."""
        began = self._began
        return None if began is None else began[1]

    def meaning_of(self, error: Exception) -> Exception:
        """Return what the error says about the store, or the error itself where it says nothing."""
        meaning = meaning_of(error, self._url)
        if meaning is None:
            return error
        meaning.__cause__ = error
        self.began(meaning)
        return meaning

    def began(self, trouble: StoreError) -> None:
        """Note a trouble that may pass, and write it once where the output of the process goes."""
        if not isinstance(trouble, StoreBusy | StoreFull):
            return
        with self._lock:
            if self._began is not None:
                return
            self._began = self._clock.monotonic(), str(trouble)
        sys.stderr.write(f"{trouble}\n")

    def ended(self) -> str | None:
        """Note that the store works again, and return what to write of it; None: nothing had happened."""
        with self._lock:
            began, self._began = self._began, None
        if began is None:
            return None
        return (
            f"the store works again after {self._clock.monotonic() - began[0]:.1f} s; it had said: {began[1]}"
        )

    def make_room(self) -> bool:
        """Give up the room that was kept free on the disk; False: there is none."""
        return self._space.make_room()

    def can_wait(self, unit: Unit) -> bool:
        """Tell whether a unit is a message from outside; what a message in hand sends belongs to that one."""
        return isinstance(unit, Acceptance) and unit.is_first
