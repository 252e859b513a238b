"""The hourly sums of a running production: keeps what the energy of each hour adds up to, once the hour is over."""

from __future__ import annotations

from collections.abc import Callable

from wattbus.runtime.routine import Routine
from wattbus.store.energy_queries import close_hours
from wattbus.store.store import Store

_FIRST_SECONDS, _SECONDS = 60.0, 600.0


def hourly_sums(store: Store, warn: Callable[[str], None]) -> Routine:
    """Return a thread that looks now and then whether an hour is over."""

    def add_up() -> float:
        while not routine.is_ending() and close_hours(store):
            continue
        return _SECONDS

    def fails(why: str) -> float:
        # The records are there, and the pages add them up themselves.
        warn(f"the energy of the last hours was not added up: {why}")
        return _SECONDS

    # By the machine's clock: that a test stands still is no reason to keep house less often.
    routine = Routine("sums", add_up, fails, first_pause_seconds=_FIRST_SECONDS)
    return routine
