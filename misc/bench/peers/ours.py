"""wattbus on its default store: a production with one echo operation, through the door that users use.

Each request is a header, a body, an attempt with its lease, a response with its body, and an energy record that is
settled when the interval that holds it was read. ``ours`` is called from threads (``request``), ``ours-asyncio`` from
the tasks of one event loop (``request_async``).
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import iop

import wattbus
from peers.contender import BODY_BYTES, WORKERS, Measure, Setup, drive, drive_tasks
from wattbus.config import read_config
from wattbus.door import PythonDoor, power_feed
from wattbus.home import Home
from wattbus.runtime.reading import from_production
from wattbus.runtime.running import RunningProduction

READY_SECONDS = 20


@dataclass
class Text(iop.Message):
    """The request and the reply."""

    text: str = ""


class Echo(iop.BusinessOperation):
    """Answers with what it was sent."""

    def echo(self, request: Text) -> Text:
        return Text(request.text)


def echo_production(pool_size: int = WORKERS, enabled: bool = True) -> iop.Production:
    """Return the production of one echo operation."""
    production = iop.Production("Bench.Production")
    production.operation("Echo", Echo, pool_size=pool_size, enabled=enabled)
    return production


def door(production: iop.Production, folder: Path) -> PythonDoor:
    """Return the Python door of a production whose home is in ``folder``; not started yet."""
    home = Home(folder / "home")
    feed = power_feed(read_config(home=home.root))
    return PythonDoor(RunningProduction(from_production(production), home, feed=feed))


def wait_ready(bus: PythonDoor) -> None:
    """Wait until every item runs and the power feed reads; raise where an item cannot run."""
    if not bus.wait_ready() or any(item.error for item in bus.items()):
        raise RuntimeError(f"the production did not start: {bus.items()}")
    bus.production.ledger.wait_ready(READY_SECONDS)


def versions() -> str:
    """Return the versions of what is measured."""
    iop_version = version("iris-pex-embedded-python")
    return f"wattbus {wattbus.__version__}, iop {iop_version}, SQLite {sqlite3.sqlite_version}"


def body() -> str:
    """Return the text of a request."""
    return secrets.token_hex(BODY_BYTES // 2)


class Ours:
    """A running production in a home of its own."""

    def __init__(self, setup: Setup, asynchronous: bool) -> None:
        self._bus = door(echo_production(), setup.folder)
        self._bus.__enter__()
        wait_ready(self._bus)
        self.version = versions()
        self._body = body()
        self._loop = asyncio.new_event_loop() if asynchronous else None

    def measure(self, in_flight: int, requests: int) -> Measure:
        if self._loop is not None:
            return self._loop.run_until_complete(
                round_trips(self._bus, "Echo", self._body, in_flight, requests)
            )
        text, request = self._body, self._bus.request

        def call() -> None:
            if request("Echo", Text(text)).text != text:
                raise RuntimeError("the reply is not the request")

        return drive(call, in_flight, requests)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close()
        self._bus.__exit__(None, None, None)


async def round_trips(bus: PythonDoor, item: str, text: str, in_flight: int, requests: int) -> Measure:
    """Measure round trips to an item that answers with what it was sent, from one event loop."""
    request = bus.request_async

    async def call() -> None:
        if (await request(item, Text(text))).text != text:
            raise RuntimeError("the reply is not the request")

    return await drive_tasks(call, in_flight, requests)


def open_contender(setup: Setup, name: str) -> Ours:
    """Start the production."""
    return Ours(setup, asynchronous=name.endswith("-asyncio"))
