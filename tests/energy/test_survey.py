"""What is measured on a machine, said without a production, and what would improve it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wattbus.energy.advice import Measured, measured_here
from wattbus.energy.feed import FakeFeed, NullFeed, PowerFacts, PowerSource
from wattbus.energy.hardware import CpuFacts, GpuFacts, MachineFacts
from wattbus.energy.record import Tier
from wattbus.energy.survey import survey

COUNTER = PowerSource(Tier.MEASURED, "a counter")
FORMULA = PowerSource(Tier.MODELLED, "a formula", 40.0, 4.0)
CONSTANT = PowerSource(Tier.MODELLED_GENERIC, "constant 20 W", 20.0, 20.0)
INTEL = MachineFacts(cpu=CpuFacts("Intel Xeon", "Intel"), gpus=(), virtual=False)


def advised(facts: PowerFacts | None, machine: MachineFacts, root: Path, part: str) -> Measured:
    (found,) = [one for one in measured_here(facts, machine, root=root) if one.component == part]
    return found


def test_a_survey_says_the_watts_now_the_tier_and_the_power_at_rest() -> None:
    found = survey(FakeFeed(cpu_watts=10.0, ram_watts=5.0), interval_seconds=0.05)

    assert found.watts == pytest.approx({"cpu": 10.0, "ram": 5.0}, rel=0.01)
    assert (found.tier, found.method, found.why_none) == ("modelled", "fake", "")
    assert found.idle is not None and found.idle.cpu_watts == 1.0
    assert [part.component for part in found.measured] == ["processor", "GPU", "memory"]


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        (NullFeed("WATTBUS_ENERGY is off"), "WATTBUS_ENERGY is off"),
        (FakeFeed(start_error=OSError("no driver")), "the power feed could not start: OSError: no driver"),
        (FakeFeed(script=[OSError("gone")] * 9), "the power feed failed: OSError: gone"),
    ],
)
def test_a_feed_that_gives_nothing_is_said_and_not_raised(feed: FakeFeed, said: str) -> None:
    found = survey(feed, interval_seconds=0.01)

    assert (found.watts, found.why_none) == ({}, said)


def test_a_counter_needs_nothing_better(tmp_path: Path) -> None:
    part = advised(PowerFacts("x", cpu=COUNTER), INTEL, tmp_path, "processor")

    assert (part.tier, part.improve, part.command) == ("measured", "", "")


def test_a_counter_that_is_not_shown_needs_its_kernel_module(tmp_path: Path) -> None:
    part = advised(PowerFacts("x", cpu=FORMULA), INTEL, tmp_path, "processor")

    assert part.command == "sudo modprobe intel_rapl_common"


def test_a_counter_that_may_not_be_read_needs_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read every file
    counter = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
    counter.parent.mkdir(parents=True)
    counter.touch(mode=0o000)

    part = advised(PowerFacts("x", cpu=FORMULA), INTEL, tmp_path, "processor")

    assert part.command == "sudo chmod a+r /sys/class/powercap/*/energy_uj"


def test_no_command_helps_a_virtual_machine(tmp_path: Path) -> None:
    virtual = MachineFacts(cpu=INTEL.cpu, gpus=(), virtual=True)
    facts = PowerFacts("x", cpu=FORMULA, ram=CONSTANT)

    parts = [advised(facts, virtual, tmp_path, name) for name in ("processor", "memory")]

    assert all(part.improve and not part.command for part in parts)


def test_a_gpu_that_is_not_read_is_helped_by_what_it_lacks(tmp_path: Path) -> None:
    facts = PowerFacts("x", cpu=COUNTER)
    unnamed = MachineFacts(cpu=INTEL.cpu, gpus=None)
    named = MachineFacts(cpu=INTEL.cpu, gpus=(GpuFacts("NVIDIA H100"),))

    assert advised(facts, unnamed, tmp_path, "GPU").command == "pip install nvidia-ml-py"
    assert "nvidia-smi" in advised(facts, named, tmp_path, "GPU").improve
    assert advised(facts, INTEL, tmp_path, "GPU").improve == ""


def test_memory_beside_a_counter_of_the_processor_is_told_from_one_without(tmp_path: Path) -> None:
    counted = PowerFacts("x", cpu=COUNTER, ram=COUNTER)
    beside = PowerFacts("x", cpu=COUNTER, ram=CONSTANT)
    without = PowerFacts("x", cpu=FORMULA, ram=CONSTANT)

    assert advised(counted, INTEL, tmp_path, "memory").improve == ""
    assert "shows no counter of the memory" in advised(beside, INTEL, tmp_path, "memory").improve
    assert advised(without, INTEL, tmp_path, "memory").command == "sudo modprobe intel_rapl_common"
