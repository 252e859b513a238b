"""Callers: who waits for the answer to a message, and how they are told of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Protocol

from wattbus.clock import SYSTEM, Clock
from wattbus.errors import RequestFailed, RequestTimeout, StoreBusy, WattbusError
from wattbus.runtime.context import Place
from wattbus.runtime.iris import Envelope
from wattbus.store.store import Store
from wattbus.store.tables import Status
from wattbus.store.units import Acceptance

_LOOK_AGAIN_SECONDS = 0.05


class Waiter:
    """A caller that waits for the response to one message: a thread, or an event loop that is notified."""

    __slots__ = (
        "_gate", "_notify", "_told", "asked", "beside", "done", "error_status", "message_id", "refusal", "response",
        "target",
    )  # fmt: skip

    def __init__(self, notify: Callable[[], object] | None = None) -> None:
        self._notify = notify
        self._told: threading.Event | None = None  # for a clock that is not the machine's
        self.asked = 0.0  # when its message was made, by the production's clock
        self.target = ""
        self.message_id = 0
        self.response: Envelope | None = None
        self.error_status: str | None = None
        self.refusal: WattbusError | None = None  # where the message was not accepted
        self.done = False
        self.beside: Waiter | None = None  # another who waits for the same message
        self._gate = threading.Lock()
        self._gate.acquire()

    def answer(self, response: Envelope | None, error_status: str | None) -> None:
        self.response, self.error_status, self.done = response, error_status, True
        self._gate.release()
        if self._told is not None:
            self._told.set()
        if self._notify is not None:
            self._notify()
        if self.beside is not None:
            self.beside.answer(response, error_status)

    def refuse(self, error: Exception) -> None:
        """Answer that the message was not accepted."""
        self.refusal = error if isinstance(error, WattbusError) else None
        self.answer(None, f"not accepted: {error}")

    def wait(self, seconds: float, clock: Clock = SYSTEM) -> bool:
        """Wait ``seconds`` at most (-1: for ever) and tell whether the answer is there."""
        if clock is not SYSTEM and not self.done and seconds:
            told = self._told = threading.Event()
            if not self.done:  # answered before it was to be told
                clock.wait(told, None if seconds < 0 else seconds)
        elif not self.done and self._gate.acquire(timeout=seconds):
            self._gate.release()
        return self.done


class Watch(Protocol):
    """Who tells people what went wrong, see :mod:`wattbus.runtime.alerts`; it must not keep the caller waiting."""

    def error(self, item: str, message_id: int | None, session_id: int | None, text: str) -> None: ...

    def logged(self, item: str, message_id: int | None, session_id: int | None, text: str) -> None: ...


class Callers:
    """The waiting callers of one production."""

    def __init__(self, store: Store, place: Place) -> None:
        self.store, self.place = store, place
        self.alert_watch: Watch | None = None
        self._waiters: dict[int, Waiter] = {}
        self._broken: dict[str, str] = {}  # items that could not start, and why

    def wait(self, waiter: Waiter, timeout_seconds: float = -1) -> bool:
        """Wait for an answer, from this process or from another that shares the store.

        The time-out (-1: none) counts from when the message was made, so that several waits for it do not add up.
        """
        clock = self.place.clock
        ends = waiter.asked + timeout_seconds if timeout_seconds >= 0 else float("inf")
        if not self.store.shared:
            return waiter.wait(max(0.0, ends - clock.monotonic()) if timeout_seconds >= 0 else -1, clock)
        while not waiter.wait(_LOOK_AGAIN_SECONDS) and clock.monotonic() < ends:
            with contextlib.suppress(StoreBusy):  # the database is away: the answer is there when it is back
                self._look_for_answer(waiter)
        return waiter.done

    def watch(self, message_id: int, waiter: Waiter) -> None:
        """Let ``waiter`` wait for the answer to a message that was accepted before."""
        waiter.message_id, waiter.asked = message_id, self.place.clock.monotonic()
        waiter.beside = self._waiters.get(message_id)
        self._waiters[message_id] = waiter
        self._look_for_answer(waiter)

    def forget(self, waiter: Waiter) -> None:
        """Let one go who waits no more; others may wait for the same message."""
        first = self._waiters.get(waiter.message_id)
        if first is waiter and waiter.beside is None:
            self._waiters.pop(waiter.message_id, None)
        elif first is waiter and waiter.beside is not None:
            self._waiters[waiter.message_id] = waiter.beside
        while first is not None:
            if first.beside is waiter:
                first.beside = waiter.beside
            first = first.beside

    def answer_of(self, waiter: Waiter, target: str, timeout_seconds: float) -> Envelope | None:
        """Return the answer that a waiter holds, or raise in the words of the item that failed."""
        if not waiter.done:
            self.forget(waiter)
            raise RequestTimeout(
                f"no response from {target!r} within {timeout_seconds:g} s: message {waiter.message_id} stays in the "
                f"store and goes on; look at it with `wattbus trace {waiter.message_id}`."
            ).about(waiter.message_id)
        if waiter.refusal is not None:
            raise waiter.refusal
        if waiter.error_status is not None:
            raise RequestFailed(waiter.error_status).about(waiter.message_id)
        return waiter.response

    def item_failed(self, item: str, error: str) -> None:
        """Tell those who wait for an item that it could not start; its messages stay queued for the next start."""
        self._broken[item] = (
            f"item {item!r} does not run: {error} Its messages are kept: mend it and start again."
        )
        if self.alert_watch is not None:
            self.alert_watch.error(item, None, None, self._broken[item])
        self._tell_broken(item)

    def item_runs(self, item: str) -> None:
        """Note that an item runs, also one that could not start before."""
        self._broken.pop(item, None)

    def stopped(self) -> None:
        """Tell everyone who still waits that the production has stopped; their messages are kept."""
        for message_id in list(self._waiters):
            self._wake(
                message_id,
                None,
                f"the production has stopped: message {message_id} is kept and goes on at the next start.",
            )

    def _tell_broken(self, item: str) -> None:
        for message_id, waiter in list(self._waiters.items()):
            if waiter.target == item and self._waiters.pop(message_id, None) is not None:
                waiter.answer(None, self._broken[item])

    def ended(self, message_id: int, error_status: str) -> None:
        """Tell the caller who waits for a message that it ended without an attempt: discarded, aborted.

        A process that waits is told by the transaction that ends the message; see :mod:`wattbus.store.moves`.
        """
        self._wake(message_id, None, error_status)

    def _wake(self, message_id: int, response: Envelope | None, error_status: str | None) -> None:
        waiter = self._waiters.pop(message_id, None)
        if waiter is not None:
            waiter.answer(response, error_status)

    def _expect(self, waiter: Waiter, accepted: Acceptance) -> None:
        waiter.message_id = accepted.id
        if accepted.known:  # who sent it first may still wait
            waiter.beside = self._waiters.get(accepted.id)
        self._waiters[accepted.id] = waiter
        if waiter.target in self._broken:  # it failed while the message was on its way
            self._tell_broken(waiter.target)
        if accepted.known:
            # The key was used before: its message may have ended already.
            threading.Thread(
                target=self._look_for_answer, args=(waiter,), name="wattbus-answer", daemon=True
            ).start()

    def _look_for_answer(self, waiter: Waiter) -> None:
        header = self.store.header(waiter.message_id)
        if header is None or waiter.done:
            return
        if header.status not in _ENDED and header.corresponding_id is None:
            return
        response = None
        if header.corresponding_id is not None:
            answer = self.store.header(header.corresponding_id)
            if answer is not None and answer.body_id is not None:
                text = self.store.body(answer.body_id)
                response = Envelope(answer.body_class, text or "", str(answer.id))
        self._wake(waiter.message_id, response, header.error_status if header.is_error else None)


_ENDED = (Status.COMPLETED.value, Status.ERROR.value, Status.DISCARDED.value, Status.ABORTED.value)
