"""The doctor: checks offline, or beside a running production, that nothing was lost; it only reads.

L1 to L8 are the promises of ``docs/reliability.md``, P1 is that only the owner can read the home. All rows are read as
of one moment; rows are streamed, so the memory needed does not grow with the store.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from wattbus import words
from wattbus.doctor import energy, files, rows
from wattbus.doctor.report import Check, Findings, Report, joined
from wattbus.doctor.rows import Snapshot
from wattbus.errors import BadSettings, StoreError
from wattbus.home import Home
from wattbus.store.database import SCHEMA, holder_of, open_engine
from wattbus.store.tables import instances

__all__ = ["Check", "Report", "examine"]

_BACKUP = (
    "put a backup of the whole home in place, or move store.sqlite away to begin anew; keep the old file: "
    "what is readable in it can be exported."
)
_DEAD_AFTER_SECONDS = 90.0


@dataclass(frozen=True)
class _Promise:
    code: str
    name: str
    look: Callable[[Snapshot, Findings], None]
    cure: str


_PROMISES = (
    _Promise("L1", "what was accepted is kept", rows.accepted_is_kept, _BACKUP),
    _Promise(
        "L2",
        "every message is in one place",
        rows.conservation,
        "start the production, which takes back what a dead process left, and look again; what stays is a damaged "
        "store: put a backup in place.",
    ),
    _Promise(
        "L3",
        "effects happen once",
        rows.effects_once,
        "look at the sessions named with `wattbus trace`; a store that nothing else writes to never comes to this.",
    ),
    _Promise(
        "L4",
        "one worker keeps the order",
        rows.order_kept,
        "look at the messages named with `wattbus trace`, and report it with their event log.",
    ),
    _Promise(
        "L5",
        "each attempt has an honest energy record",
        energy.energy_honest,
        "do not add up or publish figures of the attempts named; the messages themselves are not touched by this.",
    ),
    _Promise(
        "L8",
        "nothing happens silently",
        rows.nothing_silent,
        "look at the messages named with `wattbus trace` and send them again if they still matter.",
    ),
)
_SETTINGS = _Promise("L7", "settings are whole", rows.settings_readable, "set the settings named once more.")
_WORK = _Promise(
    "L7",
    _SETTINGS.name,
    rows.no_work_left_over,
    "start the production once: it removes what is left of work that has ended.",
)


def examine(home: Home, store_url: str | None = None) -> Report:
    """Check the store and the folders of ``home``; what is damaged becomes a failed check, never an exception."""
    checks = _store_checks(home, store_url)
    if home.root.is_dir():
        checks += [
            _looked_at("L6", "models are whole", files.models_whole, home, files.MODELS_CURE),
            _looked_at("L7", "settings are whole", files.nothing_half_written, home, files.PARTS_CURE),
            _looked_at("P1", "only the owner can read", files.owner_only, home, files.OWNER_CURE),
        ]
    return Report(joined(checks))


def _looked_at(code: str, name: str, look: Callable[[Home, Findings], None], home: Home, cure: str) -> Check:
    findings = Findings()
    try:
        look(home, findings)
    except OSError as error:
        findings.wrong(f"{error.filename or home.root} cannot be read ({error.strerror})")
    return findings.check(code, name, cure)


def _store_checks(home: Home, store_url: str | None) -> list[Check]:
    nothing = _nothing_here(home) if store_url is None else None
    if nothing is not None:
        return [nothing.check("L1", _PROMISES[0].name, _BACKUP)]
    try:
        engine = open_engine(home, store_url, read_only=True)
    except BadSettings as error:
        return [_unreadable(str(error))]
    try:
        with engine.connect() as connection:
            broken = _open_as_of_now(connection)
            if broken is not None:
                return [broken]
            snapshot = Snapshot(connection, home, store_url is not None, _live(connection, home, store_url))
            checks = [_promise_kept(promise, snapshot) for promise in _PROMISES]
            return [*checks, *(_promise_kept(promise, snapshot) for promise in (_SETTINGS, _WORK))]
    except (SQLAlchemyError, sqlite3.Error, StoreError) as error:
        return [_unreadable(_reason(error))]
    finally:
        engine.dispose()


def _nothing_here(home: Home) -> Findings | None:
    """Return what to say where there is no store file, or None where there is one."""
    findings = Findings()
    if not home.store_file.exists():
        left = sorted(file.name for file in home.bodies.glob("*"))[:1] if home.bodies.is_dir() else []
        if left:
            findings.wrong(
                f"there is no {home.store_file.name}, and bodies/{left[0]} belongs to a message of one"
            )
        else:
            findings.count(f"nothing here yet: no production has run in {words.clean(str(home.root))}")
        return findings
    if home.store_file.is_file() and home.store_file.stat().st_size == 0 and not _log_of(home):
        findings.wrong(
            f"{home.store_file.name} is empty: it was emptied, or the very first start was cut short"
        )
        return findings
    return None


def _log_of(home: Home) -> bool:
    log = home.store_file.with_name(f"{home.store_file.name}-wal")
    return log.exists() and log.stat().st_size > 0


def _open_as_of_now(connection: Connection) -> Check | None:
    """Begin one read of everything, or say why the store cannot be looked at."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    if not inspect(connection).has_table("alembic_version"):
        return _unreadable("it holds no tables of wattbus")
    schema = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if schema == SCHEMA:
        return None
    newer = schema is not None and str(schema) > SCHEMA
    cure = (
        "use the release that wrote it."
        if newer
        else "start the production once: it brings the store up to date."
    )
    findings = Findings()
    findings.wrong(
        f"the store has schema {schema}, and this wattbus checks schema {SCHEMA}: nothing was checked"
    )
    return findings.check("L1", _PROMISES[0].name, cure)


def _unreadable(why: str) -> Check:
    findings = Findings()
    findings.wrong(f"the store cannot be read ({why}): no row of it was checked")
    return findings.check("L1", _PROMISES[0].name, _BACKUP)


def _promise_kept(promise: _Promise, snapshot: Snapshot) -> Check:
    findings = Findings()
    try:
        promise.look(snapshot, findings)
    except (SQLAlchemyError, sqlite3.Error, StoreError, ValueError, TypeError) as error:
        # What a damaged page holds can break any reader; that is a finding, not a crash.
        findings.wrong(f"the check broke off, the store cannot be read to its end ({_reason(error)})")
        return findings.check(promise.code, promise.name, _BACKUP)
    return findings.check(promise.code, promise.name, promise.cure)


def _reason(error: Exception) -> str:
    if isinstance(error, StoreError):  # what the driver said is behind it
        error = error.__cause__ if isinstance(error.__cause__, Exception) else error
    return words.clean(str(getattr(error, "orig", None) or error).strip() or type(error).__name__, 200)


def _live(connection: Connection, home: Home, store_url: str | None) -> frozenset[str]:
    """Return the ids of the processes that run on this store now."""
    running = select(instances.c.id).where(instances.c.status == "Running")
    if store_url is not None:
        since = time.time_ns() // 1000 - int(_DEAD_AFTER_SECONDS * 1e6)
        return frozenset(connection.execute(running.where(instances.c.heartbeat_us > since)).scalars())
    holder = _holder(home)
    if holder is None:
        return frozenset()
    newest = running.where(instances.c.pid == holder).order_by(instances.c.started_us.desc()).limit(1)
    return frozenset(connection.execute(newest).scalars())


def _holder(home: Home) -> int | None:
    try:
        return holder_of(home)
    except (OSError, ValueError):
        return None
