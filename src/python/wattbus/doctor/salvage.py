"""Salvage: what can still be read of a damaged store, written to a file; the store itself is not touched.

A copy is read, row by row where whole stretches cannot be: a damaged page costs the rows on it and no others.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.errors import BadRequest, NotRunning
from wattbus.home import Home
from wattbus.store.tables import messages

_ROWS_AT_ONCE = 256
# Each stretch that cannot be read is halved until single rows are left; a file that is all noise is given up.
_MOST_FAILURES = 20_000


@dataclass(frozen=True)
class Salvaged:
    """What came out of a damaged store."""

    file: Path
    messages: int
    without_body: int  # a body was there once, and cannot be read
    unreadable: int  # stretches of ids, of one or more messages
    reason: str | None  # why nothing at all could be read

    def __str__(self) -> str:
        if self.reason is not None:
            return f"nothing can be read ({self.reason}): only a backup helps."
        said = f"{self.messages:,} messages written to {self.file}"
        if self.without_body:
            said += f", {self.without_body:,} of them without their body"
        return said + (f"; {self.unreadable:,} places could not be read" if self.unreadable else "")


def salvage(home: Home, file: Path) -> Salvaged:
    """Write every message that can be read to ``file``, one JSON object a line with header and body."""
    if not home.store_file.exists():
        raise NotRunning(f"there is no store in {home.root}: nothing can be salvaged.")
    if file.exists():
        raise BadRequest(f"{file} is there already: name a new file.")
    with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".salvage-") as folder:
        for part in (home.store_file, home.store_file.with_name(f"{home.store_file.name}-wal")):
            if part.exists():
                shutil.copyfile(part, Path(folder) / part.name)
        with contextlib.closing(sqlite3.connect(Path(folder) / home.store_file.name)) as connection:
            return _Reader(connection, home).write(file)


class _Reader:
    """Reads the rows of one damaged file."""

    def __init__(self, connection: sqlite3.Connection, home: Home) -> None:
        self._connection, self._home = connection, home
        self._columns = messages.c.keys()
        self._failures = 0

    def write(self, file: Path) -> Salvaged:
        count = without_body = unreadable = 0
        try:
            newest = self._newest_id()
        except sqlite3.Error as error:
            return Salvaged(file, 0, 0, 0, str(error))
        with file.open("x", encoding="utf-8") as out:
            for row in self._rows(1, newest):
                if row is None:
                    unreadable += 1
                    continue
                body, whole = self._body(row["body_id"])
                without_body += not whole
                out.write(json.dumps({**row, "body": body}, ensure_ascii=True) + "\n")
                count += 1
        return Salvaged(file, count, without_body, unreadable, None)

    def _newest_id(self) -> int:
        # The last page may be the damaged one: then far more ids are asked for than there are, which costs little.
        self._connection.execute("SELECT 1 FROM messages LIMIT 0")
        with contextlib.suppress(sqlite3.Error):
            return int(self._connection.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()[0])
        return 1 << 40

    def _rows(self, first: int, last: int) -> Iterator[dict[str, Any] | None]:
        """Yield the rows with these ids in their order; None for a stretch that cannot be read."""
        names = ", ".join(self._columns)
        query = f"SELECT {names} FROM messages NOT INDEXED WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"  # noqa: S608 - our own names
        while first <= last:
            try:
                found = self._connection.execute(query, (first, last, _ROWS_AT_ONCE)).fetchall()
            except (sqlite3.Error, UnicodeDecodeError):
                self._failures += 1
                if first == last or self._failures > _MOST_FAILURES:
                    yield None
                    return
                middle = (first + last) // 2
                yield from self._rows(first, middle)
                first = middle + 1
                continue
            yield from (dict(zip(self._columns, row, strict=True)) for row in found)
            if len(found) < _ROWS_AT_ONCE:
                return
            first = int(found[-1][0]) + 1

    def _body(self, body_id: int | None) -> tuple[Any, bool]:
        """Return a body as JSON, and whether it is what it was."""
        if body_id is None:
            return None, True
        try:
            query = "SELECT json, sha256 FROM bodies NOT INDEXED WHERE id = ?"
            row = self._connection.execute(query, (body_id,)).fetchone()
            if row is None:
                return None, False
            text = row[0] if row[0] is not None else (self._home.bodies / row[1]).read_text()
            return json.loads(text), True
        except (sqlite3.Error, UnicodeError, OSError, ValueError):
            return None, False
