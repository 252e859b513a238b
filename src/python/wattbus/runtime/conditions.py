"""The conditions that are alerts now: each is told when it begins, and forgotten when it has been gone for a while."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from enum import StrEnum

from wattbus.clock import Clock

#: How long a condition must be gone before it counts as a new one.
GONE_SECONDS = 60.0
#: The most different errors of one item that are alerts at the same time; the rest are counted with the last.
MOST_ERRORS = 20


class Kind(StrEnum):
    """What an alert is about; the words are the settings of IRIS."""

    QUEUE_COUNT = "QueueCountAlert"
    QUEUE_WAIT = "QueueWaitAlert"
    INACTIVITY = "InactivityTimeout"
    ERROR = "AlertOnError"
    LOGGED = "Alert"  # a line of type Alert that an item or the runtime wrote


@dataclass(frozen=True)
class Alert:
    """One condition of one item."""

    item: str
    kind: Kind
    text: str  # as it was when it began
    message_id: int | None
    session_id: int | None
    began_us: int  # the time of day
    last_seconds: float  # by the clock that only grows
    count: int = 1  # how often it was seen


class Conditions:
    """All conditions that have not cleared."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[tuple[str, Kind, str], Alert] = {}

    def happened(
        self, item: str, kind: Kind, text: str, message_id: int | None = None, session_id: int | None = None
    ) -> Alert | None:
        """Note that a condition holds, or that an error came; return its alert where it is new."""
        now = self._clock.monotonic()
        with self._lock:
            # Two errors with different words are two conditions; a queue is too long whatever the number.
            key = (item, kind, text if kind in (Kind.ERROR, Kind.LOGGED) else "")
            if key not in self._open and kind is Kind.ERROR:
                others = [other for other in self._open if other[:2] == key[:2]]
                if len(others) >= MOST_ERRORS:
                    key = others[-1]
            known = self._open.get(key)
            if known is not None:
                self._open[key] = replace(known, last_seconds=now, count=known.count + 1)
                return None
            fresh = self._open[key] = Alert(
                item, kind, text, message_id, session_id, self._clock.now_us(), now
            )
            return fresh

    def goes_on(self, item: str, kind: Kind) -> None:
        """Note that a condition has not cleared, though it would not begin now."""
        with self._lock:
            known = self._open.get((item, kind, ""))
            if known is not None:
                self._open[item, kind, ""] = replace(known, last_seconds=self._clock.monotonic())

    def clear(self) -> list[Alert]:
        """Forget what has been gone for a while, and return it."""
        now = self._clock.monotonic()
        with self._lock:
            gone = {
                key: alert for key, alert in self._open.items() if now - alert.last_seconds > GONE_SECONDS
            }
            for key in gone:
                del self._open[key]
        return list(gone.values())

    def current(self) -> list[Alert]:
        """Return what has not cleared, the oldest first."""
        with self._lock:
            return list(self._open.values())
