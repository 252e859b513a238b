"""The trainings of a store: each request with its response, its energy and how it stands.

However many are asked for, each table is read once, and each body is parsed once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, case, select, text

from wattbus.energy.record import Scope
from wattbus.errors import BadRequest
from wattbus.store.rows import Header
from wattbus.store.tables import TRAININGS, Status, attempts, bodies, energy, messages
from wattbus.training_report import LadderReport

#: A longer body is none of a training that a person has written; it is not read for a list.
_LONGEST_BODY = 200_000
MOST_RUNS = 200
_LARGEST_ID = 2**63
_IS_TRAINING = text(TRAININGS)  # as the condition of the index says it, so that the index serves it


@dataclass(frozen=True)
class TrainingEnergy:
    """What all attempts of a training used; None where it is not known, or where their tiers differ."""

    joules: float | None
    low_joules: float | None
    high_joules: float | None
    tier: str
    cpu_seconds: float | None
    carbon_grams: float | None
    reason: str = ""


@dataclass(frozen=True)
class Changed:
    """A test row that the new model answers in another way than the old one."""

    row: int
    text: str
    label: str
    old: str
    new: str


@dataclass(frozen=True)
class TrainingRun:
    """One training; what its request or its response does not say is None or empty."""

    id: int  # of its request
    session_id: int
    item: str
    state: str  # the status of the request; "running" while it is in hand
    created_us: int
    started_us: int | None
    ended_us: int | None
    attempts: int
    error: str | None
    table: str
    columns: str
    limit: int | None
    p_of_train: float | None
    options: dict[str, Any]
    model: str | None
    old_version: str | None
    new_version: str | None
    old_metrics: dict[str, float] = field(default_factory=dict)
    new_metrics: dict[str, float] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    train_rows: int | None = None
    test_rows: int | None = None
    changed_predictions: int | None = None
    changed_examples: list[Changed] = field(default_factory=list)
    seconds: float | None = None
    notes: list[str] = field(default_factory=list)
    energy: TrainingEnergy | None = None
    ladder: LadderReport | None = None  # trainings before there were ladders have none


def list_trainings(engine: Engine, *, limit: int = 50, before_id: int | None = None) -> list[TrainingRun]:
    """Return the newest trainings first; ``before_id``, the last id of a page, gives the next one."""
    query = select(messages).where(_IS_TRAINING).order_by(messages.c.id.desc()).limit(min(limit, MOST_RUNS))
    if before_id is not None:
        query = query.where(messages.c.id < before_id)
    with engine.connect() as connection:
        return _runs(connection, [Header._make(row) for row in connection.execute(query)])


def get_trainings(engine: Engine, ids: Sequence[int]) -> list[TrainingRun]:
    """Return the trainings of these ids in their order; BadRequest for an id that is none."""
    wanted = list(dict.fromkeys(ids))
    runs = {run.id: run for run in find_trainings(engine, wanted)}
    for one in wanted:
        if one not in runs:
            raise BadRequest(f"there is no training {one}: the list of trainings shows those that are here.")
    return [runs[one] for one in wanted]


def find_trainings(engine: Engine, ids: Sequence[int]) -> list[TrainingRun]:
    """Return those of these trainings that are here: a purge takes old ones out."""
    known = [one for one in ids if 0 < one < _LARGEST_ID]
    query = select(messages).where(_IS_TRAINING, messages.c.id.in_(known)).order_by(messages.c.id)
    with engine.connect() as connection:
        return _runs(connection, [Header._make(row) for row in connection.execute(query)])


def _runs(connection: Connection, headers: list[Header]) -> list[TrainingRun]:
    """Read what belongs to these requests, one query a table."""
    ids = [header.id for header in headers]
    if not ids:
        return []
    answers = {
        row.corresponding_id: row.body_id
        for row in connection.execute(
            select(messages.c.corresponding_id, messages.c.body_id).where(
                messages.c.id.in_([one.corresponding_id for one in headers if one.corresponding_id]),
                messages.c.type == "Response",
            )
        )
    }
    wanted = {header.body_id for header in headers} | set(answers.values())
    short = case((bodies.c.size_bytes <= _LONGEST_BODY, bodies.c.json))
    texts = dict(
        connection.execute(
            select(bodies.c.id, short).where(bodies.c.id.in_([one for one in wanted if one is not None]))
        ).all()
    )
    begun = {
        row.message_id: row.started_us
        for row in connection.execute(
            select(attempts.c.message_id, attempts.c.started_us)
            .where(attempts.c.message_id.in_(ids))
            .order_by(attempts.c.message_id, attempts.c.number)
        )
    }
    used = _energy(connection, ids)
    return [
        _run(
            header,
            _parsed(texts.get(header.body_id)),
            _parsed(texts.get(answers.get(header.id))),
            begun.get(header.id),
            *used.get(header.id, (None, None)),
        )
        for header in headers
    ]


def _run(
    header: Header,
    request: Mapping[str, Any],
    response: Mapping[str, Any],
    begun_us: int | None,
    used: TrainingEnergy | None,
    model: str | None,
) -> TrainingRun:
    running = header.status == Status.DELIVERED
    return TrainingRun(
        id=header.id,
        session_id=header.session_id,
        item=header.target_item,
        state="running" if running else header.status,
        created_us=header.time_created_us,
        started_us=begun_us,
        ended_us=None if running else header.time_processed_us,
        attempts=header.attempts,
        error=header.error_status,
        table=str(request.get("table", "")),
        columns=str(request.get("columns", "")),
        limit=request.get("limit"),
        p_of_train=request.get("p_of_train"),
        options=_options(request),
        model=response.get("model", model),
        old_version=response.get("old_version"),
        new_version=response.get("new_version"),
        old_metrics=response.get("old_metrics", {}),
        new_metrics=response.get("new_metrics", {}),
        labels=response.get("labels", []),
        train_rows=response.get("train_rows"),
        test_rows=response.get("test_rows"),
        changed_predictions=response.get("changed_predictions"),
        changed_examples=[Changed(**one) for one in response.get("changed_examples", [])],
        seconds=response.get("seconds"),
        notes=response.get("notes", []),
        energy=used,
        ladder=_ladder(response.get("ladder")),
    )


_OWN_FIELDS = frozenset({"table", "columns", "limit", "p_of_train"})


def _options(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked beside the rows; a metric without a target was not asked for."""
    given = {name: value for name, value in request.items() if name not in _OWN_FIELDS and value is not None}
    if "target" not in given and given.get("target_metric") == "accuracy":
        given.pop("target_metric")
    return given


def _ladder(told: Any) -> LadderReport | None:
    """Read the report of a ladder; None where there is none, or one of another release that does not fit."""
    try:
        found = LadderReport.model_validate(told)
    except ValueError:
        return None
    return found if found.rungs else None


def _parsed(body: str | None) -> dict[str, Any]:
    found = json.loads(body) if body else {}
    return found if isinstance(found, dict) else {}


def _energy(
    connection: Connection, ids: Sequence[int]
) -> dict[int, tuple[TrainingEnergy | None, str | None]]:
    """Return of each training what its attempts used, and which model they said they worked on."""
    columns = (
        energy.c.message_id, energy.c.model, energy.c.energy_joules, energy.c.low_joules, energy.c.high_joules,
        energy.c.tier, energy.c.cpu_seconds, energy.c.carbon_grams, energy.c.reason,
    )  # fmt: skip
    query = (
        select(*columns)
        .where(energy.c.message_id.in_(ids), energy.c.scope == str(Scope.LOCAL))
        .order_by(energy.c.message_id, energy.c.attempt)
    )
    rows: dict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(query):
        rows[row.message_id].append(row)
    return {one: (_added(of_one), of_one[-1].model) for one, of_one in rows.items()}


def _added(rows: list[Any]) -> TrainingEnergy:
    tiers = sorted({row.tier for row in rows})
    cpu_seconds = _sum(row.cpu_seconds for row in rows)
    if len(tiers) > 1:
        why = f"its attempts have figures of unlike tiers ({', '.join(tiers)}), which are not added up."
        return TrainingEnergy(None, None, None, "none", cpu_seconds, None, why)
    return TrainingEnergy(
        _sum(row.energy_joules for row in rows),
        _sum(row.low_joules for row in rows),
        _sum(row.high_joules for row in rows),
        tiers[0],
        cpu_seconds,
        _sum(row.carbon_grams for row in rows),
        "; ".join(dict.fromkeys(row.reason for row in rows if row.reason)),
    )


def _sum(values: Any) -> float | None:
    """Add up; unknown where one of them is."""
    known = list(values)
    return None if any(value is None for value in known) else sum(known)
