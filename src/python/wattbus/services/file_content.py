"""The content of a dropped file as fields of messages: the whole file, its JSON objects, or its CSV rows."""

from __future__ import annotations

import base64
import codecs
import csv
import io
import json
import os
from datetime import datetime
from enum import StrEnum
from typing import Any

from wattbus.errors import BadRequest, BadSettings, UnknownName


class Format(StrEnum):
    """What one message is made of."""

    FILE = "file"
    JSON = "json"
    CSV = "csv"


#: UTF-8 where the bytes are that, else base64.
DEFAULT = "default"
BINARY = "binary"


def read_format(text: str) -> Format:
    """Return the format that a setting names."""
    known = {member.value: member for member in Format}
    if text.strip().lower() not in known:
        raise UnknownName("Format", text, known)
    return known[text.strip().lower()]


def read_charset(text: str, format: Format) -> str:
    """Return the character set that a setting names: a codec of Python, ``default`` or ``binary``."""
    name = text.strip().lower() or DEFAULT
    if name in (DEFAULT, BINARY):
        if name == BINARY and format is not Format.FILE:
            raise BadSettings(
                f"Charset is {text!r}, and Format {format.value} is text: name its character set."
            )
        return name
    try:
        codecs.lookup(name)
    except LookupError:
        raise BadSettings(
            f"Charset {text!r} is not known: use Default, Binary, UTF-8, Latin1 or another name that Python knows."
        ) from None
    return name


def shown_name(name: str) -> str:
    """Return a file's name as text: what is no UTF-8 in it is replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


def file_fields(name: str, data: bytes, modified: datetime, charset: str) -> dict[str, Any]:
    """Return the fields of a :class:`~wattbus.messages.FileRequest`."""
    fields: dict[str, Any] = {"name": shown_name(name), "size": len(data), "modified": modified.isoformat()}
    if charset == BINARY:
        return fields | {"base64": base64.b64encode(data).decode()}
    try:
        return fields | {"text": decoded(data, charset)}
    except BadRequest:
        if charset != DEFAULT:
            raise
        return fields | {"base64": base64.b64encode(data).decode()}


def decoded(data: bytes, charset: str) -> str:
    """Return the bytes as text; a mark of the byte order at its beginning is not part of it."""
    name = "utf-8" if charset == DEFAULT else charset
    try:
        return data.decode(name).removeprefix("\ufeff")
    except ValueError as error:
        raise BadRequest(
            f"its bytes are no {name} ({error}): set Charset to what it is written in, or to Binary"
        ) from None


def json_rows(text: str) -> list[dict[str, Any]]:
    """Return the objects of a JSON text: one, a list of them, or one a line."""
    try:
        found = _loaded(text)
    except ValueError as error:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) < 2:
            raise BadRequest(f"it is no JSON ({error})") from None
        found = [_line(number, line) for number, line in lines]
    rows = found if isinstance(found, list) else [found]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise BadRequest(f"its row {number} is a {type(row).__name__}: every row must be a JSON object")
    return rows


def csv_rows(text: str, delimiter: str) -> list[dict[str, Any]]:
    """Return the lines below the header of a CSV text, all of them whole."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(lines, [])
        if len(set(header)) != len(header) or not all(name.strip() for name in header):
            raise BadRequest(f"its header {','.join(header)[:200]!r} has an empty name or the same one twice")
        rows = []
        for cells in lines:
            if not cells:
                continue
            if len(cells) != len(header):
                raise BadRequest(
                    f"its line {lines.line_num} has {len(cells)} values, and the header {len(header)} names"
                )
            rows.append(dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise BadRequest(f"its line {lines.line_num} is no CSV ({error})") from None
    return rows


def _line(number: int, line: str) -> Any:
    try:
        return _loaded(line)
    except ValueError as error:
        raise BadRequest(f"its line {number} is no JSON ({error})") from None


def _loaded(text: str) -> Any:
    try:
        found = json.loads(text, parse_constant=_no_constant)
        # Half a character, which JSON can spell and nothing can store.
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise BadRequest("its JSON is nested too deeply") from None
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
