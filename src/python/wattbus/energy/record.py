"""What one attempt of one operation used, and how far the figure can be trusted.

Unknown is None, never 0. Energies are joules, durations seconds, carbon grams of CO2 equivalent.
Tiers and statuses follow the table of ``docs/energy.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Tier(StrEnum):
    """How a figure came about, best first."""

    MEASURED = "measured"
    ATTRIBUTED = "attributed"
    MODELLED = "modelled"
    MODELLED_GENERIC = "modelled-generic"
    ESTIMATED_REMOTE = "estimated-remote"
    NONE = "none"


class EnergyStatus(StrEnum):
    """Whether there is a figure; ``reason`` says why not."""

    PENDING = "pending"
    MEASURED = "measured"
    ESTIMATED = "estimated"
    FAILED = "failed"
    NOT_MEASURED = "not_measured"


class Scope(StrEnum):
    """Whose energy it is: an attempt on this machine, our side of a remote call, or the remote side."""

    LOCAL = "local"
    CLIENT = "client"
    REMOTE = "remote"


#: The stage of an answer that was kept from an earlier one: no model has worked for it.
CACHE_STAGE = "cache"


@dataclass(frozen=True)
class DataFacts:
    """What went in or came out of a task; counts and sizes only, never content."""

    usage: str  # "input" or "output"
    kind: str  # text, token, image, tabular, audio, other
    items: int | None = None
    bytes: int | None = None
    shape: str | None = None
    format: str | None = None  # sql, csv, json, png, jpeg, ...
    source: str | None = None  # public, private, other
    source_uri: str | None = None
    owner: str | None = None


@dataclass(frozen=True)
class TaskFacts:
    """What kind of work an attempt did, read from the objects that did it, in neutral words."""

    stage: str  # inference, cache, finetuning, training, download, other
    family: str | None = None  # textClassification, textGeneration, ...
    requests: int | None = None
    algorithm_type: str | None = None  # e.g. "neural network", "llm"
    algorithm_name: str | None = None  # e.g. "transformer"
    algorithm_uri: str | None = None
    foundation_model: str | None = None
    foundation_model_uri: str | None = None
    parameters: int | None = None  # number of parameters, not billions
    framework: str | None = None
    framework_version: str | None = None
    class_path: str | None = None
    layers: int | None = None
    epochs: float | None = None
    optimizer: str | None = None
    precision: str | None = None  # fp32, bf16, fp16, int8
    training_type: str | None = None  # supervisedLearning, transferLearning
    accuracy: float | None = None  # 0..1, measured
    description: str | None = None
    data: tuple[DataFacts, ...] = ()


@dataclass(frozen=True)
class TrackerFacts:
    """What read the power, and how; utilisations are 0..1 of the machine, calibration is the idle reading."""

    method: str  # codecarbon
    version: str | None = None
    cpu_mode: str | None = None  # rapl, cpu load, constant, ...
    gpu_mode: str | None = None  # nvml, ...
    cpu_utilisation: float | None = None
    gpu_utilisation: float | None = None
    calibration_joules: float | None = None  # used by the idle machine while the meter was calibrated
    calibration_seconds: float | None = None
    country: str | None = None  # as configured for the meter, never guessed
    maker: str | None = None  # who built it, when it is a wattmeter


@dataclass(frozen=True)
class RemoteFacts:
    """The machine behind a remote call, as far as the remote estimate assumes it."""

    provider: str | None = None  # who runs the machine
    service: str | None = None  # the name of the service that was called
    gpus: int | None = None
    gpu_name: str | None = None
    gpu_memory_bytes: int | None = None


@dataclass(frozen=True)
class EnergyRecord:
    """One row a (message, attempt, scope): what it used, on which tier, within which bounds."""

    message_id: int
    attempt: int
    item: str
    started_at_us: int  # UTC, microseconds since the epoch
    duration_seconds: float | None
    scope: Scope = Scope.LOCAL
    operation_kind: str | None = None
    model: str | None = None
    revision: str | None = None
    cpu_seconds: float | None = None
    gpu_seconds: float | None = None
    energy_joules: float | None = None
    cpu_joules: float | None = None
    gpu_joules: float | None = None
    ram_joules: float | None = None
    low_joules: float | None = None
    high_joules: float | None = None
    carbon_grams: float | None = None
    carbon_intensity_g_per_kwh: float | None = None
    carbon_source: str | None = None
    tier: Tier = Tier.NONE
    status: EnergyStatus = EnergyStatus.PENDING
    reason: str | None = None
    method: str | None = None
    partial: bool = False
    facts: TaskFacts | None = None


@dataclass(frozen=True)
class IntervalRecord:
    """One reading of the power feed, split into buckets; the buckets sum to ``total_joules``."""

    started_at_us: int
    duration_seconds: float
    total_joules: float
    operations_joules: float
    idle_joules: float
    others_joules: float
    overhead_joules: float
    tier: Tier
    method: str
    watts_by_component: dict[str, float] = field(default_factory=dict)  # cpu, gpu, ram


def is_hit(record: EnergyRecord) -> bool:
    """Tell whether an attempt answered from the cache of answers: its figures are not those of an inference."""
    return record.facts is not None and record.facts.stage == CACHE_STAGE


def make_record(base: EnergyRecord, changes: dict[str, Any]) -> EnergyRecord:
    """Return ``base`` with ``changes``, as ``dataclasses.replace`` does in a fifth of the time.

    Two records are made an operation, and a frozen ``__init__`` of 27 fields alone takes 3 microseconds.
    """
    record = object.__new__(EnergyRecord)
    fields = base.__dict__.copy()
    fields.update(changes)
    object.__setattr__(record, "__dict__", fields)
    return record


def facts_from_dict(data: dict[str, Any] | None) -> TaskFacts | None:
    """Rebuild the facts that the store kept as JSON."""
    if data is None:
        return None
    parts = tuple(DataFacts(**part) for part in data.get("data", ()))
    return TaskFacts(**{**data, "data": parts})
