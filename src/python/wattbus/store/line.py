"""The line to a database in another process: when it is tried again after it was lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 2.0
_INSISTS_SECONDS = 10.0


class Line:
    """Tries with pauses that double, so that a database that comes back is not run over."""

    def __init__(self) -> None:
        self._pause = _FIRST_PAUSE_SECONDS
        self._next = 0.0
        self._error: Exception | None = None

    def try_again(self, connect: Callable[[], object]) -> None:
        """Connect now; where the last try was only just now, raise what that one raised."""
        if self._error is not None and time.monotonic() < self._next:
            raise self._error
        try:
            connect()
        except Exception as error:
            self._error, self._next = error, time.monotonic() + self._pause
            self._pause = min(_LONGEST_PAUSE_SECONDS, self._pause * 2)
            raise
        self._error, self._pause = None, _FIRST_PAUSE_SECONDS

    def insist(self, step: Callable[[], T], seconds: float = _INSISTS_SECONDS) -> T:
        """Take a step until it works; raise what it raises when the time is over."""
        ends, pause = time.monotonic() + seconds, _FIRST_PAUSE_SECONDS
        while True:
            try:
                return step()
            except Exception:
                if time.monotonic() + pause > ends:
                    raise
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)
