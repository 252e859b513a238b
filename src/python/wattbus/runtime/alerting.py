"""How the alerts of a running production stand: what has not cleared, the limits of each item, who gets them."""

from __future__ import annotations

from dataclasses import dataclass

from wattbus.errors import BadSettings
from wattbus.runtime.alerts import ALERT_ITEM, Limits
from wattbus.runtime.running import RunningProduction


@dataclass(frozen=True)
class OpenAlert:
    """An alert that has not cleared."""

    item: str
    kind: str
    text: str
    message_id: int | None
    session_id: int | None
    began_us: int
    count: int


@dataclass(frozen=True)
class ItemLimits:
    """What an item may do without an alert; 0 is no limit. ``exceeded`` names the limits that are broken now."""

    item: str
    queue_count: int
    queue_wait_seconds: float
    inactivity_seconds: float
    on_error: bool
    destination: str
    raised: int  # since the start
    exceeded: tuple[str, ...]
    error: str | None = None  # of a setting that makes no sense

    @property
    def has_any(self) -> bool:
        """Tell whether the item can raise an alert by its settings."""
        return bool(self.queue_count or self.queue_wait_seconds or self.inactivity_seconds or self.on_error)


@dataclass(frozen=True)
class Alerting:
    """The alerts of a production."""

    open: tuple[OpenAlert, ...]  # the newest first
    limits: tuple[ItemLimits, ...]
    taker: str | None  # the item that alerts are sent to
    taker_component: str


def alerting(running: RunningProduction) -> Alerting:
    """Return how the alerts stand."""
    found = tuple(
        OpenAlert(one.item, one.kind.value, one.text, one.message_id, one.session_id, one.began_us, one.count)
        for one in reversed(running.alerts.current_alerts())
    )
    broken: dict[str, list[str]] = {}
    for one in found:
        broken.setdefault(one.item, []).append(one.kind)
    items = running.production.items
    taker = items.get(ALERT_ITEM)
    return Alerting(
        found,
        tuple(
            _limits(running, name, tuple(dict.fromkeys(broken.get(name, ()))))
            for name in items
            if name != ALERT_ITEM
        ),
        taker.name if taker is not None else None,
        f"{taker.component.__module__}.{taker.component.__name__}" if taker is not None else "",
    )


def _limits(running: RunningProduction, name: str, exceeded: tuple[str, ...]) -> ItemLimits:
    raised = running.bus.alerts[name]
    try:
        limits = Limits.of(running.production.items[name])
    except BadSettings as error:
        return ItemLimits(name, 0, 0.0, 0.0, False, "", raised, exceeded, str(error))
    return ItemLimits(
        name, limits.queue_count, limits.queue_wait_seconds, limits.inactivity_seconds, limits.on_error,
        limits.destination, raised, exceeded,
    )  # fmt: skip
