"""Cron's five fields: minute, hour, day of the month, month, weekday.

``*``, numbers, ranges, lists and steps; months and weekdays by name too, Sunday is 0 and 7. Where both the day of the
month and the weekday are limited, either will do, as cron has always done it.

Summer time as in cron: what is fixed to an hour happens once, also on the day that skips the hour or shows it twice;
what happens every hour or every minute goes by the time that passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

from wattbus.errors import BadSettings
from wattbus.runtime.localtime import moment

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_LONGEST_DAYS = 366 * 9
# No zone has ever moved its clocks by more in one go, but for those that crossed the date line.
_MOST_HOURS_MOVED = 3
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True)
class _Field:
    """What one of the five fields may hold."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def number(self, word: str) -> int | None:
        if word.lower() in self.names:
            return self.names.index(word.lower()) + self.low
        return int(word) if word.isdecimal() and self.low <= int(word) <= self.high else None


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True)
class Cron:
    """The minutes that the five fields name."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    either_day: bool  # the day of the month or the weekday will do
    by_passing_time: bool  # every hour or every minute: not fixed to a time of day
    zone: tzinfo

    @classmethod
    def parse(cls, text: str, fields: str, zone: tzinfo) -> Cron:
        """Read ``fields``, which are the end of ``text``; raise :class:`BadSettings` that says where it is wrong."""
        offset = len(text) - len(fields)
        words = [(match[0], offset + match.start()) for match in re.finditer(r"\S+", fields)]
        if len(words) != len(_FIELDS):
            raise _bad(
                text,
                offset,
                f"cron has five fields, minute hour day month weekday, and here are {len(words)}: "
                "write for instance cron: */5 8-17 * * mon-fri",
            )
        minutes, hours, days, months, weekdays = (
            _read(text, place, word, field) for (word, place), field in zip(words, _FIELDS, strict=True)
        )
        stars = [word.startswith("*") for word, _ in words]
        cron = cls(
            minutes,
            hours,
            days,
            months,
            frozenset(number % 7 for number in weekdays),
            either_day=not (stars[2] or stars[4]),
            by_passing_time=stars[0] or stars[1],
            zone=zone,
        )
        if not any(cron._is_on(date(2000, 1, 1) + day * _DAY) for day in range(_LONGEST_DAYS)):
            raise _bad(text, words[2][1], "no month of these has such a day")
        return cron

    def is_open(self, at: datetime) -> bool:
        """Tell whether the minute of ``at`` is one of those that are named."""
        return self._is_tick(_floor(at))

    def next_change(self, after: datetime) -> datetime | None:
        """Return when the next row of named minutes begins, or the present one ends; None: never."""
        minute = _floor(after)
        if not self._is_tick(minute):
            return self.next_tick(after)
        if len(self.minutes) == 60 and len(self.hours) == 24:
            return self._end_of_days(minute)
        while self._is_tick(minute):
            minute += _MINUTE
        return minute

    def next_tick(self, after: datetime) -> datetime | None:
        """Return the beginning of the next named minute."""
        local = after.astimezone(self.zone)
        for number in range(_LONGEST_DAYS):
            day = local.date() + number * _DAY
            if self._is_on(day):
                first_hour = local.hour - _MOST_HOURS_MOVED if number == 0 else 0
                tick = self._first_tick(day, first_hour, after)
                if tick is not None:
                    return tick
        return None

    def _first_tick(self, day: date, first_hour: int, after: datetime) -> datetime | None:
        found: list[datetime] = []
        for hour in sorted(self.hours):
            if hour >= first_hour:
                before = bool(found)
                found += [tick for tick in self._ticks(day, hour) if tick > after]
                # One hour more: where clocks go back, an hour and the next one change places.
                if before:
                    break
        return min(found, default=None)

    def _ticks(self, day: date, hour: int) -> Iterator[datetime]:
        for minute in self.minutes:
            wall = datetime.combine(day, time(hour, minute))
            first = moment(wall, self.zone)
            if not self.by_passing_time:
                yield first
                continue
            if first.astimezone(self.zone).replace(tzinfo=None) != wall:
                continue  # clocks skip it
            yield first
            offset = wall.replace(tzinfo=self.zone, fold=1).utcoffset() or timedelta()
            yield (wall - offset).replace(tzinfo=first.tzinfo)

    def _is_tick(self, minute: datetime) -> bool:
        local = minute.astimezone(self.zone)
        if self._names(local):
            return self.by_passing_time or local.fold == 0
        return not self.by_passing_time and self._is_made_up(minute, local)

    def _is_made_up(self, minute: datetime, local: datetime) -> bool:
        """Tell whether clocks move forward here, past a minute that is named."""
        wall, shown = (minute - _MINUTE).astimezone(self.zone) + _MINUTE, local.replace(tzinfo=None)
        skipped = wall.replace(tzinfo=None)
        while skipped < shown:
            if self._names(skipped):
                return True
            skipped += _MINUTE
        return False

    def _names(self, local: datetime) -> bool:
        return local.minute in self.minutes and local.hour in self.hours and self._is_on(local.date())

    def _is_on(self, day: date) -> bool:
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        fits = (in_month or in_week) if self.either_day else (in_month and in_week)
        return fits and day.month in self.months

    def _end_of_days(self, minute: datetime) -> datetime | None:
        first = minute.astimezone(self.zone).date()
        days = (first + number * _DAY for number in range(_LONGEST_DAYS))
        end = next((day for day in days if not self._is_on(day)), None)
        return None if end is None else moment(datetime.combine(end, time()), self.zone)


def _read(text: str, place: int, word: str, field: _Field) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        span, slash, step = part.partition("/")
        if slash and not (step.isdecimal() and int(step)):
            raise _bad(
                text, place, f"{part!r} has no step after the /: write */5 for every fifth {field.name}"
            )
        first, dash, last = span.partition("-")
        if span == "*":
            low, high = field.low, min(field.high, 6) if field.names is _WEEKDAYS else field.high
        else:
            low, high = (
                _number(text, place, first, field),
                _number(text, place, last if dash else first, field),
            )
            if slash and not dash:
                high = field.high
        if field.names is _WEEKDAYS and high == 0 and dash:
            high = 7  # sat-sun
        if low > high:
            raise _bad(text, place, f"{part!r} ends before it begins: write {last}-{first}, or two ranges")
        found.update(range(low, high + 1, int(step) if slash else 1))
        place += len(part) + 1
    return frozenset(found)


def _number(text: str, place: int, word: str, field: _Field) -> int:
    number = field.number(word)
    if number is None:
        names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise _bad(text, place, f"{word!r} is no {field.name}: use {field.low} to {field.high}{names}, or *")
    return number


def _floor(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _bad(text: str, place: int, what: str) -> BadSettings:
    return BadSettings(f"Schedule {text!r}, character {place + 1}: {what}.")
