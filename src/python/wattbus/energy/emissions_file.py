"""The files that a tracker leaves: ``emissions.csv``, a row a run, and one file a run for its tasks."""

from __future__ import annotations

import csv
import io
import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wattbus.energy.emissions_data import TASK_COLUMNS, EmissionsData

logger = logging.getLogger("wattbus.codecarbon")

_writing = threading.Lock()


class EmissionsFile:
    """Writes where codecarbon would write: the same names, columns and backups."""

    def __init__(self, folder: str, name: str, on_csv_write: str) -> None:
        self.folder, self.on_csv_write = Path(folder), on_csv_write
        self.file = self.folder / name

    def out(self, total: EmissionsData, _delta: EmissionsData | None = None) -> None:
        """Add the row of a run, or replace it with ``update``; a file with other columns is put aside first."""
        row = total.values
        with _writing:
            header = _header(self.file)
            if header is not None and sorted(header) != sorted(row):
                aside = _put_aside(self.file)
                logger.warning(
                    "%s has other columns than this release writes, and was put aside as %s.",
                    self.file,
                    aside.name,
                )
                header = None
            if header is None:
                _replace(self.file, _lines(list(row), [row], with_header=True))
            elif self.on_csv_write == "update":
                self._update(header, row)
            else:
                with self.file.open("a", newline="", encoding="utf-8") as out:
                    out.write(_lines(header, [row], with_header=False))

    def task_out(self, tasks: Sequence[tuple[str, EmissionsData]], experiment_name: str) -> None:
        """Write the file of the tasks of a run anew."""
        if not tasks:
            return
        file = self.folder / f"emissions_{experiment_name}_{tasks[0][1].run_id}.csv"
        rows = [{"task_name": name, **data.values} for name, data in tasks]
        with _writing:
            _replace(file, _lines(TASK_COLUMNS, rows, with_header=True))

    def _update(self, header: list[str], row: Mapping[str, Any]) -> None:
        with self.file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        same = [one for one in rows if one.get("run_id") == row["run_id"]]
        if len(same) > 1:
            logger.warning(
                "%s has %d rows of run %s already: one more is added.", self.file, len(same), row["run_id"]
            )
        else:
            rows = [one for one in rows if one not in same]
        _replace(self.file, _lines(header, [*rows, row], with_header=True))


def _header(file: Path) -> list[str] | None:
    """Return the columns of a file; None when there is no file, or an empty one."""
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return next(csv.reader(lines), None)
    except FileNotFoundError:
        return None


def _put_aside(file: Path) -> Path:
    """Rename a file to a backup that is not there yet, as codecarbon names it."""
    aside, number = file.with_name(f"{file.name}.bak"), 0
    while aside.exists():
        aside, number = file.with_name(f"{file.name}.bak_{number}"), number + 1
    file.rename(aside)
    return aside


def _replace(file: Path, text: str) -> None:
    """Write a file whole: aside first, then in its place."""
    aside = file.with_name(f".{file.name}.{os.getpid()}.part")
    aside.write_text(text, encoding="utf-8", newline="")
    aside.replace(file)


def _lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, with_header: bool) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", extrasaction="ignore", lineterminator="\n")
    if with_header:
        writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
