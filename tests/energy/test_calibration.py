"""What the machine spends at rest: learned at the start, and again whenever it is quiet."""

from __future__ import annotations

import pytest

from energy_samples import Sink, burn, started
from wattbus.energy.calibration import KEPT_READINGS, Calibration
from wattbus.energy.feed import FakeFeed, PowerFacts, PowerReading, PowerSource
from wattbus.energy.record import Tier
from wattbus.energy.split import Load

COUNTER = PowerSource(Tier.MEASURED, "a counter")
FACTS = PowerFacts("fake", cpu=COUNTER, gpu=COUNTER, ram=COUNTER)


def seen(
    calibration: Calibration,
    *,
    watts: float,
    load: float,
    working: float = 0.0,
    seconds: float = 1.0,
    facts: PowerFacts = FACTS,
    gpu: float | None = None,
    on_gpu: float = 0.0,
) -> float:
    """Show a reading of a machine with two cores and return the idle power of its processor."""
    reading = PowerReading(seconds, watts * seconds, gpu, watts * seconds / 10)
    return calibration.learn(
        reading, facts, Load(2 * seconds, 2 * load * seconds, 0.0, working, on_gpu)
    ).cpu_watts


def test_at_the_start_it_is_the_power_at_the_lowest_load_so_far() -> None:
    calibration = Calibration()

    found = [
        seen(calibration, watts=watts, load=load, working=0.5)
        for watts, load in ((50.0, 0.9), (30.0, 0.4), (60.0, 0.95))
    ]

    assert found == [50.0, 30.0, 30.0]
    idle = calibration.idle_power(FACTS)
    assert idle is not None
    assert (idle.how, idle.cpu_watts, idle.ram_watts, idle.load) == ("lowest load so far", 30.0, 3.0, 0.4)


def test_a_quiet_machine_is_read_again_and_follows_what_changes() -> None:
    calibration = Calibration()
    seen(calibration, watts=8.0, load=0.01)
    cool = seen(calibration, watts=8.0, load=0.01)

    for _ in range(KEPT_READINGS):  # the fan has come on
        warm = seen(calibration, watts=12.0, load=0.02)

    assert (cool, warm) == (8.0, 12.0)
    idle = calibration.idle_power(FACTS)
    assert idle is not None
    assert (idle.how, idle.seconds) == ("read while quiet", KEPT_READINGS / 4)


def test_of_the_quiet_readings_the_least_busy_count() -> None:
    calibration = Calibration()

    for load in (0.09, 0.01, 0.05, 0.08):
        found = seen(calibration, watts=10.0 + 100 * load, load=load)

    assert found == pytest.approx(11.0)


def test_a_machine_on_which_an_attempt_works_is_not_quiet() -> None:
    calibration = Calibration()
    seen(calibration, watts=8.0, load=0.05)

    assert seen(calibration, watts=20.0, load=0.01, working=0.01) == 8.0


def test_too_short_a_reading_says_nothing() -> None:
    calibration = Calibration()

    assert seen(calibration, watts=8.0, load=0.0, seconds=0.1) == 0.0
    assert calibration.idle_power(FACTS) is None


def test_an_idle_power_that_the_meter_states_is_not_learned() -> None:
    stated = PowerFacts("fake", cpu=PowerSource(Tier.MODELLED, "a formula", 40.0, 4.0))
    calibration = Calibration()

    assert seen(calibration, watts=8.0, load=0.01, facts=stated) == 4.0
    idle = calibration.idle_power(stated)
    assert idle is not None and (idle.how, idle.cpu_watts, idle.load) == ("stated by the meter", 4.0, None)


def test_the_idle_power_of_a_gpu_is_its_lowest_while_no_attempt_uses_it() -> None:
    calibration = Calibration()

    for joules, used in ((70.0, 0.0), (60.0, 0.0), (20.0, 1.0), (300.0, 1.0), (90.0, 0.0)):
        seen(calibration, watts=8.0, load=0.01, gpu=joules, on_gpu=used)

    assert calibration.base.gpu_watts == 60.0


def test_a_memory_that_is_modelled_has_no_idle_power_to_learn() -> None:
    modelled = PowerFacts("fake", cpu=COUNTER, ram=PowerSource(Tier.MODELLED_GENERIC, "constant", 20.0, 20.0))
    calibration = Calibration()

    seen(calibration, watts=8.0, load=0.01, facts=modelled)

    assert calibration.base.ram_watts is None


def test_the_ledger_calibrates_at_its_start_and_again_when_it_is_quiet() -> None:
    class Machine:
        """Two cores on which only the attempt works; the clocks move when the test says so."""

        knows_threads = True

        def __init__(self) -> None:
            self.capacity = self.busy = 0.0

        def machine(self) -> tuple[float, float]:
            return self.capacity, self.busy

        def process(self) -> float:
            return 0.0

        def pool(self, workers: object) -> dict[int, float]:
            return {}

        def child(self, pid: int) -> float | None:
            return None

    watts = [10.0, 30.0, 6.0]
    script = [PowerReading(1.0, value) for value in watts]
    sink, machine = Sink(), Machine()
    ledger = started(FakeFeed(tier=Tier.MEASURED, idle_watts=None, script=script), sink, cpu=machine)
    machine.capacity, machine.busy = 2.0, 0.1
    ledger.settle()
    first = ledger.idle
    window = ledger.open(1, 1, "Op")
    burn(0.01)
    machine.capacity, machine.busy = 4.0, 2.0
    window.close()
    ledger.settle()
    machine.capacity, machine.busy = 6.0, 2.02
    ledger.settle()
    last = ledger.idle
    ledger.stop()

    assert first is not None and (first.cpu_watts, first.how) == (10.0, "read while quiet")
    assert last is not None and last.cpu_watts == 6.0
    assert sink.records[1].energy_joules is not None
    # a twentieth of the capacity was unused while it worked: that part of the idle power known by then is idle
    assert sink.intervals[1].idle_joules == pytest.approx(10.0 / 20)
