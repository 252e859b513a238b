"""Where messages and workers meet: a worker that waits for its next message, and messages claimed ahead of workers."""

from __future__ import annotations

import threading
from collections import deque

from wattbus.store.rows import Claimed

# About what it takes to wake a thread and give it the interpreter's lock, twice over.
_WORTH_WAKING_SECONDS = 0.0003


def closed_gate() -> threading.Lock:
    """Return a lock that is taken: the cheapest thing that one thread waits at and another opens."""
    gate = threading.Lock()
    gate.acquire()
    return gate


class Slot:
    """A worker that waits for the next message of a queue."""

    __slots__ = ("_given", "claimed", "job", "queue", "registered")

    def __init__(self, queue: str, job: str) -> None:
        self.queue, self.job = queue, job
        self.registered = False
        self.claimed: Claimed | None = None
        self._given = closed_gate()

    def give(self, claimed: Claimed | None) -> None:
        self.claimed = claimed
        self._given.release()

    def wait(self) -> Claimed | None:
        """Block until a message is given; None means that the queue was closed."""
        self._given.acquire()
        return self.claimed


class Intake:
    """Messages of one queue that are claimed ahead for its workers, where these are fast.

    A commit costs the same for one message as for fifty, and waking a thread costs more than a fast handler does. So
    the messages of a commit are handed to the item together, and no more workers are woken than are worth it: they take
    one after the other here. What has waited since the writer last looked wakes one worker more, since a handler may be
    slow for once.
    """

    __slots__ = ("coming", "limit", "ready", "seen", "usual_seconds")

    def __init__(self) -> None:
        self.limit = 0  # how many may wait here; 0: none, each worker asks for its next message
        self.usual_seconds = 0.0  # what a worker needs for one of them
        self.seen: Claimed | None = None  # the first of them when the writer last looked
        self.coming = 0  # in the commit that is being made
        self.ready: deque[Claimed] = deque()

    @property
    def room(self) -> int:
        room = self.limit - len(self.ready) - self.coming
        return room if room > 0 else 0

    def is_enough(self, workers: int, messages: int) -> bool:
        """Tell whether so many woken workers are soon through with so many messages and one more."""
        return messages * self.usual_seconds < workers * _WORTH_WAKING_SECONDS and self.room > 0
