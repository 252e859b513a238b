"""The training tables: SQL rows of any database, read through the inspected schema and never through SQL text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from wattbus.errors import BadRequest, BadSettings, Refused, UnknownName
from wattbus.home import OWNER_FILE, make_owner_folder
from wattbus.ml.csv_rows import CsvRows
from wattbus.ml.row_stream import stream_rows

ROWS_AT_ONCE = 1000
LIMIT_MAX = 10_000_000
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")
SYSTEM_SCHEMAS = re.compile(
    r"(pg_.*|information_schema|sys|mysql|performance_schema|%.*|temp|sysman|xdb)\Z", re.IGNORECASE
)
SYSTEM_TABLES = re.compile(r"(sqlite_.*|pg_.*|alembic_version)\Z", re.IGNORECASE)
LOAD_HINT = "Load one with `wattbus tables load TABLE FILE.csv`."


@dataclass(frozen=True)
class ColumnFacts:
    """A column as the database describes it."""

    name: str
    type: str
    nullable: bool


@dataclass(frozen=True)
class TableFacts:
    """A table: its name as requests write it, its columns and its number of rows."""

    name: str
    columns: tuple[ColumnFacts, ...]
    rows: int


class TrainingTables:
    """The tables and views of one database that a training may read.

    Reading opens the database read-only where it can be: SQLite by ``mode=ro`` and ``query_only``, PostgreSQL by
    ``default_transaction_read_only``. Names come from the inspected schema: ``iris.Review`` is table
    ``Review`` of schema ``iris`` where that schema exists; SQLite has no schemas, so there it is the table
    that is literally called ``iris.Review``, else ``Review``. An exact spelling wins; else upper and lower
    case are one, as in SQL. System tables, and the names in ``private``, do not exist here.
    """

    def __init__(self, url: str, private: frozenset[str] = frozenset()) -> None:
        self._url = parse_url(url)
        self._private = {name.lower() for name in private}

    @property
    def shown_url(self) -> str:
        """The address without its password."""
        return without_secrets(self._url)

    def names(self) -> tuple[str, ...]:
        """Name the tables and views, those of another schema as ``schema.table``; none when there is no file yet."""
        if self._missing_file():
            return ()
        with self._reading() as connection:
            return tuple(sorted(self._catalogue(connection)))

    def every(self) -> Iterator[tuple[sa.Connection, str, sa.Table]]:
        """Go through the tables by name, each with a connection that only reads, to ask something of it."""
        if self._missing_file():
            return
        with self._reading() as connection:
            for name, (schema, bare) in sorted(self._catalogue(connection).items()):
                yield connection, name, _reflected(connection, schema, bare)

    def describe(self, table: str) -> TableFacts:
        """Return the columns of ``table``, their types and how many rows there are."""
        with self._reading() as connection:
            found = self._table(connection, table)
            rows = connection.execute(sa.select(sa.func.count()).select_from(found)).scalar_one()
            columns = tuple(ColumnFacts(c.name, str(c.type), bool(c.nullable)) for c in found.columns)
        return TableFacts(_shown(found), columns, int(rows))

    def resolve(self, table: str, columns: Sequence[str]) -> tuple[sa.Table, list[sa.Column[Any]]]:
        """Return the table and columns that the names mean; UnknownName with the nearest right name otherwise."""
        with self._reading() as connection:
            found = self._table(connection, table)
        return found, [_column(found, name) for name in columns]

    def rows(self, table: str, columns: Sequence[str], limit: object = None) -> Iterator[tuple[Any, ...]]:
        """Stream the rows, at most ``limit``, in the order of the primary key where there is one."""
        most = parse_limit(limit)
        with self._reading() as connection:
            found = self._table(connection, table)
            query = sa.select(*(_column(found, name) for name in columns))
            if keys := list(found.primary_key.columns):
                query = query.order_by(*keys)
            if most is not None:
                query = query.limit(most)
            yield from stream_rows(connection, query, ROWS_AT_ONCE)

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """Open a connection that only reads, for a query on what :meth:`resolve` has found."""
        return self._reading()

    def load_csv(self, table: str, path: Path, if_exists: Literal["keep", "replace"] = "keep") -> int:
        """Make ``table`` from a CSV file with a header, whole or not at all; return the rows loaded, 0 when kept."""
        schema, name = self._new_name(table)
        source = CsvRows.inspect(path)
        with self._writing() as connection:
            inspector = sa.inspect(connection)
            if schema is not None and schema not in inspector.get_schema_names():
                raise UnknownName(
                    "schema", schema, _schemas(inspector), "Make it first, or load without a schema."
                )
            metadata = sa.MetaData()
            if inspector.has_table(name, schema=schema):
                if if_exists == "keep":
                    return 0
                sa.Table(name, metadata, schema=schema, autoload_with=connection).drop(connection)
                metadata = sa.MetaData()
            fresh = sa.Table(
                name,
                metadata,
                *(sa.Column(c.name, _SQL_TYPES[c.kind]()) for c in source.columns),
                schema=schema,
            )
            fresh.create(connection)
            loaded = 0
            for part in source.batches(ROWS_AT_ONCE):
                connection.execute(fresh.insert(), part)
                loaded += len(part)
        return loaded

    # names

    def _new_name(self, table: str) -> tuple[str | None, str]:
        parts = table.split(".") if isinstance(table, str) else []
        if not 1 <= len(parts) <= 2 or not all(IDENTIFIER.match(part) for part in parts):
            raise Refused(
                f"table name {table!r} is no identifier: use letters, digits and _, as in Review or "
                "iris.Review."
            )
        schema = parts[0] if len(parts) == 2 else None
        if SYSTEM_TABLES.match(parts[-1]) or (schema and SYSTEM_SCHEMAS.match(schema)):
            raise Refused(f"table name {table!r} is one of the database's own: choose another.")
        if parts[-1].lower() in self._private or table.lower() in self._private:
            raise Refused(f"table name {table!r} is one of the product's own: choose another.")
        if schema is not None and self._url.get_backend_name() == "sqlite":
            return None, table  # no schemas there: the table carries the whole name
        return schema, parts[-1]

    def _catalogue(self, connection: sa.Connection) -> dict[str, tuple[str | None, str]]:
        """Return each name that a request may use with its schema (None: the default one) and table."""
        inspector = sa.inspect(connection)
        default = inspector.default_schema_name
        found: dict[str, tuple[str | None, str]] = {}
        for schema in _schemas(inspector):
            names = [*inspector.get_table_names(schema=schema), *inspector.get_view_names(schema=schema)]
            for name in names:
                shown = name if schema == default else f"{schema}.{name}"
                hidden = name.lower() in self._private or shown.lower() in self._private
                if not SYSTEM_TABLES.match(name) and not hidden:
                    found[shown] = (None if schema == default else schema, name)
        return found

    def _table(self, connection: sa.Connection, table: str) -> sa.Table:
        catalogue = self._catalogue(connection)
        sqlite = connection.dialect.name == "sqlite"
        default = sa.inspect(connection).default_schema_name
        shown = _same(table, catalogue)
        if shown is None and isinstance(table, str) and "." in table:
            schema, _, bare = table.rpartition(".")
            if sqlite or (default is not None and schema.lower() == default.lower()):
                shown = _same(bare, catalogue) if IDENTIFIER.match(schema) else None
        if shown is None:
            raise UnknownName("table", table, catalogue, "" if catalogue else LOAD_HINT)
        schema_name, name = catalogue[shown]
        return _reflected(connection, schema_name, name)

    # connections

    def _missing_file(self) -> bool:
        file = _sqlite_file(self._url)
        return file is not None and not file.is_file()

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        if self._missing_file():
            raise UnknownName(
                "table database", _sqlite_file(self._url), (), f"There are no tables yet. {LOAD_HINT}"
            )
        with self._said("read"), _connected(self._reading_engine()) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        file = _sqlite_file(self._url)
        if file is not None and not file.exists():
            make_owner_folder(file.parent) if not file.parent.exists() else None
            file.touch(mode=OWNER_FILE)
        with self._said("written"), _connected(self._writing_engine()) as connection, connection.begin():
            yield connection

    @contextmanager
    def _said(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            cause = str(getattr(error, "orig", None) or error).strip().splitlines()
            raise BadSettings(
                f"the table database {self.shown_url} cannot be {verb} "
                f"({cause[0] if cause else type(error).__name__}): "
                "check the address, that the server runs, and the rights."
            ) from error

    def _reading_engine(self) -> sa.Engine:
        backend = self._url.get_backend_name()
        if backend == "sqlite":
            file = _sqlite_file(self._url)
            assert file is not None
            address = self._url.set(database=file.absolute().as_uri(), query={"mode": "ro", "uri": "true"})
            engine = sa.create_engine(address, poolclass=sa.NullPool)
            sa.event.listen(engine, "connect", _query_only)
            return engine
        if backend == "postgresql":
            asked = self._url.query.get("options", "")
            own = asked if isinstance(asked, str) else " ".join(asked)
            arguments = {"options": f"{own} -c default_transaction_read_only=on".strip()}
            return sa.create_engine(self._url, poolclass=sa.NullPool, connect_args=arguments)
        return sa.create_engine(self._url, poolclass=sa.NullPool)

    def _writing_engine(self) -> sa.Engine:
        engine = sa.create_engine(self._url, poolclass=sa.NullPool)
        if self._url.get_backend_name() == "sqlite":
            # sqlite3 opens no transaction before CREATE TABLE by itself; without one a load could stay half
            # done
            sa.event.listen(engine, "connect", _no_implicit_transactions)
            sa.event.listen(engine, "begin", _begin_immediate)
        return engine


def parse_url(url: str) -> URL:
    """Return the parsed database address; refuse one that no second process could open."""
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, TypeError) as error:
        raise BadSettings(
            "the table database address cannot be understood: write it as sqlite:////folder/tables.sqlite "
            "or postgresql+psycopg://user@host/database."
        ) from error
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise BadSettings("an in-memory SQLite database cannot be a table database: name a file.")
    return parsed


def without_secrets(url: URL) -> str:
    """Return the address with its password, and whatever in its query sounds like one, masked."""
    hidden = {
        name: "***" for name in url.query if re.search(r"pass|pwd|secret|token|key", name, re.IGNORECASE)
    }
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def parse_limit(value: object) -> int | None:
    """Return the row limit: None for all rows, else 1 to 10,000,000; digits in a string are a number.

    >>> parse_limit("20")
    20
    """
    if value is None:
        return None
    number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= LIMIT_MAX:
        raise BadRequest(
            f"limit is {str(value)[:40]!r}: it must be a whole number from 1 to {LIMIT_MAX}, or left out "
            "for all rows."
        )
    return number


_SQL_TYPES: dict[str, type[sa.types.TypeEngine[Any]]] = {
    "integer": sa.BigInteger,
    "real": sa.Double,
    "text": sa.Text,
}


def _same(name: object, known: Sequence[str] | dict[str, Any]) -> str | None:
    """Return the known name that ``name`` is: spelt exactly, else the only one that differs in case alone."""
    if not isinstance(name, str) or name in known:
        return name if isinstance(name, str) else None
    alike = [candidate for candidate in known if candidate.lower() == name.lower()] if name.isascii() else []
    return alike[0] if len(alike) == 1 else None


def _column(table: sa.Table, name: object) -> sa.Column[Any]:
    found = _same(name, [column.name for column in table.columns])
    if found is None:
        raise UnknownName(
            "column", name, [column.name for column in table.columns], f"Table: {_shown(table)}."
        )
    return table.columns[found]


def _reflected(connection: sa.Connection, schema: str | None, name: str) -> sa.Table:
    """Return the table's columns and key; the rest that SQLAlchemy reflects costs more than 20,000 rows to read."""
    inspector = sa.inspect(connection)
    columns = inspector.get_columns(name, schema=schema)
    key = inspector.get_pk_constraint(name, schema=schema)["constrained_columns"]
    return sa.Table(
        name,
        sa.MetaData(),
        *(sa.Column(one["name"], one["type"], nullable=one["nullable"]) for one in columns),
        *([sa.PrimaryKeyConstraint(*key)] if key else []),
        schema=schema,
    )


def _shown(table: sa.Table) -> str:
    return table.name if table.schema is None else f"{table.schema}.{table.name}"


def _schemas(inspector: sa.Inspector) -> list[str]:
    return [name for name in inspector.get_schema_names() if not SYSTEM_SCHEMAS.match(name)]


def _sqlite_file(url: URL) -> Path | None:
    if url.get_backend_name() != "sqlite" or url.database is None:
        return None
    return Path(url.database)


@contextmanager
def _connected(engine: sa.Engine) -> Iterator[sa.Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _query_only(connection: Any, _: object) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def _no_implicit_transactions(connection: Any, _: object) -> None:
    connection.isolation_level = None


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
