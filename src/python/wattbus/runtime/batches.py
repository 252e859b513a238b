"""A seat that hands several messages of a type to the component at once: ``on_batch(requests) -> responses``.

The settings are BatchSize and BatchWaitMs. Each message keeps its own response, trace and share of the energy. A
response may be an exception: then that message alone has failed. Where ``on_batch`` itself raises, each message is
handled by itself, so that one bad input does not take its batch down.

A batch that is not full waits for callers that were answered a moment ago and have not asked again, and for nobody
else: what comes while a batch is handled is in the next one anyway. So a lone caller never waits.
"""

from __future__ import annotations

import itertools
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any

from wattbus.errors import BadRequest
from wattbus.runtime import context
from wattbus.runtime.context import Current
from wattbus.runtime.handle import Handle
from wattbus.runtime.host import Host, Seat
from wattbus.runtime.result import Result
from wattbus.runtime.types import to_envelope
from wattbus.store.rows import Claimed
from wattbus.store.units import Ending

#: What one message more in a batch saves of what a message costs: batches of like texts gain 1.2 to 1.5 times.
_SAVED = 0.25
#: A wait is cut into so many looks at the queue; the first one that finds nothing new ends it.
_LOOKS = 4
#: A shorter wait saves less than the looks cost.
_LEAST_SECONDS = 0.0005


class Returning:
    """The callers of an item that were answered a moment ago and are likely to ask again, for all its threads."""

    def __init__(self, host: Host) -> None:
        self._store, self._clock = host.bus.store, host.bus.place.clock
        self._lock = threading.Lock()
        self._expected = 0
        self._answered_us, self._answered_at = 0, 0.0
        self._message_seconds = 0.0

    def answered(self, several: Sequence[Claimed], seconds: float) -> None:
        """Note that a batch has ended, which took so long."""
        with self._lock:
            self._expected += sum(one.header.response_required for one in several)
            self._answered_us, self._answered_at = self._store.now_us(), self._clock.monotonic()
            self._message_seconds = seconds / len(several)

    def came(self, several: Sequence[Claimed]) -> None:
        """Note which messages were taken: those sent since the last answers are of callers that came back."""
        with self._lock:
            back = sum(one.header.time_created_us >= self._answered_us for one in several)
            self._expected = max(0, self._expected - back)

    def stay_away(self) -> None:
        """Expect nobody any more: they were waited for in vain."""
        with self._lock:
            self._expected = 0

    def wait_seconds(self, room: int, most_seconds: float) -> float:
        """Return how long it pays to wait for messages more, ``room`` of them at most.

        Never longer than what the batch saves by them, and 0 once the answers are older than the longest wait.
        """
        with self._lock:
            if self._clock.monotonic() - self._answered_at > most_seconds:
                self._expected = 0
            pays = min(self._expected, room) * self._message_seconds * _SAVED
        wait_seconds = min(pays, most_seconds)
        return wait_seconds if wait_seconds >= _LEAST_SECONDS else 0.0


class BatchSeat(Seat):
    """An operation's component that takes batches, in one thread of the pool."""

    def __init__(
        self,
        host: Host,
        component: Any,
        handle: Handle,
        size: int,
        wait_seconds: float,
        returning: Returning,
    ) -> None:
        super().__init__(host, component, handle)
        self.batch_size, self.batch_wait_seconds, self.returning = size, wait_seconds, returning

    def looks(self, count: int) -> tuple[int, float]:
        """Return how often to look for more than ``count`` messages, and the seconds before each look."""
        seconds = self.returning.wait_seconds(self.batch_size - count, self.batch_wait_seconds)
        return (_LOOKS, seconds / _LOOKS) if seconds > 0 else (0, 0.0)

    def handle_all(self, several: Sequence[Claimed]) -> list[Result]:
        """Hand messages to the component, those of a type together, and return what came of each, in order."""
        results: list[Result] = []
        for body_class, group in itertools.groupby(several, lambda claimed: claimed.header.body_class):
            messages = list(group)
            if len(messages) == 1 or body_class.startswith("IOP.Generator."):
                results += [self.handle(claimed) for claimed in messages]
            else:
                results += self._handle_group(messages)
        return results

    def _handle_group(self, messages: list[Claimed]) -> list[Result]:
        host, first = self.host, messages[0].header
        bus = host.bus
        window = host.ledger.open_batch([(one.header.id, one.attempt) for one in messages], host.name)
        now = Current(bus.place, bus, host.name, first.id, first.session_id, messages[0].attempt, window)
        context.enter(now)
        began = time.perf_counter()
        answers: list[Any] | None = None
        with self._turn:
            self.handle_.begin(first, messages[0].attempt)
            try:
                answers = self._answers([self.body_of(one) for one in messages])
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's component: each is tried by itself
                text = "".join(traceback.format_exception(error))
                bus.log(
                    "Warning", f"on_batch failed, so its messages are handled one by one: {text}", host.name
                )
            finally:
                self.handle_.finish()
        duration = time.perf_counter() - began
        context.enter(None)
        if answers is None:
            # The attempts' windows are those of the single handling; what the batch used goes to the bus itself.
            window.abandon()
            return [self.handle(one) for one in messages]
        results = [self._result(one, answer) for one, answer in zip(messages, answers, strict=True)]
        kinds = [type(answer).__name__ if isinstance(answer, Exception) else None for answer in answers]
        for result, records in zip(results, window.close_shares(kinds), strict=True):
            result.duration_seconds, result.energy = duration, records
        results[0].children = now.outbox if results[0].ending is Ending.COMPLETED else []
        return results

    def _answers(self, requests: list[Any]) -> list[Any]:
        answers = self.component.on_batch(requests)
        if not isinstance(answers, list | tuple) or len(answers) != len(requests):
            raise BadRequest(
                f"on_batch was given {len(requests)} requests and returned {_described(answers)}: "
                "return a list with one response, None or exception for each, in their order."
            )
        return list(answers)

    def _result(self, claimed: Claimed, answer: Any) -> Result:
        if isinstance(answer, Exception):
            return self.failed(claimed, answer)
        try:
            # iop's own serialiser, as for a handler's return value.
            from iop.messages.dispatch import dispatch_serializer

            return Result(0.0, to_envelope(dispatch_serializer(answer)))
        except (TypeError, ValueError, BadRequest) as error:
            return self.failed(claimed, error)


def _described(answers: Any) -> str:
    return f"{len(answers)}" if isinstance(answers, list | tuple) else f"a {type(answers).__name__}"
