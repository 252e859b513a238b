"""What a child process is busy with, and what ends it before it is done: its limits, a cancel, a stop."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

from wattbus.errors import Cancelled, RequestFailed
from wattbus.memory import OomWatch, resident_bytes, size_words
from wattbus.runtime import context
from wattbus.runtime.childprocess import Ended
from wattbus.runtime.context import Current
from wattbus.runtime.pipe import Frame

#: Between the soft stop and the hard one, by the clock of the production.
GRACE_SECONDS = 5.0
#: How long a message in hand may go on when the production stops, before it is put back in its queue. An operator
#: waits for it, so it is time of the machine, whatever clock the production has.
STOP_GRACE_SECONDS = 20.0
_STILL_IN_HAND = "the production stops, and the message was still in hand"


@dataclass(frozen=True)
class Limits:
    """What an item allows a message."""

    time_seconds: float | None
    memory_bytes: int | None

    def untimed(self) -> Limits:
        """Return the limits where no message is in hand."""
        return Limits(None, self.memory_bytes)


class ChildCall:
    """One call into a child process, while it lasts."""

    def __init__(
        self, number: int, now: Current | None, limits: Limits, began: float, *, making: bool = False
    ) -> None:
        self.number, self.limits = number, limits
        self.message_id = now.message_id if now is not None else None
        self.session_id = now.session_id if now is not None else None
        self.attempt = now.attempt if now is not None else 0
        #: When the message came to the child: a process is called more than once for one.
        self.began = began
        #: A fresh child is made: the message is not in it yet.
        self.making = making
        self.answer: Frame | None = None
        self.over = False
        #: Why it has to end; whatever the child answers then is too late.
        self.stop: Exception | None = None
        self.memory = OomWatch()
        self._cancelled_by: str | None = None
        self._stopping_since: float | None = None
        self._hard_at = self._hard_at_machine = float("inf")

    def is_of(self, now: Current | None) -> bool:
        """Tell whether it belongs to the attempt that ``now`` is busy with."""
        attempt = (self.message_id, self.attempt)
        return now is not None and now.message_id is not None and attempt == (now.message_id, now.attempt)

    def cancel(self, by: str) -> None:
        """End it soon; any thread may ask."""
        self._cancelled_by = by

    def goes_on_from(self, before: ChildCall) -> None:
        """Take over a cancel that came when the call before, of the same attempt, was just ending."""
        self._cancelled_by = before._cancelled_by

    def note_stopping(self) -> bool:
        """Note that the production stops; tell whether that is new."""
        new, self._stopping_since = self._stopping_since is None, self._stopping_since or time.monotonic()
        return new

    def reason_to_stop(self, now: float) -> Exception | None:
        """Return why it has to end, if there is a reason; ``now`` is the clock of the production."""
        if self._cancelled_by is not None:
            return Cancelled(f"cancelled by {self._cancelled_by}")
        if self._stopping_since is not None and time.monotonic() - self._stopping_since >= STOP_GRACE_SECONDS:
            return still_in_hand()
        limit_seconds = self.limits.time_seconds
        if limit_seconds is not None and now - self.began >= limit_seconds:
            why = " (TimeLimit)" if self.message_id is not None else ""
            return RequestFailed(f"stopped after {limit_seconds:g} s{why}")
        return None

    def out_of_memory(self, pid: int) -> Exception | None:
        """Return the error of a child that holds more memory than it may."""
        self.memory.look(pid)
        limit = self.limits.memory_bytes
        used = resident_bytes(pid) if limit is not None else None
        if limit is None or used is None or used <= limit:
            return None
        return RequestFailed(f"killed, out of memory, limit {size_words(limit)}")

    def stop_for(self, reason: Exception, now: float) -> None:
        """Note why it ends, and when the soft stop has had its time."""
        self.stop = reason
        self._hard_at = now + GRACE_SECONDS
        if self._stopping_since is not None:
            self._hard_at_machine = time.monotonic() + GRACE_SECONDS

    def grace_is_over(self, now: float) -> bool:
        """Tell whether the soft stop has had its time."""
        return now >= self._hard_at or time.monotonic() >= self._hard_at_machine

    def lost(self, item: str, ended: Ended) -> Exception:
        """Return what the death of the child is to this call, where nobody asked for it."""
        killed = self.memory.sentence() if ended.status == -signal.SIGKILL else None
        if killed is not None:
            return RequestFailed(killed)
        if self.message_id is not None and not self.making:
            return context.WorkerLost(f"the child process of item {item!r} is gone: {ended}")
        return RequestFailed(
            f"the child process of item {item!r} is gone before its component was ready: {ended}"
        )


def still_in_hand() -> context.PutBack:
    """Return what puts a message back that a stopping production still had in hand."""
    return context.PutBack(_STILL_IN_HAND)
