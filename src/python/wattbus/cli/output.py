"""How the command speaks: tables for people, JSON for programs, one sentence for an error."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wattbus import words
from wattbus.config import Config, read_config
from wattbus.errors import NotRunning
from wattbus.home import Home

if TYPE_CHECKING:
    from sqlalchemy import Engine

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def say(text: str = "") -> None:
    """Print a line; what came from a message cannot move the cursor or forge a line."""
    sys.stdout.write(words.clean(text) + "\n")


def say_json(value: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Return ``value`` as JSON-safe data: dataclasses and named tuples as objects, paths as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain(item) for name, item in dataclasses.asdict(value).items()}
    if hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def say_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Print rows under their columns, or a sentence where there are none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numeric = column.startswith("#")
        table.add_column(column.removeprefix("#"), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(words.clean("" if cell is None else str(cell))) for cell in row))
    if table.row_count:
        Console(highlight=False, width=None if sys.stdout.isatty() else 140).print(table)
    else:
        say(empty)


def configured() -> Config:
    """Return the configuration of this command."""
    return read_config()


def home() -> Home:
    """Return the home of this command."""
    return Home.find(configured().home)


def reading() -> Engine:
    """Return the store, open for reading; a sentence where there is none yet."""
    # Only who looks into the store pays for SQLAlchemy: a start is two processes more that do not.
    from wattbus.store.database import open_engine

    config = configured()
    return open_engine(Home.find(config.home), config.store_url, read_only=True)


@contextlib.contextmanager
def store_if_there() -> Iterator[Engine | None]:
    """Open the store for reading; None where there is none yet."""
    try:
        engine = reading()
    except NotRunning:
        yield None
        return
    try:
        yield engine
    finally:
        engine.dispose()
