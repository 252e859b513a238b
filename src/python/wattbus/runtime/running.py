"""A running production: its bus, its pools and its ledger in this process, started and stopped in IRIS's order."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from wattbus.clock import SYSTEM, Clock
from wattbus.energy.carbon import CarbonIntensity
from wattbus.energy.feed import PowerFeed
from wattbus.energy.ledger import Ledger
from wattbus.energy.record import EnergyRecord, IntervalRecord
from wattbus.errors import BadSettings, NotRunning
from wattbus.home import Home
from wattbus.ml import run_folders
from wattbus.ml.curve import keep_only_the_curve
from wattbus.runtime import iris, uploads
from wattbus.runtime.actions import KnownProduction
from wattbus.runtime.alerts import AlertWatch
from wattbus.runtime.bus import Bus
from wattbus.runtime.changes import changed_files
from wattbus.runtime.context import Place
from wattbus.runtime.definition import Flat
from wattbus.runtime.keeper import ScheduleKeeper
from wattbus.runtime.life import ITEM_GRACE_SECONDS, Grace, Life
from wattbus.runtime.overrides import overridden
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.queue_history import QueueHistory
from wattbus.runtime.reading import load
from wattbus.runtime.requests import Requests
from wattbus.runtime.retention import daily_purge
from wattbus.runtime.standing import ItemStatus
from wattbus.runtime.sums import hourly_sums
from wattbus.runtime.types import MessageTypes
from wattbus.secrets import Vault
from wattbus.store import instances
from wattbus.store.actions import Actions
from wattbus.store.purge import Retention
from wattbus.store.store import Store
from wattbus.store.tables import Status
from wattbus.transport import Resolver

__all__ = ["ItemStatus", "RunningProduction"]


_TURN_SECONDS = 0.002


class Companion(Protocol):
    """Something that works beside a running production, such as an export."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class RunningProduction(Requests):
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
        clock: Clock = SYSTEM,
        allow_pickle: bool = False,
        retention: Retention | None = None,
        companions: Sequence[Callable[[RunningProduction], Companion]] = (),
    ) -> None:
        iris.stand_in()
        home.create()
        self.home = home
        self.place = Place(
            home,
            Vault(home.secrets_file),
            tables_url=tables_url or f"sqlite:///{home.tables_file}",
            store_url=store_url,
            allow_hosts=allow_hosts,
            resolver=resolver,
            hub_url=hub_url,
            clock=clock,
            allow_pickle=allow_pickle,
        )
        self.store = Store(home, store_url, clock=clock)
        try:
            # What was changed on a running wattbus lies over what settings.py says.
            now = overridden(production, self.store.engine)
            self.bus = Bus(self.store, now, MessageTypes.of(now, allow_pickle=allow_pickle), self.place)
            self.ledger = Ledger(feed, on_settled=self._settled, carbon=carbon)
            self.life = Life(production, self.bus, self.ledger)
            self.alerts = AlertWatch(self.bus, self.life.works)
            self.queue_history = QueueHistory(self.bus)
            self.schedules = ScheduleKeeper(self, clock, self.bus.log)
            self.life.closes = self.schedules.closes
        except BaseException:
            self.store.close("Troubled")
            raise
        self.state = "Stopped"
        self._grace = Grace(0.0)
        self._housekeeping = [hourly_sums(self.store, self._warn)]
        if retention is not None:
            self._housekeeping.append(daily_purge(self.store, retention, clock, self._warn))
        self._stopping = threading.Lock()
        self._companions = [make(self) for make in companions]

    @property
    def production(self) -> ProductionConfig:
        """Return the production as it runs now."""
        return self.bus.production

    @property
    def declared(self) -> ProductionConfig:
        """Return the production as settings.py has it."""
        return self.life.base

    @property
    def types(self) -> MessageTypes:
        """Return the message types that it accepts now."""
        return self.bus.types

    @property
    def actions(self) -> Actions:
        """Return what can be done to stored messages: resend, suspend, discard, ...; every door calls these."""
        return Actions(
            self.store,
            KnownProduction(self.production, self.types, self.place.vault),
            ended=self.bus.ended,
            cancel=self.place.cancel,
        )

    def _warn(self, text: str) -> None:
        self.bus.log("Warning", text, "")

    def _settled(self, records: list[EnergyRecord], interval: IntervalRecord | None) -> None:
        self.store.settle(records, interval)
        self.bus.tally.settled(records, interval)

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> RunningProduction:
        """Take back what a dead process left, then start operations, processes, services, in this order."""
        from wattbus.ml.models import ModelStore

        # A thread that comes back from a commit would wait 5 ms for its turn; with less than 2, those that wait for the
        # interpreter's lock ask for it so often that they take a tenth of the processor.
        sys.setswitchinterval(min(sys.getswitchinterval(), _TURN_SECONDS))
        self.store.begin(self.production.name)
        dead = instances.bury(self.store.engine, self.store.instance, self.store.now_us())
        for leftover in ModelStore(self.home.models).clean():
            self.bus.log("Info", f"removed what a killed process left in the model folder: {leftover}", "")
        self._remove_ended_runs()
        uploads.sweep(self.home, self.store.engine)
        self.ledger.start()
        for routine in self._housekeeping:
            routine.start()
        if dead:
            self.bus.log(
                "Warning", f"the production was Troubled ({dead}): what it had in hand is taken back", ""
            )
        self.bus.log("Info", f"production {self.production.name} starts, process {os.getpid()}", "")
        self.alerts.start()
        self.queue_history.start()
        for companion in self._companions:
            companion.start()
        self.life.start()
        self.state = "Running"
        self.schedules.start()
        # What is loaded by now stays: a full collection that looks at all of it holds every thread up for 50 ms.
        gc.freeze()
        return self

    def _remove_ended_runs(self) -> None:
        """Take out what messages that have ended worked with; of a training the curve stays as long as the message."""
        for folder in self.home.runs.glob("message-*"):
            number = folder.name.removeprefix("message-")
            header = self.store.header(int(number)) if number.isdecimal() else None
            if header is None:
                shutil.rmtree(folder, ignore_errors=True)
            elif header.status not in (Status.QUEUED, Status.DELIVERED):
                keep_only_the_curve(folder)
        runs = self.home.runs
        for folder in (*run_folders.left_of_messages(runs, self._goes_on), *run_folders.left_by_hand(runs)):
            shutil.rmtree(folder, ignore_errors=True)

    def _goes_on(self, message_id: int) -> bool:
        header = self.store.header(message_id)
        return header is not None and header.status in (Status.QUEUED, Status.DELIVERED)

    def stop(self, grace_seconds: float = 30.0) -> str:
        """Finish what somebody waits for, keep the rest queued, and return the state: Stopped, or Suspended.

        Suspended means, as in IRIS, that messages with a waiting caller are left. :meth:`hurry` ends the grace.
        """
        with self._stopping:
            if self.state != "Running":
                return self.state
            self.schedules.stop()
            self.state = "Stopping"
            self._grace = Grace(grace_seconds)
            ended = self.life.stop(self._grace)
            self.alerts.stop()
            self.queue_history.stop()
            self.ledger.stop()
            for companion in (*self._companions, *self._housekeeping):
                companion.stop()
            undelivered = self.bus.undelivered.close()
            state = "Suspended" if self.life.left() or undelivered or not ended else "Stopped"
            self.bus.log("Info", f"production {self.production.name} ends: {state}", "")
            self.bus.stopped()
            self.store.close(state)
            gc.unfreeze()
            self.state = state
            return state

    def hurry(self) -> None:
        """End the grace of a stop that is under way: what is in hand is taken back at the next start."""
        self._grace.cut()

    def recover(self) -> int:
        """Take back what dead processes left, start again what could not start; return how many were taken back."""
        self._must_run()
        taken = self.store.recover()
        instances.bury(self.store.engine, self.store.instance, self.store.now_us())
        for item in self.items():
            if item.state == "Error":
                self.life.restart_item(item.name)
        return taken

    def update(self, production: ProductionConfig | None = None) -> list[str]:
        """Read the production again and go on by it; return the names of the items that changed.

        Only they begin anew. What cannot be read is an error, and everything goes on as it was.
        """
        self._must_run()
        changed = self.life.update(self._read_again() if production is None else production)
        self.schedules.look_again()
        return changed

    def needs_update(self) -> str | None:
        """Say which files have changed since they were read; None: none has."""
        changed = changed_files(self.life.base)
        if not changed:
            return None
        names = ", ".join(str(file) for file in changed)
        return f"{names} changed since the production was read: `wattbus update` takes it over."

    def _read_again(self) -> ProductionConfig:
        base = self.life.base
        if not base.source:
            raise BadSettings("this production was made in memory: give update() the new one.")
        return load(Path(base.source), base.name)

    def start_item(self, name: str) -> None:
        """Start an item that was stopped, or that could not start."""
        self._must_run()
        self.life.start_item(name)

    def stop_item(self, name: str, grace_seconds: float = ITEM_GRACE_SECONDS) -> str:
        """Stop one item and return its state, Stopped or still Stopping; what is sent to it stays queued."""
        self._must_run()
        return self.life.stop_item(name, grace_seconds)

    def restart_item(self, name: str) -> None:
        """Make the components of an item anew."""
        self._must_run()
        self.life.restart_item(name)

    def set_pool_size(self, name: str, size: int, by: str = "") -> None:
        """Let an item have so many workers, now and at the next start; ``by`` is for the history."""
        self._must_run()
        self.life.set_pool_size(name, size, by)

    def enable(self, name: str, on: bool, by: str = "") -> None:
        """Enable or disable an item, now and at the next start; ``by`` is for the history."""
        self._must_run()
        self.life.enable(name, on, by)

    def rewrite(self, edit: Callable[[Flat], None], by: str) -> list[str]:
        """Change the definition that lies over settings.py and go on by it; return the items that it touched."""
        self._must_run()
        changed = self.life.rewrite(edit, by)
        self.schedules.look_again()
        return changed

    def reset(self, name: str | None = None, by: str = "") -> list[str]:
        """Forget what was changed on the running production, of one item or of all; return what changed by it."""
        self._must_run()
        changed = self.life.reset(name, by)
        self.schedules.look_again()
        return changed

    def items(self) -> list[ItemStatus]:
        """Return how each item stands, in the order of the production."""
        return self.life.items()

    def wait_ready(self, seconds: float = 120.0) -> bool:
        """Wait until every item is ready or has said why not."""
        return self.life.wait_ready(seconds)

    def __enter__(self) -> RunningProduction:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _must_run(self) -> None:
        if self.state != "Running":
            raise NotRunning(f"production {self.production.name} is {self.state}: start it first.")
