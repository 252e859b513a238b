"""Whatever runs, and whatever the meter gives: no joule is lost or counted twice, and each attempt has its record."""

from __future__ import annotations

import math
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_samples import FOREVER, Sink, burn
from wattbus.energy import FakeFeed, Ledger, Scope, estimate_remote
from wattbus.energy.attempt_window import Window
from wattbus.energy.cputime import NOBODY, LinuxCpuTimes
from wattbus.energy.feed import PowerFacts, PowerReading, PowerSource
from wattbus.energy.record import EnergyRecord, IntervalRecord, Tier

WORKERS = 3


class Hands:
    """Some threads that do what they are told, one thing at a time: the workers of a bus."""

    def __init__(self) -> None:
        self._told: list[queue.SimpleQueue[Callable[[], None] | None]] = [
            queue.SimpleQueue() for _ in range(WORKERS)
        ]
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, args=(told,), name="worker", daemon=True)
            for told in self._told
        ]
        for thread in self._threads:
            thread.start()

    def do(self, worker: int, what: Callable[[], None]) -> None:
        self._told[worker].put(what)
        if (error := self._done.get(timeout=30)) is not None:
            raise error

    def native_id(self, worker: int) -> int:
        return self._threads[worker].native_id or 0

    def dismiss(self) -> None:
        for told in self._told:
            told.put(None)
        for thread in self._threads:
            thread.join(30)

    def _work(self, told: queue.SimpleQueue[Callable[[], None] | None]) -> None:
        while (what := told.get()) is not None:
            try:
                what()
            except BaseException as error:
                self._done.put(error)
            else:
                self._done.put(None)


class World(LinuxCpuTimes):
    """A machine whose pool, children and other processes use what a test says; own threads are real."""

    def __init__(self) -> None:
        super().__init__()
        self.others = 0.0
        self.pooled: dict[int, float] = {}
        self.children: dict[int, float] = {}

    def machine(self) -> tuple[float, float]:
        busy = self.process() + self.others + sum(self.children.values())
        return 1000.0 + 4 * busy, busy

    def process(self) -> float:
        return super().process() + sum(self.pooled.values())

    def pool(self, workers: Collection[int]) -> dict[int, float]:
        return dict(self.pooled)

    def child(self, pid: int) -> float | None:
        return self.children.get(pid)


class Meter:
    """A feed that gives what it is told next, and keeps what of it can be true."""

    def __init__(self, tier: Tier, ram: bool) -> None:
        self._tier, self._ram = tier, ram
        self.next: tuple[str, float, float, float] = ("good", 1.0, 1.0, 1.0)
        self.delivered: list[float] = []

    def start(self) -> PowerFacts:
        ram = (
            PowerSource(self._tier, "ram")
            if self._ram
            else PowerSource(Tier.MODELLED_GENERIC, "20 W", 20.0, 20.0)
        )
        return PowerFacts(
            "scripted", PowerSource(self._tier, "cpu", 50.0), PowerSource(Tier.MEASURED, "gpu"), ram
        )

    def read(self) -> PowerReading:
        kind, cpu, gpu, ram = self.next
        self.next = ("good", 1.0, 1.0, 1.0)
        if kind == "raises":
            raise OSError("the counter is gone")
        if kind in ("nan", "negative"):
            return PowerReading(0.3, math.nan if kind == "nan" else -cpu, gpu, ram)
        if kind == "no gpu":
            self.delivered += [cpu, ram]
            return PowerReading(0.3, cpu, None, ram)
        self.delivered += [cpu, gpu, ram]
        return PowerReading(0.3, cpu, gpu, ram)

    def stop(self) -> None:
        return None


@dataclass
class Attempt:
    """What the test knows of an attempt: whether a true reading fell into its life, and which rows it was given."""

    message_id: int
    number: int
    read: bool = False
    remote: bool = False
    rows: list[EnergyRecord] = field(default_factory=list)


class Books:
    """Keeps every settled record, also twice."""

    def __init__(self) -> None:
        self.records: list[EnergyRecord] = []
        self.intervals: list[IntervalRecord] = []

    def __call__(self, records: list[EnergyRecord], interval: IntervalRecord | None) -> None:
        self.records += records
        if interval is not None:
            self.intervals.append(interval)


joules = st.floats(1e-6, 1e6)
readings = st.tuples(
    st.sampled_from(["good", "good", "good", "no gpu", "raises", "nan", "negative"]), joules, joules, joules
)
worker = st.integers(0, WORKERS - 1)
actions = st.one_of(
    st.tuples(st.just("open"), worker, st.booleans(), st.booleans()),
    st.tuples(st.just("batch"), worker, st.integers(1, 3)),
    st.tuples(st.just("close"), worker),
    st.tuples(st.just("work"), worker),
    st.tuples(st.just("child"), worker, st.floats(0, 3), st.booleans()),
    st.tuples(st.just("pool"), st.none() | worker, st.floats(0, 2)),
    st.tuples(st.just("others"), st.floats(0, 5)),
    st.tuples(st.just("tick"), readings),
    st.tuples(st.just("tick"), readings),
)


class Story:
    """One run of the ledger, step by step, with what must come of it."""

    def __init__(self, tier: Tier, ram: bool) -> None:
        self.meter, self.world, self.books, self.hands = Meter(tier, ram), World(), Books(), Hands()
        self.ledger = Ledger(self.meter, on_settled=self.books, interval_seconds=FOREVER, cpu=self.world)
        self.ledger.start()
        assert self.ledger.wait_ready()
        self.attempts: list[Attempt] = []
        self.waiting: list[Attempt] = []  # not settled yet
        self.stacks: list[list[tuple[list[Attempt], Any]]] = [[] for _ in range(WORKERS)]
        self.pids = iter(range(1, 10_000))

    def open(self, worker: int, gpu: bool, remote: bool) -> None:
        attempt = Attempt(len(self.attempts), 1, remote=remote)

        def begin() -> None:
            window = self.ledger.open(attempt.message_id, 1, "Op")
            window.describe(gpu=gpu)
            if remote:
                window.remote(estimate_remote("text-generation", parameters=7e9, output_tokens=10))
            self.stacks[worker].append(([attempt], window))

        self.hands.do(worker, begin)
        self._note([attempt])

    def batch(self, worker: int, size: int) -> None:
        several = [Attempt(len(self.attempts) + place, 1) for place in range(size)]

        def begin() -> None:
            window = self.ledger.open_batch([(one.message_id, 1) for one in several], "Op")
            self.stacks[worker].append((several, window))

        self.hands.do(worker, begin)
        self._note(several)

    def close(self, worker: int) -> None:
        if not self.stacks[worker]:
            return
        attempts, window = self.stacks[worker].pop()

        def end() -> None:
            if isinstance(window, Window) and len(attempts) == 1 and not hasattr(window, "shares"):
                attempts[0].rows = window.close()
            else:
                for one, rows in zip(attempts, window.close_shares([None] * len(attempts)), strict=True):
                    one.rows = rows

        self.hands.do(worker, end)

    def work(self, worker: int) -> None:
        self.hands.do(worker, lambda: burn(0.0002))

    def child(self, worker: int, seconds: float, ends: bool) -> None:
        if self.stacks[worker]:
            _, window = self.stacks[worker][-1]
            pid = next(self.pids)
            self.world.children[pid] = seconds
            window.watch_child(pid)
            if ends:
                window.add_child_cpu_seconds(seconds, pid)

    def pool(self, worker: int | None, seconds: float) -> None:
        maker = NOBODY if worker is None else self.hands.native_id(worker)
        self.world.pooled[maker] = self.world.pooled.get(maker, 0.0) + seconds

    def others(self, seconds: float) -> None:
        self.world.others += seconds

    def tick(self, reading: tuple[str, float, float, float]) -> None:
        self.meter.next = reading
        assert self.ledger.settle(30)
        self._ticked(reading[0] in ("good", "no gpu"))

    def end(self) -> None:
        for number in range(WORKERS):
            while self.stacks[number]:
                self.close(number)
        self.ledger.stop(30)
        self._ticked(True)
        self.hands.dismiss()

    def _note(self, attempts: list[Attempt]) -> None:
        self.attempts += attempts
        self.waiting += attempts

    def _ticked(self, true: bool) -> None:
        for attempt in self.waiting:
            attempt.read = attempt.read or true
        self.waiting = [attempt for attempt in self.waiting if not attempt.rows]


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(actions, min_size=1, max_size=40),
    tier=st.sampled_from([Tier.MEASURED, Tier.MODELLED, Tier.MODELLED_GENERIC]),
    ram=st.booleans(),
)
def test_every_joule_is_in_one_bucket_and_every_attempt_has_one_record(
    steps: list[tuple[Any, ...]], tier: Tier, ram: bool
) -> None:
    story = Story(tier, ram)

    for name, *what in steps:
        getattr(story, name)(*what)
    story.end()

    books, delivered = story.books, math.fsum(story.meter.delivered)
    parts = [
        getattr(one, f"{bucket}_joules")
        for one in books.intervals
        for bucket in ("operations", "idle", "others", "overhead")
    ]
    assert all(part >= 0 for part in parts)
    assert math.fsum(parts) == pytest.approx(delivered, rel=1e-9)
    assert math.fsum(one.total_joules for one in books.intervals) == pytest.approx(delivered, rel=1e-9)
    of_records = math.fsum(record.energy_joules or 0.0 for record in books.records)
    of_bucket = math.fsum(one.operations_joules for one in books.intervals)
    assert of_records == pytest.approx(of_bucket, rel=1e-9, abs=1e-9)

    settled = {(record.message_id, record.attempt): record for record in books.records}
    assert len(books.records) == len(settled) == len(story.attempts)
    for attempt in story.attempts:
        record = settled[attempt.message_id, attempt.number]
        assert (record.energy_joules is not None) == attempt.read, (
            "unknown is None, and what was read is known"
        )
        assert record.energy_joules is not None or record.reason
        assert record.carbon_grams is None
        scopes = [row.scope for row in attempt.rows]
        assert scopes == ([Scope.CLIENT, Scope.REMOTE] if attempt.remote else [Scope.LOCAL])
        assert record.scope is scopes[0]


def test_real_threads_real_pools_and_real_children_sum_to_the_feed() -> None:
    """The same with nothing faked but the watts, read each 20 ms while all work at once."""
    sink, feed = Sink(), FakeFeed(ram_watts=20.0)
    ledger = Ledger(feed, on_settled=sink, interval_seconds=0.02)
    ledger.start()
    assert ledger.wait_ready()
    children: dict[int, float] = {}

    def compute(number: int) -> None:
        window = ledger.open(number, 1, "Compute")
        burn(0.002)
        window.close()

    def pooled(number: int) -> None:
        window = ledger.open(number, 1, "Pooled")
        helper = threading.Thread(target=burn, args=(0.02,), name="OpenMP")
        helper.start()
        burn(0.01)
        helper.join()
        window.close()

    def parent(number: int) -> None:
        window = ledger.open(number, 1, "Parent")
        child = subprocess.Popen(["/bin/sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"])
        window.watch_child(child.pid)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        children[number] = used.ru_utime + used.ru_stime
        window.add_child_cpu_seconds(children[number], child.pid)
        window.close()

    def work(first: int) -> None:
        for number in range(first, first + 12):
            (compute, pooled, parent)[number % 3](number)

    threads = [
        threading.Thread(target=work, args=(100 * number,), name=f"worker{number}") for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    ledger.stop()

    assert sorted(sink.records) == [100 * thread + number for thread in range(4) for number in range(12)]
    assert all((record.energy_joules or 0) > 0 for record in sink.records.values())
    for number, seconds in children.items():
        assert (sink.records[number].cpu_seconds or 0) >= seconds
    buckets = math.fsum(
        i.operations_joules + i.idle_joules + i.others_joules + i.overhead_joules for i in sink.intervals
    )
    assert buckets == pytest.approx(feed.total_joules, rel=1e-9)
    of_records = math.fsum(record.energy_joules or 0.0 for record in sink.records.values())
    assert of_records == pytest.approx(math.fsum(i.operations_joules for i in sink.intervals), rel=1e-9)
