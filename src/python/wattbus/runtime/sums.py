"""The hourly sums of a running production: keeps what the energy of each hour adds up to, once the hour is over."""

from __future__ import annotations

import threading
from collections.abc import Callable

from wattbus.clock import SYSTEM
from wattbus.errors import WattbusError
from wattbus.store.energy_queries import close_hours
from wattbus.store.store import Store

_FIRST_SECONDS, _SECONDS = 60.0, 600.0


class HourlySums:
    """A thread that looks now and then whether an hour is over."""

    def __init__(self, store: Store, warn: Callable[[str], None]) -> None:
        self._store, self._warn = store, warn
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wattbus-sums", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is being added up ends first, since the store is closed next."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = _FIRST_SECONDS
        # By the machine's clock: that a test stands still is no reason to keep house less often.
        while not SYSTEM.wait(self._ending, pause):
            try:
                while not self._ending.is_set() and close_hours(self._store):
                    continue
            except WattbusError as error:
                # Disk full, a store that is locked: the records are there, and the pages add them up themselves.
                self._warn(f"the energy of the last hours was not added up: {error}")
            pause = _SECONDS
