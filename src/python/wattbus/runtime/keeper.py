"""The keeper of the schedules: starts and stops the items that have one, a thread of its own.

As on IRIS a schedule is a square wave in time: at each of its turns the item is started or stopped, and what happens in
between stays as a person left it. A disabled item is never started.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

from wattbus.clock import Clock
from wattbus.errors import BadSettings, NeedsIris, WattbusError
from wattbus.runtime.localtime import local_zone
from wattbus.runtime.production import ItemConfig, ProductionConfig
from wattbus.runtime.schedule import Schedule

# However far the next turn is: a clock that is set is noticed within so many seconds.
_LONGEST_NAP_SECONDS = 30.0


class Scheduled(Protocol):
    """The part of a running production that a keeper needs."""

    @property
    def production(self) -> ProductionConfig: ...

    def start_item(self, name: str) -> None: ...

    def stop_item(self, name: str, grace_seconds: float = ...) -> str: ...


class ScheduleKeeper:
    """Keeps the items of one production to their schedules."""

    def __init__(
        self,
        production: Scheduled,
        clock: Clock,
        log: Callable[[str, str, str], None],
        zone: tzinfo | None = None,
    ) -> None:
        """``log`` takes the type, the text and the item of an event-log line; ``zone`` is by default the machine's."""
        self._production, self._clock, self._log = production, clock, log
        self._zone = zone
        self._read: dict[str, Schedule | None] = {}  # by text; None: only IRIS has it, or it cannot be read
        self._open: dict[str, tuple[str, bool]] = {}  # each item's schedule, and how it stood
        self._stopping, self._nudge = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="wattbus-schedules", daemon=True)
        for item in production.production.items.values():
            self._check(item)

    def closes(self, name: str) -> bool:
        """Tell whether an item is not to run now; asked before it is started for the first time."""
        item = self._production.production.items[name]
        schedule = self._schedule(item)
        if schedule is None:
            return False
        is_open = schedule.is_open(self._now())
        self._open[name] = item.schedule, is_open
        if not is_open:
            self._log("Info", f"not started: {item.schedule} says so", name)
        return not is_open

    def start(self) -> None:
        """Keep the schedules from now on; without any there is nothing to do."""
        if any(item.schedule.strip() for item in self._production.production.items.values()):
            self._thread.start()

    def look_again(self) -> None:
        """Look at once: the production has changed."""
        if self._thread.is_alive():
            self._nudge.set()
        else:
            self.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._nudge.set()
        if self._thread.is_alive():
            self._thread.join()

    def _keep(self) -> None:
        while not self._stopping.is_set():
            turns = [
                turn
                for item in list(self._production.production.items.values())
                if (turn := self._look(item))
            ]
            nap = min((seconds_to(self._now(), turn) for turn in turns), default=_LONGEST_NAP_SECONDS)
            self._clock.wait(self._nudge, min(nap, _LONGEST_NAP_SECONDS))
            self._nudge.clear()

    def _look(self, item: ItemConfig) -> datetime | None:
        """Start or stop an item whose schedule has turned since the last look; return its next turn."""
        schedule = self._schedule(item)
        if schedule is None:
            self._open.pop(item.name, None)
            return None
        now = self._now()
        is_open = schedule.is_open(now)
        text, was_open = self._open.get(item.name, (item.schedule, True))
        if text != item.schedule:
            was_open = not is_open  # another schedule by an update: it counts at once
        self._open[item.name] = item.schedule, is_open
        if is_open is not was_open and item.enabled and not self._stopping.is_set():
            self._turn(item, is_open)
        return schedule.next_change(now)

    def _turn(self, item: ItemConfig, is_open: bool) -> None:
        try:
            if is_open:
                self._production.start_item(item.name)
            else:
                # Nobody waits for what the item has in hand, so that the others are not late.
                self._production.stop_item(item.name, 0.0)
        except WattbusError as error:
            self._log("Error", f"{item.schedule} could not be kept: {error}", item.name)
        else:
            self._log("Info", f"{'started' if is_open else 'stopped'}: {item.schedule} says so", item.name)

    def _schedule(self, item: ItemConfig) -> Schedule | None:
        if not item.schedule.strip():
            return None
        if item.schedule not in self._read:
            try:
                self._check(item)
            except BadSettings as error:
                self._read[item.schedule] = None
                self._log("Error", f"runs at all times: {error}", item.name)
        return self._read[item.schedule]

    def _check(self, item: ItemConfig) -> None:
        """Read the schedule of an item; raise :class:`BadSettings` that names it where it cannot be read."""
        if not item.schedule.strip() or item.schedule in self._read:
            return
        self._zone = self._zone or local_zone()
        try:
            self._read[item.schedule] = Schedule.parse(item.schedule, self._zone)
        except NeedsIris as error:
            self._read[item.schedule] = None
            self._log("Warning", f"runs at all times: {error}", item.name)
        except BadSettings as error:
            raise BadSettings(f"item {item.name!r}: {error}") from None

    def _now(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self._clock.now_us())


def seconds_to(now: datetime, turn: datetime) -> float:
    """Return the seconds until a turn; never none at all, so that nobody looks in circles.

    >>> seconds_to(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 1, tzinfo=UTC))
    60.0
    """
    return max(0.001, (turn - now).total_seconds())
