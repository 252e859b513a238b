"""Retry: what becomes of a message whose attempt failed, as ``ReplyCodeActions`` and the time-outs of its item say.

Pure: no store, no clock, no thread. The text is IRIS's (``Ens.BusinessOperation``): entries ``<code>=<actions>`` with
commas between them, several codes before one ``=`` with or without brackets: ``E#6301,E*timed out=RF,X=W,E=S``.

Every matching entry whose action is ``W`` alone warns; of the others the first that matches, from left to right,
decides. An attempt that only warned counts as completed. What no entry matches fails at once, as without the setting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from wattbus.errors import BadSettings

#: IRIS's defaults of RetryInterval and FailureTimeout.
RETRY_INTERVAL_SECONDS = 5.0
FAILURE_TIMEOUT_SECONDS = 15.0
#: A FailureTimeout that never comes.
NEVER = -1.0
#: The code under which IRIS knows every Python exception (``IOP.Common``, DisplayTraceback).
GENERAL_ERROR = "<Ens>ErrGeneral"


class Action(StrEnum):
    """What to do with a message; the letters are IRIS's."""

    COMPLETE = "C"
    WARN = "W"
    RETRY = "R"
    SUSPEND = "S"
    DISABLE = "D"  # the item, and put the message back in front of its queue
    FAIL = "F"


_ENDS = frozenset({Action.COMPLETE, Action.SUSPEND, Action.DISABLE, Action.FAIL})
_MEANINGS = "C complete, W warn, R retry, S suspend, D disable, F fail"
# A status as IRIS writes it, or the number of an operating system's error as Python writes it.
_NUMBERED = re.compile(r"ERROR #(\d+)|ERROR (<\w+>\w+)|\[Errno (-?\d+)\]")


@dataclass(frozen=True)
class Entry:
    """One code with its actions."""

    code: str  # E, E#number, E*text, X
    actions: frozenset[Action]

    def matches(self, error_status: str | None, replied: bool) -> bool:
        """Tell whether the entry speaks of such an end of an attempt."""
        if self.code == "X":
            return error_status is None and not replied
        if error_status is None:
            return False
        if self.code.startswith("E#"):
            return self.code[2:].casefold() in {number.casefold() for number in numbers_of(error_status)}
        # Case does not count: Python writes TimeoutError where IRIS writes timeout.
        return self.code == "E" or self.code[2:].casefold() in error_status.casefold()

    @property
    def end(self) -> Action | None:
        """Return how the message ends when it is not tried again, or None where the entry does not say."""
        return next(iter(self.actions & _ENDS), None)

    @property
    def only_warns(self) -> bool:
        return self.actions == {Action.WARN}


@dataclass(frozen=True)
class ReplyCodeActions:
    """The entries of an item, in their order."""

    entries: tuple[Entry, ...] = ()
    #: Codes that read a field of an HL7 or X12 reply: no message of iop has one, so they never match here.
    never_match: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ReplyCodeActions:
        """Read the setting; raise :class:`BadSettings` that says where it is wrong.

        >>> read = ReplyCodeActions.parse("(E#1,E*late)=RF,X=W")
        >>> [(entry.code, "".join(sorted(entry.actions))) for entry in read.entries]
        [('E#1', 'FR'), ('E*late', 'FR'), ('X', 'W')]
        """
        entries: list[Entry] = []
        unread: list[str] = []
        waiting: list[str] = []
        start = 0
        for piece in text.split(","):
            place, start = start, start + len(piece) + 1
            if not piece.strip():
                if text.strip():
                    raise _bad(text, place, "there is nothing between two commas: take one out")
                continue
            code, is_last, letters = piece.rpartition("=")
            code = _code(text, place, code if is_last else letters)
            waiting.append(code)
            if not is_last:
                continue
            actions = _actions(text, place + len(piece) - len(letters), letters)
            entries += [Entry(code, actions) for code in waiting if not _reads_a_reply(code)]
            unread += [code for code in waiting if _reads_a_reply(code)]
            waiting = []
        if waiting:
            raise _bad(text, text.rfind(waiting[-1]), f"{waiting[-1]!r} has no action: write {waiting[-1]}=F")
        return cls(tuple(entries), tuple(unread))


@dataclass(frozen=True)
class Limits:
    """How often and for how long an item tries again."""

    retry_interval_seconds: float = RETRY_INTERVAL_SECONDS
    failure_timeout_seconds: float = FAILURE_TIMEOUT_SECONDS

    def exceeded(self, elapsed_seconds: float) -> bool:
        """Tell whether the time for another attempt is over."""
        return 0 <= self.failure_timeout_seconds <= elapsed_seconds


@dataclass(frozen=True)
class Asked:
    """What the component itself asked for: ``self.iris_handle.Retry = 1`` and ``SuspendMessage = 1``."""

    retry: bool = False
    suspend: bool = False


_NOTHING = Asked()


@dataclass(frozen=True)
class Decision:
    """What to do with the message now."""

    action: Action  # COMPLETE, RETRY, SUSPEND, DISABLE, FAIL
    error_status: str | None = None
    wait_seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def decide(
    actions: ReplyCodeActions,
    limits: Limits,
    *,
    error_status: str | None,
    replied: bool,
    attempt: int,
    elapsed_seconds: float,
    asked: Asked = _NOTHING,
) -> Decision:
    """Decide what becomes of a message after an attempt; ``elapsed_seconds`` counts from its first attempt.

    IRIS discards a message whose FailureTimeout is over; here it ends as Error or Suspended, where people see it.
    """
    matching = [entry for entry in actions.entries if entry.matches(error_status, replied)]
    deciding = next((entry for entry in matching if not entry.only_warns), None)
    said = error_status or ("the component asked for it" if asked.retry or asked.suspend else "no reply")
    warnings = tuple(
        f"{said} (ReplyCodeActions {entry.code}={'W' if entry.only_warns else _letters(entry.actions)})"
        for entry in matching
        if entry.only_warns or (entry is deciding and Action.WARN in entry.actions)
    )
    wanted, end = _wanted(deciding, asked)
    if wanted is None:
        fails = error_status is not None and not warnings
        return Decision(
            Action.FAIL if fails else Action.COMPLETE, error_status if fails else None, 0.0, warnings
        )
    if wanted is not Action.RETRY:
        return _ended(wanted, said, warnings)
    if not limits.exceeded(elapsed_seconds):
        return Decision(Action.RETRY, said, max(0.0, limits.retry_interval_seconds), warnings)
    tried = f"{attempt} attempt{'' if attempt == 1 else 's'}"
    over = (
        f"FailureTimeout of {limits.failure_timeout_seconds:g} s exceeded after {tried}; the last one: {said}"
    )
    return _ended(end or Action.FAIL, over, warnings)


def numbers_of(error_status: str) -> set[str]:
    """Return the error numbers that a status names; an error without one is IRIS's general error.

    >>> numbers_of("ERROR #5001: no"), numbers_of("OSError: [Errno 111] refused"), numbers_of("ValueError: 7")
    ({'5001'}, {'111'}, {'<Ens>ErrGeneral'})
    """
    found = {number for match in _NUMBERED.finditer(error_status) for number in match.groups() if number}
    return found or {GENERAL_ERROR}


def _wanted(deciding: Entry | None, asked: Asked) -> tuple[Action | None, Action | None]:
    """Return what to do now and, of a retry, what to do when the time for it is over."""
    end = Action.SUSPEND if asked.suspend else deciding.end if deciding is not None else None
    if asked.retry or (deciding is not None and Action.RETRY in deciding.actions):
        return Action.RETRY, end
    return end, None


def _ended(action: Action, said: str, warnings: tuple[str, ...]) -> Decision:
    return Decision(action, None if action is Action.COMPLETE else said, 0.0, warnings)


def _code(text: str, place: int, written: str) -> str:
    code = written.strip().removeprefix("(").removesuffix(")").strip()
    if code in ("E", "X") or _reads_a_reply(code):
        return code
    if code[:2] in ("E#", "E*") and len(code) > 2:
        return code
    cure = "use E, E#number, E*text or X; a comma always ends a code, so an E*text cannot hold one"
    raise _bad(text, place, f"{code!r} is no code: {cure}")


def _reads_a_reply(code: str) -> bool:
    return code.startswith(":") or code in ("_", "~", "*", "I?", "T?", "?A", "?E", "?R")


def _actions(text: str, place: int, written: str) -> frozenset[Action]:
    letters = written.strip().upper()
    if not letters:
        raise _bad(text, place, f"an action is missing: use {_MEANINGS}")
    for offset, letter in enumerate(letters):
        if letter not in list(Action):
            raise _bad(text, place + offset, f"{letter!r} is no action: use {_MEANINGS}")
    actions = frozenset(Action(letter) for letter in letters)
    if len(actions & _ENDS) > 1:
        ends = " and ".join(sorted(actions & _ENDS))
        raise _bad(text, place, f"{letters!r} ends a message in two ways, {ends}: keep one of them")
    return actions


def _letters(actions: frozenset[Action]) -> str:
    return "".join(action.value for action in Action if action in actions)


def _bad(text: str, place: int, what: str) -> BadSettings:
    return BadSettings(f"ReplyCodeActions {text!r}, character {place + 1}: {what}.")
