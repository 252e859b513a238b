"""CPU time of threads, the process, the machine and children, as the ledger reads it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from energy_samples import burn, in_thread
from wattbus.energy.cputime import (
    NOBODY,
    LinuxCpuTimes,
    PlainCpuTimes,
    cpu_times,
    name_worker,
    thread_clock,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc and thread clocks are Linux'")


@linux
def test_the_clock_of_a_thread_is_the_one_that_the_system_gives() -> None:
    assert thread_clock(threading.get_native_id()) == time.pthread_getcpuclockid(threading.get_ident())


@linux
def test_another_threads_cpu_time_can_be_read_while_it_runs() -> None:
    burnt, done = threading.Event(), threading.Event()

    def work() -> None:
        burn(0.03)
        burnt.set()
        done.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    assert burnt.wait(10)
    assert thread.native_id is not None
    spent = time.clock_gettime(thread_clock(thread.native_id))
    done.set()
    thread.join()

    assert 0.03 <= spent < 1


@linux
def test_a_thread_of_the_bus_and_a_worker_are_no_pool() -> None:
    times = LinuxCpuTimes()
    times.pool(())
    found: dict[str, float] = {}

    def pools(*workers: int) -> float:
        return sum(times.pool(workers).values())

    def bus() -> None:
        burn(0.03)
        found["bus"] = pools()

    def worker() -> None:
        burn(0.03)
        found["worker"] = pools(threading.get_native_id())

    def pool() -> None:
        burn(0.03)
        found["pool"] = pools()

    in_thread(bus, "wattbus-writer")
    in_thread(worker, "Thread-9")
    before = pools()
    in_thread(pool, "Thread-10")

    # a thread that is ending still shows its last microseconds
    assert max(found["bus"], found["worker"], before) < 0.01
    assert found["pool"] - before >= 0.03


@linux
def test_the_threads_of_a_pool_belong_to_the_worker_that_made_them() -> None:
    times = LinuxCpuTimes()
    times.pool(())
    found: dict[int, float] = {}
    workers: list[int] = []

    def pool() -> None:
        burn(0.03)
        found.update(times.pool(workers))

    def worker() -> None:
        workers.append(threading.get_native_id())
        name_worker(workers[0])
        in_thread(pool, "OpenMP")

    in_thread(worker, "Thread-11")
    in_thread(pool, "nobody's")

    assert found[workers[0]] >= 0.03
    assert found[NOBODY] >= 0.03


@linux
def test_the_process_keeps_its_name() -> None:
    before = Path("/proc/self/comm").read_text()

    name_worker(os.getpid())

    assert Path("/proc/self/comm").read_text() == before


@pytest.mark.parametrize("times", [cpu_times(), PlainCpuTimes()], ids=["best", "plain"])
def test_every_view_knows_the_process_and_the_machine(times: PlainCpuTimes) -> None:
    capacity, busy = times.machine()

    assert 0 < busy < capacity
    assert times.process() == pytest.approx(time.process_time(), abs=0.1)


@pytest.mark.parametrize("times", [cpu_times(), PlainCpuTimes()], ids=["best", "plain"])
def test_a_child_and_its_descendants_are_summed(times: PlainCpuTimes) -> None:
    burner = "import time\nwhile time.process_time() < 0.2: pass\nprint('done', flush=True)\ninput()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burner!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        spent = times.child(child.pid)
        child.communicate(b"\n")

    assert spent is not None
    assert spent >= 0.19


@pytest.mark.parametrize("times", [cpu_times(), PlainCpuTimes()], ids=["best", "plain"])
def test_a_process_that_is_gone_has_no_cpu_time(times: PlainCpuTimes) -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()

    assert times.child(gone.pid) is None
    assert times.child(os.getpid()) is not None
