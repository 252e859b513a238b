"""Rows of the hot tables as typed tuples, field for field in the order of their columns.

A tuple binds positionally with no mapping in between, which is what a group commit of many rows costs.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, NamedTuple

from wattbus.energy.record import EnergyRecord, EnergyStatus, Scope, Tier, facts_from_dict


class Header(NamedTuple):
    """A message header; see :data:`wattbus.store.tables.messages`."""

    id: int
    session_id: int
    super_session: str | None
    parent_id: int | None
    corresponding_id: int | None
    type: str
    invocation: str
    source_item: str
    source_business_type: str
    target_item: str
    target_business_type: str
    target_queue: str
    return_queue: str | None
    body_class: str
    body_id: int | None
    description: str
    priority: int
    status: str
    is_error: bool
    error_status: str | None
    resent: str | None
    attempts: int
    not_before_us: int
    response_required: bool
    completion_key: str | None
    idempotency_key: str | None
    time_created_us: int
    time_processed_us: int | None


class Body(NamedTuple):
    """A message body as JSON text; ``json`` is None where the text lies out of line."""

    id: int
    sha256: str
    size_bytes: int
    json: str | None


class Attempt(NamedTuple):
    """One execution of a message by an item."""

    message_id: int
    number: int
    item: str
    job: str
    instance: str
    started_us: int
    lease_until_us: int
    ended_us: int | None
    duration_seconds: float | None
    outcome: str
    detail: str | None


class ProcessRow(NamedTuple):
    """A process that waits for responses; see :data:`wattbus.store.tables.processes`."""

    message_id: int
    item: str
    version: int
    waiting: int
    response_class: str
    response_json: str | None
    properties: str


class Event(NamedTuple):
    """One line of the event log; its id is given by the store."""

    time_us: int
    type: str
    item: str
    job: str
    message_id: int | None
    session_id: int | None
    source_class: str | None
    source_method: str | None
    text: str


class Claimed(NamedTuple):
    """A message handed to a worker, with the attempt that it opens."""

    header: Header
    json: str | None
    attempt: int
    started_us: int


def energy_row(record: EnergyRecord) -> tuple[Any, ...]:
    """Return the record in the order of the columns of the energy table."""
    facts = record.facts
    return (
        record.message_id,
        record.attempt,
        str(record.scope),
        record.item,
        record.operation_kind,
        record.model,
        record.revision,
        record.started_at_us,
        record.duration_seconds,
        record.cpu_seconds,
        record.gpu_seconds,
        record.energy_joules,
        record.cpu_joules,
        record.gpu_joules,
        record.ram_joules,
        record.low_joules,
        record.high_joules,
        record.carbon_grams,
        record.carbon_intensity_g_per_kwh,
        record.carbon_source,
        str(record.tier),
        str(record.status),
        record.reason,
        record.method,
        record.partial,
        None if facts is None else json.dumps(dataclasses.asdict(facts)),
    )


def energy_record(row: Any) -> EnergyRecord:
    """Rebuild a record from a row of the energy table."""
    values = dict(row._mapping)
    facts = values.pop("facts")
    return EnergyRecord(
        **{
            **values,
            "scope": Scope(values["scope"]),
            "tier": Tier(values["tier"]),
            "status": EnergyStatus(values["status"]),
            "facts": facts_from_dict(facts),
        }
    )
