"""The errors wattbus raises: each message says what was wrong, with which value, and what to do next.

WattbusError
├── BadRequest            what the caller sent cannot be understood or is not allowed
│   ├── UnknownName       a name that is not there; carries the nearest right one
│   ├── Refused           understood, and not allowed (an address, a path, an option)
│   └── UsedKey           another message came with this idempotency key before
├── BadSettings           a production, an item or a setting cannot be used as it stands
│   └── NeedsIris         a class, method or global that only InterSystems IRIS has
├── StoreError            the store cannot accept or give back a message
│   ├── AlreadyRunning    another process holds this store
│   ├── StoreBusy         it does not answer now: locked by another process, or the database is away
│   ├── StoreFull         its disk is full; it goes on once there is room again
│   └── StoreFailed       its disk or its file failed: nothing more is stored until a new start
├── QueueFull             an item has as many messages waiting as it allows; carries when to ask again
├── NotRunning            a door needs a running production and there is none
├── RequestFailed         a request ended as Error; carries the error status of the item
│   ├── RequestTimeout    no response within the time given
│   └── Cancelled         somebody cancelled it while it was in hand
└── ModelError            a model cannot be fetched, verified, loaded, trained or published
    ├── ModelNotCached    the model is not here and cannot be fetched now
    ├── ModelCorrupt      the files differ from their manifest
    ├── TrainingFailed    the training ended without a usable model
    │   └── TrainingKilled    its process was killed; what it had saved is there, and it can go on
    └── OptimisingFailed  the optimisation ended without an answer
        └── OptimisingKilled  its process was killed; the next attempt begins anew
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable


class WattbusError(Exception):
    """Base of every error that wattbus raises on purpose; its text is meant for the user."""


class BadRequest(WattbusError):
    """What the caller sent cannot be understood or is not allowed."""


class UnknownName(BadRequest):
    """A name that does not exist, with the nearest name that does."""

    def __init__(self, kind: str, name: object, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        super().__init__(unknown_name_sentence(kind, name, names, hint))
        self.kind, self.name, self.known = kind, name, names


class Refused(BadRequest):
    """Understood, and not allowed: an address, a path, an option."""


class UsedKey(BadRequest):
    """Another message came with this idempotency key before."""


class BadSettings(WattbusError):
    """A production, an item or a setting cannot be used as it stands."""


class NeedsIris(BadSettings, AttributeError):
    """A class, method or global that only InterSystems IRIS has.

    It is an ``AttributeError`` too: ``hasattr(iris, name)``, and what looks through ``sys.modules``, get a plain no.
    So most are never read, and the sentence may be given as a function that makes it.
    """

    def __init__(self, sentence: str | Callable[[], str]) -> None:
        super().__init__(sentence)

    def __str__(self) -> str:
        sentence = self.args[0]
        return sentence if isinstance(sentence, str) else str(sentence())


class StoreError(WattbusError):
    """The store cannot accept or give back a message."""


class AlreadyRunning(StoreError):
    """Another process holds this store."""


class StoreBusy(StoreError):
    """The store does not answer now: another process holds it locked, or the database is away. Ask again."""

    retry_after_seconds = 5.0


class StoreFull(StoreError):
    """The disk of the store is full; what runs may still end, and what is new is taken once there is room."""

    retry_after_seconds = 60.0


class StoreFailed(StoreError):
    """The disk or the file of the store failed: this process stores nothing more, a new one recovers."""


class QueueFull(WattbusError):
    """An item has as many messages waiting as its QueueLimit allows; nothing was accepted."""

    retry_after_seconds = 1.0

    def __init__(self, item: str, limit: int) -> None:
        super().__init__(
            f"item {item!r} has {limit:,} messages waiting, and its QueueLimit is {limit:,}: the message was not "
            f"accepted. Send it again in {self.retry_after_seconds:g} s, or raise QueueLimit or PoolSize."
        )


class NotRunning(WattbusError):
    """The door needs a running production and there is none."""


class RequestFailed(WattbusError):
    """A request ended as Error; the text is the error status that the item left."""

    #: The message that was accepted; a request from outside begins a session, which has the same id.
    message_id: int | None = None

    def about(self, message_id: int) -> RequestFailed:
        """Name the message, and return the error to raise."""
        self.message_id = message_id or None
        return self


class RequestTimeout(RequestFailed):
    """No response came within the time given; the request itself stays in the store."""


class Cancelled(RequestFailed):
    """Somebody cancelled the request while it was in hand; it is not tried again."""


class ModelError(WattbusError):
    """A model cannot be fetched, verified, loaded, trained or published."""


class ModelNotCached(ModelError):
    """The model is not in the store and cannot be fetched now."""


class ModelCorrupt(ModelError):
    """The files of a version differ from its manifest."""


class TrainingFailed(ModelError):
    """The training ended without a usable model."""


class TrainingKilled(TrainingFailed):
    """The process of the training was killed; what it had saved is there, and it can go on."""


class OptimisingFailed(ModelError):
    """The optimisation ended without an answer; no version was made."""


class OptimisingKilled(OptimisingFailed):
    """The process of the optimisation was killed; the next attempt begins anew."""


def nearest(name: object, known: Iterable[str]) -> str | None:
    """Return the known name closest to ``name``, or None when none is close."""
    folded = {candidate.casefold(): candidate for candidate in known}
    matches = difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def unknown_name_sentence(kind: str, name: object, known: Iterable[str], hint: str = "") -> str:
    """Say that ``name`` is unknown, the nearest right name, and what there is.

    >>> unknown_name_sentence("field", "inptus", ["inputs", "url"])
    "unknown field 'inptus': did you mean 'inputs'? Known: inputs, url."
    """
    names = list(known)
    close = nearest(name, names)
    sentence = f"unknown {kind} {str(name)!r}"
    sentence += f": did you mean {close!r}?" if close else "."
    if names:
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        sentence += f" Known: {shown}."
    return f"{sentence} {hint}".rstrip()
