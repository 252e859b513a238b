"""Messages as a file: CSV or JSON Lines, header and body, made piece by piece in constant memory.

A spreadsheet runs a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return as a formula. In CSV
such a text gets an apostrophe in front, as OWASP advises; JSON Lines has every text as it is.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Row, select

from wattbus import words
from wattbus.store.filters import MessageFilter
from wattbus.store.listing import message_ids
from wattbus.store.tables import bodies, messages

CHUNK = 200
#: Bodies are read together up to so many bytes.
_TOGETHER_BYTES = 4_000_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TIMES = ("time_created_us", "time_processed_us")
_HEADER = tuple(column.name for column in messages.columns if column.name != "body_id")
#: The columns of the file: the header, times also in ISO 8601, the body last.
COLUMNS = (*_HEADER, "time_created", "time_processed", "body")


def csv_lines(engine: Engine, folder: Path, which: MessageFilter) -> Iterator[str]:
    """Yield the messages of a filter as CSV, the newest first, after a line with the names of the columns."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for values in _values(engine, folder, which):
        writer.writerow([guarded(values[name]) for name in COLUMNS])
        if buffer.tell() > 64_000:
            yield _taken(buffer)
    yield _taken(buffer)


def json_lines(engine: Engine, folder: Path, which: MessageFilter) -> Iterator[str]:
    """Yield the messages of a filter as JSON objects, one a line, the newest first; the body is JSON inside."""
    for values in _values(engine, folder, which):
        body = values["body"]
        yield (
            json.dumps({**values, "body": None if body is None else _parsed(body)}, ensure_ascii=False) + "\n"
        )


def guarded(value: Any) -> Any:
    r"""Return a cell that no spreadsheet takes for a formula.

    >>> [guarded(value) for value in ("=1+1", "text", -1, None, "\t@x")]
    ["'=1+1", 'text', -1, '', "'\t@x"]
    """
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _values(engine: Engine, folder: Path, which: MessageFilter) -> Iterator[dict[str, Any]]:
    for ids in message_ids(engine, which, chunk=CHUNK):
        for rows in _together(_rows(engine, ids)):
            texts = _texts(engine, [row for row in rows if row.in_line])
            for row in rows:
                values = {name: getattr(row, name) for name in _HEADER}
                for name in _TIMES:
                    at = values[name]
                    values[name.removesuffix("_us")] = None if at is None else words.utc_time(at)
                values["body"] = texts.get(row.body_id) if row.in_line else _file(folder, row)
                yield values


def _rows(engine: Engine, ids: Sequence[int]) -> list[Row[Any]]:
    query = (
        select(messages, bodies.c.sha256, bodies.c.size_bytes, bodies.c.json.is_not(None).label("in_line"))
        .select_from(messages.outerjoin(bodies, bodies.c.id == messages.c.body_id))
        .where(messages.c.id.in_(ids))
        .order_by(messages.c.id.desc())
    )
    with engine.connect() as connection:
        return list(connection.execute(query))


def _together(rows: list[Row[Any]]) -> Iterator[list[Row[Any]]]:
    """Yield rows whose bodies may be in memory at the same time."""
    group: list[Row[Any]] = []
    size = 0
    for row in rows:
        if group and size + (row.size_bytes or 0) > _TOGETHER_BYTES:
            yield group
            group, size = [], 0
        group.append(row)
        size += row.size_bytes or 0
    if group:
        yield group


def _texts(engine: Engine, rows: Sequence[Row[Any]]) -> dict[int, str]:
    query = select(bodies.c.id, bodies.c.json).where(bodies.c.id.in_({row.body_id for row in rows}))
    with engine.connect() as connection:
        return {body_id: text for body_id, text in connection.execute(query)}


def _file(folder: Path, row: Row[Any]) -> str | None:
    return None if row.sha256 is None else (folder / row.sha256).read_text(encoding="utf-8")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=str)  # NaN is no JSON
    except (ValueError, RecursionError):
        return text


def _taken(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
