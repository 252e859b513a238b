"""SQLPollService: every new row of a table becomes a message, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattbus import killpoints
from wattbus.errors import BadRequest, BadSettings
from wattbus.messages import SQLRow
from wattbus.runtime import context
from wattbus.services.condition import parse_condition
from wattbus.services.feed import Feed
from wattbus.services.message_type import build, message_type
from wattbus.services.position import Position, PositionFile, can_be_key, moved, plain

if TYPE_CHECKING:
    import sqlalchemy as sa

    from wattbus.ml.tables import TrainingTables


class SQLPollService(Feed):
    """Reads the rows whose key is higher than the last one that was sent. See ``docs/services.md``."""

    Table: str = ""
    #: A column whose values grow with each new row and are never given out again; by default the primary key.
    KeyColumn: str = ""
    #: Only rows that fit: comparisons joined by AND.
    Where: str = ""
    URL: str = ""  # by default WATTBUS_TABLES_URL
    MessageType: str = ""
    RowsAtOnce: int = 100
    #: Off: the rows that are there at the first start are passed over.
    FromStart: bool = True

    def on_init(self) -> None:
        """Check the settings; the table may come later."""
        from wattbus.operations.place import training_tables

        super().on_init()
        if not self.Table:
            raise BadSettings(f"{self._name()} has no Table: name the table to read.")
        self._type = message_type(self.MessageType, SQLRow)
        self._comparisons = parse_condition(self.Where)
        self._tables: TrainingTables = training_tables(self.URL)
        self._query: _Query | None = None
        self._position: Position | None = None

    def on_poll(self) -> None:
        """Send up to ``RowsAtOnce`` new rows, then note how far it is."""
        if self._query is None or self._position is None:
            self._begin()
        query, position = self._query, self._position
        assert query is not None and position is not None
        try:
            rows = query.rows(self._tables, position, self.RowsAtOnce)
        except BadSettings:
            self._query = None  # the table may have changed: look at it anew
            raise
        sent: list[Any] = []
        try:
            for row in rows:
                if self._stops():
                    return
                self._send_row(query, row)
                sent.append(row[query.key_name])
                killpoints.reached("row.after-send")
        finally:
            if sent:
                self._position = position.after(sent)
                self._file.write(self._position)
        if len(rows) == self.RowsAtOnce:
            self._poll_again()

    def _begin(self) -> None:
        """Look at the table, and where the last run ended."""
        names = [comparison.column for comparison in self._comparisons]
        table, columns = self._tables.resolve(
            self.Table, [*([self.KeyColumn] if self.KeyColumn else []), *names]
        )
        key = columns.pop(0) if self.KeyColumn else _primary_key(table)
        conditions = [
            comparison.on(column) for comparison, column in zip(self._comparisons, columns, strict=True)
        ]
        key_type = _python_type(key)
        if not can_be_key(key_type):
            raise BadSettings(
                f"KeyColumn {key.name!r} of {self.Table!r} is {key.type}: name a column of numbers, texts or times "
                "that grow with each new row."
            )
        query = _Query(table, key, conditions)
        if key.nullable and not key.primary_key:
            self.log_warning(f"rows of {self.Table!r} whose {key.name!r} is NULL are never sent.")
        self._file = PositionFile(
            context.place().home.positions,
            self._name(),
            f"{self._tables.shown_url} {table.fullname} {key.name}",
        )
        position = self._file.read(key_type)
        if position is None:
            position = Position()
            if not self.FromStart:
                position = moved(position, query.highest(self._tables))
                self._file.write(position)
        self._query, self._position = query, position

    def _send_row(self, query: _Query, row: dict[str, Any]) -> None:
        fields = {name: plain(value) for name, value in row.items()}
        key = fields[query.key_name]
        try:
            whole = {"table": query.table.fullname, "row": fields} if self._type is SQLRow else fields
            message = build(self._type, whole)
        except BadRequest as error:
            raise BadRequest(
                f"the row of {self.Table!r} with {query.key_name} = {key!r} does not fit: {error} It and the rows "
                "after it wait until the row or the MessageType is mended."
            ) from None
        self._begin_session()
        self._send(message, self._tables.shown_url, query.table.fullname, key)


class _Query:
    """The rows of one table, by names that its inspected schema has."""

    def __init__(
        self, table: sa.Table, key: sa.Column[Any], conditions: list[sa.ColumnElement[bool]]
    ) -> None:
        self.table, self.key_name = table, key.name
        self._key, self._conditions = key, conditions

    def rows(self, tables: TrainingTables, position: Position, most: int) -> list[dict[str, Any]]:
        """Return the rows above a position and those that filled a gap below it, in the order of their keys."""
        import sqlalchemy as sa

        query = sa.select(self.table).where(self._key.is_not(None), *self._conditions)
        if position.last is not None:
            above: sa.ColumnElement[bool] = self._key > position.last
            query = query.where(above | self._key.in_(position.gaps) if position.gaps else above)
        with tables.reading() as connection:
            found = connection.execute(query.order_by(self._key).limit(max(1, most)))
            return [dict(row) for row in found.mappings()]

    def highest(self, tables: TrainingTables) -> Any:
        """Return the highest key; None where the table is empty."""
        import sqlalchemy as sa

        with tables.reading() as connection:
            return connection.execute(sa.select(sa.func.max(self._key))).scalar()


def _primary_key(table: sa.Table) -> sa.Column[Any]:
    keys = list(table.primary_key.columns)
    if len(keys) != 1:
        raise BadSettings(
            f"{table.fullname!r} has {'no primary key' if not keys else 'a primary key of several columns'}: name in "
            "KeyColumn the column whose values grow with each new row."
        )
    return keys[0]


def _python_type(column: sa.Column[Any]) -> type:
    try:
        return column.type.python_type
    except NotImplementedError:
        return object
