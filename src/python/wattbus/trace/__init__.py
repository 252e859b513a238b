"""The visual trace of one session: reads its messages with their waits, durations and joules from the store.

One statement a table, whatever the length of the session. What comes out is in :mod:`wattbus.trace.views`; it is
drawn by :mod:`wattbus.trace.text` for a terminal and by :mod:`wattbus.trace.html` for a notebook. Unknown is None.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, case, func, or_, select
from sqlalchemy.exc import DBAPIError

from wattbus import words
from wattbus.energy.record import EnergyStatus, Scope
from wattbus.errors import BadRequest, StoreError
from wattbus.store.tables import (
    OPEN_STATUSES,
    Status,
    attempts,
    bodies,
    energy,
    event_log,
    instances,
    jobs,
    messages,
)
from wattbus.trace.views import (
    KINDS,
    AttemptView,
    EnergyTotal,
    EnergyView,
    EventLine,
    Lane,
    Step,
    Totals,
    Trace,
)

__all__ = ["AttemptView", "EnergyTotal", "EnergyView", "EventLine", "Lane", "Step", "Totals", "Trace", "read"]

#: At most this many characters of a body are read, and only where bodies are asked for.
BODY_CHARACTERS = 4_000
_LARGEST_ID = 2**63 - 1


def read(
    engine: Engine, session_id: int | None = None, *, body: bool = False, most: int | None = None
) -> Trace:
    """Read a session: by its id, by the id of any of its messages, or None for the newest.

    ``body`` also reads the first characters of each body; ``most`` leaves out what comes after so many messages.
    Raises BadRequest where there is no such session.
    """
    try:
        with engine.connect() as connection:
            return _read(connection, _session(connection, session_id), body, most)
    except DBAPIError as error:
        raise StoreError(
            f"the store cannot be read ({error.orig}): start the production once, or run `wattbus doctor`."
        ) from error


def _session(connection: Connection, wanted: int | None) -> int:
    newest = connection.execute(select(func.max(messages.c.session_id))).scalar()
    if newest is None:
        raise BadRequest("there is no session yet: send a message first, for instance with `wattbus test`.")
    if wanted is None:
        return int(newest)
    found = None
    if 0 < wanted <= _LARGEST_ID:
        one = select(messages.c.session_id).where(
            or_(messages.c.id == wanted, messages.c.session_id == wanted)
        )
        found = connection.execute(one.limit(1)).scalar()
    if found is None:
        raise BadRequest(
            f"there is no session and no message {wanted}: the newest session is {newest}; "
            "`wattbus messages` lists what is there."
        )
    return int(found)


def _read(connection: Connection, session: int, body: bool, most: int | None) -> Trace:
    heads = _headers(connection, session, body, most)
    of_session = select(messages.c.id).where(messages.c.session_id == session, messages.c.id <= heads[-1].id)
    left_out = connection.execute(
        select(func.count())
        .select_from(messages)
        .where(messages.c.session_id == session, messages.c.id > heads[-1].id)
    ).scalar_one()
    tried = _grouped(
        connection.execute(
            select(attempts)
            .where(attempts.c.message_id.in_(of_session))
            .order_by(attempts.c.message_id, attempts.c.number)
        )
    )
    used = _grouped(
        connection.execute(
            select(*(energy.c[name] for name in _ENERGY))
            .where(energy.c.message_id.in_(of_session))
            .order_by(energy.c.message_id, energy.c.attempt, energy.c.scope)
        )
    )
    logged = connection.execute(
        select(event_log)
        .where(event_log.c.session_id == session)
        .order_by(event_log.c.time_us, event_log.c.id)
        .limit(most)
    ).all()
    loads = _loads(connection, session)
    return _trace(session, heads, tried, used, logged, loads, int(left_out) if most else 0)


def _headers(connection: Connection, session: int, body: bool, most: int | None) -> list[Row[Any]]:
    columns: list[ColumnElement[Any]] = [messages.c[name] for name in _HEADER]
    columns.append(bodies.c.size_bytes)
    if body:
        columns.append(func.substr(bodies.c.json, 1, BODY_CHARACTERS + 1).label("json"))
    wanted = (
        select(*columns)
        .select_from(messages.outerjoin(bodies, bodies.c.id == messages.c.body_id))
        .where(messages.c.session_id == session)
        .order_by(messages.c.id)
        .limit(most)
    )
    return list(connection.execute(wanted))


@dataclass(frozen=True)
class _Load:
    """How the pool of an item came up in one process; the first component that is ready serves the queue."""

    started_us: int
    ready_us: int | None
    waiting_because: str


class _Loads:
    """How each item came up, in the processes that ran the session and in the newest one."""

    def __init__(self, rows: Iterable[Row[Any]]) -> None:
        self._of: dict[tuple[str, str], _Load] = {}
        self._newest: dict[str, _Load] = {}
        for row in rows:  # the newest process comes last
            load = _Load(row.started_us, row.ready_us, _waiting_because(row))
            self._of[(row.instance, row.item)] = self._newest[row.item] = load

    def waiting_because(self, item: str) -> str:
        """Say why a message of ``item`` is still in its queue."""
        load = self._newest.get(item)
        return "the item has not started" if load is None else load.waiting_because

    def seconds(self, instance: str, item: str, since_us: int, until_us: int) -> float:
        """Return how long the item was starting between the two times."""
        load = self._of.get((instance, item))
        if load is None:
            return 0.0
        ready = until_us if load.ready_us is None else load.ready_us
        return max(0, min(until_us, ready) - max(since_us, load.started_us)) / 1e6


def _loads(connection: Connection, session: int) -> _Loads:
    ran = (
        select(attempts.c.instance)
        .join(messages, messages.c.id == attempts.c.message_id)
        .where(messages.c.session_id == session)
    )
    newest = select(instances.c.id).order_by(instances.c.started_us.desc()).limit(1).scalar_subquery()
    items = select(messages.c.target_item).where(messages.c.session_id == session)
    started = func.min(jobs.c.started_us).label("started_us")
    rows = connection.execute(
        select(
            jobs.c.instance,
            jobs.c.item,
            started,
            func.min(case((jobs.c.error.is_(None), jobs.c.ready_us))).label("ready_us"),
            func.max(jobs.c.error).label("error"),
            func.count(case((jobs.c.ready_us.is_(None), 1))).label("starting"),
            instances.c.status,
        )
        .join(instances, instances.c.id == jobs.c.instance)
        .where(jobs.c.item.in_(items), or_(jobs.c.instance.in_(ran), jobs.c.instance == newest))
        .group_by(jobs.c.instance, jobs.c.item, instances.c.status)
        .order_by(started)
    )
    return _Loads(rows)


def _waiting_because(row: Row[Any]) -> str:
    if row.status != "Running":
        return f"the production is {str(row.status).lower()}"
    if row.ready_us is not None:
        return "its turn has not come"
    return "the item is still starting" if row.starting else f"the item could not start: {row.error}"


def _trace(
    session: int,
    heads: Sequence[Row[Any]],
    tried: dict[int, list[Row[Any]]],
    used: dict[int, list[Row[Any]]],
    logged: Sequence[Row[Any]],
    loads: _Loads,
    left_out: int,
) -> Trace:
    now = time.time_ns() // 1000
    numbers = {head.id: number for number, head in enumerate(heads, 1)}
    depths: dict[int, int] = {}
    steps = []
    for head in heads:
        depths[head.id] = depths.get(head.parent_id, -1) + 1
        steps.append(_step(head, numbers, depths[head.id], tried, used, loads))
    started = min(head.time_created_us for head in heads)
    still_open = sum(head.status in _OPEN for head in heads)
    ends = [head.time_created_us for head in heads] + [head.time_processed_us or 0 for head in heads]
    ends += [one.ended_us or 0 for rows in tried.values() for one in rows]
    ended = now if still_open else max(ends)
    return Trace(
        session_id=session,
        started_us=started,
        read_us=now,
        duration_seconds=max(0, ended - started) / 1e6,
        open_messages=still_open,
        lanes=_lanes(heads),
        steps=tuple(steps),
        events=tuple(
            EventLine(line.time_us, line.type, line.item, line.job, numbers.get(line.message_id), line.text)
            for line in logged
        ),
        totals=_totals(steps),
        left_out=left_out,
    )


def _step(
    head: Row[Any],
    numbers: dict[int, int],
    depth: int,
    tried: dict[int, list[Row[Any]]],
    used: dict[int, list[Row[Any]]],
    loads: _Loads,
) -> Step:
    response = head.type == "Response"
    return Step(
        number=numbers[head.id],
        id=head.id,
        type=head.type,
        source=head.source_item,
        target=head.target_item,
        body_class=head.body_class,
        body_bytes=head.size_bytes,
        body=_body_text(head) if hasattr(head, "json") else None,
        description=head.description,
        status=head.status,
        error=head.error_status if head.is_error else None,
        created_us=head.time_created_us,
        parent=numbers.get(head.parent_id),
        answers=numbers.get(head.corresponding_id) if response else None,
        depth=depth,
        attempts=_attempts(head.time_created_us, tried.get(head.id, ()), loads),
        energy=tuple(
            EnergyView(
                row.attempt, row.scope, row.energy_joules, row.tier, row.status, row.reason,
                row.low_joules, row.high_joules, row.cpu_seconds, row.model, row.revision, bool(row.partial),
            )
            for row in used.get(head.id, ())
        ),
        waiting_because=loads.waiting_because(head.target_item) if head.status == Status.QUEUED.value else None,
    )  # fmt: skip


def _attempts(created_us: int, rows: Iterable[Row[Any]], loads: _Loads) -> tuple[AttemptView, ...]:
    views = []
    since: int | None = created_us  # from when the message stood in its queue
    for row in rows:
        # A clock that was set back gives no negative wait.
        wait = None if since is None else max(0, row.started_us - since) / 1e6
        load = 0.0 if since is None else loads.seconds(row.instance, row.item, since, row.started_us)
        views.append(
            AttemptView(
                row.number, row.job, row.started_us, row.ended_us, wait, load, row.duration_seconds,
                row.outcome, row.detail,
            )
        )  # fmt: skip
        since = row.ended_us
    return tuple(views)


def _body_text(head: Row[Any]) -> str | None:
    if head.json is None:
        return None if head.size_bytes is None else f"(in a file of its own, {words.size(head.size_bytes)})"
    text = str(head.json)
    if len(text) > BODY_CHARACTERS:
        return text[:BODY_CHARACTERS] + "…"
    try:
        pretty: str = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
    return pretty


def _lanes(heads: Iterable[Row[Any]]) -> tuple[Lane, ...]:
    kinds: dict[str, str] = {}
    for head in heads:
        kinds.setdefault(head.source_item, _kind(head.source_business_type))
        kinds.setdefault(head.target_item, _kind(head.target_business_type))
    lanes = [Lane(item, kind) for item, kind in kinds.items()]
    return tuple(sorted(lanes, key=lambda lane: KINDS.index(lane.kind)))


def _kind(business_type: str) -> str:
    word = business_type.removeprefix("Business").lower()
    return word if word in KINDS else "operation"


def _totals(steps: Sequence[Step]) -> Totals:
    sums: dict[tuple[str, str], list[EnergyView]] = {}
    own_known = remote = remote_unknown = 0
    for step in steps:
        for view in step.energy:
            is_remote = view.scope == Scope.REMOTE.value
            known = view.joules is not None and view.status != EnergyStatus.PENDING.value
            remote += is_remote
            remote_unknown += is_remote and not known
            own_known += known and not is_remote
            if known:
                sums.setdefault((view.scope, view.tier), []).append(view)
    count = sum(len(step.attempts) for step in steps)
    return Totals(
        known=tuple(_total(scope, tier, views) for (scope, tier), views in sorted(sums.items())),
        attempts=count,
        attempts_unknown=max(0, count - own_known),
        remote_calls=remote,
        remote_unknown=remote_unknown,
    )


def _total(scope: str, tier: str, views: Sequence[EnergyView]) -> EnergyTotal:
    return EnergyTotal(
        scope,
        tier,
        sum(view.joules or 0.0 for view in views),
        _sum_of_all(view.low_joules for view in views),
        _sum_of_all(view.high_joules for view in views),
        len(views),
    )


def _sum_of_all(values: Iterable[float | None]) -> float | None:
    """Return the sum; None where one of the values is not known."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _grouped(rows: Iterable[Row[Any]]) -> dict[int, list[Row[Any]]]:
    groups: dict[int, list[Row[Any]]] = {}
    for row in rows:
        groups.setdefault(row.message_id, []).append(row)
    return groups


_OPEN = {status.value for status in OPEN_STATUSES}
_HEADER = (
    "id", "type", "source_item", "source_business_type", "target_item", "target_business_type", "body_class",
    "description", "status", "is_error", "error_status", "time_created_us", "time_processed_us", "parent_id",
    "corresponding_id",
)  # fmt: skip
_ENERGY = (
    "message_id", "attempt", "scope", "energy_joules", "tier", "status", "reason", "low_joules", "high_joules",
    "cpu_seconds", "model", "revision", "partial",
)  # fmt: skip
