"""Extents: the saved objects of a class, as rows of one table of the tables database.

The class ``Demo.Person`` is the table ``Demo_Person``, with a column ``ID`` and one a property: what is no text, number
or truth value is kept as JSON. A table is made when an object is first saved, and a new property becomes a new column.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from wattbus.errors import BadRequest
from wattbus.runtime.iris_sql import tables_engine

_COLUMN_TYPES: dict[type, type[sa.types.TypeEngine[Any]]] = {
    str: sa.Text,
    int: sa.BigInteger,
    float: sa.Float,
    bool: sa.Boolean,
}
_ID = "ID"


def table_name(class_name: str) -> str:
    """Return the table that keeps the objects of a class.

    >>> table_name("Demo.Sub.Person")
    'Demo_Sub_Person'
    """
    return class_name.replace("%", "").replace(".", "_")


@dataclass(frozen=True)
class Extent:
    """The saved objects of one class; ``properties`` are its columns and the Python type of each."""

    class_name: str
    properties: Mapping[str, type]

    def save(self, fields: Mapping[str, Any], number: int | None = None) -> int:
        """Insert a row, or update row ``number`` where it is there; return its number."""
        table, row = self._table(), {name: self._stored(name, value) for name, value in fields.items()}
        with self._said("saved") as connection:
            self._make(connection, table)
            if number is not None and row:
                changed = connection.execute(sa.update(table).where(table.c[_ID] == number).values(row))
                if changed.rowcount:
                    return number
            made = connection.execute(sa.insert(table).values(row)).inserted_primary_key
            assert made is not None
            return int(made[0])

    def load(self, number: int) -> dict[str, Any] | None:
        """Return the fields of a row, or None."""
        table = self._table()
        with self._said("read") as connection:
            if not sa.inspect(connection).has_table(table.name):
                return None
            self._make(connection, table)
            row = connection.execute(sa.select(table).where(table.c[_ID] == number)).mappings().first()
        return None if row is None else {name: self._found(name, row[name]) for name in self.properties}

    def delete(self, number: int) -> bool:
        """Delete a row and tell whether it was there."""
        table = self._table()
        with self._said("deleted") as connection:
            if not sa.inspect(connection).has_table(table.name):
                return False
            return bool(connection.execute(sa.delete(table).where(table.c[_ID] == number)).rowcount)

    def make(self) -> None:
        """Make the table, or add the columns it lacks."""
        with self._said("made") as connection:
            self._make(connection, self._table())

    def _table(self) -> sa.Table:
        number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
        columns = [
            sa.Column(name, _COLUMN_TYPES.get(kind, sa.Text)()) for name, kind in self.properties.items()
        ]
        return sa.Table(
            table_name(self.class_name),
            sa.MetaData(),
            sa.Column(_ID, number, primary_key=True),
            *columns,
            sqlite_autoincrement=True,
        )

    def _make(self, connection: sa.Connection, table: sa.Table) -> None:
        table.create(connection, checkfirst=True)
        there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
        dialect = connection.dialect
        quote = dialect.identifier_preparer.quote
        for column in table.columns:
            if column.name not in there:
                kind = column.type.compile(dialect)
                connection.exec_driver_sql(
                    f"ALTER TABLE {quote(table.name)} ADD COLUMN {quote(column.name)} {kind}"
                )

    def _stored(self, name: str, value: Any) -> Any:
        if self.properties.get(name) in _COLUMN_TYPES or value is None:
            return str(value) if self.properties.get(name) is str and value is not None else value
        return json.dumps(value, ensure_ascii=False)

    def _found(self, name: str, value: Any) -> Any:
        if self.properties.get(name) in _COLUMN_TYPES or value is None:
            return value
        return json.loads(value)

    @contextmanager
    def _said(self, verb: str) -> Iterator[sa.Connection]:
        engine = tables_engine()
        try:
            with engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise BadRequest(
                f"an object of {self.class_name} cannot be {verb} in table {table_name(self.class_name)} of "
                f"{engine.url.render_as_string(hide_password=True)}: {cause}."
            ) from error
