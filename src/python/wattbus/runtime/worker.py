"""Workers: the threads of an item's pool, each taking one message after the other."""

from __future__ import annotations

import threading
import traceback
from dataclasses import replace

from wattbus.errors import WattbusError
from wattbus.runtime.bus import Bus, Result
from wattbus.runtime.host import Host, Seated, sentence_of
from wattbus.store.rows import Claimed
from wattbus.store.units import Delivery


class Pool:
    """The threads of one item; as many as its PoolSize."""

    def __init__(self, host: Host, bus: Bus) -> None:
        self.host, self._bus = host, bus
        self._threads = [
            threading.Thread(target=self._work, name=f"{host.name}#{number}", daemon=True)
            for number in range(1, host.item.pool_size + 1)
        ]
        self._ready = threading.Event()

    def start(self) -> None:
        """Start the threads; each makes its component and then takes messages."""
        if not self._threads:
            self.host.state = "Stopped"
            self._ready.set()
        for thread in self._threads:
            thread.start()

    def wait_ready(self, seconds: float | None = None) -> bool:
        """Wait until the first component is ready, or cannot be."""
        return self._ready.wait(seconds)

    def join(self, seconds: float) -> bool:
        """Wait until every thread has ended and tell whether they have."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join(seconds)
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        job = threading.current_thread().name
        seated = self._seat()
        if seated is None:
            return
        store = self._bus.store
        ended: tuple[Delivery, ...] = ()
        while (claimed := store.next(self.host.name, job, *ended)) is not None:
            ended = (self._ended(claimed, seated.handle(claimed)),)
        seated.tear_down()

    def _ended(self, claimed: Claimed, result: Result) -> Delivery:
        """Make the end of an attempt; a response that cannot be written is an error of the attempt."""
        try:
            return self._bus.deliver(claimed, result)
        except (WattbusError, OSError, ValueError) as error:
            sentence = f"the response cannot be stored: {sentence_of(error)}"
            return self._bus.deliver(
                claimed, replace(result, response=None, children=[], error_status=sentence)
            )

    def _seat(self) -> Seated | None:
        host, store = self.host, self._bus.store
        job = store.start_job(host.name)
        try:
            seated = host.connect()
        except Exception as error:  # noqa: BLE001 - a user's on_init; its messages stay queued
            host.error = sentence_of(error)
            host.state = "Error"
            self._bus.item_failed(host.name, host.error)
            store.job_ready(job, host.error)
            self._bus.log("Error", "".join(traceback.format_exception(error)), host.name)
            return None
        else:
            host.state = "Running"
            store.job_ready(job)
            return seated
        finally:
            self._ready.set()
