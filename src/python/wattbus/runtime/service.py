"""A service at work: its calls at each CallInterval, or at a message that a door sends it."""

from __future__ import annotations

import threading
import traceback
from dataclasses import replace
from typing import Any

from wattbus.runtime.context import PutBack
from wattbus.runtime.handle import Handle
from wattbus.runtime.host import Host, Seat, sentence_of
from wattbus.runtime.production import ItemConfig
from wattbus.runtime.settings import host_setting

#: Seconds between two calls, as in Ens.InboundAdapter.
CALL_INTERVAL = 5.0


class ServiceSeat(Seat):
    """A service's component; called by a thread of its own where it has an inbound adapter."""

    def __init__(self, host: Host, component: Any, handle: Handle) -> None:
        super().__init__(host, component, handle)
        self._interval = _call_interval(host.item)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._told: str | None = (
            None  # the last error, so that a broken source is one line and not one a poll
        )
        if self._is_polled():
            self._thread = threading.Thread(target=self._poll, name=f"{host.name}#poll", daemon=True)
            self._thread.start()

    def _is_polled(self) -> bool:
        # As on IRIS: a service without an inbound adapter is called by nobody but the director.
        return self.host.item.adapter is not None or bool(type(self.component).get_adapter_type())

    def call(self, body: Any) -> Any:
        return self.component._dispatch_on_process_input(body)

    def tear_down(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        super().tear_down()

    def _poll(self) -> None:
        """Call the service each CallInterval, and at once again while it asks for that."""
        clock = self.host.bus.place.clock
        stopping = self.host.bus.place.stopping
        again = True
        while not self._stopping.is_set() and not stopping.is_set():
            if not again and clock.wait(self._stopping, self._interval):
                return
            again = not self._call_once()

    def _call_once(self) -> bool:
        """Call the service, or its adapter, once; return whether to wait for the next interval."""
        host, component = self.host, self.component
        with self.host.at_work(), self._turn:
            self.handle_.begin(None)
            component._wait_for_next_call_interval = True
            try:
                if host.item.adapter is not None:
                    component.Adapter.on_task()
                else:
                    component._dispatch_on_process_input(None)
                self._told = None
            except PutBack:
                return True
            except (Exception, SystemExit) as error:  # noqa: BLE001 - where a user's component meets the runtime
                self._tell(error)
                return True
            finally:
                self.handle_.finish()
            return bool(component._wait_for_next_call_interval)

    def _tell(self, error: BaseException) -> None:
        sentence = sentence_of(error)
        if sentence != self._told:
            self._told = sentence
            text = "".join(traceback.format_exception(error))
            self.host.bus.log("Error", text, self.host.name, source_class=type(self.component).__name__)
            if self.host.bus.alert_watch is not None:
                self.host.bus.alert_watch.error(self.host.name, None, None, sentence)


def _call_interval(item: ItemConfig) -> float:
    """Return the seconds between two calls; on IRIS it is a setting of the adapter, Ens.InboundAdapter."""
    of_adapter = {name: value for name, value in item.adapter_settings.items() if name == "CallInterval"}
    return host_setting(
        replace(item, host_settings={**item.host_settings, **of_adapter}), "CallInterval", CALL_INTERVAL
    )


class Keepalive:
    """Calls ``on_keepalive`` of an operation that is connected to something, while it has nothing to do."""

    def __init__(self, seat: Seat, seconds: float) -> None:
        self._seat, self._seconds = seat, seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._call, name=f"{seat.host.name}#keepalive", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _call(self) -> None:
        host = self._seat.host
        while not host.bus.place.clock.wait(self._stopping, self._seconds):
            with host.at_work():
                self._seat.keepalive()
