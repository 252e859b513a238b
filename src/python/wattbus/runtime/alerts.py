"""The watch over the items: what somebody should know of is an alert, once, until it has cleared.

An alert is a line of type Alert in the event log and, where the production has an item called ``Ens.Alert``, a message
to it, as on IRIS. The settings are IRIS's: QueueCountAlert, QueueWaitAlert, InactivityTimeout, AlertOnError, each off
at 0. A condition that comes back within a minute is the same one. There is no alert about alerts: what fails in
``Ens.Alert``, or in what it sent a message to, is in the event log alone.
"""

from __future__ import annotations

import inspect
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from iop.messages.dispatch import get_handler_info

from wattbus.errors import BadSettings, WattbusError
from wattbus.messages import AlertRequest
from wattbus.runtime.bus import Bus, Origin
from wattbus.runtime.conditions import Alert, Conditions, Kind
from wattbus.runtime.iris_messages import AlertRequest as IrisAlertRequest
from wattbus.runtime.production import ItemConfig
from wattbus.runtime.settings import host_setting
from wattbus.runtime.types import to_envelope, type_name
from wattbus.store.waiting import Arrivals, Waiting, waiting

#: The item that takes alerts, by its name on IRIS.
ALERT_ITEM = "Ens.Alert"
#: Who on IRIS sends the alerts about queues and inactivity.
MONITOR = "Ens.MonitorService"
TICK_SECONDS = 5.0
# As on IRIS: a queue that was too long must shrink to this share before it can be too long anew.
_SHRUNK = 0.8
_MOST_UNTOLD = 10_000
_LONGEST_TEXT = 2000


class Limits(NamedTuple):
    """What an item may do without an alert; 0 is no limit."""

    queue_count: int
    queue_wait_seconds: float
    inactivity_seconds: float
    on_error: bool
    destination: str

    @classmethod
    def of(cls, item: ItemConfig) -> Limits:
        """Read the settings of an item; raise :class:`BadSettings` where one makes no sense."""
        return cls(
            host_setting(item, "QueueCountAlert", 0),
            host_setting(item, "QueueWaitAlert", 0.0),
            host_setting(item, "InactivityTimeout", 0.0),
            host_setting(item, "AlertOnError", False),
            host_setting(item, "AlertGroups", ""),
        )


class _Told(NamedTuple):
    """What the bus has told: an error of an item, or a line of type Alert."""

    kind: Kind
    item: str
    message_id: int | None
    session_id: int | None
    text: str


class AlertWatch:
    """Looks at the queues every few seconds, and at once when something fails; a thread of its own."""

    def __init__(self, bus: Bus, works: Callable[[str], bool]) -> None:
        """``works`` tells whether an item runs: one that does not cannot be inactive."""
        self._bus, self._works = bus, works
        self._clock = bus.place.clock
        self._conditions = Conditions(self._clock)
        self._arrivals = Arrivals(bus.store, self._clock)
        self._told: deque[_Told] = deque(maxlen=_MOST_UNTOLD)
        self._lost = 0  # of what was told, for want of room
        self._complaints: set[str] = set()  # of settings that make no sense, each said once
        self._stopping, self._nudge = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="wattbus-alerts", daemon=True)
        for item in bus.production.items.values():
            Limits.of(item)

    def start(self) -> None:
        """Watch from now on."""
        self._arrivals.begin()
        now = self._clock.monotonic()
        for item in self._bus.production.items:
            self._bus.active.setdefault(item, now)
        self._bus.alert_watch = self
        self._thread.start()

    def stop(self) -> None:
        """Tell what was not told yet, and end."""
        self._bus.alert_watch = None
        self._stopping.set()
        self._nudge.set()
        if self._thread.is_alive():
            self._thread.join()

    def current_alerts(self) -> list[Alert]:
        """Return the alerts that have not cleared, the oldest first."""
        return self._conditions.current()

    # -- told by the bus ----------------------------------------------------------------------------------------

    def error(self, item: str, message_id: int | None, session_id: int | None, text: str) -> None:
        """Hear that an attempt ended as Error or Suspended, or that an item cannot run."""
        self._hear(_Told(Kind.ERROR, item, message_id, session_id, text))

    def logged(self, item: str, message_id: int | None, session_id: int | None, text: str) -> None:
        """Hear that somebody else has written a line of type Alert."""
        if threading.current_thread() is not self._thread:
            self._hear(_Told(Kind.LOGGED, item, message_id, session_id, text))

    def _hear(self, told: _Told) -> None:
        # The caller may be the writer of the store, which must not wait for itself.
        if len(self._told) == _MOST_UNTOLD:
            self._lost += 1
        self._told.append(told)
        self._nudge.set()

    # -- watching -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        looked = float("-inf")
        while not self._stopping.is_set():
            try:
                self._tell_errors()
                if self._clock.monotonic() - looked >= TICK_SECONDS:
                    looked = self._clock.monotonic()
                    self._look()
            except Exception as error:  # noqa: BLE001 - a store that fails now must not end the watch for good
                self._complain(f"the alerts could not be looked at: {type(error).__name__}: {error}", "")
            self._clock.wait(self._nudge, TICK_SECONDS)
            self._nudge.clear()
        self._tell_errors()

    def _tell_errors(self) -> None:
        while self._told:
            told = self._told.popleft()
            item = self._bus.production.items.get(told.item)
            if told.kind is Kind.ERROR and (item is None or not self._limits(item).on_error):
                continue
            fresh = self._conditions.happened(
                told.item, told.kind, told.text[:_LONGEST_TEXT], told.message_id, told.session_id
            )
            if fresh is not None:
                self._tell(fresh)
        if self._lost:
            lost, self._lost = self._lost, 0
            self._bus.log(
                "Warning", f"{lost} errors came faster than they could be told: see the event log.", ""
            )

    def _look(self) -> None:
        """Look at all items with one query, and tell what is new."""
        items = self._bus.production.items
        limits = {name: self._limits(item) for name, item in items.items()}
        queues = {
            name: limit.queue_count
            for name, limit in limits.items()
            if limit.queue_count > 0 or limit.queue_wait_seconds > 0
        }
        found: dict[str, Waiting] = {}
        if queues:
            newest_id, found = waiting(self._bus.store.engine, queues)
            self._arrivals.note(newest_id)
        for name, limit in limits.items():
            self._look_at_queue(name, limit, found.get(name))
            self._look_at_activity(name, limit)
        for alert in self._conditions.clear():
            if alert.kind not in (Kind.ERROR, Kind.LOGGED):
                self._bus.log("Info", f"no alert any more: {alert.text}", alert.item)
            elif alert.count > 1:
                self._bus.log("Info", f"an alert came {alert.count} times in all: {alert.text}", alert.item)

    def _limits(self, item: ItemConfig) -> Limits:
        """Return the limits of an item; where an update brought one that makes no sense, it has none."""
        try:
            return Limits.of(item)
        except BadSettings as error:
            self._complain(f"no alerts: {error}", item.name)
            return Limits(0, 0.0, 0.0, False, "")

    def _complain(self, text: str, item: str) -> None:
        if text not in self._complaints:
            self._complaints.add(text)
            self._bus.log("Error", text, item)

    def _look_at_queue(self, name: str, limit: Limits, queue: Waiting | None) -> None:
        count = queue.queued if queue is not None else 0
        longest = self._arrivals.age_seconds(queue.oldest_id) if queue is not None else 0.0
        self._judge(
            name,
            Kind.QUEUE_COUNT,
            holds=0 < limit.queue_count <= count,
            over=count < limit.queue_count * _SHRUNK or not limit.queue_count,
            text=f"the queue of {name!r} has reached {limit.queue_count:,} messages, its QueueCountAlert",
        )
        holds = 0 < limit.queue_wait_seconds < longest
        self._judge(
            name,
            Kind.QUEUE_WAIT,
            holds=holds,
            over=not holds,
            text=f"a message has waited {longest:.0f} s in the queue of {name!r}, QueueWaitAlert is "
            f"{limit.queue_wait_seconds:g} s",
            message_id=queue.oldest_id if queue is not None else None,
        )

    def _look_at_activity(self, name: str, limit: Limits) -> None:
        bus, now = self._bus, self._clock.monotonic()
        busy = any(header.target_item == name for header in list(bus.in_hand.values()))
        if busy or not self._works(name):
            bus.active[name] = now
        quiet = now - bus.active.setdefault(name, now)
        holds = 0 < limit.inactivity_seconds < quiet
        self._judge(
            name,
            Kind.INACTIVITY,
            holds=holds,
            over=not holds,
            text=f"{name!r} has done nothing for {quiet:.0f} s, InactivityTimeout is {limit.inactivity_seconds:g} s",
        )

    def _judge(
        self, item: str, kind: Kind, *, holds: bool, over: bool, text: str, message_id: int | None = None
    ) -> None:
        if holds:
            fresh = self._conditions.happened(item, kind, text, message_id)
            if fresh is not None:
                self._tell(fresh)
        elif not over:
            self._conditions.goes_on(item, kind)

    # -- telling ------------------------------------------------------------------------------------------------

    def _tell(self, alert: Alert) -> None:
        """Write an alert into the event log, and send it to the item that takes alerts."""
        if alert.kind is not Kind.LOGGED:
            self._bus.log("Alert", alert.text, alert.item, alert.message_id, alert.session_id)
        taker = self._bus.production.items.get(ALERT_ITEM)
        if taker is None or self._is_about_alerts(alert):
            return
        source = self._bus.production.items.get(alert.item)
        try:
            body = to_envelope(self._request(alert, source, taker))
            origin = Origin(MONITOR, "BusinessService")
            if source is not None and alert.kind in (Kind.ERROR, Kind.LOGGED):
                origin = Origin(source.name, source.business_type)
            self._bus.send(self._bus.draft(ALERT_ITEM, body, origin, description=alert.kind.value)).wait()
        except (WattbusError, ValueError) as error:
            self._bus.log("Error", f"the alert could not be sent to {ALERT_ITEM}: {error}", alert.item)

    def _is_about_alerts(self, alert: Alert) -> bool:
        if alert.item == ALERT_ITEM:
            return True
        # An alert is a session of its own: what fails in one fails on behalf of Ens.Alert.
        first = self._bus.store.header(alert.session_id) if alert.session_id else None
        return first is not None and first.target_item == ALERT_ITEM

    def _request(
        self, alert: Alert, source: ItemConfig | None, taker: ItemConfig
    ) -> AlertRequest | IrisAlertRequest:
        now = datetime.fromtimestamp(self._bus.store.now_us() / 1e6, UTC)
        request = AlertRequest() if _takes_python(taker.component) else IrisAlertRequest()
        request.AlertText = alert.text
        request.AlertTime = now.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        request.SourceConfigName = alert.item
        request.AlertDestination = self._limits(source).destination if source is not None else ""
        request.SessionId = str(alert.session_id or "")
        request.MessageHeaderId = str(alert.message_id or "")
        return request


def _takes_python(component: type) -> bool:
    """Tell whether a component has a handler for our twin of ``Ens.AlertRequest``."""
    wanted = type_name(AlertRequest)
    probe: Any = object.__new__(component)
    if any(key == wanted for key, _ in getattr(component, "DISPATCH", ())):
        return True
    for name, function in inspect.getmembers(component, inspect.isfunction):
        info = get_handler_info(probe, name)
        if getattr(function, "__iop_handler_message__", info[0] if info is not None else None) == wanted:
            return True
    return False
