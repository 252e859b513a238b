"""The errors wattbus raises: each message says what was wrong, with which value, and what to do next.

WattbusError
├── BadRequest            what the caller sent cannot be understood or is not allowed
│   ├── UnknownName       a name that is not there; carries the nearest right one
│   └── Refused           understood, and not allowed (an address, a path, an option)
├── BadSettings           a production, an item or a setting cannot be used as it stands
├── StoreError            the store cannot accept or give back a message
│   └── AlreadyRunning    another process holds this store
├── NotRunning            a door needs a running production and there is none
├── RequestFailed         a request ended as Error; carries the error status of the item
│   └── RequestTimeout    no response within the time given
└── ModelError            a model cannot be fetched, verified, loaded, trained or published
    ├── ModelNotCached    the model is not here and cannot be fetched now
    ├── ModelCorrupt      the files differ from their manifest
    └── TrainingFailed    the training ended without a usable model
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


class BadSettings(WattbusError):
    """A production, an item or a setting cannot be used as it stands."""


class StoreError(WattbusError):
    """The store cannot accept or give back a message."""


class AlreadyRunning(StoreError):
    """Another process holds this store."""


class NotRunning(WattbusError):
    """The door needs a running production and there is none."""


class RequestFailed(WattbusError):
    """A request ended as Error; the text is the error status that the item left."""


class RequestTimeout(RequestFailed):
    """No response came within the time given; the request itself stays in the store."""


class ModelError(WattbusError):
    """A model cannot be fetched, verified, loaded, trained or published."""


class ModelNotCached(ModelError):
    """The model is not in the store and cannot be fetched now."""


class ModelCorrupt(ModelError):
    """The files of a version differ from its manifest."""


class TrainingFailed(ModelError):
    """The training ended without a usable model."""


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
