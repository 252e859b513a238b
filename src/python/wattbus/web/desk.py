"""The desk: what a page or a call of the API works with, whatever runs at the moment.

It reads and asks; it owns no logic. What it hands out are the same objects that the command line uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from wattbus.access import Access
from wattbus.config import Config
from wattbus.errors import NotRunning
from wattbus.home import Home
from wattbus.runtime.director import Director
from wattbus.runtime.overrides import overridden
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.running import RunningProduction
from wattbus.web.background import Background
from wattbus.web.sse import Streams

if TYPE_CHECKING:
    from wattbus.ml.models import ModelStore
    from wattbus.ml.tables import TrainingTables


class Desk:
    """A director and a configuration, and what both lead to."""

    def __init__(self, director: Director, config: Config, access: Access) -> None:
        self.director, self.config, self.access = director, config, access
        #: What a page has started and does not wait for.
        self.work = Background()
        #: The answers that stay open while something is told live.
        self.streams = Streams()

    @property
    def home(self) -> Home:
        return self.director.home

    @property
    def running(self) -> RunningProduction | None:
        """Return the production that runs, or None."""
        return self.director.running

    def state(self) -> str:
        """Return how the production stands, or what is being done with it: Starting, Stopping, ..."""
        running = self.running
        return self.work.doing or (running.state if running else self.director.last_state())

    def production(self) -> ProductionConfig | None:
        """Return the production that runs, or that would, with what was changed on it; None where there is none."""
        running, deployment = self.running, self.director.deployment
        if running is not None:
            return running.production
        name = deployment.default()
        if name not in deployment.names():
            return None
        with self.reading() as engine:
            config = deployment.config(name)
            return config if engine is None else overridden(config, engine)

    def current(self) -> RunningProduction:
        """Return the production that runs, or say that none does."""
        running = self.director.current()
        if running.state != "Running":
            raise NotRunning(f"{running.production.name} is {running.state}: start it, then do this again.")
        return running

    @contextmanager
    def reading(self) -> Iterator[Engine | None]:
        """Open the store for reading, also while nothing runs; None where there is none yet."""
        with self.director.deployment.reading() as engine:
            yield engine

    @contextmanager
    def store(self) -> Iterator[Engine]:
        """Open the store for reading, or say that there is none yet."""
        with self.reading() as engine:
            if engine is None:
                raise NotRunning("there is no store yet: start the production once.")
            yield engine

    @contextmanager
    def writing(self) -> Iterator[Engine]:
        """Open the store for a change that is no message, also while nothing runs."""
        with self.director.deployment.writing() as engine:
            yield engine

    def models(self) -> ModelStore:
        """Return the model store of the home."""
        from wattbus.ml.models import ModelStore

        return ModelStore(self.home.models, hub_url=self.config.hub_url)

    def tables(self) -> TrainingTables:
        """Return the tables that trainings read."""
        from wattbus.operations.place import tables_beside

        return tables_beside(
            self.home, self.config.store_url, self.config.tables_url or f"sqlite:///{self.home.tables_file}"
        )
