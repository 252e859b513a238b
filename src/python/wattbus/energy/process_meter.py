"""The ledger of this process for code outside a production: started by the first window, stopped at the end.

Nothing of it delays the code: the configuration is read, and the power feed found, in the feed's own thread.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from wattbus.energy.attempt_window import start_afresh
from wattbus.energy.child_time import ChildTime
from wattbus.energy.code_window import CodeWindow
from wattbus.energy.feed import NullFeed, PowerFacts, PowerFeed, PowerReading
from wattbus.energy.ledger import INTERVAL_SECONDS, Ledger
from wattbus.energy.record import EnergyRecord, IntervalRecord, make_record
from wattbus.errors import WattbusError

if TYPE_CHECKING:
    from wattbus.energy.carbon import CarbonIntensity
    from wattbus.energy.machine_account import MachineAccount

logger = logging.getLogger("wattbus.energy")

JOULES_PER_KWH = 3_600_000.0
START_SECONDS = 15.0


class ProcessMeter:
    """Opens windows, and hands each settled record to who opened its window."""

    def __init__(self, feed: PowerFeed | None = None, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self.feed: PowerFeed = feed or ConfiguredFeed()
        self.ledger = Ledger(self.feed, on_settled=self._settled, interval_seconds=interval_seconds)
        self._child_time = ChildTime(self.ledger.cpu)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Callable[[EnergyRecord], None]] = {}
        self._listeners: list[Callable[[IntervalRecord], None]] = []
        self._lock = threading.Lock()
        self._started = False

    def start(self) -> None:
        """Start metering in the background; a second call does nothing."""
        with self._lock:
            if not self._started:
                self._started = True
                self.ledger.start()

    def open(self, name: str, on_settled: Callable[[EnergyRecord], None]) -> CodeWindow:
        """Open a window in this thread; ``on_settled`` gets its record, in the ledger's thread."""
        self.start()
        number = next(self._numbers)
        self._waiting[number] = on_settled
        window = CodeWindow(self.ledger, number, name, self._child_time)
        self.ledger.take_in(window)
        return window

    def listen(self, listener: Callable[[IntervalRecord], None]) -> None:
        """Call ``listener`` with each reading of the machine from here on, in the ledger's thread."""
        with self._lock:
            self._listeners = [*self._listeners, listener]

    def unlisten(self, listener: Callable[[IntervalRecord], None]) -> None:
        """Call ``listener`` no more."""
        with self._lock:
            self._listeners = [one for one in self._listeners if one is not listener]

    def stop(self) -> None:
        """Settle what ended and stop; windows that close later have no figure."""
        self.ledger.stop()

    @cached_property
    def account(self) -> MachineAccount:
        """The one account of the whole machine, which all trackers of this process share."""
        from wattbus.energy.machine_account import MachineAccount

        return MachineAccount(self)

    @cached_property
    def carbon(self) -> CarbonIntensity | None:
        """The carbon intensity that the environment names, or None; a wrong one is said in the log."""
        with _importing:
            from wattbus.config import read_config
            from wattbus.energy.carbon import carbon_intensity

        try:
            config = read_config()
            return carbon_intensity(g_per_kwh=config.carbon_g_per_kwh, country=config.country)
        except WattbusError as error:
            logger.warning("no carbon figures: %s", error)
            return None

    def _settled(self, records: list[EnergyRecord], interval: IntervalRecord | None) -> None:
        for record in records:
            take = self._waiting.pop(record.message_id, None)
            if take is not None:
                take(with_carbon(record, self.carbon))
        if interval is not None:
            for listener in self._listeners:
                listener(interval)


class ConfiguredFeed:
    """The power feed that the environment asks for; read in the feed's thread, since that takes a third of a second.

    What is stated before it starts replaces codecarbon's guesses.
    """

    def __init__(self) -> None:
        self._stated: tuple[float | None, float | None] = (None, None)
        self._started = False
        self._feed: PowerFeed = NullFeed()

    def state(self, cpu_tdp_watts: float | None, ram_watts: float | None) -> bool:
        """State the power of the processor and of the memory; False when it is too late for something new."""
        if self._started:
            return self._stated == (cpu_tdp_watts, ram_watts)
        self._stated = (cpu_tdp_watts, ram_watts)
        return True

    def start(self) -> PowerFacts:
        self._started = True
        with _importing:
            from wattbus.config import read_config
            from wattbus.energy.codecarbon_feed import CodecarbonFeed, load_readers

            config = read_config()
            if config.energy:
                load_readers()
        if config.energy:
            cpu_tdp_watts, ram_watts = self._stated
            self._feed = CodecarbonFeed(cpu_tdp_watts=cpu_tdp_watts, ram_watts=ram_watts)
        else:
            self._feed = NullFeed("WATTBUS_ENERGY is off")
        return self._feed.start()

    def read(self) -> PowerReading:
        return self._feed.read()

    def stop(self) -> None:
        self._feed.stop()


def with_carbon(record: EnergyRecord, carbon: CarbonIntensity | None) -> EnergyRecord:
    """Return the record with its carbon, where both its energy and the intensity are known."""
    if carbon is None or record.energy_joules is None:
        return record
    return make_record(
        record,
        {
            "carbon_grams": record.energy_joules / JOULES_PER_KWH * carbon.g_per_kwh,
            "carbon_intensity_g_per_kwh": carbon.g_per_kwh,
            "carbon_source": carbon.label,
        },
    )


def process_meter() -> ProcessMeter:
    """Return the meter of this process; a forked child gets one of its own."""
    global _meter, _looks_at_forks
    with _lock:
        if _meter is None:
            _meter = ProcessMeter()
            atexit.register(_meter.stop)
            if hasattr(os, "register_at_fork") and not _looks_at_forks:
                _looks_at_forks = True
                os.register_at_fork(
                    before=_importing.acquire,
                    after_in_parent=_importing.release,
                    after_in_child=_forget_parent,
                )
        return _meter


def wait_until_metering(timeout_seconds: float = START_SECONDS) -> bool:
    """Start the meter and wait until its readings count; False when there will be none, or not in time.

    Nobody needs to wait; but what ends before the first reading, two seconds or so after the start, has no figure.
    """
    meter = process_meter()
    meter.start()
    return meter.ledger.wait_ready(timeout_seconds)


def _forget_parent() -> None:
    global _meter, _lock
    _meter, _lock = None, threading.Lock()
    _importing.release()
    start_afresh()


_lock = threading.Lock()
# Held while a thread of the meter imports. A child that was forked meanwhile would wait for that thread for ever as
# soon as it imported the same module. So a fork waits instead, once and for less than half a second.
_importing = threading.Lock()
_meter: ProcessMeter | None = None
_looks_at_forks = False
