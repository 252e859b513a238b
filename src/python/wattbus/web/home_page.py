"""The first page: is it healthy, what ran, what it cost, what waits longest; errors first."""

from __future__ import annotations

from dataclasses import dataclass

from wattbus.runtime.standing import ItemStatus
from wattbus.store import queries
from wattbus.store.queries import EnergyBuckets, EventLine
from wattbus.store.store import counts
from wattbus.web.desk import Desk
from wattbus.web.twin import Twins


@dataclass(frozen=True)
class HomeView:
    """What the home page shows."""

    production: str
    state: str
    items: list[ItemStatus]
    messages: dict[str, int]
    errors: list[EventLine]
    energy: list[EnergyBuckets]


def add(twins: Twins, desk: Desk) -> None:
    """Open the page."""

    def home() -> HomeView:
        """Tell whether all is well, what ran and what it cost."""
        running = desk.running
        with desk.reading() as engine:
            errors = [] if engine is None else queries.list_events(engine, limit=8, type="Error")
            energy = [] if engine is None else queries.energy_buckets(engine)
            standing = {} if engine is None else counts(engine)
        return HomeView(
            running.production.name if running else desk.director.get_default_production(),
            running.state if running else desk.director.last_state(),
            running.items() if running else [],
            standing,
            errors[::-1],
            energy,
        )

    twins.view("/", "home.html", home, api="/home")
