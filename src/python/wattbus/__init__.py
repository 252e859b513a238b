"""wattbus runs IoP interoperability productions without IRIS and accounts for the energy of every operation.

Names are loaded when first asked for: ``import wattbus`` loads neither torch nor transformers nor codecarbon.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wattbus.door import Director, PythonDoor, run
    from wattbus.errors import WattbusError
    from wattbus.export.reporting import boamps_report
    from wattbus.messages import (
        HFRequest,
        HFResponse,
        MLRequest,
        MLResponse,
        OverrideRequest,
        OverrideResponse,
        TrainRequest,
        TrainResponse,
    )
    from wattbus.runtime.iris import stand_in
    from wattbus.trace import Trace

__version__ = "0.1.0"

_HOMES = {
    "Director": "door",
    "HFRequest": "messages",
    "HFResponse": "messages",
    "MLRequest": "messages",
    "MLResponse": "messages",
    "OverrideRequest": "messages",
    "OverrideResponse": "messages",
    "PythonDoor": "door",
    "Trace": "trace",
    "TrainRequest": "messages",
    "TrainResponse": "messages",
    "WattbusError": "errors",
    "boamps_report": "export.reporting",
    "run": "door",
    "stand_in": "runtime.iris",
}

__all__ = [
    "Director",
    "HFRequest",
    "HFResponse",
    "MLRequest",
    "MLResponse",
    "OverrideRequest",
    "OverrideResponse",
    "PythonDoor",
    "Trace",
    "TrainRequest",
    "TrainResponse",
    "WattbusError",
    "boamps_report",
    "run",
    "stand_in",
]


#: Parts that are used by their own name: ``wattbus.energy.window("task")`` needs ``import wattbus`` only.
_PARTS = ("energy",)


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"wattbus.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'wattbus' has no attribute {name!r}")
    return getattr(importlib.import_module(f"wattbus.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
