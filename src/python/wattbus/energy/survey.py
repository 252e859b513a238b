"""A survey of this machine: its power feed is asked for some seconds, with no production at work."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from wattbus.energy.advice import Measured, machine_in_words, measured_here
from wattbus.energy.calibration import IdlePower
from wattbus.energy.feed import PowerFeed
from wattbus.energy.hardware import read_machine
from wattbus.energy.ledger import Ledger
from wattbus.energy.record import EnergyRecord, Tier

READINGS = 2
# The feed takes two seconds to start, or many where a driver hangs.
START_SECONDS, SETTLE_SECONDS = 60.0, 10.0


@dataclass(frozen=True)
class Survey:
    """What is measured here and how, what is drawn at this moment, and what would improve it.

    Watts are those of the last reading, by component; empty with the reason in ``why_none`` where there is none.
    """

    machine: str
    measured: list[Measured]
    tier: str
    method: str
    watts: dict[str, float]
    idle: IdlePower | None
    why_none: str


def survey(feed: PowerFeed, *, on: bool = True, interval_seconds: float = 1.0) -> Survey:
    """Read this machine for some seconds; whatever the feed does, it is said and not raised."""
    here, pause = read_machine(), threading.Event()
    settled: list[EnergyRecord] = []
    ledger = Ledger(
        feed, on_settled=lambda records, _: settled.extend(records), interval_seconds=interval_seconds
    )
    ledger.start()
    window = ledger.open(0, 1, "")  # its record says in words why there is no reading
    try:
        if ledger.wait_ready(START_SECONDS):
            for _ in range(READINGS):
                pause.wait(interval_seconds)
                ledger.settle(SETTLE_SECONDS)
        window.close()
        ledger.settle(SETTLE_SECONDS)
        facts, idle, interval = ledger.facts, ledger.idle, ledger.last_interval
    finally:
        ledger.stop()
    reasons = [record.reason for record in settled if record.reason]
    return Survey(
        machine_in_words(here),
        measured_here(facts, here, on=on),
        Tier.NONE if interval is None else interval.tier,
        "" if interval is None else interval.method,
        {} if interval is None else dict(interval.watts_by_component),
        idle,
        "" if interval is not None else (reasons or ["the power feed gave no reading in time"])[0],
    )
