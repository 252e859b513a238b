"""A production inside a test: in the test's own process, with doubles, a clock and no power feed to wait for."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import iop

from wattbus.clock import SYSTEM, Clock
from wattbus.config import Config, read_config
from wattbus.door import PythonDoor, read_production, running
from wattbus.energy.feed import NullFeed, PowerFeed
from wattbus.errors import WattbusError
from wattbus.home import Home
from wattbus.runtime.callers import Waiter
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.running import RunningProduction
from wattbus.testing.clock import FakeClock
from wattbus.testing.components import Answers, handled, with_stand_ins
from wattbus.testing.doubles import Double, verify
from wattbus.testing.motion import in_motion
from wattbus.transport import Resolver

_LOOK_AGAIN_SECONDS = 0.005
_KEEPER = "wattbus-keeper"
#: How long the end of a test waits for what its doubles still expect.
_LAST_SECONDS = 5.0


class ProductionUnderTest(PythonDoor):
    """The door to a production that a test runs; see :func:`production`."""

    def __init__(
        self,
        production: RunningProduction,
        clock: Clock,
        doubles: dict[str, Double],
        folder: Path | None = None,
    ) -> None:
        super().__init__(production)
        self.clock, self.doubles = clock, doubles
        self._remove = (
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True) if folder is not None else None
        )

    def double(self, item: str, double: Double | None = None) -> Double:
        """Put a double in the place of an item while the production runs, and return it.

        The item ends what it has in hand first. The second call for an item returns the double that is there. A name
        that the production does not have is added as an operation: a target that is not written yet.
        """
        if item in self.doubles and double in (None, self.doubles[item]):
            return self.doubles[item]
        if self.production.state != "Running":
            raise ValueError(
                f"the production does not run yet: give doubles={{{item!r}: Double()}} to production()."
            )
        double = double or Double()
        read = self.production.life.base
        introduce(double, item, read)
        self.production.update(with_stand_ins(read, {item: double}))
        self.doubles[item] = double
        return double

    def begin(self, item: str, message: Any) -> Future[Any]:
        """Send ``message`` to ``item`` and go on, once it is safe: the future has the response, or the error."""
        waiter = self.production.submit_and_watch(item, message)
        future: Future[Any] = Future()
        threading.Thread(
            target=self._answer, args=(future, waiter, item), name="wattbus-test-answer", daemon=True
        ).start()
        return future

    def _answer(self, future: Future[Any], waiter: Waiter, item: str) -> None:
        self.production.bus.wait(waiter)
        try:
            future.set_result(self.production.response(waiter, item))
        except WattbusError as error:
            future.set_exception(error)

    def settle(self, seconds: float = 10.0) -> None:
        """Wait until no message is queued or in hand, ``seconds`` of real time at most; then raise AssertionError.

        What waits for the clock (a retry, a timer, a double's delay) does not count: it moves when the clock does.
        """
        ends, pause = time.monotonic() + seconds, threading.Event()
        while left := in_motion(self.production, self._sleeping()):
            if time.monotonic() > ends:
                raise AssertionError(f"after {seconds:g} s not all is settled: {'; '.join(left[:10])}.")
            pause.wait(_LOOK_AGAIN_SECONDS)
        self.production.store.flush()

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` of the fake clock pass, before and after which the production settles."""
        if not isinstance(self.clock, FakeClock):
            raise ValueError(
                "this production runs on the machine's clock: give it clock=testing.FakeClock()."
            )
        self.settle()
        # The thread that wakes delayed messages has to have seen the last of them.
        self.clock.wait_for_sleeper(_KEEPER)
        self.clock.advance(seconds)
        self.settle()

    def _sleeping(self) -> frozenset[str] | None:
        return self.clock.sleeping() if isinstance(self.clock, FakeClock) else None

    def __enter__(self) -> Self:
        try:
            super().__enter__()
        except BaseException:
            self._tidy()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and not all(double.is_met for double in self.doubles.values()):
                # What is expected may be on its way.
                with contextlib.suppress(AssertionError):
                    self.settle(_LAST_SECONDS)
            if self.production.state == "Running" and not in_motion(self.production, self._sleeping()):
                # What is in hand waits for a clock that nobody moves any more.
                self.production.stop(_LAST_SECONDS)
            super().__exit__(kind, error, trace)
        finally:
            self._tidy()
        if error is None:
            verify(self.doubles.values())
            return
        for double in self.doubles.values():
            for complaint in double.complaints():
                error.add_note(complaint)

    def _tidy(self) -> None:
        if self._remove is not None:
            self._remove()


def production(
    prod: iop.Production | type[iop.Production] | str | Path | None,
    home: Path | None = None,
    *,
    doubles: Mapping[str, Double] | None = None,
    clock: Clock | None = None,
    feed: PowerFeed | None = None,
    store_url: str | None = None,
    allow_hosts: frozenset[str] = frozenset(),
    hub_url: str | None = None,
    resolver: Resolver = socket.getaddrinfo,
) -> ProductionUnderTest:
    """Return the production ready to run; enter it as a context.

    With no ``home`` everything is in a temporary folder that is gone at the end. The store there is the same SQLite
    as in use, so that what is tested is what runs, but forces nothing to the disk (``synchronous=OFF``): it lives in
    the machine's memory as long as the test does. A ``home`` that you name is as durable as in use.

    ``doubles`` stand for items by name; ``clock`` is the machine's unless a ``FakeClock`` is given. Energies are
    unknown unless a feed is given, such as ``wattbus.energy.FakeFeed``.
    """
    placed = dict(doubles or {})
    config = read_config(allow_hosts=allow_hosts, hub_url=hub_url)
    # No test runs on the store that this machine is configured for.
    config = config.model_copy(update={"store_url": store_url})
    read = read_production(prod, config)
    for item, double in placed.items():
        introduce(double, item, read)
    return opened(read, placed, config, home, clock=clock, feed=feed, resolver=resolver)


def opened(
    read: ProductionConfig,
    stand_ins: Mapping[str, Answers],
    config: Config,
    home: Path | None = None,
    *,
    clock: Clock | None = None,
    feed: PowerFeed | None = None,
    resolver: Resolver = socket.getaddrinfo,
) -> ProductionUnderTest:
    """Make a production that was read ready to run, with others in the place of some of its items."""
    folder = Path(tempfile.mkdtemp(prefix="wattbus-test-")) if home is None else None
    try:
        made = running(
            with_stand_ins(read, stand_ins) if stand_ins else read,
            config,
            feed or NullFeed("a test without a power feed"),
            resolver,
            home=Home.find(home) if folder is None else Home(folder, durable=False),
            clock=clock or SYSTEM,
        )
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    doubles = {name: double for name, double in stand_ins.items() if isinstance(double, Double)}
    return ProductionUnderTest(made, clock or SYSTEM, doubles, folder)


def introduce(double: Double, item: str, production: ProductionConfig) -> None:
    """Tell a double whom it stands for: an item, one that only IRIS can run, or one that is not there yet."""
    real = production.items.get(item)
    if real is not None:
        double.stand_for(item, handled(real.component))
    else:
        double.stand_for(item, None, known=None if item in production.skipped else production.items)
