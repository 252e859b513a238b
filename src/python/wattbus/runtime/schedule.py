"""A schedule: the times at which an item runs, or a timer ticks.

Three ways to write one::

    START:*-*-*T08:00:00,STOP:*-*-*T18:00:00     as in IRIS
    cron: */5 8-17 * * mon-fri                   the minutes that cron's five fields name
    every 10 min                                 at every tenth minute; the item itself always runs

Local times are those of the machine, or of the zone that the environment variable TZ names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

from wattbus.errors import BadSettings, NeedsIris
from wattbus.runtime.cron import Cron
from wattbus.runtime.localtime import local_zone
from wattbus.runtime.schedule_events import Events

_EVERY = re.compile(r"every\s+(?:(\d+(?:\.\d+)?)\s*)?(s|sec|second|min|minute|h|hour|day)s?", re.IGNORECASE)
_UNIT_SECONDS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "day": 86400,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CRON_ALONE = re.compile(r"[\d*/,-]+\s+\S+\s+\S+\s+\S+\s+\S+")


class Rule(Protocol):
    """What a schedule says; every time is in UTC."""

    def is_open(self, at: datetime) -> bool: ...

    def next_change(self, after: datetime) -> datetime | None: ...

    def next_tick(self, after: datetime) -> datetime | None: ...


@dataclass(frozen=True)
class Every:
    """Ticks at the multiples of an interval, counted from 1970 in UTC; open at all times."""

    interval: timedelta

    def is_open(self, at: datetime) -> bool:
        return True

    def next_change(self, after: datetime) -> datetime | None:
        return None

    def next_tick(self, after: datetime) -> datetime | None:
        return _EPOCH + ((after - _EPOCH) // self.interval + 1) * self.interval


@dataclass(frozen=True)
class Schedule:
    """A schedule as it was written, and what it says."""

    text: str
    rule: Rule

    @classmethod
    def parse(cls, text: str, zone: tzinfo | None = None) -> Schedule:
        """Read a schedule; raise :class:`BadSettings` that says where it is wrong.

        >>> Schedule.parse("every 10 min").next_tick(datetime(2026, 1, 1, 8, 3, tzinfo=UTC)).minute
        10
        """
        written = text.strip()
        if written.startswith("@"):
            raise NeedsIris(
                f"Schedule {text!r} names a schedule that is kept in InterSystems IRIS: write its text here, such as "
                "START:*-*-*T08:00:00,STOP:*-*-*T18:00:00."
            )
        zone = zone or local_zone()
        if written.lower().startswith("cron:"):
            return cls(text, Cron.parse(written, written[len("cron:") :], zone))
        if written.lower().startswith("every"):
            return cls(text, _every(text, written))
        if _CRON_ALONE.fullmatch(written):
            raise BadSettings(f"Schedule {text!r}: did you mean 'cron: {written}'?")
        return cls(text, Events.parse(written, zone))

    def is_open(self, at: datetime) -> bool:
        """Tell whether the item runs at a moment."""
        return self.rule.is_open(_utc(at))

    def next_change(self, after: datetime) -> datetime | None:
        """Return, in UTC, when the item starts or stops next; None: never again."""
        return self.rule.next_change(_utc(after))

    def next_tick(self, after: datetime) -> datetime | None:
        """Return, in UTC, when a timer is due next: a START, a minute of cron, an interval; None: never again."""
        return self.rule.next_tick(_utc(after))


def _every(text: str, written: str) -> Every:
    match = _EVERY.fullmatch(written)
    seconds = float(match[1] or 1) * _UNIT_SECONDS[match[2].lower()] if match is not None else 0.0
    if seconds <= 0:
        raise BadSettings(f"Schedule {text!r}: write a number and s, min, h or day, as in 'every 10 min'.")
    return Every(timedelta(seconds=seconds))


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError(f"{at!r} has no time zone: write datetime(..., tzinfo=UTC).")
    return at.astimezone(UTC)
