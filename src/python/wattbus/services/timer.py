"""TimerService: sends a message again and again, each CallInterval or at the times of a schedule."""

from __future__ import annotations

import json
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

from wattbus.errors import BadSettings
from wattbus.messages import TimerTick
from wattbus.runtime import context
from wattbus.runtime.schedule import Schedule
from wattbus.services.feed import Feed
from wattbus.services.message_type import build, message_type

#: A tick that fell into the minute before the start is made up for; its key keeps it from being sent twice.
_LATE = timedelta(minutes=1)
#: The most that one call makes up for; with more behind it, the machine slept or its clock was set.
_MOST_TICKS = 100
_LONGEST = timedelta(days=1)


class TimerService(Feed):
    """Sends ``Body`` as a ``MessageType``, by default a :class:`~wattbus.messages.TimerTick`."""

    #: When to send: a schedule, such as "cron: 0 8 * * mon-fri" or "every 10 min"; empty: each CallInterval.
    At: str = ""
    MessageType: str = ""
    Body: str = ""  # JSON object with the fields of the message

    def on_init(self) -> None:
        """Check the settings by building a message."""
        super().on_init()
        self._type = message_type(self.MessageType, TimerTick)
        self._fields = _object(self.Body)
        self._schedule = Schedule.parse(self.At) if self.At else None
        self._message(self._now())
        self._done_until = self._now() - _LATE

    def on_poll(self) -> None:
        """Send what has become due since the last call."""
        now = self._now()
        if self._schedule is None:
            self._send_tick(now)
            return
        # A clock that was set back brings some ticks again: their keys are known.
        since = min(self._done_until, now)
        due = self._due(self._schedule, max(since, now - _LONGEST), now)
        if len(due) > _MOST_TICKS or now - since > _LONGEST:
            while len(due) > _MOST_TICKS:
                due.popleft()
            self.log_warning(
                f"ticks of {self.At!r} between {since} and {now} were passed over, only the last {len(due)} are sent: "
                "the machine slept, its clock was set, or CallInterval is too long."
            )
        for tick in due:
            self._send_tick(tick, tick.isoformat())
        self._done_until = now

    def _due(self, schedule: Schedule, since: datetime, now: datetime) -> deque[datetime]:
        """Return the newest ticks after ``since``; one more than are sent tells that there were others."""
        due: deque[datetime] = deque(maxlen=_MOST_TICKS + 1)
        tick = schedule.next_tick(since)
        while tick is not None and tick <= now:
            due.append(tick)
            tick = schedule.next_tick(tick)
        return due

    def _send_tick(self, due: datetime, *identity: object) -> None:
        self._begin_session()
        self._send(self._message(due), *identity)

    def _message(self, due: datetime) -> Any:
        fields = {"due": due.isoformat(), **self._fields} if self._type is TimerTick else self._fields
        return build(self._type, fields)

    def _now(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=context.place().clock.now_us())


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise BadSettings(f"Body {text[:80]!r} is no JSON ({error}): write an object such as {{}}.") from None
    if not isinstance(found, dict):
        raise BadSettings(f"Body {text[:80]!r} is a {type(found).__name__}: write a JSON object of fields.")
    return found
