"""The history of the queues: a look at their depths every few seconds, the last hours of it, in memory only.

A look is one query of some index entries a queue, in a thread of its own; it takes a hundredth of the time at most.
What came in is not counted anywhere: it is what is there more than before, and what was finished meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from wattbus.runtime.bus import Bus
from wattbus.runtime.routine import Routine
from wattbus.store.waiting import MOST_COUNTED, depths

STEP_SECONDS = 5.0
#: Three hours.
MOST_LOOKS = 2160
#: Rates are over so many looks: a minute, where a look is cheap.
_RATE_LOOKS = 12
#: A look at very long queues takes a while: the pause after it is so many times as long, at least.
_PAUSE_FACTOR = 100


@dataclass(frozen=True)
class QueuePoints:
    """The history of one queue, the oldest look first; each list has one entry a look."""

    queue: str
    step_seconds: float
    times_us: tuple[int, ...]
    depths: tuple[int, ...]
    in_hand: tuple[int, ...]
    came: tuple[int, ...]  # in the step before the look
    done: tuple[int, ...]


class _Series:
    """The looks at one queue."""

    __slots__ = ("came", "depths", "done", "done_in_all", "in_hand")

    def __init__(self, looks: int, done_in_all: int) -> None:
        zeros = [0] * min(looks, MOST_LOOKS)
        self.depths = deque(zeros, MOST_LOOKS)
        self.in_hand = deque(zeros, MOST_LOOKS)
        self.came = deque(zeros, MOST_LOOKS)
        self.done = deque(zeros, MOST_LOOKS)
        self.done_in_all = done_in_all

    def add(self, depth: int, in_hand: int, done_in_all: int) -> None:
        there_before = (self.depths[-1] + self.in_hand[-1]) if self.depths else depth + in_hand
        done = done_in_all - self.done_in_all
        # Beyond the number up to which it is counted nobody knows what came.
        grown = 0 if depth >= MOST_COUNTED else depth + in_hand - there_before
        self.depths.append(depth)
        self.in_hand.append(in_hand)
        self.done.append(done)
        self.came.append(max(0, grown + done))  # what was aborted came in as well: no less than nothing
        self.done_in_all = done_in_all


class QueueHistory:
    """Looks at the queues of the items; a thread."""

    def __init__(self, bus: Bus, step_seconds: float = STEP_SECONDS) -> None:
        self._bus, self._step_seconds = bus, step_seconds
        self._times: deque[int] = deque(maxlen=MOST_LOOKS)
        self._series: dict[str, _Series] = {}
        self._lock = threading.Lock()
        # A store that does not answer now: there is no look, and the production says why.
        self._routine = Routine("queues", self._look, lambda _: step_seconds)

    def start(self) -> None:
        """Look from now on."""
        self._routine.start()

    def stop(self) -> None:
        """End; a look that is under way ends first."""
        self._routine.stop()

    def look(self) -> None:
        """Look once."""
        bus = self._bus
        items = list(bus.production.items)
        found = depths(bus.store.engine, items)
        in_hand = Counter(header.target_item for header in list(bus.in_hand.values()))
        with self._lock:
            for name in items:
                if name not in self._series:
                    self._series[name] = _Series(len(self._times), 0)
                waiting = found.get(name)
                self._series[name].add(waiting.queued if waiting else 0, in_hand[name], bus.tally.done(name))
            for name in self._series.keys() - set(items):
                del self._series[name]
            self._times.append(bus.store.now_us())

    def points(self, queue: str) -> QueuePoints:
        """Return the history of a queue; an item that has none has no looks."""
        with self._lock:
            series = self._series.get(queue)
            if series is None:
                return QueuePoints(queue, self._step_seconds, (), (), (), (), ())
            return QueuePoints(
                queue, self._step_seconds, tuple(self._times), tuple(series.depths), tuple(series.in_hand),
                tuple(series.came), tuple(series.done),
            )  # fmt: skip

    def rates(self, queue: str) -> tuple[float | None, float | None]:
        """Return how many messages came and were finished a second in the last minute; None: not known yet."""
        with self._lock:
            series = self._series.get(queue)
            if series is None:
                return None, None
            return self._rate(series.came), self._rate(series.done)

    def _rate(self, counts: Sequence[int]) -> float | None:
        looks = min(_RATE_LOOKS, len(self._times) - 1)
        seconds = (self._times[-1] - self._times[-1 - looks]) / 1e6
        return sum(list(counts)[-looks:]) / seconds if looks and seconds > 0 else None

    def _look(self) -> float:
        began = time.monotonic()
        self.look()
        return max(self._step_seconds, _PAUSE_FACTOR * (time.monotonic() - began))
