"""Recovery: what a process that is gone had in hand is taken back, once, and each lost attempt is recorded.

A message whose workers die again and again is suspended: it is poison until somebody has looked at it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, insert, or_, select, update

from wattbus.energy.record import EnergyRecord, EnergyStatus, Tier
from wattbus.store.database import transaction
from wattbus.store.moves import resumed_us
from wattbus.store.rows import energy_row
from wattbus.store.tables import Outcome, Status, attempts, energy, instances, messages
from wattbus.store.transactions import LEASE_SECONDS

#: The detail of a running attempt that is known to be in a worker's hands.
BEGUN = "begun"
_SILENT_LEASES = 6  # a process whose heart has not beaten for so long reads no meter any more


class Recovery:
    """Takes back what dead processes left in a store; ``instance`` is the living one that does so.

    ``now_us`` and ``steady_us`` are the clocks of the store.
    """

    def __init__(
        self,
        engine: Engine,
        instance: str,
        *,
        shared: bool,
        poison_after: int,
        now_us: Callable[[], int],
        steady_us: Callable[[], int],
    ) -> None:
        self._engine, self._instance, self._shared = engine, instance, shared
        self._poison_after = poison_after
        self._now_us, self._steady_us = now_us, steady_us

    def take_back(self) -> int:
        """Take back the messages of workers that are gone and return how many; each lost attempt is recorded."""
        lost = select(attempts).where(attempts.c.outcome == Outcome.RUNNING.value)
        if self._shared:
            # Its own it knows to be alive: a machine that slept may renew them late.
            lost = lost.where(
                attempts.c.lease_until_us < self._steady_us(), attempts.c.instance != self._instance
            )
        else:
            lost = lost.where(attempts.c.instance != self._instance)
        with transaction(self._engine) as connection:
            rows = connection.execute(lost.order_by(attempts.c.message_id)).all()
            for row in rows:
                self._take_back_one(connection, row)
            connection.execute(
                update(energy)
                .where(*self._never_read())
                .values(
                    status=EnergyStatus.NOT_MEASURED.value,
                    reason="the process ended before the interval that holds this attempt was read",
                )
            )
        return len(rows)

    def _never_read(self) -> list[ColumnElement[bool]]:
        """Return which energy records wait for a reading that nobody will make: those of processes that are gone."""
        pending = energy.c.status == EnergyStatus.PENDING.value
        if not self._shared:
            return [pending]
        silent_us = self._now_us() - int(_SILENT_LEASES * LEASE_SECONDS * 1e6)
        gone = select(instances.c.id).where(
            instances.c.id != self._instance,
            or_(instances.c.status != "Running", instances.c.heartbeat_us < silent_us),
        )
        of_them = (
            select(attempts.c.message_id)
            .where(
                attempts.c.message_id == energy.c.message_id,
                attempts.c.number == energy.c.attempt,
                attempts.c.instance.in_(gone),
            )
            .exists()
        )
        return [pending, of_them]

    def _take_back_one(self, connection: Connection, row: Any) -> None:
        blamed = row.number == 1 or row.detail == BEGUN
        closed = connection.execute(
            update(attempts)
            .where(
                attempts.c.message_id == row.message_id,
                attempts.c.number == row.number,
                attempts.c.outcome == Outcome.RUNNING.value,
            )
            .values(
                outcome=(Outcome.WORKER_LOST if blamed else Outcome.PUT_BACK).value,
                ended_us=max(row.started_us, min(self._now_us(), row.lease_until_us)),
                detail="the process that ran it is gone" if blamed else "it waited in a process that is gone",
            )
        )
        if closed.rowcount != 1:
            return
        again: dict[str, Any] = {"status": Status.QUEUED.value}
        if blamed and self.is_poison(connection, row.message_id):
            again = {"status": Status.SUSPENDED.value, "is_error": True, "error_status": self.poison_sentence}
        connection.execute(
            update(messages)
            .where(messages.c.id == row.message_id, messages.c.status == Status.DELIVERED.value)
            .values(**again)
        )
        lost = EnergyRecord(
            message_id=row.message_id,
            attempt=row.number,
            item=row.item,
            started_at_us=row.started_us,
            duration_seconds=None,
            tier=Tier.NONE,
            status=EnergyStatus.NOT_MEASURED,
            reason="the worker was lost: its start is known, its end is not",
            partial=True,
        )
        connection.execute(insert(energy).values(dict(zip(energy.c.keys(), energy_row(lost), strict=True))))

    def is_poison(self, connection: Connection, message_id: int, more: int = 0) -> bool:
        """Tell whether the newest attempts on a message lost their workers, as many as the limit.

        ``more`` losses are not in the store yet. What waited and was put back counts neither way, and a message that
        somebody has resumed begins anew.
        """
        limit = self._poison_after - more
        newest = (
            select(attempts.c.outcome)
            .where(
                attempts.c.message_id == message_id,
                attempts.c.outcome.not_in([Outcome.RUNNING.value, Outcome.PUT_BACK.value]),
                attempts.c.started_us >= resumed_us(message_id),
            )
            .order_by(attempts.c.number.desc())
            .limit(limit)
        )
        outcomes = connection.execute(newest).scalars().all()
        return len(outcomes) == limit and all(outcome == Outcome.WORKER_LOST.value for outcome in outcomes)

    def is_poison_now(self, message_id: int) -> bool:
        """Tell whether the worker lost just now is one too many for a message."""
        with self._engine.connect() as connection:
            return self.is_poison(connection, message_id, more=1)

    @property
    def poison_sentence(self) -> str:
        """Why a message was suspended that its workers did not survive."""
        return (
            f"suspended: {self._poison_after} workers in a row died with this message in hand. "
            "Mend the component, then resume or resend the message."
        )
