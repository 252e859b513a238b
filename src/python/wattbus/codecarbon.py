"""codecarbon's names over the ledger: ``from wattbus.codecarbon import EmissionsTracker`` keeps a script's lines."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from wattbus.energy.emissions_data import EmissionsData
from wattbus.energy.emissions_tracker import EmissionsTracker
from wattbus.energy.tracker_settings import IN_ORDER
from wattbus.errors import BadSettings

__all__ = [
    "EmissionsData",
    "EmissionsTracker",
    "OfflineEmissionsTracker",
    "OutputMethod",
    "track_emissions",
]


class OutputMethod(StrEnum):
    """What ``output_methods`` may name; only CSV and LOGGER do something here."""

    CSV = "csv"
    API = "api"
    LOGGER = "logger"
    PROMETHEUS = "prometheus"
    LOGFIRE = "logfire"
    BOAMPS = "boamps"


class OfflineEmissionsTracker(EmissionsTracker):
    """The same tracker: none of them asks the network."""


def track_emissions(
    fn: Callable[..., Any] | None = None, *positional: Any, offline: Any = False, **settings: Any
) -> Any:
    """Track each call of a function, plain or ``async``: ``@track_emissions``, or with settings in brackets."""
    if fn is not None and not callable(fn):
        raise BadSettings(f"track_emissions decorates a function, and {fn!r} is none: name the settings.")
    settings = {**dict(zip(IN_ORDER, positional, strict=False)), **settings}

    def tracker() -> EmissionsTracker:
        made = EmissionsTracker(**settings)
        if offline and made.grid.kg_per_kwh is None:
            raise BadSettings(
                "offline=True needs a place: give country_iso_code, as in country_iso_code='FRA'."
            )
        return made

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def tracked_while_awaited(*args: Any, **kwargs: Any) -> Any:
                with tracker():
                    return await function(*args, **kwargs)

            return tracked_while_awaited

        @functools.wraps(function)
        def tracked(*args: Any, **kwargs: Any) -> Any:
            with tracker():
                return function(*args, **kwargs)

        return tracked

    return decorate if fn is None else decorate(fn)
