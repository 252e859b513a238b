"""A recorded session: every message of it, who sent it, what came back; a readable file without ids, times, secrets.

It is a tree: under each request stand its answer and the requests that were sent for it. Two sessions in which the same
happened give the same file, byte for byte.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, or_, select

from wattbus.door import PythonDoor
from wattbus.errors import BadRequest
from wattbus.home import Home
from wattbus.secrets import PREFIX, Vault
from wattbus.store.database import open_engine
from wattbus.store.queries import production_name
from wattbus.store.rows import Header
from wattbus.store.tables import OPEN_STATUSES, Priority, Status, bodies, messages

FORMAT = 1
#: Where a timer's message comes from; it answers the request of its process and no request of its own.
_ALARM = "Ens.Alarm"
_REFERENCE = re.compile(rf"\b{PREFIX}[0-9a-f]{{16}}\b")
_MASKED_REFERENCE = f"{PREFIX}***"
# In a sentence that says how a request failed: the number of a message or a session is another each time.
_NUMBERED = re.compile(r"\b(message|session|trace) \d+")
_CALLS, _VERSION = "calls", "wattbus_recording"


@dataclass(frozen=True)
class Content:
    """The type of a message and its body as JSON values; a message without a body has an empty type."""

    type: str
    body: Any = None


@dataclass(frozen=True)
class Hop:
    """One request: from whom to whom, what it said, what came back, and what was sent for it."""

    source: str
    target: str
    sent: str  # sync: the sender waited before it went on; async
    request: Content
    response: Content | None = None
    error: str | None = None
    calls: tuple[Hop, ...] = ()

    def count(self) -> int:
        """Return the number of requests of this hop and below."""
        return 1 + sum(call.count() for call in self.calls)


@dataclass(frozen=True)
class Recording:
    """The requests of one session that came from outside, with all that followed."""

    production: str
    calls: tuple[Hop, ...]

    def count(self) -> int:
        """Return the number of requests."""
        return sum(call.count() for call in self.calls)

    def save(self, file: str | Path) -> Path:
        """Write the recording and return its path."""
        path = Path(file)
        path.write_text(self.to_json(), encoding="utf-8")
        return path

    def to_json(self) -> str:
        """Return the recording as the text of its file."""
        content = {
            _VERSION: FORMAT,
            "production": self.production,
            _CALLS: [_hop_to_json(call) for call in self.calls],
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def load(cls, file: str | Path) -> Recording:
        """Read a recording from its file."""
        try:
            content = json.loads(Path(file).read_text(encoding="utf-8"))
            if content[_VERSION] != FORMAT:
                raise BadRequest(
                    f"{file} is a recording of format {content[_VERSION]}, and this wattbus reads format {FORMAT}: "
                    "record the session again."
                )
            return cls(content["production"], tuple(_hop_from_json(call) for call in content[_CALLS]))
        except OSError as error:
            raise BadRequest(f"there is no recording {file} that can be read ({error.strerror}).") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadRequest(
                f"{file} is no recorded session ({type(error).__name__}: {error}): make one with "
                "`wattbus trace SESSION --record FILE`."
            ) from None


def record(source: PythonDoor | Home | str | Path, session_id: int | None = None) -> Recording:
    """Read a session from a running production, or from the home of one; by default the newest.

    ``session_id`` may be the id of any of its messages. Raises BadRequest while a message of it is not at its end.
    """
    if isinstance(source, PythonDoor):
        source.production.store.flush()
        return read(source.production.store.engine, source.production.home, session_id)
    home = source if isinstance(source, Home) else Home.find(source)
    return read(open_engine(home, read_only=True), home, session_id)


def read(
    engine: Engine, home: Home, session_id: int | None = None, *, as_it_stands: bool = False
) -> Recording:
    """Read a session from a store; ``as_it_stands`` also takes one that goes on."""
    session_id = _session(engine, session_id)
    headers = _headers(engine, session_id)
    if not as_it_stands:
        _refuse_open(headers.values(), session_id)
    contents = _contents(engine, home, headers)
    below: dict[int | None, list[Header]] = {}
    for header in headers.values():
        if header.type == "Request":
            below.setdefault(_owner(header, headers), []).append(header)

    def hop(header: Header) -> Hop:
        answer = headers.get(header.corresponding_id) if header.corresponding_id is not None else None
        return Hop(
            header.source_item,
            header.target_item,
            "sync" if header.priority <= Priority.SYNC else "async",
            contents[header.id],
            contents[answer.id] if answer is not None and not answer.is_error else None,
            _error(header),
            _in_stable_order(hop(call) for call in below.get(header.id, ())),
        )

    return Recording(production_name(engine) or "", tuple(hop(header) for header in below.get(None, ())))


def neutral(text: str) -> str:
    """Return JSON text without what is another one each time: references to secrets."""
    return _REFERENCE.sub(_MASKED_REFERENCE, text) if PREFIX in text else text


def canonical(value: Any) -> str:
    """Return JSON values as one text that is equal for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _session(engine: Engine, wanted: int | None) -> int:
    with engine.connect() as connection:
        newest = connection.execute(select(func.max(messages.c.session_id))).scalar()
        if newest is None:
            raise BadRequest("there is no session yet: send a message first.")
        if wanted is None:
            return int(newest)
        found = connection.execute(
            select(messages.c.session_id)
            .where(or_(messages.c.id == wanted, messages.c.session_id == wanted))
            .limit(1)
        ).scalar()
    if found is None:
        raise BadRequest(f"there is no session and no message {wanted}: the newest session is {newest}.")
    return int(found)


def _headers(engine: Engine, session_id: int) -> dict[int, Header]:
    query = select(messages).where(messages.c.session_id == session_id).order_by(messages.c.id)
    with engine.connect() as connection:
        return {row.id: Header._make(row) for row in connection.execute(query)}


def _refuse_open(headers: Iterable[Header], session_id: int) -> None:
    for header in headers:
        if header.status in OPEN_STATUSES:
            raise BadRequest(
                f"session {session_id} still goes on: message {header.id} to {header.target_item!r} is "
                f"{header.status}. Wait until it has ended (bus.settle() in a test), then record."
            )


def _contents(engine: Engine, home: Home, headers: dict[int, Header]) -> dict[int, Content]:
    vault = Vault(home.secrets_file)
    session_id = next(iter(headers.values())).session_id
    wanted = select(messages.c.body_id).where(messages.c.session_id == session_id)
    with engine.connect() as connection:
        rows = connection.execute(select(bodies).where(bodies.c.id.in_(wanted))).all()
    texts = {
        row.id: row.json if row.json is not None else (home.bodies / row.sha256).read_text() for row in rows
    }

    def content(header: Header) -> Content:
        if header.body_id is None or header.body_id not in texts:
            return Content(header.body_class)
        return Content(header.body_class, json.loads(neutral(vault.redact(texts[header.body_id]))))

    return {header.id: content(header) for header in headers.values()}


def _owner(header: Header, headers: dict[int, Header]) -> int | None:
    """Return the request in whose handling a message was sent; None: it came from outside.

    A process also sends when a response or a timer wakes it: that belongs to the request that it handles.
    """
    parent = headers.get(header.parent_id) if header.parent_id is not None else None
    if parent is None or parent.type == "Request":
        return parent.id if parent is not None else None
    answered = headers.get(parent.corresponding_id) if parent.corresponding_id is not None else None
    if answered is None or parent.source_item == _ALARM:
        return answered.id if answered is not None else None
    return _owner(answered, headers)


def _error(header: Header) -> str | None:
    if header.status == Status.COMPLETED.value and not header.is_error:
        return None
    if header.is_error and header.error_status is not None:
        return _NUMBERED.sub(r"\1 N", neutral(header.error_status))
    return header.status


def _in_stable_order(calls: Iterable[Hop]) -> tuple[Hop, ...]:
    """Keep the order of those that the sender waited for; of those sent together the order means nothing."""
    ordered: list[Hop] = []
    for sent, together in groupby(calls, key=lambda call: call.sent):
        run = list(together)
        ordered += run if sent == "sync" else sorted(run, key=_rank)
    return tuple(ordered)


def _rank(call: Hop) -> tuple[str, str, str]:
    return call.target, call.request.type, canonical(dataclasses.asdict(call))


def _hop_to_json(hop: Hop) -> dict[str, Any]:
    content: dict[str, Any] = {
        "source": hop.source, "target": hop.target, "sent": hop.sent, "request": _content_to_json(hop.request),
    }  # fmt: skip
    if hop.response is not None:
        content["response"] = _content_to_json(hop.response)
    if hop.error is not None:
        content["error"] = hop.error
    if hop.calls:
        content[_CALLS] = [_hop_to_json(call) for call in hop.calls]
    return content


def _content_to_json(content: Content) -> dict[str, Any]:
    return {"type": content.type} if content.body is None else {"type": content.type, "body": content.body}


def _hop_from_json(content: dict[str, Any]) -> Hop:
    return Hop(
        content["source"],
        content["target"],
        content["sent"],
        Content(**content["request"]),
        Content(**content["response"]) if "response" in content else None,
        content.get("error"),
        tuple(_hop_from_json(call) for call in content.get(_CALLS, ())),
    )
