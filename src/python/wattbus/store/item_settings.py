"""Settings that were changed on a running wattbus: they override ``settings.py`` until they are taken back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, delete, insert, inspect, select

from wattbus.clock import SYSTEM
from wattbus.errors import NotRunning
from wattbus.home import Home
from wattbus.store.database import HomeLock, close_store, open_engine, open_store, transaction
from wattbus.store.tables import settings

#: An item and the name of one of its settings; the item "" is the production itself.
Key = tuple[str, str]


def read(engine: Engine, production: str) -> dict[Key, str]:
    """Return what is stored for a production, each value as it was written."""
    query = select(settings.c.item, settings.c.name, settings.c.value).where(
        settings.c.production == production
    )
    with engine.connect() as connection:
        return {(item, name): value for item, name, value in connection.execute(query)}


def replace(engine: Engine, production: str, values: Mapping[Key, str]) -> None:
    """Put ``values`` in the place of everything that is stored for a production, whole or not at all."""
    with transaction(engine) as connection:
        connection.execute(delete(settings).where(settings.c.production == production))
        _insert(connection, production, values)


def put(engine: Engine, production: str, item: str, name: str, value: str | None) -> None:
    """Store one value, or take it away where it is None."""
    one = (settings.c.production == production) & (settings.c.item == item) & (settings.c.name == name)
    with transaction(engine) as connection:
        connection.execute(delete(settings).where(one))
        if value is not None:
            _insert(connection, production, {(item, name): value})


def _insert(connection: Connection, production: str, values: Mapping[Key, str]) -> None:
    now_us = SYSTEM.now_us()
    rows = [
        {"production": production, "item": item, "name": name, "value": value, "changed_us": now_us}
        for (item, name), value in values.items()
    ]
    if rows:
        connection.execute(insert(settings), rows)


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
        # A database on a server is there before the first start has made the tables in it.
        yield engine if inspect(engine).has_table(settings.name) else None
    finally:
        engine.dispose()
