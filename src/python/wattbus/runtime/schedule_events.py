"""IRIS's schedule text: START and STOP events on dates or weekdays, which open and close like a square wave.

``action:YYYY-MM-DDThh:mm:ss`` with commas between them. ``*`` stands for every year, month or day, and makes every
field to its left a ``*`` too. With the word WEEK for the year, the month is the occurrence of the weekday in its month
(01 the first) and the day the weekday (00 Sunday). From InterSystems' "Defining Schedule Specifications".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

from wattbus.errors import BadSettings
from wattbus.runtime.localtime import moment

_EVENT = re.compile(r"(\w+):(\*|WEEK|\d{4})-(\*|\d{2})-(\*|\d{2})T(\d{2}):(\d{2}):(\d{2})", re.IGNORECASE)
_EXAMPLE = "START:*-*-*T08:00:00,STOP:*-*-*T18:00:00"
# The longest that an event can let wait: 29 February across a century that has none.
_LONGEST_DAYS = 366 * 9
_MOST_TIES = 1000


@dataclass(frozen=True)
class Event:
    """One START or STOP, once or again and again; None stands for every one."""

    starts: bool
    year: int | None
    month: int | None
    day: int | None
    at: time
    weekday: int | None = None  # 0 is Monday, as in Python
    occurrence: int | None = None  # of the weekday in its month

    def is_on(self, day: date) -> bool:
        """Tell whether the event takes place on a day."""
        if self.weekday is not None:
            counted = self.occurrence is None or (day.day - 1) // 7 + 1 == self.occurrence
            return counted and day.weekday() == self.weekday
        return (
            self.year in (None, day.year) and self.month in (None, day.month) and self.day in (None, day.day)
        )

    def last(self, at: datetime, zone: tzinfo) -> datetime | None:
        """Return the newest time that it took place, ``at`` itself included."""
        day = at.astimezone(zone).date() + timedelta(days=1)
        found = (moment(datetime.combine(day, self.at), zone) for day in self._days(day, -1))
        return next((when for when in found if when <= at), None)

    def next(self, after: datetime, zone: tzinfo) -> datetime | None:
        """Return the first time that it takes place after ``after``."""
        day = after.astimezone(zone).date() - timedelta(days=1)
        found = (moment(datetime.combine(day, self.at), zone) for day in self._days(day, 1))
        return next((when for when in found if when > after), None)

    def _days(self, first: date, step: int) -> Iterator[date]:
        """Return the days on which it takes place, from ``first`` on, backwards or forwards."""
        if self.year is not None:
            yield date(self.year, self.month or 1, self.day or 1)
            return
        for number in range(_LONGEST_DAYS):
            day = first + timedelta(days=step * number)
            if self.is_on(day):
                yield day


@dataclass(frozen=True)
class Events:
    """All events of a schedule: open after a START, closed after a STOP."""

    events: tuple[Event, ...]
    zone: tzinfo

    @classmethod
    def parse(cls, text: str, zone: tzinfo) -> Events:
        """Read the text; raise :class:`BadSettings` that says where it is wrong.

        >>> from datetime import UTC
        >>> Events.parse("START:WEEK-*-01T08:00:00", UTC).events[0].weekday
        0
        """
        events, start = [], 0
        for piece in text.split(","):
            place = start + len(piece) - len(piece.lstrip())
            start += len(piece) + 1
            events.append(_event(text, place, piece.strip()))
        return cls(tuple(events), zone)

    def is_open(self, at: datetime) -> bool:
        """Tell whether the newest event at ``at`` is a START; before the first of all it is what that one ends."""
        newest = _latest((event.last(at, self.zone), event) for event in self.events)
        if newest is not None:
            return newest.starts
        coming = [(when, event.starts) for event in self.events if (when := event.next(at, self.zone))]
        return bool(coming) and not min(coming)[1]

    def next_change(self, after: datetime) -> datetime | None:
        """Return when it opens or closes next; None: never again."""
        is_open = self.is_open(after)
        for _ in range(_MOST_TIES):
            turns = (event.next(after, self.zone) for event in self.events if event.starts is not is_open)
            coming = min((when for when in turns if when is not None), default=None)
            if coming is None or self.is_open(coming) is not is_open:
                return coming
            after = coming  # another event at the same moment undoes it
        return None

    def next_tick(self, after: datetime) -> datetime | None:
        """Return the next START."""
        starts = (event.next(after, self.zone) for event in self.events if event.starts)
        return min((when for when in starts if when is not None), default=None)


def _latest(found: Iterable[tuple[datetime | None, Event]]) -> Event | None:
    """Return the newest event; of two at the same moment, the one that the text names last."""
    newest: tuple[datetime, Event] | None = None
    for when, event in found:
        if when is not None and (newest is None or when >= newest[0]):
            newest = (when, event)
    return None if newest is None else newest[1]


def _event(text: str, place: int, piece: str) -> Event:
    if not piece:
        raise _bad(text, place, "an event is missing: take out the comma")
    match = _EVENT.fullmatch(piece)
    if match is None:
        raise _bad(text, place, f"{piece!r} is no event: write action:YYYY-MM-DDThh:mm:ss, as in {_EXAMPLE}")
    action = match[1].upper()
    if action not in ("START", "STOP"):
        raise _bad(text, place, f"{match[1]!r} is no action: write START or STOP")
    hour, minute, second = (int(part) for part in match.groups()[4:])
    if hour > 23 or minute > 59 or second > 59:
        raise _bad(
            text, place + match.start(5), f"{match[5]}:{match[6]}:{match[7]} is no time: 00:00:00 to 23:59:59"
        )
    at, starts = time(hour, minute, second), action == "START"
    if match[2].upper() == "WEEK":
        return _weekly(text, place, match, starts, at)
    # Once a field is *, all fields to its left are.
    day = None if match[4] == "*" else int(match[4])
    month = None if day is None or match[3] == "*" else int(match[3])
    year = None if month is None or match[2] == "*" else int(match[2])
    try:
        # The year 2000 has a 29 February, January has 31 days.
        date(2000 if year is None else year, month or 1, day or 1)
    except ValueError:
        shown = "-".join(match.groups()[1:4])
        raise _bad(text, place + match.start(2), f"{shown} is on no calendar") from None
    return Event(starts, year, month, day, at)


def _weekly(text: str, place: int, match: re.Match[str], starts: bool, at: time) -> Event:
    if match[4] == "*":
        return Event(starts, None, None, None, at)
    sunday_first = int(match[4])
    if sunday_first > 6:
        raise _bad(text, place + match.start(4), f"{match[4]} is no weekday: 00 is Sunday, 06 Saturday")
    occurrence = None if match[3] == "*" else int(match[3])
    if occurrence is not None and not 1 <= occurrence <= 5:
        raise _bad(
            text,
            place + match.start(3),
            f"{match[3]} is no occurrence of a weekday in a month: 01 to 05, or *",
        )
    return Event(starts, None, None, None, at, weekday=(sunday_first - 1) % 7, occurrence=occurrence)


def _bad(text: str, place: int, what: str) -> BadSettings:
    return BadSettings(f"Schedule {text!r}, character {place + 1}: {what}.")
