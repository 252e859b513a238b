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


_SESSION, _BODY, _CREATED = map(Header._fields.index, ("session_id", "body_id", "time_created_us"))
_STATUS, _ATTEMPTS = map(Header._fields.index, ("status", "attempts"))


def header_of(
    *,
    type: str,
    session_id: int,
    source: tuple[str, str],
    target: tuple[str, str],
    target_queue: str,
    body_class: str,
    priority: int,
    status: str,
    super_session: str | None = None,
    parent_id: int | None = None,
    corresponding_id: int | None = None,
    return_queue: str | None = None,
    description: str = "",
    error_status: str | None = None,
    response_required: bool = False,
    completion_key: str | None = None,
    idempotency_key: str | None = None,
    time_processed_us: int | None = None,
) -> Header:
    """Make the header of a message that is not accepted yet; ``source`` and ``target`` are item and business type.

    The tuple is made as it is: naming each of its fields takes ten times as long, and there are two a round trip.
    """
    return tuple.__new__(
        Header,
        (
            0, session_id, super_session, parent_id, corresponding_id, type, "Queue", *source, *target, target_queue,
            return_queue, body_class, None, description, priority, status, error_status is not None, error_status,
            None, 0, 0, response_required, completion_key, idempotency_key, 0, time_processed_us,
        ),
    )  # fmt: skip


def accepted(header: Header, id: int, body_id: int | None, now_us: int) -> Header:
    """Return a draft as it is accepted, as ``_replace`` would make it in a third of the time."""
    values = list(header)
    values[0], values[_BODY] = id, body_id
    values[_SESSION] = values[_SESSION] or id
    values[_CREATED] = values[_CREATED] or now_us
    return tuple.__new__(Header, values)


def handed_over(header: Header, status: str) -> Header:
    """Return a new header as it is given to the first worker."""
    values = list(header)
    values[_STATUS], values[_ATTEMPTS] = status, 1
    return tuple.__new__(Header, values)


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
