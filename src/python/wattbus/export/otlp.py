"""Messages and attempts as spans of OpenTelemetry, in the JSON form of OTLP. Pure: rows in, JSON-safe values out.

A session is a trace, a message a span in it under the message that it was sent by, an attempt a span under its message.
Ids follow from the store and the ids in it, so that a span that is sent twice is the same span. Bodies and error texts
are content: they are in a span only where that is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wattbus.energy.record import EnergyRecord
from wattbus.store.rows import Attempt, Header
from wattbus.store.tables import Status

#: Of a body or an error text, a span holds so much.
LONGEST_CONTENT = 8_000
_INTERNAL, _CONSUMER = 1, 5
_UNSET, _ERROR = 0, 2
_ENDED = frozenset(
    status.value
    for status in (Status.COMPLETED, Status.ERROR, Status.DISCARDED, Status.ABORTED, Status.SUSPENDED)
)
_FAILED_OUTCOMES = frozenset({"error", "worker lost", "suspended"})


@dataclass(frozen=True)
class Ends:
    """What is known of some attempts that have ended."""

    store: str  # names the store for ever
    production: str
    headers: Mapping[int, Header]  # of their messages, and of the requests that ended with them
    attempts: tuple[Attempt, ...]
    energy: Mapping[tuple[int, int], tuple[EnergyRecord, ...]]
    bodies: Mapping[int, str]  # by message id; empty where content is not asked for
    with_content: bool = False


def trace_id(store: str, session_id: int) -> str:
    """Return the id of the trace of a session: 16 bytes, as hexadecimal digits."""
    return _digest(f"{store}/session/{session_id}", 32)


def span_id(store: str, message_id: int, attempt: int | None = None) -> str:
    """Return the id of the span of a message, or of an attempt on it: 8 bytes, as hexadecimal digits."""
    return _digest(f"{store}/message/{message_id}/{attempt or ''}", 16)


def request(ends: Ends) -> dict[str, Any]:
    """Return the body of an export request: every attempt, and every message that is at its end."""
    spans = [_attempt(ends, one) for one in ends.attempts if one.message_id in ends.headers]
    spans += [_message(ends, header) for header in ends.headers.values() if header.status in _ENDED]
    resource = {"service.name": "wattbus", "wattbus.production": ends.production,
                "wattbus.store": ends.store}  # fmt: skip
    scope = {"scope": {"name": "wattbus"}, "spans": spans}
    return {"resourceSpans": [{"resource": {"attributes": _attributes(resource)}, "scopeSpans": [scope]}]}


def _message(ends: Ends, header: Header) -> dict[str, Any]:
    attributes = {
        "wattbus.item": header.target_item,
        "wattbus.source": header.source_item,
        "wattbus.message.id": header.id,
        "wattbus.session.id": header.session_id,
        "wattbus.message.type": header.type,
        "wattbus.message.body_class": header.body_class,
        "wattbus.message.status": header.status,
        "wattbus.message.attempts": header.attempts,
        "wattbus.message.priority": header.priority,
        "wattbus.message.resent": header.resent,
    }
    if ends.with_content:
        attributes["wattbus.message.body"] = ends.bodies.get(header.id, "")[:LONGEST_CONTENT] or None
    last = max((one.ended_us or 0 for one in ends.attempts if one.message_id == header.id), default=0)
    return _span(
        ends,
        header,
        id=span_id(ends.store, header.id),
        parent=None if header.parent_id is None else span_id(ends.store, header.parent_id),
        name=f"{header.target_item} {header.body_class.rpartition('.')[2]}".strip(),
        kind=_CONSUMER,
        times=(header.time_created_us, header.time_processed_us or last or header.time_created_us),
        attributes=attributes,
        failed=header.is_error,
        error=header.error_status,
    )


def _attempt(ends: Ends, one: Attempt) -> dict[str, Any]:
    header = ends.headers[one.message_id]
    attributes: dict[str, Any] = {
        "wattbus.item": one.item,
        "wattbus.job": one.job,
        "wattbus.message.id": one.message_id,
        "wattbus.attempt": one.number,
        "wattbus.outcome": one.outcome,
        "wattbus.wait_seconds": max(0, one.started_us - header.time_created_us) / 1e6,
    }
    for record in ends.energy.get((one.message_id, one.number), ()):
        name = f"wattbus.energy.{record.scope}"
        attributes |= {f"{name}.tier": str(record.tier), f"{name}.joules": record.energy_joules,
                       f"{name}.model": record.model}  # fmt: skip
    return _span(
        ends,
        header,
        id=span_id(ends.store, one.message_id, one.number),
        parent=span_id(ends.store, one.message_id),
        name=f"attempt {one.number} of {one.item}",
        kind=_INTERNAL,
        times=(one.started_us, one.ended_us or one.started_us),
        attributes=attributes,
        failed=one.outcome in _FAILED_OUTCOMES,
        error=one.detail or header.error_status,
    )


def _span(
    ends: Ends,
    header: Header,
    *,
    id: str,
    parent: str | None,
    name: str,
    kind: int,
    times: tuple[int, int],
    attributes: Mapping[str, Any],
    failed: bool,
    error: str | None,
) -> dict[str, Any]:
    status: dict[str, Any] = {"code": _ERROR if failed else _UNSET}
    if failed and ends.with_content and error:
        status["message"] = error[:LONGEST_CONTENT]
    began_us, ended_us = times
    span = {
        "traceId": trace_id(ends.store, header.session_id),
        "spanId": id,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(began_us * 1000),
        "endTimeUnixNano": str(max(began_us, ended_us) * 1000),
        "attributes": _attributes(attributes),
        "status": status,
    }
    return span if parent is None else {**span, "parentSpanId": parent}


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value is not None]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}  # as the JSON form of protobuf writes 64 bits
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": str(value)}


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
