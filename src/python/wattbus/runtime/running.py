"""A running production: its bus, its pools and its ledger in this process, started and stopped in IRIS's order."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import iop
from iop.messages.dispatch import dispatch_deserializer
from sqlalchemy import func, select

from wattbus.energy.carbon import CarbonIntensity
from wattbus.energy.feed import PowerFeed
from wattbus.energy.ledger import Ledger
from wattbus.errors import BadRequest, NotRunning
from wattbus.home import Home
from wattbus.runtime import iris
from wattbus.runtime.bus import Bus, Origin, Waiter
from wattbus.runtime.context import Place
from wattbus.runtime.host import Host
from wattbus.runtime.iris import Envelope
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.types import MessageTypes, parse, read_typed, write_envelope
from wattbus.runtime.worker import Pool
from wattbus.secrets import Vault
from wattbus.store.store import Store
from wattbus.store.tables import Priority, Status, messages
from wattbus.store.units import Acceptance
from wattbus.transport import Resolver

_START_ORDER = ("operation", "process", "service")


@dataclass(frozen=True)
class ItemStatus:
    """How an item stands."""

    name: str
    kind: str
    component: str
    state: str  # Starting, Running, Stopped, Error, Disabled
    pool_size: int
    queued: int
    error: str | None = None


class RunningProduction:
    """A production in this process; a context manager."""

    def __init__(
        self,
        production: ProductionConfig,
        home: Home,
        *,
        feed: PowerFeed,
        carbon: CarbonIntensity | None = None,
        store_url: str | None = None,
        tables_url: str | None = None,
        allow_hosts: frozenset[str] = frozenset(),
        hub_url: str | None = None,
        resolver: Resolver = socket.getaddrinfo,
    ) -> None:
        iris.stand_in()
        home.create()
        self.production, self.home = production, home
        self.place = Place(
            home,
            Vault(home.secrets_file),
            tables_url=tables_url or f"sqlite:///{home.tables_file}",
            store_url=store_url,
            allow_hosts=allow_hosts,
            resolver=resolver,
            hub_url=hub_url,
        )
        self.store = Store(home, store_url)
        self.types = MessageTypes(item.component for item in production.items.values())
        self.bus = Bus(self.store, production, self.types, self.place)
        self.ledger = Ledger(feed, on_settled=self.store.settle, carbon=carbon)
        self._pools: dict[str, Pool] = {}
        self.state = "Stopped"

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> RunningProduction:
        """Take back what a dead process left, then start operations, processes, services, in this order."""
        from wattbus.ml.models import ModelStore

        self.store.begin(self.production.name)
        for leftover in ModelStore(self.home.models).clean():
            self.bus.log("Info", f"removed what a killed process left in the model folder: {leftover}", "")
        self._remove_ended_runs()
        self.ledger.start()
        self.bus.log("Info", f"production {self.production.name} starts, process {os.getpid()}", "")
        for kind in _START_ORDER:
            for item in self.production.items.values():
                if item.kind == kind and item.enabled:
                    pool = Pool(Host(item, self.bus, self.ledger), self.bus)
                    self._pools[item.name] = pool
                    pool.start()
        self.state = "Running"
        return self

    def _remove_ended_runs(self) -> None:
        """Take out the working folders of trainings whose messages have ended."""
        for folder in self.home.runs.glob("message-*"):
            number = folder.name.removeprefix("message-")
            header = self.store.header(int(number)) if number.isdecimal() else None
            if header is None or header.status not in (Status.QUEUED, Status.DELIVERED):
                shutil.rmtree(folder, ignore_errors=True)

    def stop(self, grace_seconds: float = 30.0) -> str:
        """Let what is in hand end, keep the rest queued, and return the state: Stopped, or Suspended.

        Suspended means, as in IRIS, that messages with a waiting caller are left.
        """
        if self.state != "Running":
            return self.state
        self.state = "Stopping"
        self.place.stopping.set()
        self.store.release_workers()
        deadline = time.monotonic() + grace_seconds
        ended = [pool.join(max(0.1, deadline - time.monotonic())) for pool in self._pools.values()]
        self.ledger.stop()
        left = self._left()
        self.state = "Suspended" if left or not all(ended) else "Stopped"
        self.bus.log("Info", f"production {self.production.name} ends: {self.state}", "")
        self.store.close(self.state)
        return self.state

    def wait_ready(self, seconds: float = 120.0) -> bool:
        """Wait until every item is ready or has said why not."""
        deadline = time.monotonic() + seconds
        return all(pool.wait_ready(max(0.0, deadline - time.monotonic())) for pool in self._pools.values())

    def __enter__(self) -> RunningProduction:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _left(self) -> int:
        with self.store.engine.connect() as connection:
            waiting = select(func.count()).where(
                messages.c.status == Status.QUEUED.value, messages.c.response_required.is_(True)
            )
            return int(connection.execute(waiting).scalar_one())

    # -- doors --------------------------------------------------------------------------------------------------

    def message(self, type_name: str, body: Any) -> Any:
        """Build a typed message from a type's name and a body as JSON text or object."""
        return parse(self.types.resolve(type_name), body)

    def request(
        self,
        item: str,
        message: Any,
        *,
        timeout_seconds: float = -1,
        door: str = "Python",
        idempotency_key: str | None = None,
    ) -> Any:
        """Send ``message`` to ``item``, wait, and return the typed response; raise in words where it failed."""
        return self.exchange(
            item, message, timeout_seconds=timeout_seconds, door=door, idempotency_key=idempotency_key
        )[1]

    def exchange(
        self,
        item: str,
        message: Any,
        *,
        timeout_seconds: float = -1,
        door: str = "Python",
        idempotency_key: str | None = None,
    ) -> tuple[int, Any]:
        """Do as :meth:`request` and return the message id beside the response."""
        waiter = Waiter()
        # No need to wait for the acceptance as well: an answer can only follow it.
        self.bus.send(self._watched(item, message, door, idempotency_key, waiter))
        self.bus.wait(waiter, timeout_seconds)
        answer = self.bus.answer_of(waiter, item, timeout_seconds)
        return waiter.message_id, self._typed(answer)

    async def request_async(self, item: str, message: Any, *, door: str = "Python") -> Any:
        """Do as :meth:`request` in an event loop, which goes on meanwhile."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not answered.done():
                answered.set_result(None)

        waiter = Waiter(lambda: loop.call_soon_threadsafe(settle))
        self.store.accept_later(self._watched(item, message, door, None, waiter))
        if self.store.shared:
            await asyncio.to_thread(self.bus.wait, waiter)
        else:
            await answered
        return self.response(waiter, item)

    def submit(
        self, item: str, message: Any, *, door: str = "Python", idempotency_key: str | None = None
    ) -> int:
        """Send ``message`` to ``item`` and return its id as soon as it is safe in the store."""
        draft = self.bus.draft(
            item,
            self._checked(item, message),
            _door(door),
            response_required=False,
            idempotency_key=idempotency_key,
        )
        return self.bus.send(draft).wait()

    def submit_and_watch(
        self, item: str, message: Any, *, door: str = "Python", idempotency_key: str | None = None
    ) -> Waiter:
        """Send ``message`` and return the waiter for its response, once the message is safe."""
        waiter = Waiter()
        waiter.message_id = self.bus.send(self._watched(item, message, door, idempotency_key, waiter)).wait()
        return waiter

    def _watched(
        self, item: str, message: Any, door: str, idempotency_key: str | None, waiter: Waiter
    ) -> Acceptance:
        return self.bus.draft(
            item,
            self._checked(item, message),
            _door(door),
            priority=Priority.SYNC,
            response_required=True,
            idempotency_key=idempotency_key,
            waiter=waiter,
        )

    def response(self, waiter: Waiter, item: str) -> Any:
        """Return the typed response that a waiter holds; raise in words where the item failed."""
        return self._typed(self.bus.answer_of(waiter, item, 0))

    def _typed(self, answer: Envelope | None) -> Any:
        # A type that the registry does not have is left to iop.
        return dispatch_deserializer(read_typed(self.types, answer))

    def items(self) -> list[ItemStatus]:
        """Return how each item stands, in the order of the production."""
        queued = self._queued()
        return [
            ItemStatus(
                item.name,
                item.kind,
                f"{item.component.__module__}.{item.component.__name__}",
                self._pools[item.name].host.state if item.name in self._pools else "Disabled",
                item.pool_size,
                queued.get(item.name, 0),
                self._pools[item.name].host.error if item.name in self._pools else None,
            )
            for item in self.production.items.values()
        ]

    def _queued(self) -> dict[str, int]:
        with self.store.engine.connect() as connection:
            rows = connection.execute(
                select(messages.c.target_queue, func.count())
                .where(messages.c.status == Status.QUEUED.value)
                .group_by(messages.c.target_queue)
            )
            return {queue: count for queue, count in rows}

    def _checked(self, item: str, message: Any) -> Any:
        if self.state != "Running":
            raise NotRunning(f"production {self.production.name} is {self.state}: start it, then send again.")
        config = self.production.item(item)
        if not isinstance(message, iop.Message | iop.PydanticMessage):
            raise BadRequest(
                f"a {type(message).__name__} is no message: build one, such as MLRequest(inputs='text')."
            )
        pool = self._pools.get(config.name)
        if pool is not None and not pool.host.accepts(type(message)):
            raise BadRequest(
                f"item {item!r} does not handle {type(message).__name__}; it handles "
                f"{', '.join(name.rpartition('.')[2] for name in pool.host.handled) or 'nothing'}."
            )
        return write_envelope(message)


def _door(name: str) -> Origin:
    return Origin(f"Door.{name}", "BusinessService")
