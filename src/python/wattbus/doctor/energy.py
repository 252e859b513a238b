"""What the doctor looks for in the energy records: one an attempt, and no figure that pretends (L5)."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import and_, func, or_, select
from sqlalchemy.sql import ColumnElement

from wattbus import words
from wattbus.doctor.report import Findings
from wattbus.doctor.rows import Snapshot
from wattbus.energy.record import EnergyStatus, Scope, Tier
from wattbus.store.purge import SOURCE as PURGE
from wattbus.store.tables import Outcome, attempts, energy, energy_intervals, event_log, messages

# An operation of more than a second that used nothing is a broken meter, not a miracle.
_ZERO_IS_BROKEN_SECONDS = 1.0
_ROUNDING = 1e-6
_OWN = energy.c.scope.in_([Scope.LOCAL.value, Scope.CLIENT.value])


def energy_honest(at: Snapshot, found: Findings) -> None:
    """L5: each ended attempt has one record of its own, unknown is NULL with a reason, buckets sum to the total."""
    _one_record_an_attempt(at, found)
    for said, wrong in _DISHONEST:
        found.all_wrong(f"{name}: {said}" for name in _named(at, wrong))
    _lost_are_partial(at, found)
    _buckets_sum(at, found)
    count = at.number(select(func.count()).select_from(energy))
    known = at.number(select(func.count()).select_from(energy).where(energy.c.energy_joules.is_not(None)))
    found.count(
        f"{words.counted(count, 'energy record')}: {known:,} with a figure, {count - known:,} unknown"
    )
    pending = at.number(
        select(func.count()).select_from(energy).where(energy.c.status == EnergyStatus.PENDING.value)
    )
    if pending:
        when = "the next power reading settles them" if at.live else "the next start settles them"
        found.note(f"{words.counted(pending, 'record')} still pending: {when}")


def _one_record_an_attempt(at: Snapshot, found: Findings) -> None:
    of_attempt = and_(energy.c.message_id == attempts.c.message_id, energy.c.attempt == attempts.c.number)
    found.all_wrong(
        f"attempt {row.number} of message {row.message_id} ended ({row.outcome}) and has no energy record"
        for row in at.rows(
            select(attempts.c.message_id, attempts.c.number, attempts.c.outcome)
            .select_from(attempts.outerjoin(energy, and_(of_attempt, _OWN)))
            .where(attempts.c.outcome != Outcome.RUNNING.value, energy.c.message_id.is_(None))
        )
    )
    found.all_wrong(
        f"attempt {row.attempt} of message {row.message_id} has {row.count} energy records of its own"
        for row in at.rows(
            select(energy.c.message_id, energy.c.attempt, func.count().label("count"))
            .where(_OWN)
            .group_by(energy.c.message_id, energy.c.attempt)
            .having(func.count() > 1)
        )
    )
    _attempt_there(at, found, of_attempt)


def _attempt_there(at: Snapshot, found: Findings, of_attempt: ColumnElement[bool]) -> None:
    """Look for records without an attempt; those of messages that a purge took out are meant to stay."""
    purged = at.number(select(func.count()).select_from(event_log).where(event_log.c.source_class == PURGE))
    without = energy.outerjoin(attempts, of_attempt).outerjoin(messages, messages.c.id == energy.c.message_id)
    wrong: ColumnElement[bool] = attempts.c.message_id.is_(None)
    if purged:
        kept = select(func.count()).select_from(without).where(wrong, messages.c.id.is_(None))
        count = at.number(kept)
        if count:
            found.note(f"{words.counted(count, 'record')} kept of messages that were purged")
        wrong = and_(wrong, messages.c.id.is_not(None))
    found.all_wrong(
        f"there is an energy record for attempt {row.attempt} of message {row.message_id}, and no such attempt"
        for row in at.rows(select(energy.c.message_id, energy.c.attempt).select_from(without).where(wrong))
    )


def _named(at: Snapshot, wrong: ColumnElement[bool]) -> Iterator[str]:
    query = select(energy.c.message_id, energy.c.attempt, energy.c.scope).where(wrong)
    for row in at.rows(query):
        yield f"attempt {row.attempt} of message {row.message_id} ({row.scope})"


def _lost_are_partial(at: Snapshot, found: Findings) -> None:
    of_attempt = and_(energy.c.message_id == attempts.c.message_id, energy.c.attempt == attempts.c.number)
    found.all_wrong(
        f"attempt {row.number} of message {row.message_id} was lost, and its energy record is not marked as partial"
        for row in at.rows(
            select(attempts.c.message_id, attempts.c.number)
            .select_from(attempts.join(energy, and_(of_attempt, _OWN)))
            .where(attempts.c.outcome == Outcome.WORKER_LOST.value, energy.c.partial.is_(False))
        )
    )


def _buckets_sum(at: Snapshot, found: Findings) -> None:
    one = energy_intervals.c
    parts = one.operations_joules + one.idle_joules + one.others_joules + one.overhead_joules
    off = func.abs(parts - one.total_joules) > _ROUNDING * (1 + func.abs(one.total_joules))
    found.all_wrong(
        f"power reading {row.id}: the buckets sum to {row.parts:.6g} J and the total is {row.total_joules:.6g} J"
        for row in at.rows(select(one.id, one.total_joules, parts.label("parts")).where(off))
    )


_JOULES = energy.c.energy_joules
_FIGURES = [EnergyStatus.MEASURED.value, EnergyStatus.ESTIMATED.value]
_NO_FIGURES = [EnergyStatus.FAILED.value, EnergyStatus.NOT_MEASURED.value]
_DISHONEST: tuple[tuple[str, ColumnElement[bool]], ...] = (
    (
        "0 J for more than a second, an unknown written as 0",
        and_(_OWN, _JOULES == 0, energy.c.duration_seconds > _ZERO_IS_BROKEN_SECONDS),
    ),
    ("a negative energy", _JOULES < 0),
    (
        "an energy, and its status says that there is none",
        and_(_JOULES.is_not(None), energy.c.status.in_(_NO_FIGURES)),
    ),
    (
        "no energy, and its status says that there is one",
        and_(_JOULES.is_(None), energy.c.status.in_(_FIGURES)),
    ),
    ("an energy without a tier", and_(_JOULES.is_not(None), energy.c.tier == Tier.NONE.value)),
    ("an unknown tier", energy.c.tier.not_in([tier.value for tier in Tier])),
    ("an unknown status", energy.c.status.not_in([status.value for status in EnergyStatus])),
    (
        "no energy, and no reason why",
        and_(energy.c.status.in_(_NO_FIGURES), func.coalesce(func.length(energy.c.reason), 0) == 0),
    ),
    (
        "an energy outside its own bounds",
        or_(
            energy.c.low_joules * (1 - _ROUNDING) > _JOULES, energy.c.high_joules * (1 + _ROUNDING) < _JOULES
        ),
    ),
)
