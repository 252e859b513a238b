"""The daily purge of a running production: takes out what has been kept long enough."""

from __future__ import annotations

from collections.abc import Callable

from wattbus.clock import Clock
from wattbus.runtime.routine import Routine
from wattbus.store.purge import Retention, purge_due
from wattbus.store.store import Store

_DAY_SECONDS = 86_400.0


def daily_purge(store: Store, retention: Retention, clock: Clock, warn: Callable[[str], None]) -> Routine:
    """Return a thread that purges at the start of a production and once a day while it runs."""

    def purge() -> float:
        purge_due(store, retention, routine.is_ending)
        return _DAY_SECONDS

    def fails(why: str) -> float:
        # The next day is another day, and the production goes on.
        warn(f"the daily purge was cut off: {why}")
        return _DAY_SECONDS

    routine = Routine("retention", purge, fails, clock=clock)
    return routine
