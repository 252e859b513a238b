"""The position of a poll: the last key of a table that was sent, and the keys below it that were not there yet.

It is a small file in the home, written durably after the messages of a batch are safe in the store. A crash in between
makes the next start read that batch again, and the keys of its messages keep them from being sent twice: so the
position need not commit with the sends, and a service needs no access to the store.

A database gives out numbers before their rows can be seen: 6 may be committed before 5. Gaps between whole numbers are
therefore remembered, and looked for until so many later ones have come that nobody is still writing them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from wattbus.errors import BadSettings
from wattbus.home import make_owner_folder, write_durably

#: Gaps that are remembered, the newest; also the number of places that one jump of the key leaves.
MOST_GAPS = 500


@dataclass(frozen=True)
class Position:
    """How far a poll is; ``last`` is None before the first row."""

    last: Any = None
    gaps: tuple[int, ...] = ()

    def after(self, keys: Sequence[Any]) -> Position:
        """Return the position once the rows with these keys, in their order, are sent.

        >>> Position(3).after([5, 7])
        Position(last=7, gaps=(4, 6))
        >>> Position(7, (4, 6)).after([4, 8])
        Position(last=8, gaps=(6,))
        """
        gaps, last = [gap for gap in self.gaps if gap not in set(keys)], self.last
        for key in keys:
            if last is not None and not key > last:
                continue
            if isinstance(key, int) and isinstance(last, int):
                gaps += range(max(last + 1, key - MOST_GAPS), key)
            last = key
        return Position(last, tuple(gaps[-MOST_GAPS:]))


class PositionFile:
    """The file that keeps a position, and what table it is of."""

    def __init__(self, folder: Path, item: str, source: str) -> None:
        readable = re.sub(r"[^A-Za-z0-9._-]", "_", item)[:80]
        self.path = folder / f"{readable}-{hashlib.sha256(item.encode()).hexdigest()[:8]}.json"
        self._item, self._source = item, source

    def read(self, key_type: type) -> Position | None:
        """Return what the file holds; None: nothing was read yet. A file of another table is refused."""
        try:
            found = json.loads(self.path.read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise BadSettings(
                f"{self.path}, the position of {self._item!r}, is damaged ({error}): remove it, and the table is read "
                "anew from its start; what was sent already is not sent again."
            ) from None
        if found["source"] != self._source:
            raise BadSettings(
                f"{self.path}, the position of {self._item!r}, is of {found['source']} and not of {self._source}: "
                "name the item anew, or remove the file to read the table from its start."
            )
        return Position(_read_key(found["last"], key_type), tuple(found["gaps"]))

    def write(self, position: Position) -> None:
        """Replace what the file holds, durably."""
        make_owner_folder(self.path.parent)
        held = {"source": self._source, "last": plain(position.last), "gaps": position.gaps}
        write_durably(self.path, json.dumps(held).encode())


def moved(position: Position, last: Any) -> Position:
    """Return the position at another key, without gaps."""
    return replace(position, last=last, gaps=())


def plain(value: Any) -> Any:
    """Return a value of a database as JSON has it: what JSON does not know is text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(part) for part in value]
    return str(value)


_READERS: dict[type, Any] = {
    int: int, float: float, str: str, datetime: datetime.fromisoformat, date: date.fromisoformat, Decimal: Decimal,
    UUID: UUID,
}  # fmt: skip


def can_be_key(key_type: type) -> bool:
    """Tell whether values of this type can be put in order and written down."""
    return key_type in _READERS


def _read_key(value: Any, key_type: type) -> Any:
    return None if value is None else _READERS[key_type](value)
