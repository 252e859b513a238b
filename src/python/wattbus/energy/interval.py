"""The record of one interval of the feed, and of several that follow each other."""

from __future__ import annotations

from wattbus.energy.feed import PowerFacts, PowerReading
from wattbus.energy.record import IntervalRecord, Tier
from wattbus.energy.split import Split

_BEST_FIRST = tuple(Tier)


def interval_record(
    reading: PowerReading, facts: PowerFacts, split: Split, ended_at_us: int
) -> IntervalRecord:
    """Write down one reading and its buckets; the tier is that of its worst component."""
    span = reading.duration_seconds
    parts = (
        ("cpu", reading.cpu_joules, facts.cpu),
        ("gpu", reading.gpu_joules, facts.gpu),
        ("ram", reading.ram_joules, facts.ram),
    )
    tiers = [source.tier for _, joules, source in parts if source is not None and joules is not None]
    return IntervalRecord(
        started_at_us=ended_at_us - int(span * 1e6),
        duration_seconds=span,
        total_joules=reading.total_joules,
        operations_joules=split.operations_joules,
        idle_joules=split.idle_joules,
        others_joules=split.others_joules,
        overhead_joules=split.overhead_joules,
        tier=max(tiers, key=_BEST_FIRST.index) if tiers else Tier.NONE,
        method=facts.method,
        watts_by_component={name: joules / span for name, joules, _ in parts if joules is not None},
    )


def joined(first: IntervalRecord, second: IntervalRecord) -> IntervalRecord:
    """Return one interval for two that follow each other: joules add, watts are averaged over time."""
    seconds = first.duration_seconds + second.duration_seconds
    names = first.watts_by_component.keys() | second.watts_by_component.keys()
    return IntervalRecord(
        started_at_us=first.started_at_us,
        duration_seconds=seconds,
        total_joules=first.total_joules + second.total_joules,
        operations_joules=first.operations_joules + second.operations_joules,
        idle_joules=first.idle_joules + second.idle_joules,
        others_joules=first.others_joules + second.others_joules,
        overhead_joules=first.overhead_joules + second.overhead_joules,
        tier=max(first.tier, second.tier, key=_BEST_FIRST.index),
        method=second.method,
        watts_by_component={name: _joules(first, name, second) / seconds for name in sorted(names)},
    )


def _joules(first: IntervalRecord, name: str, second: IntervalRecord) -> float:
    return sum(
        interval.watts_by_component.get(name, 0.0) * interval.duration_seconds for interval in (first, second)
    )
