"""The newest sessions as lines of a list: when, what began it, who took part, how long, errors, energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Select, case, func, select

from wattbus.clock import SYSTEM
from wattbus.energy.record import EnergyStatus, Scope
from wattbus.store.tables import OPEN_STATUSES, attempts, energy, event_log, messages
from wattbus.trace.views import EnergyTotal, Totals

#: Of a longer session only so many messages are looked at for its line.
LOOKED_AT = 500
MOST_LINES = 200
#: So long after the last message its energy is still waited for; a meter that was killed never gives it.
_ENERGY_SECONDS = 60
_OPEN = {status.value for status in OPEN_STATUSES}
_ONE = messages.c


@dataclass(frozen=True)
class SessionLine:
    """A session in a list."""

    id: int
    started_us: int
    first_class: str
    items: list[str]
    messages: int
    more: bool  # of so many only the first were looked at; all but the number of messages is theirs
    open_messages: int
    errors: int
    duration_seconds: float | None  # None: it goes on
    energy: Totals


@dataclass(frozen=True)
class SessionPage:
    """Some sessions, the newest first."""

    lines: list[SessionLine]
    older: int | None  # as ``before`` it gives the next page
    newer: int | None  # as ``after`` it gives the page before


@dataclass(frozen=True)
class Progress:
    """How far a session has come; ``step`` grows with everything that happens in it."""

    step: int
    messages: int
    open_messages: int
    events: int
    ended: bool  # nothing more will come: every message and every figure of energy is in


@dataclass(frozen=True)
class Neighbours:
    """The sessions before and after one."""

    previous: int | None
    next: int | None


def list_sessions(
    engine: Engine, *, limit: int = 30, before: int | None = None, after: int | None = None
) -> SessionPage:
    """Return the newest sessions older than ``before``, or the next ones newer than ``after``."""
    limit = min(max(1, limit), MOST_LINES)
    query = select(_ONE.session_id, func.count()).group_by(_ONE.session_id).limit(limit + 1)
    if after is not None:
        query = query.where(_ONE.session_id > after).order_by(_ONE.session_id)
    else:
        query = query.order_by(_ONE.session_id.desc())
        if before is not None:
            query = query.where(_ONE.session_id < before)
    with engine.connect() as connection:
        found = [(int(session), int(count)) for session, count in connection.execute(query)]
        more, sizes = len(found) > limit, dict(sorted(found[:limit], reverse=True))
        ids = list(sizes)
        lines = _lines(connection, sizes)
    if after is not None:
        return SessionPage(lines, ids[-1] if ids else after + 1, ids[0] if more else None)
    newer = None if before is None else ids[0] if ids else before - 1
    return SessionPage(lines, ids[-1] if more else None, newer)


def neighbours(engine: Engine, session: int) -> Neighbours:
    """Return the sessions beside one."""
    with engine.connect() as connection:
        return Neighbours(
            connection.execute(select(func.max(_ONE.session_id)).where(_ONE.session_id < session)).scalar(),
            connection.execute(select(func.min(_ONE.session_id)).where(_ONE.session_id > session)).scalar(),
        )


def progress(engine: Engine, session: int) -> Progress:
    """Return how far a session has come: a few numbers, however often somebody asks."""
    of_session = select(_ONE.id).where(_ONE.session_id == session)
    heads = select(
        func.count(),
        func.count(_ONE.time_processed_us),
        func.count(case((_ONE.status.in_(sorted(_OPEN)), 1))),
        func.max(_ONE.time_processed_us),
    ).where(_ONE.session_id == session)
    tried = select(func.count(), func.count(attempts.c.ended_us)).where(attempts.c.message_id.in_(of_session))
    used = select(func.count(), func.count(case((energy.c.status == EnergyStatus.PENDING.value, 1)))).where(
        energy.c.message_id.in_(of_session)
    )
    logged = select(func.count()).select_from(event_log).where(event_log.c.session_id == session)
    with engine.connect() as connection:
        count, processed, still_open, newest_us = connection.execute(heads).one()
        begun, ended = connection.execute(tried).one()
        records, pending = connection.execute(used).one()
        lines = connection.execute(logged).scalar_one()
    step = count + processed + begun + ended + records + (records - pending) + lines
    waits = pending and SYSTEM.now_us() - (newest_us or 0) < _ENERGY_SECONDS * 1_000_000
    return Progress(step, count, still_open, lines, not still_open and not waits)


def _lines(connection: Connection, sizes: dict[int, int]) -> list[SessionLine]:
    """Read the short sessions together, and of each long one its beginning."""
    short = [session for session, count in sizes.items() if count <= LOOKED_AT]
    groups = [short] if short else []
    groups += [[session] for session, count in sizes.items() if count > LOOKED_AT]
    heads: dict[int, list[Any]] = {}
    used: dict[int, list[Any]] = {}
    for group in groups:
        most = None if group is short else LOOKED_AT
        for head in connection.execute(_heads(group, most)):
            heads.setdefault(head.session_id, []).append(head)
        last = max((heads[session][-1].id for session in group if session in heads), default=0)
        for row in connection.execute(_used(group, last)):
            used.setdefault(row.session_id, []).append(row[1:])
    return [
        _line(session, count, heads[session], used.get(session, []))
        for session, count in sizes.items()
        if session in heads  # a purge may have come between
    ]


def _heads(group: Sequence[int], most: int | None) -> Select[Any]:
    names = (
        "session_id", "id", "source_item", "target_item", "body_class", "status", "is_error", "attempts",
        "time_created_us", "time_processed_us",
    )  # fmt: skip
    return (
        select(*(_ONE[name] for name in names))
        .where(_ONE.session_id.in_(group))
        .order_by(_ONE.session_id, _ONE.id)
        .limit(most)
    )


def _used(group: Sequence[int], last: int) -> Select[Any]:
    """Ask for the sums of energy by session, scope and tier, up to a message."""
    pending = energy.c.status == EnergyStatus.PENDING.value
    known = case((~pending, energy.c.energy_joules))
    return (
        select(
            _ONE.session_id,
            energy.c.scope,
            energy.c.tier,
            func.count(),
            func.count(known),
            func.sum(known),
            func.count(energy.c.low_joules),
            func.sum(energy.c.low_joules),
            func.count(energy.c.high_joules),
            func.sum(energy.c.high_joules),
        )
        .select_from(messages.join(energy, energy.c.message_id == _ONE.id))
        .where(_ONE.session_id.in_(group), _ONE.id <= last)
        .group_by(_ONE.session_id, energy.c.scope, energy.c.tier)
        .order_by(_ONE.session_id, energy.c.scope, energy.c.tier)
    )


def _line(session: int, count: int, heads: Sequence[Any], used: Sequence[Any]) -> SessionLine:
    more = count > len(heads)
    items = dict.fromkeys(name for head in heads for name in (head.source_item, head.target_item))
    still_open = sum(head.status in _OPEN for head in heads)
    started = min(head.time_created_us for head in heads)
    ended = max(head.time_processed_us or head.time_created_us for head in heads)
    return SessionLine(
        id=session,
        started_us=started,
        first_class=heads[0].body_class,
        items=list(items),
        messages=count,
        more=more,
        open_messages=still_open,
        errors=sum(bool(head.is_error) for head in heads),
        duration_seconds=None if still_open or more else max(0, ended - started) / 1e6,
        energy=_energy(sum(head.attempts for head in heads), used),
    )


def _energy(tried: int, rows: Sequence[Any]) -> Totals:
    remote = [row for row in rows if row[0] == Scope.REMOTE.value]
    own_known = sum(row[3] for row in rows if row[0] != Scope.REMOTE.value)
    return Totals(
        known=tuple(
            EnergyTotal(
                scope,
                tier,
                joules,
                low if lows == figures else None,
                high if highs == figures else None,
                figures,
            )
            for scope, tier, _, figures, joules, lows, low, highs, high in rows
            if figures
        ),
        attempts=tried,
        attempts_unknown=max(0, tried - own_known),
        remote_calls=sum(row[2] for row in remote),
        remote_unknown=sum(row[2] - row[3] for row in remote),
    )
