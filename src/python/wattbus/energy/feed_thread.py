"""The one thread that touches a power feed, so that a feed that raises or hangs delays nobody."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from wattbus.energy.feed import PowerFacts, PowerFeed, PowerReading, fault_of

logger = logging.getLogger("wattbus.energy")

_SLICE_SECONDS = 0.25
_HURRIED_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Gap:
    """Why there is no reading: ``failed`` when something broke, else it is only not there."""

    reason: str
    failed: bool


class FeedThread:
    """Starts, reads and stops a feed from one daemon thread; the caller waits no longer than it says."""

    def __init__(self, feed: PowerFeed, on_ready: Callable[[], None]) -> None:
        self._feed = feed
        self._on_ready = on_ready
        self._requests: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[PowerReading | Gap] = queue.SimpleQueue()
        self._outstanding = False
        self._hurried = False
        self._gap = Gap("no power reading yet: the power feed is still starting", failed=False)
        self.facts: PowerFacts | None = None
        self.failed = False
        self._thread = threading.Thread(target=self._run, name="wattbus-power", daemon=True)

    def start(self) -> None:
        """Start the thread, and in it the feed."""
        self._thread.start()

    def read(self, timeout_seconds: float) -> PowerReading | Gap:
        """Return the energy since the last reading, or why there is none, within ``timeout_seconds``."""
        if self.facts is None:
            return self._gap
        if self.facts.reason is not None:
            return Gap(self.facts.reason, failed=False)
        hung_before = self._outstanding
        if not self._outstanding:
            self._outstanding = True
            self._requests.put(True)
        waited = 0.0
        while waited < timeout_seconds and not (
            self._hurried and (hung_before or waited >= _HURRIED_SECONDS)
        ):
            try:
                answer = self._answers.get(timeout=_SLICE_SECONDS)
            except queue.Empty:
                waited += _SLICE_SECONDS
                continue
            self._outstanding = False
            return answer
        # The question stays open: a late answer covers the whole silence and is taken then.
        return Gap(f"the power feed has not answered for {waited:g} s", failed=True)

    def hurry(self) -> None:
        """Make a ``read`` wait for at most two seconds from here on: the ledger is being stopped."""
        self._hurried = True

    def stop(self, timeout_seconds: float) -> None:
        """Stop the feed; one that hangs is left behind in its daemon thread."""
        self._requests.put(False)
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        # A feed is foreign code, and a failing meter never fails work: whatever it raises becomes a reason.
        try:
            facts = self._feed.start()
        except Exception as error:
            logger.exception("the power feed could not start; operations go on without energy figures")
            self._gap = Gap(f"the power feed could not start: {type(error).__name__}: {error}", failed=True)
            self.failed = True
            self._on_ready()
            return
        self.facts = facts
        self._on_ready()
        while self._requests.get():
            self._answers.put(self._answer(facts))
        try:
            self._feed.stop()
        except Exception:
            logger.exception("the power feed could not be stopped; nothing depends on it")

    def _answer(self, facts: PowerFacts) -> PowerReading | Gap:
        try:
            reading = self._feed.read()
        except Exception as error:  # noqa: BLE001 - the reason goes into every record of the interval
            return Gap(f"the power feed failed: {type(error).__name__}: {error}", failed=True)
        fault = fault_of(reading, facts)
        return Gap(fault, failed=True) if fault else reading
