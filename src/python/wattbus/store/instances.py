"""The processes that have run a production on this store: what each left behind, and which of them died."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select, update

from wattbus import words
from wattbus.home import Home
from wattbus.store.database import holder_of, transaction
from wattbus.store.tables import instances
from wattbus.store.transactions import LEASE_SECONDS

RUNNING, TROUBLED = "Running", "Troubled"


@dataclass(frozen=True)
class LastRun:
    """The newest run of a production on a store."""

    production: str
    state: str  # Running, Stopped, Suspended, Troubled
    pid: int
    host: str
    last_seen_us: int

    @property
    def sentence(self) -> str:
        """Say how it stands and what to do."""
        who = f"production {self.production} is {self.state}"
        if self.state == TROUBLED:
            return (
                f"{who}: process {self.pid} on {self.host} died, last seen {words.utc_time(self.last_seen_us)}. What "
                "it had in hand is kept: `wattbus start` goes on with it, `wattbus recover` only takes it back."
            )
        if self.state == "Suspended":
            return f"{who}: messages that somebody waited for are left. `wattbus start` goes on with them."
        return f"{who}: start it with `wattbus start`."


def last_run(engine: Engine, home: Home, *, shared: bool, now_us: int) -> LastRun | None:
    """Return the newest run; one that says Running and whose process is gone is Troubled."""
    newest = select(instances).order_by(instances.c.started_us.desc()).limit(1)
    with engine.connect() as connection:
        row = connection.execute(newest).first()
    if row is None:
        return None
    state = row.status
    if state == RUNNING and not _lives(row, home, shared, now_us):
        state = TROUBLED
    return LastRun(row.production, state, row.pid, row.host, row.stopped_us or row.heartbeat_us)


def bury(engine: Engine, instance: str, now_us: int, status: str = TROUBLED) -> str:
    """Note which processes died without a word, and say which; ``instance`` is the one that lives."""
    # A file has one process, and that is this one: every other is dead.
    shared = engine.dialect.name != "sqlite"
    with transaction(engine) as connection:
        others = select(instances).where(instances.c.status == RUNNING, instances.c.id != instance)
        dead = [row for row in connection.execute(others).all() if not (shared and _may_live(row, now_us))]
        for row in dead:
            connection.execute(
                update(instances)
                .where(instances.c.id == row.id)
                .values(status=status, stopped_us=row.heartbeat_us)
            )
    return ", ".join(
        f"process {row.pid} on {row.host} died, last seen {words.utc_time(row.heartbeat_us)}" for row in dead
    )


def _lives(row: Any, home: Home, shared: bool, now_us: int) -> bool:
    holder = holder_of(home)
    if not shared:
        return holder is not None
    return holder == int(row.pid) or _may_live(row, now_us)


def _may_live(row: Any, now_us: int) -> bool:
    """Tell whether a process may be alive that shares the store: its heart has beaten not long ago."""
    if row.host == socket.gethostname() and not _is_there(int(row.pid)):
        return False
    return now_us - int(row.heartbeat_us) < 2 * LEASE_SECONDS * 1e6


def _is_there(pid: int) -> bool:
    if pid == os.getpid():
        return False  # it had our number before us
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
