"""The rows of a CSV file, one at a time: whatever separates its cells, and however it came out of a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from wattbus.errors import BadRequest

_SEPARATORS = (",", ";", "\t")
_LONGEST_HEADER = 100_000


@dataclass(frozen=True)
class Row:
    """One row: where it is, its cells by column, and whether it has as many cells as there are columns."""

    number: int
    cells: dict[str, str]
    whole: bool


class CsvTable:
    """A CSV file that is read row by row. A file with semicolons is one with decimal commas."""

    def __init__(self, file: Path, called: str) -> None:
        self.file, self.called = file, called
        self._encoding = _encoding(file)
        with self._open() as lines:
            header = self._text(lambda: lines.readline(_LONGEST_HEADER))
        self.separator = max(_SEPARATORS, key=header.count)
        self.decimal = "," if self.separator == ";" else "."
        (cells,) = list(csv.reader([header.rstrip("\r\n")], delimiter=self.separator)) or [[]]
        self.columns = [cell.strip() for cell in cells]

    def rows(self) -> Iterator[Row]:
        """Yield the rows below the header; empty lines are left out. Raises BadRequest for what is no CSV."""
        with self._open() as lines:
            reader = csv.reader(lines, delimiter=self.separator)
            number = 0
            while True:
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    raise BadRequest(f"{self.called}, line {reader.line_num}: {error}.") from None
                except UnicodeDecodeError as error:
                    raise self._no_text(error) from None
                if cells is None:
                    return
                if reader.line_num == 1 or not any(cell.strip() for cell in cells):
                    continue
                number += 1
                yield Row(
                    number,
                    dict(zip(self.columns, cells, strict=False)),
                    len(cells) == len(self.columns),
                )

    def _open(self) -> TextIO:
        return self.file.open(newline="", encoding=self._encoding)

    def _text(self, read: object) -> str:
        try:
            return str(read())  # type: ignore[operator]
        except UnicodeDecodeError as error:
            raise self._no_text(error) from None

    def _no_text(self, error: UnicodeDecodeError) -> BadRequest:
        return BadRequest(
            f"{self.called} is no UTF-8 text: there is a byte 0x{error.object[error.start]:02X} in it. Save it as "
            "CSV UTF-8."
        )


def _encoding(file: Path) -> str:
    with file.open("rb") as raw:
        start = raw.read(2)
    return "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
