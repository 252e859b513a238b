"""The event log as files: JSON Lines, and CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from wattbus import words
from wattbus.store.queries import EventLine

#: What the columns of both forms are called, in their order.
COLUMNS = (
    "id", "time", "type", "item", "job", "message_id", "session_id", "source_class", "source_method", "text",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_ROWS_AT_ONCE = 200


def json_lines(lines: Iterable[EventLine]) -> Iterator[str]:
    """Yield each line as a JSON object, its time as ISO 8601."""
    for line in lines:
        yield json.dumps(_row(line), ensure_ascii=False) + "\n"


def csv_lines(lines: Iterable[EventLine]) -> Iterator[str]:
    """Yield the lines as CSV with a head, some hundred at a time."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for count, line in enumerate(lines, 1):
        writer.writerow([cell(value) for value in _row(line).values()])
        if count % _ROWS_AT_ONCE == 0:
            yield _taken(text)
    yield _taken(text)


def cell(value: object) -> str:
    """Return a cell that a spreadsheet shows and does not work out: what looks like a formula gets an apostrophe.

    >>> cell("=1+1"), cell("a=1"), cell(None), cell(-5)
    ("'=1+1", 'a=1', '', '-5')
    """
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _row(line: EventLine) -> dict[str, object]:
    values = {**asdict(line), "time": words.utc_time(line.time_us)}
    return {name: values[name] for name in COLUMNS}


def _taken(text: io.StringIO) -> str:
    taken = text.getvalue()
    text.seek(0)
    text.truncate()
    return taken
