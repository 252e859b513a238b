"""The rows of a query as they come: in parts of few, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

#: What psycopg gives as it is; SQLAlchemy may change values of other types on their way.
_AS_IT_IS = (sa.String, sa.Integer)


def stream_rows(
    connection: sa.Connection, query: sa.Select[Any], rows_at_once: int
) -> Iterator[tuple[Any, ...]]:
    """Give the rows of ``query`` one by one; SQLAlchemyError where the database fails, also on the way."""
    if _comes_in_chunks(connection, query):
        yield from _chunks(connection, query, rows_at_once)
        return
    streaming = connection.execution_options(stream_results=True, max_row_buffer=rows_at_once)
    for part in streaming.execute(query).partitions(rows_at_once):
        yield from map(tuple, part)


def _comes_in_chunks(connection: sa.Connection, query: sa.Select[Any]) -> bool:
    """Return whether psycopg can take the rows as PostgreSQL finds them; a cursor is asked again for each part."""
    dialect = connection.dialect
    if dialect.driver != "psycopg" or not dialect.loaded_dbapi.capabilities.has_stream_chunked():
        return False
    types = [column.type for column in query.selected_columns]
    return all(isinstance(one, _AS_IT_IS) and not isinstance(one, sa.Enum) for one in types)


def _chunks(connection: sa.Connection, query: sa.Select[Any], rows_at_once: int) -> Iterator[tuple[Any, ...]]:
    compiled = query.compile(dialect=connection.dialect)
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor:
            yield from cursor.stream(str(compiled), compiled.params, size=rows_at_once)
    except connection.dialect.loaded_dbapi.Error as error:
        raise sa.exc.DBAPIError(str(compiled), None, error) from error
