"""One message with everything that the store knows of it: header, attempts, energy, relatives, log lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, Engine, String, cast, func, select

from wattbus.errors import BadRequest
from wattbus.store.queries import EventLine
from wattbus.store.tables import attempts, bodies, energy, event_log, messages

_ONE = messages.c
_SHOWN = 50


@dataclass(frozen=True)
class MessageHeader:
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


@dataclass(frozen=True)
class AttemptLine:
    """An execution of a message."""

    number: int
    item: str
    job: str
    started_us: int
    ended_us: int | None
    duration_seconds: float | None
    outcome: str
    detail: str | None


@dataclass(frozen=True)
class EnergyLine:
    """What an attempt used in one scope."""

    attempt: int
    scope: str
    joules: float | None
    tier: str
    reason: str | None


@dataclass(frozen=True)
class Related:
    """A message that belongs to another: its answer, what its handling sent, or it sent once more."""

    id: int
    relation: str  # request, response, child, sent again, sent again from
    target: str
    body_class: str
    status: str


@dataclass(frozen=True)
class BodyPart:
    """The beginning of a body as JSON text."""

    text: str
    size_bytes: int
    whole: bool


@dataclass(frozen=True)
class MessageDetail:
    """A message."""

    header: MessageHeader
    body_bytes: int | None  # None: it has no body
    attempts: list[AttemptLine]
    energy: list[EnergyLine]
    related: list[Related]
    events: list[EventLine]


def message_detail(engine: Engine, message_id: int) -> MessageDetail:
    """Return a message with what belongs to it; its body stays where it is."""
    with engine.connect() as connection:
        row = connection.execute(select(messages).where(_ONE.id == message_id)).first()
        if row is None:
            raise BadRequest(
                f"there is no message {message_id}: it was purged, or never came. See the newest at /messages."
            )
        header = MessageHeader(**row._mapping)
        size = connection.execute(select(bodies.c.size_bytes).where(bodies.c.id == header.body_id)).scalar()
        tried = connection.execute(
            select(
                attempts.c.number, attempts.c.item, attempts.c.job, attempts.c.started_us, attempts.c.ended_us,
                attempts.c.duration_seconds, attempts.c.outcome, attempts.c.detail,
            )
            .where(attempts.c.message_id == message_id)
            .order_by(attempts.c.number.desc())
            .limit(_SHOWN)
        ).all()  # fmt: skip
        used = connection.execute(
            select(energy.c.attempt, energy.c.scope, energy.c.energy_joules, energy.c.tier, energy.c.reason)
            .where(energy.c.message_id == message_id)
            .order_by(energy.c.attempt.desc(), energy.c.scope)
            .limit(_SHOWN)
        ).all()
        lines = connection.execute(
            select(event_log)
            .where(event_log.c.session_id == header.session_id, event_log.c.message_id == message_id)
            .order_by(event_log.c.id)
            .limit(_SHOWN)
        ).all()
    return MessageDetail(
        header,
        size,
        [AttemptLine(*one) for one in reversed(tried)],
        [EnergyLine(*one) for one in reversed(used)],
        _related(engine, header),
        [EventLine(*one) for one in lines],
    )


def _related(engine: Engine, header: MessageHeader) -> list[Related]:
    columns = (_ONE.id, _ONE.target_item, _ONE.body_class, _ONE.status)
    of_session = _ONE.session_id == header.session_id
    before = header.resent or ""
    asked: list[tuple[str, ColumnElement[bool]]] = [
        ("parent", _ONE.id == header.parent_id),
        ("request" if header.type == "Response" else "response", _ONE.id == header.corresponding_id),
        ("child", of_session & (_ONE.parent_id == header.id) & (_ONE.type == "Request")),
        ("sent again", _ONE.resent.is_not(None) & (_ONE.resent == cast(header.id, String))),
        ("sent again from", _ONE.id == (int(before) if before.isdecimal() else None)),
    ]
    found = []
    with engine.connect() as connection:
        for relation, condition in asked:
            query = select(*columns).where(condition).order_by(_ONE.id).limit(_SHOWN)
            found += [
                Related(row.id, relation, row.target_item, row.body_class, row.status)
                for row in connection.execute(query)
            ]
    return found


def body_part(engine: Engine, folder: Path, message_id: int, most: int) -> BodyPart | None:
    """Return the first ``most`` characters of the body of a message; None where it has none."""
    with engine.connect() as connection:
        row = connection.execute(
            select(
                bodies.c.sha256, bodies.c.size_bytes, func.substr(bodies.c.json, 1, most + 1).label("json")
            )
            .select_from(messages.join(bodies, bodies.c.id == _ONE.body_id))
            .where(_ONE.id == message_id)
        ).first()
    if row is None:
        return None
    text = row.json
    if text is None:  # a large body lies in a file of its own
        with (folder / row.sha256).open(encoding="utf-8") as file:
            text = file.read(most + 1)
    return BodyPart(text[:most], row.size_bytes, len(text) <= most)
