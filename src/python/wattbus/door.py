"""The Python door: a production that runs in the caller's process, for notebooks, scripts and tests.

with wattbus.run() as bus:
    answer = bus.request("Python.MLOperation", MLRequest(inputs="This was a really bad experience"))
"""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import iop

from wattbus import trace
from wattbus.config import Config, read_config
from wattbus.energy.carbon import carbon_intensity
from wattbus.energy.codecarbon_feed import CodecarbonFeed
from wattbus.energy.feed import NullFeed, PowerFeed
from wattbus.errors import BadSettings
from wattbus.home import Home
from wattbus.messages import (
    HFRequest,
    HFResponse,
    MLRequest,
    MLResponse,
    OverrideRequest,
    OverrideResponse,
    TrainRequest,
    TrainResponse,
)
from wattbus.runtime.production import ProductionConfig, from_production, load
from wattbus.runtime.running import ItemStatus, RunningProduction
from wattbus.transport import Resolver

_HERE = Path(__file__).parent
#: The production that comes with the package: beside it in a checkout, inside it once installed.
SHIPPED_SETTINGS = next(
    (file for file in (_HERE / "shipped" / "settings.py", _HERE.parent / "settings.py") if file.exists()),
    _HERE / "shipped" / "settings.py",
)


class PythonDoor:
    """A running production and what can be asked of it."""

    def __init__(self, production: RunningProduction) -> None:
        self.production = production

    @overload
    def request(self, item: str, message: MLRequest, *, timeout_seconds: float = -1) -> MLResponse: ...
    @overload
    def request(self, item: str, message: TrainRequest, *, timeout_seconds: float = -1) -> TrainResponse: ...
    @overload
    def request(
        self, item: str, message: OverrideRequest, *, timeout_seconds: float = -1
    ) -> OverrideResponse: ...
    @overload
    def request(self, item: str, message: HFRequest, *, timeout_seconds: float = -1) -> HFResponse: ...
    @overload
    def request(self, item: str, message: Any, *, timeout_seconds: float = -1) -> Any: ...
    def request(self, item: str, message: Any, *, timeout_seconds: float = -1) -> Any:
        """Send ``message`` to ``item``, wait, and return the typed response."""
        return self.production.request(item, message, timeout_seconds=timeout_seconds)

    async def request_async(self, item: str, message: Any) -> Any:
        """Do as :meth:`request` in an event loop, which goes on meanwhile."""
        return await self.production.request_async(item, message)

    def submit(self, item: str, message: Any) -> int:
        """Send ``message`` and return its id as soon as it is safe in the store."""
        return self.production.submit(item, message)

    def message(self, type_name: str, body: Any) -> Any:
        """Build a message from a type's name, old names too, and a JSON text or object."""
        return self.production.message(type_name, body)

    def trace(self, session_id: int | None = None) -> trace.Trace:
        """Return the visual trace of a session, by default the last; a notebook draws it."""
        self.production.ledger.settle()
        self.production.store.flush()
        return trace.read(self.production.store.engine, session_id)

    def items(self) -> list[ItemStatus]:
        """Return how each item stands."""
        return self.production.items()

    def wait_ready(self, seconds: float = 120.0) -> bool:
        """Wait until every item is ready or has said why not."""
        return self.production.wait_ready(seconds)

    def __enter__(self) -> PythonDoor:
        self.production.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.production.stop()


def run(
    production: iop.Production | type[iop.Production] | str | Path | None = None,
    *,
    home: str | Path | None = None,
    feed: PowerFeed | None = None,
    config: Config | None = None,
    resolver: Resolver = socket.getaddrinfo,
) -> PythonDoor:
    """Make a production ready to run here; enter the result as a context to start it.

    ``production`` is an ``iop.Production``, the path of a ``settings.py``, or None for the configured one.
    """
    config = config or read_config(home=home)
    return PythonDoor(running(read_production(production, config), config, feed, resolver))


def running(
    production: ProductionConfig,
    config: Config,
    feed: PowerFeed | None = None,
    resolver: Resolver = socket.getaddrinfo,
) -> RunningProduction:
    """Make the running form of a production as the configuration says."""
    return RunningProduction(
        production,
        Home.find(config.home),
        feed=feed or power_feed(config),
        carbon=carbon_intensity(g_per_kwh=config.carbon_g_per_kwh, country=config.country),
        store_url=config.store_url,
        tables_url=config.tables_url,
        allow_hosts=config.allow_hosts,
        hub_url=config.hub_url,
        resolver=resolver,
    )


def power_feed(config: Config) -> PowerFeed:
    """Return the power feed of this machine, or none where the configuration switches it off."""
    if not config.energy:
        return NullFeed("WATTBUS_ENERGY is off")
    return CodecarbonFeed()


def read_production(
    production: iop.Production | type[iop.Production] | str | Path | None, config: Config
) -> ProductionConfig:
    """Read a production from an object, a path, or the place that the configuration names."""
    if isinstance(production, type) and issubclass(production, iop.Production):
        production = production()
    if isinstance(production, iop.Production):
        return from_production(production)
    if production is not None and not isinstance(production, str | Path):
        raise BadSettings(
            f"a {type(production).__name__} is no production: give an iop.Production or a settings.py."
        )
    return load(Path(production) if production is not None else settings_file(config))


def settings_file(config: Config) -> Path:
    """Return the ``settings.py`` that runs: configured, here, in ``src/python``, or the shipped one."""
    if config.settings is not None:
        return config.settings
    for candidate in (Path("settings.py"), Path("src/python/settings.py")):
        if candidate.is_file():
            return candidate
    return SHIPPED_SETTINGS
