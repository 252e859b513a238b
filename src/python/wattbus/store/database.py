"""The database under a store: an engine with the right settings, at the right schema, held by one process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError

from wattbus.errors import AlreadyRunning, BadSettings, NotRunning, StoreError, StoreFailed
from wattbus.home import OWNER_FILE, Home, make_owner_folder, sync_file, sync_folder
from wattbus.store.failures import meaning_of

#: The schema that this release reads and writes; the newest file in ``migrations/versions``.
SCHEMA = "0009"
# A statement is prepared for each size and each set of columns that a commit may have; see wattbus.store.statements.
_STATEMENTS = 256
#: Stores up to this size are checked whole at each start, in a second or so; of larger ones the doctor looks at all.
_CHECKED_BYTES = 256 * 1024 * 1024
_KEPT_BACKUPS = 3


def open_engine(home: Home, url: str | None = None, *, read_only: bool = False) -> Engine:
    """Return an engine on ``url``, by default on the SQLite file of ``home``.

    SQLite runs in WAL with ``synchronous=FULL``: with NORMAL, acknowledged rows were lost in 9 of 22 power cuts.
    Only a home that says that it need not be durable has it OFF.
    """
    if url is None:
        return _sqlite_engine(home.store_file, read_only, "FULL" if home.durable else "OFF")
    if url.startswith(("postgresql://", "postgresql+psycopg://")):
        address = "postgresql+psycopg://" + url.split("://", 1)[1]
        engine = create_engine(
            address, paramstyle="format", pool_pre_ping=True, pool_size=8, max_overflow=32,
            connect_args={**_NOTICES_A_DEAD_LINE, **make_url(address).query},
        )  # fmt: skip
        _say_what_errors_mean(engine)
        return engine
    raise BadSettings(
        f"WATTBUS_STORE_URL is {url.split('@')[-1]!r}: the store runs on SQLite (leave it unset) or on "
        "postgresql://user@host/database."
    )


# A server that is gone without a word, a cable that was pulled: known within half a minute.
_NOTICES_A_DEAD_LINE = {
    "connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}  # fmt: skip


def _say_what_errors_mean(engine: Engine) -> None:
    """Have a disk that is full, a file that is locked and a database that is away raised as what they are."""

    @event.listens_for(engine, "handle_error")
    def _said(context: ExceptionContext) -> StoreError | None:
        if context.is_pre_ping:  # the pool connects anew by itself
            return None
        return meaning_of(context.original_exception, engine.url)


def _sqlite_engine(file: Path, read_only: bool, synchronous: str) -> Engine:
    if read_only and not file.exists():
        raise NotRunning(f"there is no store in {file.parent} yet: start a production with `wattbus start`.")
    if not read_only:
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, OWNER_FILE))
        file.chmod(OWNER_FILE)
    engine = create_engine(
        f"sqlite:///{file}",
        connect_args={
            "isolation_level": None, "check_same_thread": False, "timeout": 10,
            "cached_statements": _STATEMENTS,
        },
    )  # fmt: skip

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        else:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.execute("PRAGMA cache_size=-16384")
        # Pages that change with every commit are copied into the file once for many commits: 16 MB of log at most.
        cursor.execute("PRAGMA wal_autocheckpoint=4000")
        cursor.close()

    _say_what_errors_mean(engine)
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


def open_store(home: Home, url: str | None, lock: HomeLock) -> Engine:
    """Open the store of a home for writing, with its tables made or brought up to date.

    A file that is damaged is refused, and never replaced by a new one.
    """
    if url is None:
        _check_files(home)
        if not home.store_file.exists():
            _make_file(home)
    engine = open_engine(home, url)
    try:
        found = _checked(engine, home)
        if url is None:
            _check_log(engine, home, lock)
        if found != SCHEMA:
            _migrate(engine, home, found)
    except BaseException:
        engine.dispose()
        raise
    return engine


def close_store(engine: Engine, lock: HomeLock) -> None:
    """Close what :func:`open_store` has opened."""
    lock.mark("")  # from here on SQLite may take its log away
    engine.dispose()


def _check_files(home: Home) -> None:
    """Refuse what was cut off or emptied before SQLite takes it for a new store."""
    file = home.store_file
    log = file.with_name(f"{file.name}-wal")
    if not file.exists():
        if log.exists() and log.stat().st_size:
            raise _damaged(home, f"{file.name} is gone, and its log {log.name} is there")
    elif file.stat().st_size == 0:
        raise _damaged(home, f"{file.name} is empty")


def _check_log(engine: Engine, home: Home, lock: HomeLock) -> None:
    """Refuse a store whose log was taken away after a process died: what was accepted last was in it."""
    instance, _, newest = lock.left.partition(" ")
    if not instance:
        return
    with engine.connect() as connection:
        known = connection.execute(text("SELECT 1 FROM instances WHERE id = :id"), {"id": instance}).scalar()
        there = connection.execute(text("SELECT coalesce(max(id), 0) FROM messages")).scalar() or 0
        purged = connection.execute(
            text("SELECT 1 FROM event_log WHERE source_class = 'wattbus.store.purge' LIMIT 1")
        ).scalar()
    if known and (there >= int(newest or 0) or purged):
        return
    raise StoreError(
        f"the store {home.store_file} ends at message {there}, and message {newest} was accepted: its log "
        f"{home.store_file.name}-wal was lost after the last process died. Put the log or a backup of the whole home "
        f"in place. To go on without what was in it, remove {home.lock_file}. Nothing was changed."
    )


def _damaged(home: Home, what: str) -> StoreError:
    return StoreError(
        f"the store {home.store_file} is damaged: {what}. Nothing was changed, and no new store was made over it. "
        "Put a backup of the whole home in its place; what can still be read is saved by "
        "`wattbus doctor --salvage FILE.jsonl`. To begin anew, move the damaged files away."
    )


def _make_file(home: Home) -> None:
    """Make a store aside and put it in place whole: an empty file is never one that has only just begun."""
    aside = home.root / f".{home.store_file.name}.{os.getpid()}.part"
    os.close(os.open(aside, os.O_CREAT | os.O_TRUNC | os.O_RDWR, OWNER_FILE))
    engine = create_engine(f"sqlite:///{aside}", connect_args={"isolation_level": None})
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=MEMORY")  # a log of its own would be left over
            connection.exec_driver_sql("PRAGMA synchronous=OFF")
            _upgrade(connection)
        engine.dispose()
        if home.durable:
            sync_file(aside)
        os.replace(aside, home.store_file)
        if home.durable:
            sync_folder(home.root)
    finally:
        aside.unlink(missing_ok=True)


def _checked(engine: Engine, home: Home) -> str | None:
    """Return the schema of a store that can be read and that this release knows."""
    try:
        with engine.connect() as connection:
            found = _schema_version(connection)
            if engine.dialect.name == "sqlite" and home.store_file.stat().st_size <= _CHECKED_BYTES:
                said = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
                if said != "ok":
                    raise _damaged(home, str(said).strip().splitlines()[-1])
    except StoreFailed as error:
        raise _damaged(home, str(error.__cause__ or error)) from error
    except (DBAPIError, sqlite3.DatabaseError) as error:
        raise StoreError(
            f"the store {engine.url.render_as_string()} cannot be read ({error.__cause__ or error}). "
            "Nothing was changed. Run `wattbus doctor`, or put a backup in its place."
        ) from error
    if found is None and engine.dialect.name == "sqlite":
        raise _damaged(home, "it holds no tables of wattbus")
    if found is not None and found > SCHEMA:
        raise StoreError(
            f"the store has schema {found}, and this wattbus knows schemas up to {SCHEMA}: "
            "a newer release has written it. Install that release again; nothing was changed."
        )
    return found


def _schema_version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(engine: Engine, home: Home, found: str | None) -> None:
    """Bring the tables up to date in one transaction, with a copy of what was there before."""
    if engine.dialect.name == "sqlite":
        _back_up(engine, home, found)
    with transaction(engine) as connection:
        _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _back_up(engine: Engine, home: Home, found: str | None) -> None:
    """Copy the store before its tables change, and keep the newest copies."""
    folder = make_owner_folder(home.backups)
    when = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    file = folder / f"store-{when}-schema-{found}.sqlite"
    aside = folder / f".{file.name}.part"
    os.close(os.open(aside, os.O_CREAT | os.O_TRUNC | os.O_RDWR, OWNER_FILE))
    source = engine.raw_connection()
    try:
        with contextlib.closing(sqlite3.connect(aside)) as target:
            source.driver_connection.backup(target)  # type: ignore[union-attr]
    except sqlite3.Error as error:
        aside.unlink(missing_ok=True)
        raise StoreError(
            f"the store is to be brought from schema {found} to {SCHEMA}, and no copy of it could be made first "
            f"in {folder} ({error}): make room, or move {home.root} to another disk. Nothing was changed."
        ) from error
    finally:
        source.close()
    sync_file(aside)
    os.replace(aside, file)
    sync_folder(folder)
    for old in sorted(folder.glob("store-*.sqlite"))[:-_KEPT_BACKUPS]:
        old.unlink()


class HomeLock:
    """One process a home: held until :meth:`release` or death, so that no stale lock can remain.

    Beside the process the file says what is in the store, so that a store that has lost its log is known.
    """

    def __init__(self, home: Home) -> None:
        self._file = home.lock_file
        self._descriptor = os.open(self._file, os.O_CREAT | os.O_RDWR, OWNER_FILE)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            holder, _ = _lines_of(self._file)
            raise AlreadyRunning(
                f"already running: process {holder or 'unknown'} holds {home.root}. "
                "Use it, stop it with `wattbus stop`, or set another WATTBUS_HOME."
            ) from None
        #: What the last process that did not end in order had put into the store: its instance and its newest message.
        self.left = _lines_of(self._file)[1]
        self._write(self.left)

    def mark(self, left: str) -> None:
        """Note what is in the store, should this process die; nothing where it ends in order."""
        if left != self.left:
            self.left = left
            with contextlib.suppress(OSError):  # a full disk: the note is a little old
                self._write(left)

    def _write(self, left: str) -> None:
        data = f"{os.getpid()}\n{left}\n".encode()
        os.pwrite(self._descriptor, data, 0)
        os.ftruncate(self._descriptor, len(data))

    def release(self) -> None:
        """Give the home back."""
        os.close(self._descriptor)


def _lines_of(file: Path) -> tuple[str, str]:
    lines = [*file.read_text(errors="replace").splitlines(), "", ""]
    return lines[0].strip(), lines[1].strip()


def holder_of(home: Home) -> int | None:
    """Return the process id that holds ``home``, or None."""
    if not home.lock_file.exists():
        return None
    descriptor = os.open(home.lock_file, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder, _ = _lines_of(home.lock_file)
        return int(holder) if holder.isdecimal() and int(holder) else None
    finally:
        os.close(descriptor)
    return None
