"""The Python door: a production that runs in the caller's process, for notebooks, scripts and tests.

with wattbus.run() as bus:
    answer = bus.request("Python.MLOperation", MLRequest(inputs="This was a really bad experience"))
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import iop

from wattbus import trace
from wattbus.clock import SYSTEM, Clock
from wattbus.config import Config, read_config
from wattbus.energy.carbon import configured_intensity
from wattbus.energy.codecarbon_feed import CodecarbonFeed
from wattbus.energy.feed import NullFeed, PowerFeed
from wattbus.errors import BadSettings
from wattbus.export.otel import SpanExport, exporter
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
from wattbus.runtime import director
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.reading import from_production, load
from wattbus.runtime.running import ItemStatus, RunningProduction
from wattbus.runtime.settings_files import SettingsFiles, named_settings
from wattbus.runtime.stream_reader import StreamReader
from wattbus.store.actions import Actions
from wattbus.store.purge import Retention
from wattbus.store.tables import Priority
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
    def request(
        self,
        item: str,
        message: MLRequest,
        *,
        timeout_seconds: float = -1,
        idempotency_key: str | None = None,
    ) -> MLResponse: ...
    @overload
    def request(
        self,
        item: str,
        message: TrainRequest,
        *,
        timeout_seconds: float = -1,
        idempotency_key: str | None = None,
    ) -> TrainResponse: ...
    @overload
    def request(
        self,
        item: str,
        message: OverrideRequest,
        *,
        timeout_seconds: float = -1,
        idempotency_key: str | None = None,
    ) -> OverrideResponse: ...
    @overload
    def request(
        self,
        item: str,
        message: HFRequest,
        *,
        timeout_seconds: float = -1,
        idempotency_key: str | None = None,
    ) -> HFResponse: ...
    @overload
    def request(
        self, item: str, message: Any, *, timeout_seconds: float = -1, idempotency_key: str | None = None
    ) -> Any: ...
    def request(
        self, item: str, message: Any, *, timeout_seconds: float = -1, idempotency_key: str | None = None
    ) -> Any:
        """Send ``message`` to ``item``, wait, and return the typed response; one key is one message."""
        return self.production.request(
            item, message, timeout_seconds=timeout_seconds, idempotency_key=idempotency_key
        )

    def request_async(self, item: str, message: Any) -> Coroutine[Any, Any, Any]:
        """Do as :meth:`request` in an event loop, which goes on meanwhile."""
        return self.production.request_async(item, message)

    def stream(self, item: str, message: Any, *, timeout_seconds: float = -1) -> StreamReader:
        """Send ``message`` as a generator request and return its values, each made when it is asked for.

        Of an MLRequest for text generation that is an MLToken for each token, and the MLResponse with the whole at
        the end. Use it as a context where it may not be read to its end.
        """
        return self.production.stream(item, message, timeout_seconds=timeout_seconds)

    def submit(
        self,
        item: str,
        message: Any,
        *,
        priority: int = Priority.ASYNC,
        idempotency_key: str | None = None,
    ) -> int:
        """Send ``message`` and return its id as soon as it is safe in the store.

        A lower ``priority`` is served first. With a key that was used before, the id is that of the first message.
        """
        return self.production.submit(item, message, priority=priority, idempotency_key=idempotency_key)

    def message(self, type_name: str, body: Any) -> Any:
        """Build a message from a type's name, old names too, and a JSON text or object."""
        return self.production.message(type_name, body)

    def trace(self, session_id: int | None = None) -> trace.Trace:
        """Return the visual trace of a session, by default the last; a notebook draws it."""
        self.production.ledger.settle()
        self.production.store.flush()
        return trace.read(self.production.store.engine, session_id)

    @property
    def actions(self) -> Actions:
        """Return what can be done to stored messages: resend, edit, replay, suspend, resume, discard, abort."""
        return self.production.actions

    def items(self) -> list[ItemStatus]:
        """Return how each item stands."""
        return self.production.items()

    def wait_ready(self, seconds: float = 120.0) -> bool:
        """Wait until every item is ready or has said why not."""
        return self.production.wait_ready(seconds)

    def __enter__(self) -> PythonDoor:
        self.production.start()
        self._director = director.Director.of(self.production)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._director.ended()
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
    *,
    home: Home | None = None,
    clock: Clock = SYSTEM,
) -> RunningProduction:
    """Make the running form of a production as the configuration says."""
    return RunningProduction(
        production,
        home or home_of(config),
        clock=clock,
        feed=feed or power_feed(config),
        carbon=configured_intensity(config),
        store_url=config.store_url,
        tables_url=config.tables_url,
        allow_hosts=config.allow_hosts,
        allow_pickle=config.allow_pickle,
        hub_url=config.hub_url,
        resolver=resolver,
        retention=None if config.retention_days is None else Retention(config.retention_days),
        companions=_companions(config, resolver),
    )


def _companions(config: Config, resolver: Resolver) -> list[Callable[[RunningProduction], SpanExport]]:
    if config.otel_endpoint is None:
        return []
    return [exporter(config.otel_endpoint, resolver, with_content=config.otel_content)]


class Director(director.Director):
    """The director of a home, for ``iop.Production.with_director``: of productions in memory and of a settings file.

    prod.with_director(wattbus.Director(prod)).start()
    """

    def __init__(
        self,
        *productions: iop.Production | type[iop.Production],
        home: str | Path | None = None,
        settings: str | Path | None = None,
        config: Config | None = None,
        feed: PowerFeed | None = None,
    ) -> None:
        config = config or read_config(home=home)
        place = Home.find(config.home)
        given = [read_production(production, config) for production in productions]
        file = Path(settings) if settings is not None else config.settings
        if file is None and not given:
            file = settings_file(config)
        super().__init__(
            place,
            SettingsFiles(place, file, given, config.production),
            lambda production: running(production, config, feed),
            config.store_url,
        )


def home_of(config: Config) -> Home:
    """Return the home that the configuration names, with the room that is kept free on its disk."""
    megabytes = config.ballast_mb
    return replace(
        Home.find(config.home), ballast_bytes=None if megabytes is None else int(megabytes * 1_000_000)
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
    return load(Path(production) if production is not None else settings_file(config), config.production)


def settings_file(config: Config) -> Path:
    """Return the ``settings.py`` that runs: configured, here, in ``src/python``, or the shipped one."""
    return named_settings(config) or SHIPPED_SETTINGS
