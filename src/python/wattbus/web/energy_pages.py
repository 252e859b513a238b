"""Energy: sums by item, model and day, the machine's buckets, live power, and how this machine is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from fastapi import Query
from markupsafe import Markup

from wattbus import words
from wattbus.energy.advice import Measured, machine_in_words, measured_here
from wattbus.energy.calibration import IdlePower
from wattbus.energy.carbon import configured_intensity
from wattbus.energy.factors import FactorFigure, Factors, configured_factors
from wattbus.energy.hardware import read_machine
from wattbus.energy.label import JOULES_PER_WH
from wattbus.energy.record import IntervalRecord, Scope, Tier
from wattbus.energy.tiers import SCOPES, TIERS, TierMeaning
from wattbus.errors import BadRequest
from wattbus.store.energy_queries import (
    DAY_US,
    HOUR_US,
    BucketSum,
    EnergySum,
    added,
    added_buckets,
    bucket_sums,
    energy_sums,
)
from wattbus.web.bar_charts import Bar, stacked_bars
from wattbus.web.desk import Desk
from wattbus.web.label_words import wh
from wattbus.web.twin import Twins

#: The spans of the page, in days, and their names.
SPANS = ((1, "today"), (7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "a year"))
BUCKETS = ("operations", "idle", "others", "overhead")
#: The buckets as they are read by people, in the same order.
BUCKET_NAMES = ("operations", "idle", "other processes", "overhead of the bus")
#: Up to so many days the bars of the chart are hours.
_DAYS_BY_THE_HOUR = 2
_MOST_ROWS = 200


@dataclass(frozen=True)
class EnergyRow:
    """A line of a table: one item, model or day, of one tier and scope.

    ``unknown`` of its ``attempts`` have no figure and are in no sum. ``wh_per_1000`` is for answered requests, None
    where the work answers none. Bounds are None unless every known attempt has them.
    """

    name: str
    detail: str
    kind: str | None
    scope: str
    tier: str
    attempts: int
    unknown: int
    joules: float | None
    low_joules: float | None
    high_joules: float | None
    cpu_seconds: float | None
    wh_per_1000: float | None


@dataclass(frozen=True)
class BucketView:
    """What one machine used, of one tier and method: the sum of the span, and the steps of it.

    ``factors`` are what the stated factors give for it: they stand beside the energy and are in no sum.
    """

    total: BucketSum
    difference_joules: float
    step_seconds: int
    steps: list[BucketSum]
    factors: list[FactorFigure]
    operations_factors: list[FactorFigure]


@dataclass(frozen=True)
class Carbon:
    """Grams of CO2 equivalent; None with the reason where no intensity is configured."""

    g_per_kwh: float | None
    source: str
    grams: float | None
    of_attempts: int


@dataclass(frozen=True)
class EnergyView:
    """What the energy page shows of a span of whole UTC days."""

    days: int
    since: str
    until: str
    item: str
    items: list[str]
    by_item: list[EnergyRow]
    by_model: list[EnergyRow]
    by_day: list[EnergyRow]
    left_out: int
    buckets: list[BucketView]
    carbon: Carbon
    tiers: list[TierMeaning]


@dataclass(frozen=True)
class PowerStep:
    """One reading: the mean watts of each bucket over its seconds."""

    started_at_us: int
    seconds: float
    total_watts: float
    operations_watts: float
    idle_watts: float
    others_watts: float
    overhead_watts: float


@dataclass(frozen=True)
class PowerView:
    """The newest readings of the power feed, the oldest first; empty with a sentence where there are none."""

    tier: str
    method: str
    steps: list[PowerStep]
    why_none: str


@dataclass(frozen=True)
class StatedFactor:
    """A factor of the configuration, with who says it."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class MachineView:
    """How this machine is measured, what it spends at rest, and what would improve the measuring."""

    machine: str
    measured: list[Measured]
    idle: IdlePower | None
    idle_tier: str
    factors: list[StatedFactor]
    carbon: Carbon
    tiers: list[TierMeaning]


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages."""

    def sums(
        days: Annotated[int, Query(ge=1, le=366)] = 7,
        until: Annotated[str, Query(max_length=10)] = "",
        item: Annotated[str, Query(max_length=128)] = "",
    ) -> EnergyView:
        """Return the energy of a span of UTC days by item, model and day, and the machine's buckets."""
        last = _day(until) if until else datetime.now(UTC).date()
        until_us = _us_of(last) + DAY_US
        since_us = until_us - days * DAY_US
        with desk.reading() as engine:
            found = [] if engine is None else energy_sums(engine, since_us, until_us, step_us=DAY_US)
            readings = [] if engine is None else bucket_sums(engine, since_us, until_us)
        chosen = [one for one in found if not item or one.item == item]
        by_item = rows_of(chosen, lambda one: (one.item, one.operation_kind), lambda one: (one.item, ""))
        by_model = rows_of(
            [one for one in chosen if one.model is not None],
            lambda one: (one.model, one.revision, one.operation_kind),
            lambda one: (one.model or "", one.revision or ""),
        )
        by_day = rows_of(chosen, lambda one: one.start_us // DAY_US, lambda one: (day_of(one.start_us), ""))
        return EnergyView(
            days=days,
            since=day_of(since_us),
            until=last.isoformat(),
            item=item,
            items=sorted({one.item for one in found} | ({item} if item else set())),
            by_item=sorted(by_item, key=_most_first)[:_MOST_ROWS],
            by_model=sorted(by_model, key=_most_first)[:_MOST_ROWS],
            by_day=sorted(by_day, key=lambda row: row.name, reverse=True)[:_MOST_ROWS],
            left_out=sum(max(0, len(rows) - _MOST_ROWS) for rows in (by_item, by_model, by_day)),
            buckets=buckets_of(
                readings,
                HOUR_US if days <= _DAYS_BY_THE_HOUR else DAY_US,
                configured_factors(desk.config),
            ),
            carbon=_carbon(desk, chosen),
            tiers=list(TIERS),
        )

    def power(since: Annotated[int, Query(ge=0)] = 0) -> PowerView:
        """Return the newest readings of the power feed by bucket, one a second; of those after ``since`` alone."""
        running = desk.running
        if running is None or running.state != "Running":
            return PowerView(
                Tier.NONE, "", [], "No production runs: start it, and power is read each second."
            )
        steps = running.ledger.recent()
        if not steps:
            facts = running.ledger.facts
            why = facts.reason if facts is not None and facts.reason else "the power feed is still starting"
            return PowerView(Tier.NONE, "", [], f"No reading yet: {why}.")
        newest = steps[-1]
        return PowerView(
            newest.tier,
            newest.method,
            [_watts(one) for one in steps if one.started_at_us > since and one.tier == newest.tier],
            "",
        )

    def machine() -> MachineView:
        """Return what is measured on this machine, on which tier, and what would improve it."""
        here, running = read_machine(), desk.running
        facts = running.ledger.facts if running is not None else None
        return MachineView(
            machine_in_words(here),
            measured_here(facts, here, on=desk.config.energy),
            None if running is None else running.ledger.idle,
            Tier.NONE if facts is None or facts.cpu is None else facts.cpu.tier,
            [StatedFactor(*one) for one in configured_factors(desk.config).stated()],
            _carbon(desk, []),
            list(TIERS),
        )

    twins.share(bucket_chart=bucket_chart, spans=SPANS, wh=wh)
    twins.view("/energy", "energy.html", sums, tag="energy")
    twins.view("/energy/power", "energy_power.html", power, tag="energy")
    twins.view("/energy/machine", "energy_machine.html", machine, tag="energy")


# -- tables ----------------------------------------------------------------------------------------------------------


def rows_of(
    sums: Sequence[EnergySum], key: Callable[[EnergySum], Any], name: Callable[[EnergySum], tuple[str, str]]
) -> list[EnergyRow]:
    """Return a row for each key, scope and tier.

    Attempts of unknown energy have no tier: where a key has one tier in its scope they are counted in its row, and in
    a row of their own where there are several, or none.
    """
    groups: dict[Any, list[EnergySum]] = {}
    for one in added(sums, key):
        groups.setdefault((key(one), one.scope), []).append(one)
    rows = []
    for members in groups.values():
        tiers = {one.tier for one in members} - {Tier.NONE.value}
        if len(tiers) == 1 and len(members) == 2:
            unknown, known = sorted(members, key=lambda one: one.tier != Tier.NONE.value)
            rows.append(_row(known, name(known), unknown))
        else:
            rows += [_row(one, name(one), None) for one in members]
    return rows


def _row(one: EnergySum, name: tuple[str, str], nameless: EnergySum | None) -> EnergyRow:
    """Make a row of a sum, and of the attempts without a tier beside it."""
    bounded = one.bounded == one.attempts - one.unknown > 0
    requests, joules = one.requests, one.joules
    more = nameless is not None
    seconds = [
        part.cpu_seconds for part in (one, nameless) if part is not None and part.cpu_seconds is not None
    ]
    return EnergyRow(
        name=name[0],
        detail=name[1],
        kind=one.operation_kind,
        scope=SCOPES.get(one.scope, one.scope),
        tier=one.tier,
        attempts=one.attempts + (nameless.attempts if more and nameless else 0),
        unknown=one.unknown + (nameless.unknown if more and nameless else 0),
        joules=joules,
        low_joules=one.low_joules if bounded else None,
        high_joules=one.high_joules if bounded else None,
        cpu_seconds=sum(seconds) if seconds else None,
        wh_per_1000=joules / JOULES_PER_WH / requests * 1000
        if joules is not None and requests and one.operation_kind is not None
        else None,
    )


def _most_first(row: EnergyRow) -> tuple[float, str]:
    return -(row.joules or 0.0), row.name


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadRequest(f"{text!r} is no day: write it as 2026-05-31; days are UTC.") from None


def _us_of(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY_US


def day_of(time_us: int) -> str:
    """Return the UTC day of a moment.

    >>> day_of(1_700_000_000_000_000)
    '2023-11-14'
    """
    return (date(1970, 1, 1) + timedelta(days=time_us // DAY_US)).isoformat()


# -- buckets ---------------------------------------------------------------------------------------------------------


def buckets_of(readings: Sequence[BucketSum], step_us: int, factors: Factors) -> list[BucketView]:
    """Return the buckets of each machine, tier and method: what they sum to, and the steps of it."""
    views = []
    for total in added_buckets(readings, 400 * 366 * DAY_US):
        same = [one for one in readings if _source(one) == _source(total)]
        steps = added_buckets(same, step_us)
        views.append(
            BucketView(
                total,
                total.difference_joules,
                step_us // 1_000_000,
                steps,
                factors.figures(total.total_joules, total.seconds),
                factors.figures(total.operations_joules),
            )
        )
    return sorted(views, key=lambda view: view.total.seconds, reverse=True)


def _source(one: BucketSum) -> tuple[str, str, str]:
    return one.host, one.tier, one.method


def bars_of(view: BucketView) -> list[Bar]:
    """Return the bars of a chart of buckets, in watt-hours; a step without a reading is an empty place."""
    if not view.steps:
        return []
    by_start = {one.start_us: one for one in view.steps}
    first, last, step_us = min(by_start), max(by_start), view.step_seconds * 1_000_000
    bars = []
    for start_us in range(first, last + 1, step_us):
        one = by_start.get(start_us)
        when = _step_name(start_us, step_us)
        if one is None:
            bars.append(Bar(when, f"{when}: no reading", ()))
            continue
        parts = tuple(max(0.0, getattr(one, f"{name}_joules")) for name in BUCKETS)
        said = ", ".join(
            f"{name} {words.joules(part, one.tier)}" for name, part in zip(BUCKET_NAMES, parts, strict=True)
        )
        bars.append(Bar(when, f"{when} UTC: {said}", tuple(part / JOULES_PER_WH for part in parts)))
    return bars


def bucket_chart(view: BucketView) -> Markup:
    """Draw the buckets over time."""
    step = "hour" if view.step_seconds < DAY_US / 1e6 else "day"
    described = (
        f"Energy by {step} and bucket, in watt-hours, {view.total.tier}, {len(view.steps)} {step}s with readings. "
        "The table below has the sums."
    )
    return stacked_bars(bars_of(view), BUCKET_NAMES, "Wh", described)


def _step_name(start_us: int, step_us: int) -> str:
    moment = datetime.fromtimestamp(start_us / 1e6, UTC)
    return moment.strftime("%H:%M" if step_us < DAY_US else "%m-%d")


# -- power and carbon ------------------------------------------------------------------------------------------------


def _watts(one: IntervalRecord) -> PowerStep:
    parts = [one.total_joules, *(getattr(one, f"{name}_joules") for name in BUCKETS)]
    return PowerStep(
        one.started_at_us, one.duration_seconds, *(part / one.duration_seconds for part in parts)
    )


def _carbon(desk: Desk, sums: Sequence[EnergySum]) -> Carbon:
    """Return the grams of our own attempts; those of the remote side are never among them."""
    intensity = configured_intensity(desk.config)
    known = [one for one in sums if one.with_carbon and one.scope != Scope.REMOTE.value]
    return Carbon(
        None if intensity is None else intensity.g_per_kwh,
        "unknown: set WATTBUS_COUNTRY" if intensity is None else intensity.label,
        sum(one.carbon_grams or 0.0 for one in known) if known else None,
        sum(one.with_carbon for one in known),
    )
