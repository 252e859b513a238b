"""Waiting on a state with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from wattbus.door import PythonDoor
from wattbus.store.queries import list_messages
from wattbus.store.rows import Header


def wait_for(bus: PythonDoor, condition: Callable[[list[Header]], bool], seconds: float = 60.0) -> None:
    """Wait until the messages of the store, the newest first, satisfy ``condition``."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition(list_messages(bus.production.store.engine, limit=1000)):
        assert time.monotonic() < deadline, "the state was not reached in time"
        pause.wait(0.01)


def until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait until ``condition`` holds; ``what`` says in words what was waited for."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        pause.wait(0.01)
