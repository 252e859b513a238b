"""Whose CPU and GPU time is whose: nested attempts, pool threads, children, and the tier that follows."""

import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from energy_samples import Sink, burn, in_thread, started, wait_until
from wattbus.energy import (
    EnergyStatus,
    FakeFeed,
    Ledger,
    Tier,
)
from wattbus.energy.cputime import LinuxCpuTimes, PlainCpuTimes, thread_clock


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def ledger(sink: Sink) -> Iterator[Ledger]:
    ledger = started(FakeFeed(ram_watts=20.0), sink)
    yield ledger
    ledger.stop()


def test_an_attempt_inside_another_in_one_thread_is_not_counted_twice(ledger: Ledger, sink: Sink) -> None:
    outer = ledger.open(1, 1, "process")
    inner = ledger.open(2, 1, "operation")
    burn(0.1)
    ledger.settle()
    burn(0.02)
    inner.close()
    outer.close()
    ledger.settle()

    assert (sink.records[1].cpu_seconds or 0) < 0.06 < (sink.records[2].cpu_seconds or 0)


def test_a_window_may_close_in_another_thread(ledger: Ledger, sink: Sink) -> None:
    window = ledger.open(1, 1, "x")
    burn(0.02)

    def reap() -> None:
        burn(0.2)
        window.close()

    in_thread(reap, "wattbus-reaper")
    ledger.settle()

    assert 0.02 <= (sink.records[1].cpu_seconds or 0) < 0.15


def test_pool_threads_count_to_the_attempt_and_threads_of_the_bus_to_overhead(
    ledger: Ledger, sink: Sink
) -> None:
    settled = threading.Event()

    def work(cpu_seconds: float) -> None:
        burn(cpu_seconds)
        settled.wait(10)  # a thread that ended has no clock left to read

    ledger.settle()
    window = ledger.open(1, 1, "x")
    burn(0.01)
    pool = threading.Thread(target=work, args=(0.08,), name="OpenMP-like")
    bus = threading.Thread(target=work, args=(0.3,), name="wattbus-writer")
    pool.start()
    bus.start()
    wait_until(lambda: _cpu_of(pool) >= 0.08 and _cpu_of(bus) >= 0.3)
    window.close()
    ledger.settle()
    settled.set()
    pool.join()
    bus.join()

    assert 0.08 <= (sink.records[1].cpu_seconds or 0) < 0.25
    assert sink.intervals[-1].overhead_joules > 0


def _cpu_of(thread: threading.Thread) -> float:
    assert thread.native_id is not None
    return time.clock_gettime(thread_clock(thread.native_id))


BUSY_CHILD = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ninput()"


def test_a_child_process_counts_by_its_own_cpu_time(ledger: Ledger, sink: Sink) -> None:
    window = ledger.open(1, 1, "x")
    with subprocess.Popen(
        [sys.executable, "-c", BUSY_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        window.watch_child(child.pid)
        assert child.stdout is not None
        child.stdout.readline()
        ledger.settle()
        live = ledger.live()[0]
        child.communicate(b"\n")
    window.close()
    ledger.settle()

    assert (live.cpu_seconds or 0) >= 0.28
    assert (sink.records[1].cpu_seconds or 0) >= 0.28
    assert (sink.records[1].energy_joules or 0) > 0


def test_the_exact_cpu_time_of_a_child_replaces_what_was_sampled(ledger: Ledger, sink: Sink) -> None:
    window = ledger.open(1, 1, "x")
    with subprocess.Popen(
        [sys.executable, "-c", BUSY_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        window.watch_child(child.pid)
        assert child.stdout is not None
        child.stdout.readline()
        ledger.settle()
        window.add_child_cpu_seconds(7.0, child.pid)
        child.communicate(b"\n")
    window.close()
    ledger.settle()

    assert 7.0 <= (sink.records[1].cpu_seconds or 0) < 7.2


def test_a_counter_alone_for_ten_readings_is_measured_and_otherwise_attributed(sink: Sink) -> None:
    # a machine of which the attempt uses everything: busy is never more than what is claimed
    class Alone(LinuxCpuTimes):
        def machine(self) -> tuple[float, float]:
            return 0.0, 0.0

        def process(self) -> float:
            return 0.0

    ledger = started(FakeFeed(tier=Tier.MEASURED, idle_watts=0.0), sink, cpu=Alone())
    long = ledger.open(1, 1, "x")
    for _ in range(10):
        burn(0.002)
        ledger.settle()
    long.close()
    ledger.settle()
    short = ledger.open(2, 1, "x")
    burn(0.002)
    short.close()
    ledger.stop()

    measured, attributed = sink.records[1], sink.records[2]
    assert (measured.tier, measured.status) == (Tier.MEASURED, EnergyStatus.MEASURED)
    assert measured.low_joules == pytest.approx(0.9 * (measured.energy_joules or 0))
    assert (attributed.tier, attributed.status) == (Tier.ATTRIBUTED, EnergyStatus.ESTIMATED)
    assert attributed.high_joules == pytest.approx(1.25 * (attributed.energy_joules or 0))


def test_gpu_energy_goes_to_the_attempt_that_says_it_uses_the_gpu(sink: Sink) -> None:
    ledger = started(FakeFeed(gpu_watts=300.0, tier=Tier.MEASURED), sink)
    on_gpu, on_cpu = ledger.open(1, 1, "x"), ledger.open(2, 1, "y")
    on_gpu.describe(gpu=True)
    burn(0.02)
    on_cpu.close()
    on_gpu.close()
    ledger.stop()

    assert (sink.records[1].gpu_joules or 0) > 0
    assert sink.records[2].gpu_joules is None


def test_without_thread_clocks_the_process_is_shared_by_time_and_the_tier_is_lower(sink: Sink) -> None:
    feed = FakeFeed(ram_watts=20.0)
    ledger = started(feed, sink, cpu=PlainCpuTimes())
    window = ledger.open(1, 1, "x")
    burn(0.05)
    window.close()
    ledger.stop()

    record = sink.records[1]
    assert record.tier is Tier.MODELLED_GENERIC
    assert (record.energy_joules or 0) > 0
    assert math.fsum(i.total_joules for i in sink.intervals) == pytest.approx(feed.total_joules, rel=1e-9)
