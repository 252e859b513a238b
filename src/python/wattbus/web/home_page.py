"""The first page: is it healthy, errors first, what waits longest, what ran, what it cost, and what to do next."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Engine

from wattbus import words
from wattbus.errors import StoreError, WattbusError
from wattbus.store import queries, recent
from wattbus.store.queries import EnergyBuckets, EventLine
from wattbus.store.recent import Dead, Ran
from wattbus.web.desk import Desk
from wattbus.web.production_pages import ItemRow, rows
from wattbus.web.twin import Twins

_HOUR_US = 3_600_000_000
_WELL = ("Running", "Disabled", "Needs IRIS")


@dataclass(frozen=True)
class Oldest:
    """The message that has waited longest in a queue."""

    message_id: int
    session_id: int
    item: str
    body_class: str
    accepted_us: int
    age_seconds: float


@dataclass(frozen=True)
class HomeView:
    """What the page shows."""

    production: str
    state: str
    healthy: bool
    troubles: list[str]  # of the production and of the store, in sentences
    ill: list[ItemRow]  # items that do not run
    loading: list[str]  # items that are starting: what is sent to them waits
    running: int
    items: int
    errors: list[EventLine]
    dead: list[Dead]
    oldest: Oldest | None
    ran: Ran | None
    energy: list[EnergyBuckets]
    has_messages: bool
    has_models: bool


def add(twins: Twins, desk: Desk) -> None:
    """Open the page."""

    def home() -> HomeView:
        """Tell whether all is well, what failed, what waits longest, what ran and what it cost."""
        state, troubles = desk.state(), []
        try:
            config = desk.production()
            items = rows(desk, config)
        except StoreError:
            raise
        except WattbusError as error:
            config, items = None, []
            troubles.append(str(error))
        ill = [item for item in items if item.state not in (*_WELL, "Starting") and desk.running is not None]
        loading = [item.name for item in items if item.state == "Starting"]
        troubles += _troubles(desk, state)
        now_us = time.time_ns() // 1000
        names = [item.name for item in items]
        with desk.reading() as engine:
            if engine is None:
                errors, dead, ran, energy, oldest, newest = [], [], None, [], None, []
            else:
                errors, dead = recent.errors(engine), recent.dead(engine, names)
                ran = recent.ran(engine, now_us - _HOUR_US)
                energy = recent.buckets(engine, now_us - 24 * _HOUR_US)
                oldest = _oldest(engine, names, now_us)
                newest = queries.list_messages(engine, limit=1)
        return HomeView(
            config.name if config is not None else words.UNKNOWN,
            state,
            state == "Running" and not ill and not troubles,
            troubles,
            ill,
            loading,
            sum(item.state == "Running" for item in items),
            len(items),
            errors,
            dead,
            oldest,
            ran,
            energy,
            bool(newest),
            any(desk.home.models.glob("*/*")) if desk.home.models.is_dir() else False,
        )

    twins.view("/", "home.html", home, api="/home")


def _troubles(desk: Desk, state: str) -> list[str]:
    running = desk.running
    found = [desk.work.failure] if desk.work.failure else []
    if running is not None and (trouble := running.store.trouble()) is not None:
        found.append(trouble)
    if state == "Troubled":
        found.append(
            "The process that ran the production has died. A start goes on with what it had in hand."
        )
    if state == "Suspended":
        found.append(
            "The production was stopped while somebody waited for messages. A start goes on with them."
        )
    return found


def _oldest(engine: Engine, items: list[str], now_us: int) -> Oldest | None:
    waiting = recent.depths(engine, items, most=1)
    if not waiting:
        return None
    header = queries.message_header(engine, min(one.oldest_id for one in waiting.values()))
    if header is None:
        return None
    age_seconds = max(0, now_us - header.time_created_us) / 1e6
    return Oldest(
        header.id,
        header.session_id,
        header.target_item,
        header.body_class,
        header.time_created_us,
        age_seconds,
    )
