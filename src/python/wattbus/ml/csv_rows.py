"""A CSV file as typed rows: its header checked, each column integer, real or text by what all its values are."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from wattbus.errors import BadRequest

COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")
# no leading zero: 00123 is a code and stays text; 18 digits fit in 64 bits
WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})\Z")
REAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?\Z")


@dataclass(frozen=True)
class CsvColumn:
    """A column: its name and its kind, ``integer``, ``real`` or ``text``."""

    name: str
    kind: str

    def value(self, text: str) -> int | float | str | None:
        """Return the value that the text of a cell stands for; an empty cell is None."""
        if text == "":
            return None
        return int(text) if self.kind == "integer" else float(text) if self.kind == "real" else text


@dataclass(frozen=True)
class CsvRows:
    """The rows of a CSV file (UTF-8, comma, a header line); read twice, never held whole."""

    path: Path
    columns: tuple[CsvColumn, ...]

    @classmethod
    def inspect(cls, path: Path) -> CsvRows:
        """Read the file once: check the header and every line, find the kind of each column; BadRequest if it fails."""
        header, kinds, rows = [], [], 0
        for number, cells in _lines(path):
            if number == 1:
                header, kinds = _checked_header(path, cells), ["integer"] * len(cells)
                continue
            if len(cells) != len(header):
                raise BadRequest(
                    f"record {number} of {path} has {len(cells)} cells and the header {len(header)}: "
                    "quote texts that hold commas; nothing was loaded."
                )
            kinds = [_wider(kind, cell) for kind, cell in zip(kinds, cells, strict=True)]
            rows += 1
        if not rows:
            raise BadRequest(f"{path} has no rows below its header: nothing was loaded.")
        return cls(path, tuple(map(CsvColumn, header, kinds)))

    def batches(self, size: int) -> Iterator[list[dict[str, int | float | str | None]]]:
        """Stream the rows by name, ``size`` at a time."""
        lines = (cells for number, cells in _lines(self.path) if number > 1)
        rows = (
            {column.name: column.value(cell) for column, cell in zip(self.columns, cells, strict=True)}
            for cells in lines
        )
        while part := list(islice(rows, size)):
            yield part


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            filled = (cells for cells in csv.reader(file, strict=True) if cells)
            yield from enumerate(filled, start=1)
    except OSError as error:
        raise BadRequest(f"{path} cannot be read ({error.strerror}): name a CSV file.") from error
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8 CSV.") from error
    except csv.Error as error:
        raise BadRequest(f"{path} is not CSV ({error}): nothing was loaded.") from error


def _checked_header(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    for name in names:
        if not COLUMN_NAME.match(name):
            raise BadRequest(
                f"{path} names a column {name[:60]!r}, which is no identifier: use letters, digits and _ in "
                "the header."
            )
    twice = {name for name in names if [other.lower() for other in names].count(name.lower()) > 1}
    if twice:
        raise BadRequest(f"{path} names a column twice: {', '.join(sorted(twice))}.")
    return names


def _wider(kind: str, cell: str) -> str:
    """Return the narrowest kind that holds both ``kind`` and the cell."""
    if cell == "" or kind == "text":
        return kind
    if kind == "integer" and WHOLE.match(cell):
        return "integer"
    is_number = REAL.match(cell) and not re.match(r"-?0[0-9]", cell) and math.isfinite(float(cell))
    return "real" if is_number else "text"
