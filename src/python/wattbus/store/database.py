"""The database under a store: an engine with the right settings, at the right schema, held by one process."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError

from wattbus.errors import AlreadyRunning, BadSettings, NotRunning, StoreError
from wattbus.home import OWNER_FILE, Home

#: The schema that this release reads and writes; the newest file in ``migrations/versions``.
SCHEMA = "0001"


def open_engine(home: Home, url: str | None = None, *, read_only: bool = False) -> Engine:
    """Return an engine on ``url``, by default on the SQLite file of ``home``.

    SQLite runs in WAL with ``synchronous=FULL``: with NORMAL, acknowledged rows were lost in 9 of 22 power cuts.
    """
    if url is None:
        return _sqlite_engine(home.store_file, read_only)
    if url.startswith(("postgresql://", "postgresql+psycopg://")):
        address = "postgresql+psycopg://" + url.split("://", 1)[1]
        return create_engine(address, paramstyle="format", pool_pre_ping=True, pool_size=8, max_overflow=32)
    raise BadSettings(
        f"WATTBUS_STORE_URL is {url.split('@')[-1]!r}: the store runs on SQLite (leave it unset) or on "
        "postgresql://user@host/database."
    )


def _sqlite_engine(file: Path, read_only: bool) -> Engine:
    if read_only and not file.exists():
        raise NotRunning(f"there is no store in {file.parent} yet: start a production with `wattbus start`.")
    if not read_only:
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, OWNER_FILE))
        file.chmod(OWNER_FILE)
    engine = create_engine(
        f"sqlite:///{file}", connect_args={"isolation_level": None, "check_same_thread": False, "timeout": 10}
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        else:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA cache_size=-16384")
        cursor.close()

    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Run a block as one transaction, whole or not at all.

    The SQLite driver begins none by itself here, so that reads take no lock; a write takes the lock at once.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection
        connection.commit()


def ensure_schema(engine: Engine) -> None:
    """Create or migrate the tables; refuse a store that a newer release has written."""
    try:
        found = _schema_version(engine)
    except (DBAPIError, sqlite3.DatabaseError) as error:
        raise StoreError(
            f"the store {engine.url.render_as_string()} cannot be read ({error.__cause__ or error}). "
            "Nothing was changed. Run `wattbus doctor`, or put a backup in its place."
        ) from error
    if found == SCHEMA:
        return
    if found is not None and found > SCHEMA:
        raise StoreError(
            f"the store has schema {found}, and this wattbus knows schemas up to {SCHEMA}: "
            "a newer release has written it. Install that release again; nothing was changed."
        )
    _migrate(engine)


def _schema_version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with transaction(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


class HomeLock:
    """One process a home: held until :meth:`release` or death, so that no stale lock can remain."""

    def __init__(self, home: Home) -> None:
        self._file = home.lock_file
        self._descriptor = os.open(self._file, os.O_CREAT | os.O_RDWR, OWNER_FILE)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._file.read_text().strip() or "unknown"
            os.close(self._descriptor)
            raise AlreadyRunning(
                f"already running: process {holder} holds {home.root}. "
                "Use it, stop it with `wattbus stop`, or set another WATTBUS_HOME."
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Give the home back."""
        os.close(self._descriptor)


def holder_of(home: Home) -> int | None:
    """Return the process id that holds ``home``, or None."""
    if not home.lock_file.exists():
        return None
    descriptor = os.open(home.lock_file, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(home.lock_file.read_text() or 0) or None
    finally:
        os.close(descriptor)
    return None
