"""Which energy records make one BoAmps report: all of a fine-tune, or a period of one operation's answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from wattbus.energy.record import DataFacts, EnergyRecord, EnergyStatus, Scope, TaskFacts, Tier, is_hit

DAY_SECONDS = 86_400
TRAINING_STAGES = ("training", "finetuning", "retraining")
TIERS_BEST_FIRST = tuple(Tier)
SHAPE = re.compile(r"\(\s*\d+(?:\.\.\d+)?(?:\s*,\s*\d+(?:\.\.\d+)?)*\s*,?\s*\)")


@dataclass(frozen=True)
class RecordGroup:
    """The records of one report, with their facts put together."""

    records: tuple[EnergyRecord, ...]
    facts: TaskFacts


@dataclass(frozen=True)
class Grouping:
    """The reports that can be made, and each record that is in none of them with the reason."""

    groups: tuple[RecordGroup, ...]
    skipped: tuple[tuple[EnergyRecord, str], ...]


def group_records(records: Iterable[EnergyRecord], *, period_seconds: int = DAY_SECONDS) -> Grouping:
    """Group the records of one host: one group a fine-tune with all its attempts, and for inference one an
    operation, model revision, scope, tier, method and period of UTC time.

    A record without a figure is skipped with its reason. A fine-tune with one such attempt is skipped whole,
    since the sum of the others would be too low.
    """
    fine_tunes: dict[tuple[object, ...], list[EnergyRecord]] = {}
    inferences: dict[tuple[object, ...], list[EnergyRecord]] = {}
    skipped: list[tuple[EnergyRecord, str]] = []
    all_records = list(records)
    trainings = {r.message_id: r.facts for r in all_records if r.facts and r.facts.stage in TRAINING_STAGES}
    for record in all_records:
        if record.message_id in trainings:
            fine_tunes.setdefault((record.message_id, record.scope), []).append(record)
        elif is_hit(record):
            skipped.append((record, "it was answered from the cache of answers: no model has worked"))
        elif record.facts is None or record.facts.stage != "inference":
            skipped.append((record, "it is neither an inference nor a training"))
        elif unknown := why_unknown(record):
            skipped.append((record, unknown))
        else:
            inferences.setdefault(_inference_key(record, period_seconds), []).append(record)
    groups = [_group(members) for members in inferences.values()]
    for members in fine_tunes.values():
        unknown = next((reason for member in members if (reason := why_unknown(member))), None)
        if unknown:
            skipped += [
                (member, f"one attempt of this training has no figure: {unknown}") for member in members
            ]
        else:
            groups.append(RecordGroup(_in_order(members), trainings[members[0].message_id]))
    groups.sort(key=lambda group: group.records[0].started_at_us)
    return Grouping(tuple(groups), tuple(skipped))


def group_for_inference(
    records: Iterable[EnergyRecord], *, period_seconds: int = DAY_SECONDS
) -> tuple[RecordGroup, ...]:
    """Return the groups only; ``group_records`` also names what was skipped and why."""
    return group_records(records, period_seconds=period_seconds).groups


def why_unknown(record: EnergyRecord) -> str | None:
    """Say why a record has no usable energy figure, or None when it has one."""
    if record.status is EnergyStatus.PENDING:
        return "its energy has not settled yet"
    if record.energy_joules is None or record.status not in (EnergyStatus.MEASURED, EnergyStatus.ESTIMATED):
        return record.reason or f"its energy is {record.status.value}"
    if not 0 < record.energy_joules < float("inf"):
        return f"its energy reads {record.energy_joules} J"
    return None


def worst_tier(records: Iterable[EnergyRecord]) -> Tier:
    """Return the least certain tier: a sum is as good as its worst part."""
    return max((record.tier for record in records), key=TIERS_BEST_FIRST.index)


def _inference_key(record: EnergyRecord, period_seconds: int) -> tuple[object, ...]:
    period = record.started_at_us // (period_seconds * 1_000_000)
    return (
        record.item,
        record.operation_kind,
        record.model,
        record.revision,
        record.scope,
        record.tier,
        record.method,
        period,
    )


def _group(members: Sequence[EnergyRecord]) -> RecordGroup:
    ordered = _in_order(members)
    return RecordGroup(ordered, merge_facts([record.facts for record in ordered if record.facts]))


def _in_order(members: Sequence[EnergyRecord]) -> tuple[EnergyRecord, ...]:
    return tuple(sorted(members, key=lambda record: (record.started_at_us, record.attempt)))


def merge_facts(facts: Sequence[TaskFacts]) -> TaskFacts:
    """Put the facts of several answers together: requests and data summed, the rest from the fullest one."""
    requests = [1 if part.requests is None else part.requests for part in facts]
    parts: dict[tuple[str, str], list[DataFacts]] = {}
    for one in facts:
        for data in one.data:
            parts.setdefault((data.usage, data.kind), []).append(data)
    fullest = max(facts, key=lambda one: sum(value is not None for value in vars(one).values()))
    return replace(fullest, requests=sum(requests), data=tuple(_merge_data(part) for part in parts.values()))


def _merge_data(parts: Sequence[DataFacts]) -> DataFacts:
    return replace(
        parts[0],
        items=_sum_known([part.items for part in parts]),
        bytes=_sum_known([part.bytes for part in parts]),
        shape=merge_shapes([part.shape for part in parts]),
        format=_same([part.format for part in parts]),
        source=_same([part.source for part in parts]),
        source_uri=_same([part.source_uri for part in parts]),
        owner=_same([part.owner for part in parts]),
    )


def _sum_known(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _same(values: Sequence[str | None]) -> str | None:
    return values[0] if all(value == values[0] for value in values) else None


def merge_shapes(shapes: Sequence[str | None]) -> str | None:
    """Put shapes together axis by axis, as ranges where they differ; None when they have not the same axes.

    >>> merge_shapes(["(1, 12)", "(1, 40)", "(1, 7)"])
    '(1, 7..40)'
    """
    distinct = set(shapes)
    if len(distinct) == 1:
        return shapes[0]
    axes = [_axes(shape) for shape in distinct]
    if any(one is None for one in axes) or len({len(one) for one in axes if one}) != 1:
        return None
    ranges = [
        sorted(number for pair in axis for number in pair)
        for axis in zip(*[one or [] for one in axes], strict=True)
    ]
    return "(" + ", ".join(f"{r[0]}" if r[0] == r[-1] else f"{r[0]}..{r[-1]}" for r in ranges) + ")"


def _axes(shape: str | None) -> list[list[int]] | None:
    if not shape or not SHAPE.fullmatch(shape):
        return None
    return [[int(end) for end in axis.split("..")] for axis in shape.strip("() ,").split(",") if axis.strip()]


@dataclass(frozen=True)
class Totals:
    """Sums over the records of one report; None when one of the parts is unknown."""

    energy_joules: float
    low_joules: float | None
    high_joules: float | None
    cpu_joules: float | None
    gpu_joules: float | None
    ram_joules: float | None
    carbon_grams: float | None
    carbon_intensity_g_per_kwh: float | None
    cpu_seconds: float | None
    gpu_seconds: float | None
    busy_seconds: float | None  # in which at least one attempt ran
    started_at_us: int
    tier: Tier
    scope: Scope


def add_up(records: Sequence[EnergyRecord]) -> Totals:
    """Add up records whose energy is known; the intensity is the mean weighted by energy."""

    def total(read: Callable[[EnergyRecord], float | None]) -> float | None:
        values = [value for record in records if (value := read(record)) is not None]
        return sum(values) if len(values) == len(records) else None

    energy = sum(record.energy_joules or 0.0 for record in records)
    weighted = total(
        lambda r: (
            None
            if r.carbon_intensity_g_per_kwh is None
            else r.carbon_intensity_g_per_kwh * (r.energy_joules or 0.0)
        )
    )
    return Totals(
        energy_joules=energy,
        low_joules=total(lambda r: r.low_joules),
        high_joules=total(lambda r: r.high_joules),
        cpu_joules=total(lambda r: r.cpu_joules),
        gpu_joules=total(lambda r: r.gpu_joules),
        ram_joules=total(lambda r: r.ram_joules),
        carbon_grams=total(lambda r: r.carbon_grams),
        carbon_intensity_g_per_kwh=None if weighted is None else weighted / energy,
        cpu_seconds=total(lambda r: r.cpu_seconds),
        gpu_seconds=total(lambda r: r.gpu_seconds),
        busy_seconds=_busy_seconds(records),
        started_at_us=min(record.started_at_us for record in records),
        tier=worst_tier(records),
        scope=records[0].scope,
    )


def _busy_seconds(records: Sequence[EnergyRecord]) -> float | None:
    """Return the length of the union of the attempts' times: a pool's attempts overlap."""
    if any(record.duration_seconds is None for record in records):
        return None
    spans = sorted(
        (r.started_at_us / 1e6, r.started_at_us / 1e6 + (r.duration_seconds or 0.0)) for r in records
    )
    busy, end = 0.0, float("-inf")
    for start, stop in spans:
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return busy
