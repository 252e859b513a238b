"""What the running thread is busy with: the place it runs in, the item, the message, the energy window."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from wattbus.clock import SYSTEM, Clock
from wattbus.home import Home
from wattbus.secrets import Vault
from wattbus.transport import Resolver

T = TypeVar("T")


class PutBack(Exception):
    """Raised by a component that cannot finish because the production stops: the message goes back to its queue."""

    #: What the attempt ends as, in the words of store.units.Ending.
    ending = "put back"


class WorkerLost(PutBack):
    """The child process that had the message in hand died: the message goes back, a third time in a row it does not."""

    ending = "worker lost"


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


class Cancels:
    """What is in hand and can be cancelled: by the id of its message, what ends the handling."""

    def __init__(self) -> None:
        # In a child process a signal may call cancel() in the thread that is inside offered().
        self._lock = threading.RLock()
        self._callbacks: dict[int, list[Callable[[str], object]]] = {}

    @contextlib.contextmanager
    def offered(self, message_id: int, callback: Callable[[str], object]) -> Iterator[None]:
        """Let ``callback`` be called with who cancels the message, while the block runs."""
        with self._lock:
            self._callbacks.setdefault(message_id, []).append(callback)
        try:
            yield
        finally:
            with self._lock:
                left = self._callbacks[message_id]
                left.remove(callback)
                if not left:
                    del self._callbacks[message_id]

    def offers(self, message_id: int) -> bool:
        """Tell whether the handling of a message can be cancelled."""
        with self._lock:
            return message_id in self._callbacks

    def cancel(self, message_id: int, by: str) -> bool:
        """Cancel the handling of a message and tell whether there was something to cancel."""
        with self._lock:
            callbacks = list(self._callbacks.get(message_id, ()))
        for callback in callbacks:
            callback(by)
        return bool(callbacks)


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
    clock: Clock = SYSTEM
    allow_pickle: bool = False
    cancels: Cancels = field(default_factory=Cancels)
    #: The child processes of isolated items, by their ids: whose they are.
    children: dict[int, str] = field(default_factory=dict)
    #: What ends each child process of an isolated item at once.
    leashes: set[Callable[[], object]] = field(default_factory=set)

    def cancel(self, message_id: int, by: str = "a user") -> bool:
        """End the handling of a message that is in hand, softly and then for good; False: it cannot be cancelled.

        What can be: a message of an isolated item, and whatever has called :func:`on_cancel`, such as a training.
        """
        return self.cancels.cancel(message_id, by)

    def end_children(self) -> bool:
        """End the child processes that are left when the grace of a stop is over; what they had in hand is put back."""
        left = list(self.leashes)
        for end in left:
            end()
        return bool(left)


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

    __slots__ = (
        "attempt",
        "cut_off",
        "item",
        "leaving",
        "logs",
        "message_id",
        "outbox",
        "place",
        "session_id",
        "window",
    )

    def __init__(
        self,
        place: Place,
        logs: Logs,
        item: str,
        message_id: int | None = None,
        session_id: int | None = None,
        attempt: int = 0,
        window: Any = None,
        cut_off: bool = False,
        leaving: threading.Event | None = None,
    ) -> None:
        self.leaving = place.stopping if leaving is None else leaving
        self.place, self.logs, self.item = place, logs, item
        self.message_id, self.session_id, self.attempt, self.window = message_id, session_id, attempt, window
        self.outbox: list[Any] = []  # messages that become durable with the end of the attempt
        self.cut_off = (
            cut_off  # the attempt before died with its process: what it did elsewhere may have happened
        )


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


@dataclass(frozen=True)
class SendOptions:
    """What iop's send calls have no argument for."""

    idempotency_key: str | None = None


_NO_OPTIONS = SendOptions()
_options: ContextVar[SendOptions] = ContextVar("wattbus_send_options", default=_NO_OPTIONS)


def options() -> SendOptions:
    """Return the options of the sends that are made now."""
    return _options.get()


@contextlib.contextmanager
def send_options(*, idempotency_key: str | None = None) -> Iterator[None]:
    """Send what the block sends with these options: a message with a key that was used before is not sent again."""
    token = _options.set(SendOptions(idempotency_key))
    try:
        yield
    finally:
        _options.reset(token)


def leaving() -> threading.Event:
    """Return what is set when this thread's item is to stop: who takes long to start looks at it."""
    now = _current.get()
    return now.leaving if now is not None else threading.Event()


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


def on_cancel(callback: Callable[[str], object]) -> contextlib.AbstractContextManager[None]:
    """Let ``callback`` be called with who cancels the message in hand, while the block runs; nothing outside one."""
    now = _current.get()
    if now is None or now.message_id is None:
        return contextlib.nullcontext()
    return now.place.cancels.offered(now.message_id, callback)


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
