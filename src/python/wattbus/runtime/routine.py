"""A thread that does one thing again and again, with a pause after each time, for as long as a production runs."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from wattbus.clock import SYSTEM, Clock
from wattbus.errors import WattbusError


class Routine:
    """Calls ``work``, which returns the seconds of the pause after it.

    A store that does not take or give anything now (disk full, locked) ends one turn and no more: ``fails`` gets its
    sentence and returns the pause.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], float],
        fails: Callable[[str], float],
        *,
        first_pause_seconds: float = 0.0,
        clock: Clock = SYSTEM,
    ) -> None:
        self._work, self._fails = work, fails
        self._first_pause_seconds, self._clock = first_pause_seconds, clock
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"wattbus-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a turn that is under way ends first, since the store is closed next."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def is_ending(self) -> bool:
        """Tell whether it was stopped, for work that can be cut short."""
        return self._ending.is_set()

    def _run(self) -> None:
        if self._first_pause_seconds:
            self._clock.wait(self._ending, self._first_pause_seconds)
        while not self._ending.is_set():
            try:
                pause = self._work()
            except (WattbusError, SQLAlchemyError) as error:
                pause = self._fails(str(error))
            self._clock.wait(self._ending, pause)
