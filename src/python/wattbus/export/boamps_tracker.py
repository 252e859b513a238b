"""The meter behind a report, read back from what the ledger stored: an export needs no running meter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from wattbus.energy.record import EnergyRecord, IntervalRecord, TrackerFacts

CALIBRATION_SECONDS = 10.0  # more does not make the reading better
SHORTEST_CALIBRATION_SECONDS = 0.5  # below, a reading is noise
# The ledger's wording: "codecarbon 3.3.2: cpu RAPL, ram constant 20 W; divided by CPU time"
METHOD = re.compile(r"(?P<tool>[\w-]+) (?P<version>\d[\w.+-]*): (?P<parts>[^;]*)")
COMPONENT = re.compile(r", (?=(?:cpu|gpu|ram) )")


def tracker_from(
    records: Iterable[EnergyRecord], intervals: Sequence[IntervalRecord], *, country: str | None = None
) -> TrackerFacts:
    """Return the meter's name, version, modes and idle reading; what the ledger did not store stays None."""
    methods = [record.method for record in records if record.method]
    methods += [interval.method for interval in intervals if interval.method]
    method = next((text for text in methods if METHOD.match(text)), next(iter(methods), "not stated"))
    match = METHOD.match(method)
    joules, seconds = idle_reading(intervals)
    modes = (
        dict(part.split(" ", 1) for part in COMPONENT.split(match["parts"]) if " " in part) if match else {}
    )
    return TrackerFacts(
        method=match["tool"] if match else method,
        version=match["version"] if match else None,
        cpu_mode=modes.get("cpu"),
        gpu_mode=modes.get("gpu"),
        calibration_joules=joules,
        calibration_seconds=seconds,
        country=country,
    )


def idle_reading(intervals: Sequence[IntervalRecord]) -> tuple[float | None, float | None]:
    """Return joules and seconds of the ledger's idle bucket, from the first intervals; None when too short.

    The ledger merges quiet intervals into the next busy one, so the bucket is read and not the quiet ones.
    """
    joules = seconds = 0.0
    for interval in sorted(intervals, key=lambda one: one.started_at_us):
        if interval.idle_joules <= 0 or interval.duration_seconds <= 0:
            continue
        joules += interval.idle_joules
        seconds += interval.duration_seconds
        if seconds >= CALIBRATION_SECONDS:
            break
    return (joules, seconds) if seconds >= SHORTEST_CALIBRATION_SECONDS else (None, None)
