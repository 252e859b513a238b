"""The working folders of optimisations in ``runs/``: whose they are, and which of them nobody comes back to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

_OF_MESSAGE, _BY_HAND = "optimise-", "optimise-by-hand-"


def of_message(runs: Path, message_id: int) -> Path:
    """Return where the optimisation that a message asks for works; the next attempt of the message works there too."""
    return runs / f"{_OF_MESSAGE}{message_id}"


def by_hand(runs: Path) -> Path:
    """Return where an optimisation works that this process does without a message."""
    return runs / f"{_BY_HAND}{os.getpid()}"


def left_of_messages(runs: Path, goes_on: Callable[[int], bool]) -> Iterator[Path]:
    """Yield the folders of messages that do not go on: they have ended, or are gone."""
    for folder in sorted(runs.glob(f"{_OF_MESSAGE}*")):
        number = folder.name.removeprefix(_OF_MESSAGE)
        if number.isdecimal() and len(number) < 19 and not goes_on(int(number)):
            yield folder


def left_by_hand(runs: Path) -> Iterator[Path]:
    """Yield the folders of processes that have ended without removing them: they were killed."""
    for folder in sorted(runs.glob(f"{_BY_HAND}*")):
        number = folder.name.removeprefix(_BY_HAND)
        if number.isdecimal() and len(number) < 10 and not _lives(int(number)):
            yield folder


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
