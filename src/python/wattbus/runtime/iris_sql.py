"""``iris.sql``: SQL of a component, run on the configured database of tables (``WATTBUS_TABLES_URL``).

The SQL is the component's own and goes to the database as it stands; two things of IRIS are translated: ``?`` is bound
in the way of the database's driver, and ``SELECT TOP n`` becomes ``LIMIT n``. Each statement is a transaction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

from sqlalchemy import Engine, NullPool, create_engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from wattbus.errors import BadRequest, BadSettings, NeedsIris
from wattbus.runtime import context

_BUSY_SECONDS = 30
_SHOWN_CHARACTERS = 200
_TOP = re.compile(r"(\s*SELECT\s+(?:DISTINCT\s+|ALL\s+)?)TOP\s+\(?\s*(\d+|\?)\s*\)?\s+", re.IGNORECASE)
_TOP_IS_ITS_OWN = ("mssql",)
#: A string, a quoted name, a comment, or a place for a value.
_PIECES = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|\?|%", re.DOTALL)


class ResultSet:
    """The rows of a statement: lists, in order; read once, as on IRIS, or by place."""

    def __init__(self, columns: Sequence[str], rows: list[list[Any]], rows_changed: int) -> None:
        self.columns, self.rows_changed = tuple(columns), rows_changed
        self._rows = rows
        self._left = iter(rows)

    def __iter__(self) -> Iterator[list[Any]]:
        return self

    def __next__(self) -> list[Any]:
        return next(self._left)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> list[Any]:
        return self._rows[place]

    def dataframe(self) -> NoReturn:
        raise NeedsIris(
            "iris.sql: dataframe() needs InterSystems IRIS: write pandas.DataFrame(list(rows), columns=rows.columns)."
        )


class Statement:
    """A statement that can be run again with other values."""

    def __init__(self, sql: str) -> None:
        self._sql = sql

    def execute(self, *values: Any) -> ResultSet:
        """Run it, each ``?`` bound to the value at its place."""
        return run(self._sql, values)


class Sql:
    """What a component finds as ``iris.sql``."""

    def exec(self, sql: str, *values: Any) -> ResultSet:
        """Run a statement, each ``?`` bound to the value at its place."""
        return run(sql, values)

    def prepare(self, sql: str) -> Statement:
        """Return the statement, to be run with ``execute``."""
        return Statement(sql)

    def __getattr__(self, name: str) -> NoReturn:
        raise NeedsIris(f"iris.sql.{name} needs InterSystems IRIS: here iris.sql has exec and prepare.")


class _Written(NamedTuple):
    sql: str
    values: tuple[Any, ...]


def run(sql: str, values: Sequence[Any] = ()) -> ResultSet:
    """Run one statement in a transaction of its own."""
    engine = tables_engine()
    written = _in_dialect(str(sql), tuple(values), engine.dialect.name, engine.dialect.paramstyle)
    try:
        with engine.begin() as connection:
            result = connection.exec_driver_sql(written.sql, written.values)
            if not result.returns_rows:
                return ResultSet((), [], max(0, result.rowcount))
            return ResultSet(tuple(result.keys()), [list(row) for row in result], 0)
    except (SQLAlchemyError, ModuleNotFoundError, TypeError) as error:
        cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        shown = " ".join(str(sql).split())
        shown = shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."
        raise BadRequest(
            f"iris.sql: the tables database cannot run {shown!r} with {len(values)} values: {cause}. Here iris.sql "
            f"runs on {engine.url.render_as_string(hide_password=True)} (WATTBUS_TABLES_URL), in its own SQL."
        ) from error


def tables_engine() -> Engine:
    """Return the engine on the tables database of the place that this thread runs in."""
    here = context.place()
    address = here.tables_url or f"sqlite:///{here.home.tables_file}"
    return here.resources.get(("iris.sql", address), lambda: _engine(address))


def _engine(address: str) -> Engine:
    try:
        url = make_url(address)
        if url.drivername in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
        # A place has no end at which a pool could be closed, so each statement opens the database anew.
        busy = {"timeout": _BUSY_SECONDS} if url.get_backend_name() == "sqlite" else {}
        return create_engine(url, poolclass=NullPool, connect_args=busy)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, TypeError) as error:
        raise BadSettings(
            f"the address of the tables database cannot be used ({error}): set WATTBUS_TABLES_URL to "
            "sqlite:////folder/tables.sqlite or postgresql+psycopg://user@host/database."
        ) from error


def _in_dialect(sql: str, values: tuple[Any, ...], dialect: str, paramstyle: str) -> _Written:
    """Write IRIS's ``?`` and ``TOP`` as the database's driver has them.

    >>> _in_dialect("SELECT TOP ? Name FROM T WHERE Age > ?", (3, 18), "sqlite", "qmark")
    _Written(sql='SELECT Name FROM T WHERE Age > ? LIMIT ?', values=(18, 3))
    >>> _in_dialect("SELECT '?' FROM T WHERE Name LIKE 'a%' AND Age = ?", (18,), "postgresql", "pyformat")
    _Written(sql="SELECT '?' FROM T WHERE Name LIKE 'a%%' AND Age = %s", values=(18,))
    """
    top = None if dialect in _TOP_IS_ITS_OWN else _TOP.match(sql)
    if top is not None:
        sql = f"{top[1]}{sql[top.end() :].rstrip().rstrip(';')} LIMIT {top[2]}"
        if top[2] == "?" and values:
            values = (*values[1:], values[0])
    if paramstyle == "qmark":
        return _Written(sql, values)
    places = iter(range(1, len(values) + len(sql)))

    def piece(found: re.Match[str]) -> str:
        if found[0] == "?":
            return "%s" if paramstyle in ("format", "pyformat") else f"${next(places)}"
        return found[0].replace("%", "%%") if paramstyle in ("format", "pyformat") else found[0]

    return _Written(_PIECES.sub(piece, sql), values)
