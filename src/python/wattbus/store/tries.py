"""How long a message has been tried, and what a wait between two tries is worth once its worker is gone."""

from __future__ import annotations

from sqlalchemy import Engine, select, update

from wattbus.store.database import transaction
from wattbus.store.moves import resumed_us
from wattbus.store.tables import Outcome, Status, attempts, messages

#: Outcomes after which the same series of tries goes on; any other begins a new one.
_GOES_ON = (Outcome.RETRY.value, Outcome.WORKER_LOST.value)


def first_try_us(engine: Engine, message_id: int, attempt: int) -> int | None:
    """Return when the series of tries began that ``attempt`` belongs to; None where the attempt is not known.

    A message that was put back, or resumed by a person, starts afresh: only retries in a row, also across a crash,
    use up its FailureTimeout.
    """
    earlier = (
        select(attempts.c.outcome, attempts.c.started_us)
        .where(
            attempts.c.message_id == message_id,
            attempts.c.number <= attempt,
            attempts.c.started_us >= resumed_us(message_id),
        )
        .order_by(attempts.c.number.desc())
    )
    began = None
    with engine.connect() as connection:
        for outcome, started_us in connection.execute(earlier):
            if began is not None and outcome not in _GOES_ON:
                break
            began = int(started_us)
    return began


def was_cut_off(engine: Engine, message_id: int, attempt: int) -> bool:
    """Tell whether the attempt before this one died with its process: nobody knows how far it came."""
    outcome = select(attempts.c.outcome).where(
        attempts.c.message_id == message_id, attempts.c.number == attempt - 1
    )
    with engine.connect() as connection:
        return connection.execute(outcome).scalar() == Outcome.WORKER_LOST.value


def make_ready(engine: Engine, message_id: int) -> None:
    """Let a message that waits for its next try be handed out at once: whoever held it is gone, and it comes first."""
    with transaction(engine) as connection:
        connection.execute(
            update(messages)
            .where(messages.c.id == message_id, messages.c.status == Status.QUEUED.value)
            .values(not_before_us=0)
        )
