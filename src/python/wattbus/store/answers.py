"""The answer to a message, read from the store: also when the production does not run, and long after."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, desc, func, select

from wattbus.errors import UnknownName
from wattbus.store.queries import message_body, message_header
from wattbus.store.rows import Header
from wattbus.store.tables import Status, attempts, messages

_ENDED = (Status.COMPLETED, Status.ERROR, Status.DISCARDED, Status.ABORTED)
_LARGEST_ID = 2**63 - 1
#: How far back the last requests of a door are looked for: there is no index by door.
_LOOKED_AT = 20_000


@dataclass(frozen=True)
class StoredAnswer:
    """How a request stands, and its response once there is one."""

    request: Header
    done: bool
    error: str | None
    type: str | None
    body: str | None  # JSON text
    duration_seconds: float | None  # of the last attempt

    @property
    def value(self) -> Any:
        """Return the body of the response as the value that its JSON stands for."""
        return None if self.body is None else json.loads(self.body)


def stored_answer(engine: Engine, folder: Path, message_id: int) -> StoredAnswer:
    """Read how a request stands; ``folder`` holds the bodies that lie out of line. Raises UnknownName."""
    request = message_header(engine, message_id) if 0 < message_id <= _LARGEST_ID else None
    if request is None:
        raise UnknownName("message", message_id, [], "The list of messages shows what is there.")
    response = None
    if request.corresponding_id is not None and request.type == "Request":
        response = message_header(engine, request.corresponding_id)
    done = request.status in _ENDED or response is not None
    error = None
    if request.is_error or (done and request.status != Status.COMPLETED and response is None):
        error = request.error_status or f"the message was {request.status.lower()}."
    return StoredAnswer(
        request,
        done,
        error,
        response.body_class if response is not None and response.body_id is not None else None,
        message_body(engine, folder, response.body_id) if response is not None else None,
        _duration(engine, message_id),
    )


def _duration(engine: Engine, message_id: int) -> float | None:
    query = (
        select(attempts.c.duration_seconds)
        .where(attempts.c.message_id == message_id)
        .order_by(desc(attempts.c.number))
        .limit(1)
    )
    with engine.connect() as connection:
        found = connection.execute(query).scalar()
    return None if found is None else float(found)


def last_requests(engine: Engine, item: str, doors: tuple[str, ...], limit: int = 10) -> list[Header]:
    """Return the newest requests that doors sent to an item, among the newest messages of the store."""
    with engine.connect() as connection:
        newest = connection.execute(select(func.max(messages.c.id))).scalar() or 0
        query = (
            select(messages)
            .where(
                messages.c.id > newest - _LOOKED_AT,
                messages.c.type == "Request",
                messages.c.target_item == item,
                messages.c.source_item.in_(doors),
            )
            .order_by(messages.c.id.desc())
            .limit(limit)
        )
        return [Header._make(row) for row in connection.execute(query)]
