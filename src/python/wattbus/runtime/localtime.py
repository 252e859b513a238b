"""Local time: the zone that this machine keeps, and the moment at which a clock on its wall shows a time."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from wattbus.errors import BadSettings

_SECOND = timedelta(seconds=1)
_SYSTEM_ZONE = Path("/etc/localtime")


def local_zone() -> tzinfo:
    """Return the zone that the environment variable TZ names, else that of the machine, else UTC.

    Read from the zone's rules and not from the offset of today, which summer time changes.
    """
    name = os.environ.get("TZ", "").removeprefix(":")
    if name:
        return _named(name)
    try:
        with _SYSTEM_ZONE.open("rb") as rules:
            return ZoneInfo.from_file(rules, key="local")
    except (OSError, ValueError):
        return UTC


def _named(name: str) -> tzinfo:
    try:
        if os.path.isabs(name):
            with open(name, "rb") as rules:
                return ZoneInfo.from_file(rules, key=name)
        return ZoneInfo(name)
    except (OSError, ValueError, ZoneInfoNotFoundError) as error:
        raise BadSettings(
            f"TZ is {name!r}, and a schedule cannot tell the time by it ({error}): set it to the name of a time zone "
            "such as Europe/Paris, with the package tzdata installed, or leave it out."
        ) from None


def moment(wall: datetime, zone: tzinfo) -> datetime:
    """Return the moment, in UTC, at which clocks in ``zone`` show ``wall``, which has no zone of its own.

    As IRIS does it: a time that clocks skip when summer time begins is the moment at which they skip it; of a time that
    they show twice, it is the first.
    """
    first = wall.replace(tzinfo=zone, fold=0)
    shown = first.astimezone(UTC)
    if shown.astimezone(zone).replace(tzinfo=None) == wall:
        return shown
    before = first.utcoffset() or timedelta()
    after = wall.replace(tzinfo=zone, fold=1).utcoffset() or timedelta()
    low, high = (wall - after).replace(tzinfo=UTC), (wall - before).replace(tzinfo=UTC)
    while high - low > _SECOND:
        middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high
