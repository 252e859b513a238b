"""Turns: who works on something, and who waits for it, first come first served."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_LOOK_SECONDS = 0.1


@dataclass(frozen=True, eq=False)
class _Ticket:
    name: str


class Turns:
    """A queue of threads that want the same thing one at a time; a lock has no order, and nobody sees who waits."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._tickets: list[_Ticket] = []

    @property
    def names(self) -> tuple[str, ...]:
        """Return who has the turn, then who waits, in order."""
        with self._moved:
            return tuple(ticket.name for ticket in self._tickets)

    @contextlib.contextmanager
    def taken(
        self, name: str, *, ahead: Callable[[tuple[str, ...]], object], over: Callable[[], bool]
    ) -> Iterator[bool]:
        """Wait for the turn, and give True; False where the waiting is ``over`` before it came.

        ``ahead`` is told who is ahead, at first and whenever that has changed.
        """
        ticket = _Ticket(name)
        with self._moved:
            self._tickets.append(ticket)
        try:
            yield self._wait(ticket, ahead, over)
        finally:
            with self._moved:
                self._tickets.remove(ticket)
                self._moved.notify_all()

    def _wait(
        self, ticket: _Ticket, ahead: Callable[[tuple[str, ...]], object], over: Callable[[], bool]
    ) -> bool:
        told: tuple[str, ...] = ()
        while not over():
            with self._moved:
                before = self._ahead_of(ticket)
                if before == told and before:
                    self._moved.wait(_LOOK_SECONDS)
                    before = self._ahead_of(ticket)
            if not before:
                return True
            if before != told:
                told = before
                ahead(before)
        return False

    def _ahead_of(self, ticket: _Ticket) -> tuple[str, ...]:
        return tuple(other.name for other in self._tickets[: self._tickets.index(ticket)])
