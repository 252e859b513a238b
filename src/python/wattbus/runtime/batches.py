"""A seat that hands several messages of a type to the component at once: ``on_batch(requests) -> responses``.

The settings are BatchSize and BatchWaitMs. Each message keeps its own response, trace and share of the energy. A
response may be an exception: then that message alone has failed. Where ``on_batch`` itself raises, each message is
handled by itself, so that one bad input does not take its batch down.
"""

from __future__ import annotations

import itertools
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


class BatchSeat(Seat):
    """An operation's component that takes batches, in one thread of the pool."""

    def __init__(self, host: Host, component: Any, handle: Handle, size: int, wait_seconds: float) -> None:
        super().__init__(host, component, handle)
        self.batch_size, self.batch_wait_seconds = size, wait_seconds

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
