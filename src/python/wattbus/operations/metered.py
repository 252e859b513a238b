"""An operation that meters itself where no wattbus does it: inside IRIS, whose loop calls the component directly.

Mixed in before ``BusinessOperation``. In a wattbus production the runtime opens the energy window of each attempt, and
this does nothing. Inside IRIS each message opens a window of its own; the settled records are lines of
``energy.jsonl`` in the home folder, by message id, since the store there is IRIS's own.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattbus.config import read_config
from wattbus.home import OWNER_FILE
from wattbus.runtime import context

if TYPE_CHECKING:
    from iop import BusinessOperation

    from wattbus.energy.ledger import Ledger
    from wattbus.energy.record import EnergyRecord, IntervalRecord

    Operation = BusinessOperation
else:
    Operation = object


class Metered(Operation):
    """Opens an energy window around each message that IRIS hands over."""

    _stream_id = 0

    def _dispatch_on_message(self, request: Any) -> Any:
        with self._metered(request):
            return super()._dispatch_on_message(request)

    def _dispatch_generator_started(self, request: Any) -> Any:
        self._stream_id = _message_id(request)
        with self._metered(request):
            return super()._dispatch_generator_started(request)

    def _dispatch_generator_poll(self) -> Any:
        with self._metered(None):
            return super()._dispatch_generator_poll()

    @contextlib.contextmanager
    def _metered(self, request: Any) -> Iterator[None]:
        """Open a window for a block inside IRIS; what a stream yields is metered for the message that opened it."""
        if context.current() is not None:
            yield
            return
        message_id = self._stream_id if request is None else _message_id(request)
        window = meter().open(message_id, 1, type(self).__name__)
        failed = None
        try:
            yield
        except Exception as error:
            failed = type(error).__name__
            raise
        finally:
            window.close(failed)


class EnergyFile:
    """The settled records of this process, a line each."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def settled(self, records: list[EnergyRecord], _interval: IntervalRecord | None) -> None:
        """Append the records; called by the ledger's own thread."""
        if not records:
            return
        lines = "".join(
            json.dumps(dataclasses.asdict(record), ensure_ascii=False) + "\n" for record in records
        )
        descriptor = os.open(self._file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, OWNER_FILE)
        try:
            os.write(descriptor, lines.encode())
        finally:
            os.close(descriptor)


def energy_file() -> Path:
    """Return where the records of operations inside IRIS are."""
    return context.place().home.root / "energy.jsonl"


_lock = threading.Lock()
_meter: Ledger | None = None


def meter() -> Ledger:
    """Return the ledger of this process, started by the first message."""
    global _meter
    with _lock:
        if _meter is None:
            from wattbus.energy.carbon import carbon_intensity
            from wattbus.energy.codecarbon_feed import CodecarbonFeed
            from wattbus.energy.feed import NullFeed
            from wattbus.energy.ledger import Ledger

            config = read_config()
            feed = CodecarbonFeed() if config.energy else NullFeed("WATTBUS_ENERGY is off")
            carbon = carbon_intensity(g_per_kwh=config.carbon_g_per_kwh, country=config.country)
            _meter = Ledger(feed, on_settled=EnergyFile(energy_file()).settled, carbon=carbon)
            _meter.start()
            atexit.register(_meter.stop)
        return _meter


def _message_id(request: Any) -> int:
    """Return the id of the message that IRIS handed over; 0 where it has none."""
    ask = getattr(request, "_Id", None)
    found = ask() if callable(ask) else getattr(request, "_iris_id", None)
    text = str(found or "")
    return int(text) if text.isdecimal() else 0
