"""The power of the machine over a span of time, from the readings of the meter."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Engine, func, select

from wattbus.store.tables import attempts, energy_intervals, instances

_ONE = energy_intervals.c


@dataclass(frozen=True)
class PowerPoint:
    """The mean power of the machine in a part of the span, and the part of it that operations used; watts."""

    time_us: int
    machine_watts: float
    operations_watts: float


@dataclass(frozen=True)
class PowerCurve:
    """The power over a span; ``tiers`` say how the figures came about."""

    points: list[PowerPoint] = field(default_factory=list)
    tiers: list[str] = field(default_factory=list)


def power_curve(
    engine: Engine, since_us: int, until_us: int, *, message_id: int | None = None, most: int = 240
) -> PowerCurve:
    """Return the power between two times in at most ``most`` points, each the mean of the readings that fall in it.

    With ``message_id``, of the machine that its newest attempt ran on; else the mean of all that were read.
    """
    width = max(1, (until_us - since_us) // most)
    place = (_ONE.started_at_us - since_us) // width
    inside = [_ONE.started_at_us >= since_us, _ONE.started_at_us < until_us]
    if message_id is not None:
        newest = (
            select(instances.c.host)
            .join(attempts, attempts.c.instance == instances.c.id)
            .where(attempts.c.message_id == message_id)
            .order_by(attempts.c.number.desc())
            .limit(1)
        )
        inside.append(_ONE.host == newest.scalar_subquery())
    with engine.connect() as connection:
        rows = connection.execute(
            select(
                func.min(_ONE.started_at_us),
                func.sum(_ONE.total_joules),
                func.sum(_ONE.operations_joules),
                func.sum(_ONE.duration_seconds),
            )
            .where(*inside)
            .group_by(place)
            .order_by(func.min(_ONE.started_at_us))
        ).all()
        tiers = connection.execute(select(_ONE.tier).where(*inside).distinct()).scalars().all()
    return PowerCurve(
        [PowerPoint(at, total / spent, operations / spent) for at, total, operations, spent in rows if spent],
        sorted(tiers),
    )
