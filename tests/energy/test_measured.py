"""A window around any code: each block has its share, and nothing that the meter does changes the code."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from energy_samples import FOREVER, Sink, burn, started, wait_until
from wattbus.energy import (
    CarbonIntensity,
    EnergyStatus,
    FakeFeed,
    Measured,
    NullFeed,
    TaskFacts,
    Tier,
    window,
)
from wattbus.energy.attempt_window import current_window
from wattbus.energy.process_meter import ProcessMeter
from wattbus.energy.record import IntervalRecord
from wattbus.errors import BadRequest


@pytest.fixture
def meter() -> Iterator[ProcessMeter]:
    meter = ready(FakeFeed(idle_watts=0.0))
    yield meter
    meter.stop()


def ready(feed: FakeFeed | NullFeed) -> ProcessMeter:
    meter = ProcessMeter(feed, interval_seconds=FOREVER)
    meter.start()
    assert meter.ledger.wait_ready()
    return meter


def test_a_block_has_a_record_once_it_is_settled(meter: ProcessMeter) -> None:
    with window("task", meter=meter) as measured:
        burn(0.05)
        inside = (measured.record, measured.reason)
    before = measured.energy_joules

    record = measured.result()

    assert inside == (None, "the block still runs")
    assert before is None
    assert record is not None and measured.record == record
    assert (record.item, record.status, record.tier) == ("task", EnergyStatus.ESTIMATED, Tier.MODELLED)
    assert measured.energy_joules is not None and measured.energy_joules > 0
    assert measured.low_joules is not None and measured.high_joules is not None
    assert measured.low_joules <= measured.energy_joules <= measured.high_joules
    assert measured.cpu_seconds is not None and measured.cpu_seconds >= 0.05
    assert measured.carbon_grams is None
    assert measured.reason is None


def test_a_result_inside_the_block_is_refused(meter: ProcessMeter) -> None:
    with window("task", meter=meter) as measured, pytest.raises(BadRequest, match="still open"):
        measured.result()


def test_blocks_in_threads_are_charged_by_their_work(meter: ProcessMeter) -> None:
    both = threading.Barrier(2)

    def work(seconds: float) -> Measured:
        with window(f"{seconds}", meter=meter) as measured:
            both.wait(10)
            burn(seconds)
            both.wait(10)
        return measured

    with ThreadPoolExecutor(2) as pool:
        small, large = pool.map(work, (0.1, 0.3))
    records = [one.result() for one in (small, large)]

    ratio = (records[1].energy_joules or 0) / (records[0].energy_joules or 1)
    assert ratio == pytest.approx(3.0, rel=0.05)


def test_a_nested_block_takes_its_time_out_of_the_outer_one(meter: ProcessMeter) -> None:
    with window("outer", meter=meter) as outer:
        burn(0.05)
        with window("inner", meter=meter) as inner:
            burn(0.15)
    seconds = [one.result().cpu_seconds or 0 for one in (outer, inner)]

    assert seconds == [pytest.approx(0.05, abs=0.03), pytest.approx(0.15, abs=0.03)]


def test_a_decorated_function_keeps_its_runs_and_its_result(meter: ProcessMeter) -> None:
    @window("sum", meter=meter)
    def add(one: int, *, two: int) -> int:
        """Add."""
        burn(0.02)
        return one + two

    assert [add(1, two=2), add(3, two=4)] == [3, 7]
    runs = add.runs  # type: ignore[attr-defined]
    assert (add.__name__, add.__doc__) == ("add", "Add.")
    assert [run.result().status for run in runs] == [EnergyStatus.ESTIMATED] * 2


def test_an_error_goes_through_unchanged_and_its_work_is_metered(meter: ProcessMeter) -> None:
    error = ValueError("no such row")

    @window("task", meter=meter)
    def work() -> None:
        burn(0.02)
        raise error

    with pytest.raises(ValueError, match="no such row") as raised:
        work()

    assert raised.value is error
    (measured,) = work.runs  # type: ignore[attr-defined]
    assert measured.result().energy_joules
    assert measured.reason == "the attempt failed: ValueError"


def test_coroutines_are_metered_while_they_run_and_not_while_they_wait(meter: ProcessMeter) -> None:
    @window("coroutine", meter=meter)
    async def work(seconds: float, steps: int) -> float:
        for _ in range(steps):
            burn(seconds / steps)
            await asyncio.sleep(0)
        return seconds

    async def all_together() -> list[float]:
        return list(await asyncio.gather(work(0.05, 5), work(0.15, 5), work(0.0, 1)))

    assert asyncio.run(all_together()) == [0.05, 0.15, 0.0]
    seconds = [run.result().cpu_seconds for run in work.runs]  # type: ignore[attr-defined]
    assert seconds == [pytest.approx(expected, abs=0.03) for expected in (0.05, 0.15, 0.0)]


def test_a_coroutine_is_cancelled_and_thrown_into_as_without_a_window(meter: ProcessMeter) -> None:
    seen: list[str] = []

    @window("coroutine", meter=meter)
    async def waits() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return "never"

    async def cancel() -> None:
        task = asyncio.ensure_future(waits())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())
    assert seen == ["cancelled"]


def test_a_function_that_makes_values_one_by_one_is_refused(meter: ProcessMeter) -> None:
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(BadRequest, match="put a window around the loop"):
        window("numbers", meter=meter)(numbers)


def test_child_processes_are_counted_to_the_block(meter: ProcessMeter) -> None:
    with window("children", meter=meter) as measured:
        subprocess.run(
            [sys.executable, "-S", "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True
        )

    assert measured.result().cpu_seconds == pytest.approx(0.32, abs=0.06)


def test_what_observers_say_is_in_the_record_and_their_errors_are_not_the_codes(
    meter: ProcessMeter, caplog: pytest.LogCaptureFixture
) -> None:
    facts = TaskFacts(stage="training", framework="torch")

    class Watcher:
        def enter(self, measured: Measured) -> None:
            self.before = measured.record

        def exit(self, measured: Measured) -> TaskFacts | None:
            return facts

    class Broken:
        def enter(self, measured: Measured) -> None:
            raise OSError("no eyes")

        def exit(self, measured: Measured) -> TaskFacts | None:
            return None

    with window("task", observers=[Watcher(), Broken()], meter=meter) as measured:
        burn(0.01)

    assert measured.result().facts == facts
    assert "an observer of the window 'task' failed" in caplog.text


def test_without_a_power_feed_the_energy_is_unknown_and_says_why() -> None:
    meter = ready(NullFeed("WATTBUS_ENERGY is off"))
    with window("task", meter=meter) as measured:
        burn(0.01)

    record = measured.result()
    meter.stop()

    assert (record.energy_joules, record.tier) == (None, Tier.NONE)
    assert measured.reason == "WATTBUS_ENERGY is off"
    assert measured.cpu_seconds is not None


def test_a_block_that_ends_after_the_meter_has_its_reason() -> None:
    meter = ready(FakeFeed())
    with window("task", meter=meter) as measured:
        meter.stop()

    record = measured.result()
    assert record.partial
    assert measured.reason is not None and "not running" in measured.reason


def test_carbon_comes_with_the_intensity_that_is_configured(meter: ProcessMeter) -> None:
    meter.carbon = CarbonIntensity(100.0, "FRA", 2024, "a contract")
    with window("task", meter=meter) as measured:
        burn(0.05)

    record = measured.result()

    assert record.carbon_grams == pytest.approx((record.energy_joules or 0) / 3.6e6 * 100.0)
    assert record.carbon_source == "FRA, 2024, a contract"


def test_inside_an_attempt_the_attempt_stays_whole(meter: ProcessMeter) -> None:
    sink = Sink()
    production = started(FakeFeed(), sink)
    attempt = production.open(1, 1, "Python.MLOperation")
    with window("part", meter=meter) as outer:
        burn(0.05)
        with window("part of the part", meter=meter) as inner:
            burn(0.1)
            assert current_window() is attempt
    attempt.close()
    production.settle()
    production.stop()

    seconds = [sink.records[1].cpu_seconds, outer.result().cpu_seconds, inner.result().cpu_seconds]

    assert seconds == [
        pytest.approx(0.15, abs=0.03),
        pytest.approx(0.05, abs=0.03),
        pytest.approx(0.1, abs=0.03),
    ]
    assert current_window() is not attempt


def test_the_buckets_of_all_blocks_sum_to_the_machine(meter: ProcessMeter) -> None:
    intervals: list[IntervalRecord] = []
    meter.listen(intervals.append)

    def work(number: int) -> Measured:
        with window(f"{number}", meter=meter) as measured:
            burn(0.01 * number)
        return measured

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(work, range(8)))
    joules = math.fsum(run.result().energy_joules or 0.0 for run in runs)

    assert joules == pytest.approx(math.fsum(one.operations_joules for one in intervals), rel=1e-9)
    for one in intervals:
        parts = (one.operations_joules, one.idle_joules, one.others_joules, one.overhead_joules)
        assert math.fsum(parts) == pytest.approx(one.total_joules, rel=1e-9)


def test_a_plain_script_needs_one_line_and_its_end_settles() -> None:
    script = (
        "import wattbus\n"
        "with wattbus.energy.window('task') as measured:\n"
        "    sum(range(10))\n"
        "import sys, atexit\n"
        "print(measured.result().status.value, measured.reason, 'torch' in sys.modules)\n"
    )

    said = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "WATTBUS_ENERGY": "off"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert said.stdout.split()[0] == "not_measured"
    assert said.stdout.split()[-1] == "False"
    assert said.stderr == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_meters_for_itself() -> None:
    script = (
        "import os, wattbus\n"
        "with wattbus.energy.window('parent') as measured:\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        with wattbus.energy.window('child') as of_child:\n"
        "            sum(range(10))\n"
        "        os._exit(0 if of_child.result(50).reason == 'WATTBUS_ENERGY is off' else 1)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "print(measured.result().status.value)\n"
    )

    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, "WATTBUS_ENERGY": "off"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert said.stdout.split() == ["0", "not_measured"]


def test_the_record_comes_by_itself_with_the_next_reading() -> None:
    meter = ProcessMeter(FakeFeed(), interval_seconds=0.05)
    meter.start()
    assert meter.ledger.wait_ready()
    with window("task", meter=meter) as measured:
        burn(0.02)

    wait_until(lambda: measured.record is not None)
    meter.stop()

    assert measured.energy_joules is not None
