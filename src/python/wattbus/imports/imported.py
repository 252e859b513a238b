"""What a file of measured runs holds: the runs, and each part that could not be read with its reason."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from wattbus import words
from wattbus.energy.figures import RunFigures, Stage
from wattbus.errors import BadRequest, UnknownName

JOULES_PER_KWH = 3_600_000.0
LARGEST_BYTES = 100_000_000
MOST_RUNS = 10_000
LARGEST_FIGURE = 1e30
MOST_SKIPPED = 1_000
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Given:
    """What the user says about the runs, because many files do not: it wins over what the file says."""

    stage: Stage | None = None
    model: str | None = None
    task: str | None = None
    requests: int | None = None

    def over(self, figures: RunFigures) -> RunFigures:
        """Return the figures with what was said."""
        return replace(
            figures,
            stage=self.stage or figures.stage,
            model=self.model or figures.model,
            task=self.task or figures.task,
            requests=figures.requests if self.requests is None else self.requests,
        )


@dataclass(frozen=True)
class Skipped:
    """A part of a file that gives no run, and why."""

    where: str
    reason: str


@dataclass(frozen=True)
class FileRun:
    """One run of a file: by its row (or its place), and the id that the file gives it."""

    row: int
    run_id: str | None
    figures: RunFigures
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Imported:
    """What was found in one file."""

    file: str
    kind: str  # in words: "codecarbon emissions.csv"
    runs: list[FileRun] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def skip(self, where: str, reason: str) -> None:
        """Note a part that gives no run; a file that is mostly such parts is refused."""
        self.skipped.append(Skipped(where, reason))
        if len(self.skipped) > MOST_SKIPPED:
            first = self.skipped[0]
            raise BadRequest(
                f"{self.file} has more than {MOST_SKIPPED:,} rows that cannot be used; {first.where} {first.reason}."
            )

    def check_room(self) -> None:
        """Refuse a file with more runs than are read at once."""
        if len(self.runs) >= MOST_RUNS:
            raise BadRequest(
                f"{self.file} holds more than {MOST_RUNS:,} runs: keep the header and the rows that you want."
            )

    def chosen(self, which: str | None = None) -> FileRun:
        """Return the one run of the file, or the one of that run id or row; never a mean of several."""
        if not self.runs:
            reasons = "; ".join(f"{one.where}: {one.reason}" for one in self.skipped[:3])
            raise BadRequest(f"{self.file} holds no run that can be used{': ' + reasons if reasons else ''}.")
        if which is None:
            if len(self.runs) == 1:
                return self.runs[0]
            raise BadRequest(
                f"{self.file} holds {len(self.runs):,} runs: choose one by its run id or its row. {self._listed()}"
            )
        found = [run for run in self.runs if which in (run.run_id, str(run.row))]
        if not found:
            raise UnknownName("run", which, [run.run_id or str(run.row) for run in self.runs])
        if len(found) > 1:
            rows = ", ".join(str(run.row) for run in found)
            raise BadRequest(
                f"the run {which} has {len(found)} rows, each with what was used until then: choose a row of {rows}."
            )
        return found[0]

    def _listed(self) -> str:
        shown = [f"row {run.row}" + (f" ({run.run_id})" if run.run_id else "") for run in self.runs[:5]]
        return "There are " + ", ".join(shown) + (", ..." if len(self.runs) > 5 else ".")


class BadFigure(ValueError):
    """A figure of a file that is none; the text says why."""


def number(text: str | None, *, decimal: str = ".") -> float | None:
    """Return the number that a cell holds, None for an empty one; raises BadFigure for what is no finite number.

    >>> number("1.5e-3"), number(""), number("0,25", decimal=",")
    (0.0015, None, 0.25)
    """
    shown = (text or "").strip()
    if not shown:
        return None
    if shown[0] in "=@":
        raise BadFigure(f"{words.clean(shown, 40)!r} is a formula, and none is ever worked out")
    if decimal != ".":
        shown = shown.replace(decimal, ".")
    if shown.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        raise BadFigure(f"{shown} is no figure")
    if not _NUMBER.fullmatch(shown):
        raise BadFigure(f"{words.clean(shown, 40)!r} is no number")
    return finite(float(shown))


def finite(value: float) -> float:
    """Return a number that can be a figure; raises BadFigure for NaN, infinity and what no machine reaches."""
    if not math.isfinite(value):
        raise BadFigure(f"{value} is no figure")
    if abs(value) > LARGEST_FIGURE:
        raise BadFigure(f"{value:g} is too large for a figure")
    return value


def not_negative(value: float | None) -> float | None:
    """Return an amount; raises BadFigure where it is less than nothing."""
    if value is not None and value < 0:
        raise BadFigure(f"{value:g} is negative, and nothing gives energy back")
    return value


def moment_us(text: str) -> int:
    """Return a time of day as microseconds UTC; one without a zone is taken as UTC. Raises BadFigure.

    >>> moment_us("2024-09-30T09:09:40"), moment_us("2024-09-30 11:09:40+02:00")
    (1727687380000000, 1727687380000000)
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadFigure(f"{words.clean(text, 40)!r} is no date as in 2024-09-30T09:09:40") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)


def checked_file(path: Path, called: str) -> Path:
    """Return a file that can be read; raises BadRequest for what is none, is empty or is too long."""
    if not path.is_file():
        raise BadRequest(f"there is no file {called}: give the path of a file with measured runs.")
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise BadRequest(
            f"{called} is {words.size(size)} long, and files of up to {words.size(LARGEST_BYTES)} are read: keep "
            "the header and the rows that you want."
        )
    if not size:
        raise BadRequest(f"{called} is empty.")
    return path
