"""The alerts: what has not cleared, what was told, the limits of each item, and who gets the alerts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

from wattbus.runtime import alerting
from wattbus.runtime.alerting import Alerting
from wattbus.store.events import EventFilter, EventPage, event_page
from wattbus.web.desk import Desk
from wattbus.web.twin import Twins


@dataclass(frozen=True)
class AlertsView:
    """What the page of the alerts shows."""

    alerting: Alerting | None  # None: the production does not run
    told: EventPage
    first_page: bool


def add(twins: Twins, desk: Desk) -> None:
    """Open the page."""

    def alerts(
        before: Annotated[
            int | None, Query(ge=1, le=2**62, description="next_before of the page before")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> AlertsView:
        """Return the alerts, the newest first, the limits of the items, and which are exceeded now."""
        running = desk.running
        with desk.reading() as engine:
            told = EventPage([], None)
            if engine is not None:
                told = event_page(engine, EventFilter(types=("Alert",)), limit=limit, before=before)
        return AlertsView(None if running is None else alerting.alerting(running), told, before is None)

    twins.view("/alerts", "alerts.html", alerts, tag="alerts")
