"""What the energy tests share: a sink that keeps what was settled, and work that uses CPU time."""

import threading
import time
from collections.abc import Callable

from wattbus.energy import FakeFeed, Ledger, NullFeed
from wattbus.energy.record import EnergyRecord, IntervalRecord

FOREVER = 3600.0  # ticks come from settle() only


class Sink:
    """Keeps settled records and intervals; ``records[message_id]`` is the final one."""

    def __init__(self) -> None:
        self.records: dict[int, EnergyRecord] = {}
        self.intervals: list[IntervalRecord] = []
        self.errors: list[Exception] = []
        self.calls = 0

    def __call__(self, records: list[EnergyRecord], interval: IntervalRecord | None) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        for record in records:
            assert record.message_id not in self.records, "settled twice"
            self.records[record.message_id] = record
        if interval is not None:
            self.intervals.append(interval)


def burn(cpu_seconds: float) -> None:
    """Use CPU time in this thread."""
    end = time.thread_time() + cpu_seconds
    while time.thread_time() < end:
        sum(range(500))


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a state, at most ``seconds``."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the state did not come"
        pause.wait(0.005)


def in_thread(work: Callable[[], None], name: str) -> None:
    """Run ``work`` in a thread of that name and wait for its end."""
    thread = threading.Thread(target=work, name=name)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()


def started(feed: FakeFeed | NullFeed, sink: Sink, **options: object) -> Ledger:
    ledger = Ledger(feed, on_settled=sink, interval_seconds=FOREVER, **options)  # type: ignore[arg-type]
    ledger.start()
    assert ledger.wait_ready()
    return ledger
