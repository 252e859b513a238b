"""What a store keeps: how many messages, since when, and what they take on the disk; nothing is counted through."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, func, select, text

from wattbus.home import Home
from wattbus.store.tables import event_log, messages

_MOST_FILES = 100_000


@dataclass(frozen=True)
class Kept:
    """What is there. Counts are bounds, by the first and the last id; sizes in bytes, None where they are not known."""

    messages_at_most: int
    oldest_message_us: int | None
    event_lines_at_most: int
    store_bytes: int | None
    wal_bytes: int | None
    body_files: int
    body_bytes: int
    more_body_files: bool  # there are more files than were looked at


def kept(engine: Engine, home: Home) -> Kept:
    """Return what the store of a home keeps."""
    with engine.connect() as connection:
        first, last = connection.execute(
            select(
                select(func.min(messages.c.id)).scalar_subquery(),
                select(func.max(messages.c.id)).scalar_subquery(),
            )
        ).one()
        oldest = connection.execute(select(messages.c.time_created_us).where(messages.c.id == first)).scalar()
        first_line, last_line = connection.execute(
            select(
                select(func.min(event_log.c.id)).scalar_subquery(),
                select(func.max(event_log.c.id)).scalar_subquery(),
            )
        ).one()
        if engine.dialect.name == "sqlite":
            store_bytes = _size(home.store_file)
            wal_bytes = _size(home.store_file.with_name(home.store_file.name + "-wal"))
        else:
            store_bytes = connection.execute(text("SELECT pg_database_size(current_database())")).scalar()
            wal_bytes = None
    files, size, more = _folder(home.bodies)
    return Kept(
        _span(first, last), oldest, _span(first_line, last_line), store_bytes, wal_bytes, files, size, more
    )


def _span(first: int | None, last: int | None) -> int:
    return 0 if first is None or last is None else last - first + 1


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def _folder(folder: Path) -> tuple[int, int, bool]:
    """Return the number of files and their bytes, of no more files than can be looked at in a moment."""
    count = size = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if count == _MOST_FILES:
                    return count, size, True
                count, size = count + 1, size + entry.stat(follow_symlinks=False).st_size
    except OSError:  # the folder is not there yet, or a purge has just taken a file out
        pass
    return count, size, False
