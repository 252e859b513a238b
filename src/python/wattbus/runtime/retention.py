"""The daily purge of a running production: takes out what has been kept long enough."""

from __future__ import annotations

import threading
from collections.abc import Callable

from wattbus.clock import Clock
from wattbus.errors import WattbusError
from wattbus.store.purge import Retention, purge_due
from wattbus.store.store import Store

_DAY_SECONDS = 86_400.0


class DailyPurge:
    """A thread that purges at the start of a production and once a day while it runs."""

    def __init__(self, store: Store, retention: Retention, clock: Clock, warn: Callable[[str], None]) -> None:
        self._store, self._retention, self._clock, self._warn = store, retention, clock, warn
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wattbus-retention", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a purge that is under way ends first, since the store is closed next."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                purge_due(self._store, self._retention, self._ending.is_set)
            except WattbusError as error:
                # Disk full, a store that is locked: the next day is another day, and the production goes on.
                self._warn(f"the daily purge was cut off: {error}")
            self._clock.wait(self._ending, _DAY_SECONDS)
