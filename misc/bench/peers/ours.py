"""wattbus on its default store: a production with one echo operation, through the door that users use.

Each request is a header, a body, an attempt with its lease, a response with its body, and an energy record that is
settled when the interval that holds it was read.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import iop

from peers.contender import BODY_BYTES, WORKERS, Measure, Setup, drive
from wattbus.config import read_config
from wattbus.door import power_feed
from wattbus.home import Home
from wattbus.runtime.production import from_production
from wattbus.runtime.running import RunningProduction


@dataclass
class Text(iop.Message):
    """The request and the reply."""

    text: str = ""


class Echo(iop.BusinessOperation):
    """Answers with what it was sent."""

    def echo(self, request: Text) -> Text:
        return Text(request.text)


class Ours:
    """A running production in a home of its own."""

    def __init__(self, setup: Setup) -> None:
        production = iop.Production("Bench.Production")
        production.operation("Echo", Echo, pool_size=WORKERS)
        home = Home(setup.folder / "home")
        feed = power_feed(read_config(home=home.root))
        self._running = RunningProduction(from_production(production), home, feed=feed).start()
        if not self._running.wait_ready() or self._running.items()[0].error:
            raise RuntimeError(f"the production did not start: {self._running.items()}")
        self._running.ledger.wait_ready(20)
        self._body = secrets.token_hex(BODY_BYTES // 2)

    def measure(self, in_flight: int, requests: int) -> Measure:
        body, request = self._body, self._running.request

        def call() -> None:
            if request("Echo", Text(body)).text != body:
                raise RuntimeError("the reply is not the request")

        return drive(call, in_flight, requests)

    def close(self) -> None:
        self._running.stop()


def open_contender(setup: Setup, name: str) -> Ours:
    """Start the production."""
    return Ours(setup)
