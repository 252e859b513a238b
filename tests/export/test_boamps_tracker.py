"""The meter of a report, read back from the ledger's own words and intervals."""

from __future__ import annotations

from typing import Any

import pytest

from boamps_samples import START_US, record
from wattbus.energy.codecarbon_feed import facts_of
from wattbus.energy.record import IntervalRecord, Tier, TrackerFacts
from wattbus.export.boamps_tracker import tracker_from


def interval(**changes: Any) -> IntervalRecord:
    values: dict[str, Any] = {
        "started_at_us": START_US,
        "duration_seconds": 4.0,
        "total_joules": 40.0,
        "operations_joules": 0.0,
        "idle_joules": 30.0,
        "others_joules": 10.0,
        "overhead_joules": 0.0,
        "tier": Tier.MODELLED,
        "method": "a meter",
    }
    return IntervalRecord(**{**values, **changes})


def test_the_words_of_the_ledgers_own_feed_give_tool_version_and_modes() -> None:
    found = {
        "version": "3.3.2",
        "hardware": [{"kind": "cpu", "mode": "intel_rapl", "tdp": 0}, {"kind": "gpu"}, {"kind": "ram"}],
        "ram_watts": 20.0,
        "tdp_forced": False,
        "tdp_known": True,
        "virtual": False,
        "cpu_model": "",
        "gpu_model": "",
    }
    power = facts_of(found)

    tracker = tracker_from([record(method=power.method)], [])

    assert power.cpu is not None
    assert power.gpu is not None
    assert (tracker.method, tracker.version) == ("codecarbon", "3.3.2")
    assert (tracker.cpu_mode, tracker.gpu_mode) == (power.cpu.method, power.gpu.method)


def test_the_idle_bucket_of_the_first_seconds_is_the_calibration() -> None:
    rows = [
        interval(started_at_us=START_US + 3),
        interval(started_at_us=START_US + 2, operations_joules=5.0, idle_joules=25.0),
        interval(idle_joules=0.0),
        interval(started_at_us=START_US + 9, idle_joules=35.0),
        interval(started_at_us=START_US + 10, idle_joules=1e9),
    ]

    tracker = tracker_from([], rows)

    assert (tracker.calibration_joules, tracker.calibration_seconds) == (90.0, 12.0)


@pytest.mark.parametrize("rows", [[], [interval(idle_joules=0.0)], [interval(duration_seconds=0.0005)]])
def test_without_half_a_second_of_idle_reading_there_is_no_calibration(rows: list[IntervalRecord]) -> None:
    tracker = tracker_from([record(method=None)], rows)

    assert (tracker.calibration_joules, tracker.calibration_seconds) == (None, None)


def test_a_method_in_other_words_is_told_as_it_is_and_nothing_is_made_of_it() -> None:
    tracker = tracker_from([record(method="wattmeter at the plug")], [], country="France")

    assert tracker == TrackerFacts(method="wattmeter at the plug", country="France")
