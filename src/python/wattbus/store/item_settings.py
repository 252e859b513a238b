"""Settings that were changed on a running wattbus: they override ``settings.py`` until they are taken back.

Each change is kept with who made it, in the transaction of the change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields

from sqlalchemy import ColumnElement, Connection, Engine, delete, insert, inspect, select

from wattbus.clock import SYSTEM
from wattbus.errors import NotRunning
from wattbus.home import Home
from wattbus.store.database import HomeLock, close_store, open_engine, open_store, transaction
from wattbus.store.tables import settings, settings_history

#: An item and the name of one of its settings; the item "" is the production itself.
Key = tuple[str, str]


def read(engine: Engine, production: str) -> dict[Key, str]:
    """Return what is stored for a production, each value as it was written."""
    with engine.connect() as connection:
        return _stored(connection, settings.c.production == production)


def replace(engine: Engine, production: str, values: Mapping[Key, str], by: str = "") -> None:
    """Put ``values`` in the place of everything that is stored for a production, whole or not at all.

    What differs by it goes into the history, with who changed it.
    """
    with transaction(engine) as connection:
        before = _stored(connection, settings.c.production == production)
        connection.execute(delete(settings).where(settings.c.production == production))
        _insert(connection, production, values)
        _remember(connection, production, before, values, by)


def put(engine: Engine, production: str, item: str, name: str, value: str | None, by: str = "") -> None:
    """Store one value, or take it away where it is None."""
    one = (settings.c.production == production) & (settings.c.item == item) & (settings.c.name == name)
    values = {} if value is None else {(item, name): value}
    with transaction(engine) as connection:
        before = _stored(connection, one)
        connection.execute(delete(settings).where(one))
        _insert(connection, production, values)
        _remember(connection, production, before, values, by)


def _stored(connection: Connection, which: ColumnElement[bool]) -> dict[Key, str]:
    query = select(settings.c.item, settings.c.name, settings.c.value).where(which)
    return {(item, name): value for item, name, value in connection.execute(query)}


def _insert(connection: Connection, production: str, values: Mapping[Key, str]) -> None:
    now_us = SYSTEM.now_us()
    rows = [
        {"production": production, "item": item, "name": name, "value": value, "changed_us": now_us}
        for (item, name), value in values.items()
    ]
    if rows:
        connection.execute(insert(settings), rows)


# -- history -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One change of a setting; a value is JSON as it is stored, None where settings.py counts."""

    id: int
    item: str
    name: str
    before: str | None
    after: str | None
    changed_us: int
    changed_by: str


def history(
    engine: Engine, production: str, item: str, *, limit: int = 50, change_id: int | None = None
) -> list[Change]:
    """Return what was changed on an item, the newest first."""
    columns = [settings_history.c[field.name] for field in fields(Change)]
    query = (
        select(*columns)
        .where(settings_history.c.production == production, settings_history.c.item == item)
        .order_by(settings_history.c.id.desc())
        .limit(limit)
    )
    if change_id is not None:
        query = query.where(settings_history.c.id == change_id)
    with engine.connect() as connection:
        return [Change(*row) for row in connection.execute(query)]


def _remember(
    connection: Connection, production: str, before: Mapping[Key, str], after: Mapping[Key, str], by: str
) -> None:
    now_us = SYSTEM.now_us()
    rows = [
        {
            "production": production,
            "item": key[0],
            "name": key[1],
            "before": before.get(key),
            "after": after.get(key),
            "changed_us": now_us,
            "changed_by": by[:128],
        }
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    ]
    if rows:
        connection.execute(insert(settings_history), rows)


@contextmanager
def opened(home: Home, url: str | None) -> Iterator[Engine]:
    """Open the store of a home on which no production runs, for writing."""
    lock = HomeLock(home.create())
    try:
        engine = open_store(home, url, lock)
        try:
            yield engine
        finally:
            close_store(engine, lock)
    finally:
        lock.release()


@contextmanager
def looked_at(home: Home, url: str | None) -> Iterator[Engine | None]:
    """Open the store of a home for reading; None where there is none yet."""
    try:
        engine = open_engine(home, url, read_only=True)
    except NotRunning:
        yield None
        return
    try:
        # A database is there before its tables are: the first start makes them.
        there = engine.dialect.name == "sqlite" or inspect(engine).has_table(settings.name)
        yield engine if there else None
    finally:
        engine.dispose()
