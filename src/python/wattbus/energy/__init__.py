"""Energy: what each attempt used, with its tier and bounds. Names are loaded when first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wattbus.energy.attempt_window import current_window
    from wattbus.energy.carbon import CarbonIntensity, carbon_intensity
    from wattbus.energy.codecarbon_feed import CodecarbonFeed
    from wattbus.energy.feed import FakeFeed, NullFeed, PowerFeed
    from wattbus.energy.ledger import Ledger
    from wattbus.energy.measured import Measured, WindowObserver, window
    from wattbus.energy.process_meter import wait_until_metering
    from wattbus.energy.record import EnergyRecord, EnergyStatus, IntervalRecord, Scope, TaskFacts, Tier
    from wattbus.energy.remote import RemoteEstimate, estimate_remote

_HOMES = {
    "CarbonIntensity": "carbon",
    "carbon_intensity": "carbon",
    "CodecarbonFeed": "codecarbon_feed",
    "FakeFeed": "feed",
    "NullFeed": "feed",
    "PowerFeed": "feed",
    "Ledger": "ledger",
    "EnergyRecord": "record",
    "EnergyStatus": "record",
    "IntervalRecord": "record",
    "Scope": "record",
    "TaskFacts": "record",
    "Tier": "record",
    "RemoteEstimate": "remote",
    "estimate_remote": "remote",
    "current_window": "attempt_window",
    "Measured": "measured",
    "WindowObserver": "measured",
    "window": "measured",
    "wait_until_metering": "process_meter",
}

__all__ = [
    "CarbonIntensity",
    "CodecarbonFeed",
    "EnergyRecord",
    "EnergyStatus",
    "FakeFeed",
    "IntervalRecord",
    "Ledger",
    "Measured",
    "NullFeed",
    "PowerFeed",
    "RemoteEstimate",
    "Scope",
    "TaskFacts",
    "Tier",
    "WindowObserver",
    "carbon_intensity",
    "current_window",
    "estimate_remote",
    "wait_until_metering",
    "window",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # `from wattbus.energy import carbon_intensity` must not find the module of that name: there is none
    return getattr(importlib.import_module(f"wattbus.energy.{_HOMES[name]}"), name)
