"""What the running thread is busy with: the place it runs in, the item, the message, the energy window."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from wattbus.home import Home
from wattbus.secrets import Vault
from wattbus.transport import Resolver

T = TypeVar("T")


class PutBack(Exception):
    """Raised by a component that cannot finish because the production stops: the message goes back to its queue."""


class Resources:
    """Things that the threads of a process share, made once: a loaded model, an open pool of connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[Any, tuple[threading.Lock, list[Any]]] = {}

    def get(self, key: Any, make: Callable[[], T]) -> T:
        """Return the thing under ``key``, made by the first who asks while the others wait."""
        with self._lock:
            lock, slot = self._made.setdefault(key, (threading.Lock(), []))
        with lock:
            if not slot:
                slot.append(make())
            return slot[0]  # type: ignore[no-any-return]

    def drop(self, key: Any) -> None:
        """Forget the thing under ``key``; who holds it keeps it."""
        with self._lock:
            self._made.pop(key, None)


@dataclass(frozen=True)
class Place:
    """Where a component runs: its home folder, its vault, and what its threads share."""

    home: Home
    vault: Vault
    resources: Resources = field(default_factory=Resources)
    tables_url: str = ""
    store_url: str | None = None
    allow_hosts: frozenset[str] = frozenset()
    resolver: Resolver = socket.getaddrinfo
    hub_url: str | None = None
    stopping: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Progress:
    """How far the handling of a message is; ``total`` is None while that is not known."""

    text: str
    done: int | None = None
    total: int | None = None


class Logs(Protocol):
    """Where event-log lines and progress go."""

    def tell_progress(self, message_id: int, progress: Progress) -> None: ...

    def log(
        self, type: str, text: str, item: str, message_id: int | None, session_id: int | None,
        source_class: str | None, source_method: str | None,
    ) -> None: ...  # fmt: skip


class Current:
    """One item at work, on a message or on nothing in particular."""

    __slots__ = ("attempt", "item", "logs", "message_id", "outbox", "place", "session_id", "window")

    def __init__(
        self,
        place: Place,
        logs: Logs,
        item: str,
        message_id: int | None = None,
        session_id: int | None = None,
        attempt: int = 0,
        window: Any = None,
    ) -> None:
        self.place, self.logs, self.item = place, logs, item
        self.message_id, self.session_id, self.attempt, self.window = message_id, session_id, attempt, window
        self.outbox: list[Any] = []  # messages that become durable with the end of the attempt


_current: ContextVar[Current | None] = ContextVar("wattbus_current", default=None)
_elsewhere: Place | None = None


def current() -> Current | None:
    """Return what this thread is busy with; None outside wattbus, for instance inside IRIS."""
    return _current.get()


def enter(now: Current | None) -> Current | None:
    """Make ``now`` current and return what was."""
    before = _current.get()
    _current.set(now)
    return before


def place() -> Place:
    """Return the place this thread runs in; inside IRIS, one place a process on the default home."""
    now = _current.get()
    if now is not None:
        return now.place
    global _elsewhere
    if _elsewhere is None:
        home = Home.find().create()
        _elsewhere = Place(home, Vault(home.secrets_file))
    return _elsewhere


def tell_progress(text: str, done: int | None = None, total: int | None = None) -> None:
    """Say how far the handling of the message in hand is; nothing outside wattbus."""
    now = _current.get()
    if now is not None and now.message_id is not None:
        now.logs.tell_progress(now.message_id, Progress(text, done, total))


def log(type: str, text: str, source_class: str | None = None, source_method: str | None = None) -> None:
    """Write an event-log line for the item that this thread works for."""
    now = _current.get()
    if now is not None:
        now.logs.log(type, text, now.item, now.message_id, now.session_id, source_class, source_method)
