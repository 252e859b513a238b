"""Tests of productions: in the test's process, with doubles for items, a clock moved by hand, recorded sessions.

with testing.production(prod) as bus:
    answer = bus.request("Python.MLOperation", MLRequest(inputs="This was a really bad experience"))
"""

from __future__ import annotations

from wattbus.door import PythonDoor
from wattbus.testing.clock import FakeClock
from wattbus.testing.doubles import Double, Expectation
from wattbus.testing.production import ProductionUnderTest, production
from wattbus.testing.recording import Recording, record
from wattbus.testing.replay import Replay, replay

__all__ = [
    "Double",
    "Expectation",
    "FakeClock",
    "ProductionUnderTest",
    "PythonDoor",
    "Recording",
    "Replay",
    "production",
    "record",
    "replay",
]
