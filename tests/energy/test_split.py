"""The division of one interval: the buckets sum to the whole, whatever the figures."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattbus.energy.feed import PowerReading
from wattbus.energy.split import Base, Load, split_interval

joules = st.floats(0, 1e6)
seconds = st.floats(0, 1e3)
readings = st.builds(
    PowerReading,
    duration_seconds=st.floats(1e-3, 100),
    cpu_joules=st.none() | joules,
    gpu_joules=st.none() | joules,
    ram_joules=st.none() | joules,
)
bases = st.builds(
    Base, cpu_watts=st.floats(0, 1e3), gpu_watts=st.floats(0, 1e3), ram_watts=st.none() | joules
)
loads = st.builds(
    Load,
    capacity_seconds=seconds,
    busy_seconds=seconds,
    overhead_seconds=seconds,
    operations_seconds=seconds,
    gpu_seconds=seconds,
)


@given(readings, bases, loads)
def test_the_buckets_of_an_interval_sum_to_its_total(reading: PowerReading, base: Base, load: Load) -> None:
    split = split_interval(reading, base, load)

    buckets = (split.operations_joules, split.idle_joules, split.others_joules, split.overhead_joules)
    assert math.fsum(buckets) == pytest.approx(reading.total_joules, rel=1e-9, abs=1e-9)


@given(readings, bases, loads)
def test_no_bucket_is_negative(reading: PowerReading, base: Base, load: Load) -> None:
    split = split_interval(reading, base, load)

    assert min(split.operations_joules, split.idle_joules, split.others_joules, split.overhead_joules) >= 0


@given(
    tdp=st.floats(1, 500), busy=st.floats(0.01, 1.0), share=st.floats(0.01, 1.0), cores=st.integers(1, 128)
)
def test_under_the_load_formula_a_part_lies_between_a_tenth_of_the_tdp_and_the_tdp(
    tdp: float, busy: float, share: float, cores: int
) -> None:
    reading = PowerReading(1.0, cpu_joules=tdp * (0.1 + 0.9 * busy**3))
    used = busy * cores * share

    split = split_interval(reading, Base(cpu_watts=0.1 * tdp), Load(cores, busy * cores, 0.0, used))

    assert 0.1 * tdp * used / cores <= split.operations_joules * (1 + 1e-9)
    assert split.operations_joules <= tdp * used / cores * (1 + 1e-9)


def test_the_energy_of_a_machine_that_nobody_uses_is_idle() -> None:
    reading = PowerReading(1.0, cpu_joules=8.0, ram_joules=20.0)

    split = split_interval(reading, Base(cpu_watts=1.0), Load(2.0, 0.0, 0.0, 0.0))

    assert split.idle_joules == 28.0


def test_a_modelled_ram_is_idle_and_unknown_for_the_operation() -> None:
    reading = PowerReading(1.0, cpu_joules=8.0, ram_joules=20.0)

    split = split_interval(reading, Base(cpu_watts=0.0, ram_watts=None), Load(2.0, 1.0, 0.0, 1.0))

    assert split.ram_watts is None
    assert split.idle_joules == 20.0
    assert split.operations_joules == 8.0


def test_a_ram_counter_is_divided_as_the_cpu_is() -> None:
    reading = PowerReading(1.0, cpu_joules=8.0, ram_joules=4.0)

    split = split_interval(reading, Base(cpu_watts=0.0, ram_watts=0.0), Load(2.0, 1.0, 0.5, 0.5))

    assert (split.operations_joules, split.overhead_joules) == (6.0, 6.0)


def test_the_energy_of_a_gpu_that_no_attempt_uses_goes_to_others_above_its_idle_power() -> None:
    reading = PowerReading(1.0, gpu_joules=300.0)

    split = split_interval(reading, Base(gpu_watts=50.0), Load(2.0, 1.0, 0.0, 1.0, gpu_seconds=0.0))

    assert (split.idle_joules, split.others_joules, split.operations_joules) == (50.0, 250.0, 0.0)
