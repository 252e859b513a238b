"""The processes that have run a production on this store: what each left behind, and which of them died."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select, update

from wattbus import words
from wattbus.home import Home
from wattbus.store.batch import LEASE_SECONDS
from wattbus.store.database import holder_of, transaction
from wattbus.store.tables import instances

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


def bury(engine: Engine, instance: str, status: str = TROUBLED) -> str:
    """Note which processes died without a word, and say which; ``instance`` is the one that lives."""
    with transaction(engine) as connection:
        others = select(instances).where(instances.c.status == RUNNING, instances.c.id != instance)
        dead = [row for row in connection.execute(others).all() if not _may_live(row)]
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
    return holder == int(row.pid) or now_us - int(row.heartbeat_us) < 2 * LEASE_SECONDS * 1e6


def _may_live(row: Any) -> bool:
    """Tell whether the process of a row may be alive: on another machine nobody here can tell."""
    if row.host != socket.gethostname():
        return True
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return int(row.pid) != os.getpid()
