"""Work that a page starts and does not wait for: one thing at a time, with a word for what is being done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from wattbus import words
from wattbus.errors import AlreadyRunning

#: How long a page waits; what takes longer goes on, and the page shows what is being done.
PATIENCE_SECONDS = 2.0


class Background:
    """A thread for what takes long: starting and stopping a production."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wattbus-background")
        self._turn = threading.Lock()
        self._word = ""
        self._work: Future[object] | None = None

    @property
    def doing(self) -> str:
        """Return the word for what is being done, such as Starting; empty: nothing is."""
        return self._word if self._work is not None and not self._work.done() else ""

    @property
    def failure(self) -> str:
        """Return why the last work failed that nobody had waited for; empty: it did not."""
        work = self._work
        error = work.exception() if work is not None and work.done() else None
        return "" if error is None else words.clean(str(error) or type(error).__name__, 1500)

    def do(self, word: str, work: Callable[[], object], patience_seconds: float = PATIENCE_SECONDS) -> bool:
        """Do some work; return whether it has ended, and raise its error where it ended in time."""
        with self._turn:
            if self.doing:
                raise AlreadyRunning(f"it is {self.doing.lower()} now: wait until that is done.")
            self._word, self._work = word, self._worker.submit(work)
            future = self._work
        try:
            future.result(patience_seconds)
        except TimeoutError:
            if not future.done():
                return False
            raise
        except BaseException:
            self._work = None  # who asked is told, so no page need say it again
            raise
        return True
