"""The rows of a query as they come: in parts of few, so that memory does not grow with their number."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

#: What these drivers give as it is; SQLAlchemy may change values of other types on their way.
_AS_IT_IS = (sa.String, sa.Integer)


def stream_rows(
    connection: sa.Connection, query: sa.Select[Any], rows_at_once: int
) -> Iterator[tuple[Any, ...]]:
    """Give the rows of ``query`` one by one; SQLAlchemyError where the database fails, also on the way."""
    give = _GIVERS.get(connection.dialect.driver) if _are_as_they_are(query) else None
    if give is None or not give.can(connection):
        streaming = connection.execution_options(stream_results=True, max_row_buffer=rows_at_once)
        for part in streaming.execute(query).partitions(rows_at_once):
            yield from map(tuple, part)
        return
    compiled = query.compile(dialect=connection.dialect)
    driver: Any = connection.connection.driver_connection
    try:
        yield from give.rows(driver, compiled, rows_at_once)
    except connection.dialect.loaded_dbapi.Error as error:
        raise sa.exc.DBAPIError(str(compiled), None, error) from error


def _are_as_they_are(query: sa.Select[Any]) -> bool:
    types = [column.type for column in query.selected_columns]
    return all(isinstance(one, _AS_IT_IS) and not isinstance(one, sa.Enum) for one in types)


class _Psycopg:
    """Rows as PostgreSQL finds them; a cursor would be asked again for each part."""

    @staticmethod
    def can(connection: sa.Connection) -> bool:
        return bool(connection.dialect.loaded_dbapi.capabilities.has_stream_chunked())

    @staticmethod
    def rows(driver: Any, compiled: Any, rows_at_once: int) -> Iterator[tuple[Any, ...]]:
        with driver.cursor() as cursor:
            yield from cursor.stream(str(compiled), compiled.params, size=rows_at_once)


class _Sqlite:
    """Rows as SQLite steps to them."""

    @staticmethod
    def can(_connection: sa.Connection) -> bool:
        return True

    @staticmethod
    def rows(driver: Any, compiled: Any, _rows_at_once: int) -> Iterator[tuple[Any, ...]]:
        with contextlib.closing(driver.cursor()) as cursor:
            yield from cursor.execute(str(compiled), [compiled.params[name] for name in compiled.positiontup])


_GIVERS: dict[str, type[_Psycopg] | type[_Sqlite]] = {"psycopg": _Psycopg, "pysqlite": _Sqlite}
