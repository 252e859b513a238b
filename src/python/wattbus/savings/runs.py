"""What counts as a run: a fine-tuning, what an item answered with one version of a model, a model that was fetched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import Engine, select

from wattbus import words
from wattbus.energy.record import EnergyRecord, Scope, TaskFacts, Tier
from wattbus.errors import UnknownName
from wattbus.labels.own_runs import figures_of_records, records_of_messages
from wattbus.ml.pipeline_tasks import TASKS
from wattbus.store.energy_queries import DAY_US, EnergySum, energy_sums
from wattbus.store.rows import energy_record
from wattbus.store.tables import energy
from wattbus.store.trainings import MOST_RUNS, TrainingRun, list_trainings

if TYPE_CHECKING:
    from wattbus.ml.models import ModelStore, ModelVersion

_OPEN = frozenset({"Created", "Queued", "running", "Deferred"})
_FOREVER_US = 2**62
_NO_SIZE = "no record of it that is kept names the size of its model"


class Kind(StrEnum):
    """What was done."""

    TRAINING = "training"
    ANSWERS = "answers"
    FETCH = "fetch"


@dataclass(frozen=True)
class Side:
    """What one way cost; None where it is not known, never 0. Our bounds are the tier's, the other's the spread."""

    seconds: float | None = None
    joules: float | None = None
    low_joules: float | None = None
    high_joules: float | None = None
    tier: Tier = Tier.NONE
    low_seconds: float | None = None
    high_seconds: float | None = None
    cpu_seconds: float | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class TrainingWork:
    """What a fine-tuning went through; ``source`` is the database of its rows, without a password."""

    table: str
    columns: tuple[str, ...]
    train_rows: int
    test_rows: int
    epochs: float
    batch_size: int | None  # None: as many as the number of rows gives
    labels: tuple[str, ...]
    source: str | None


@dataclass(frozen=True)
class AnswersWork:
    """How many requests an item answered; ``metered`` of them are in the joules."""

    item: str
    task: str
    revision: str
    requests: int
    metered: int


@dataclass(frozen=True)
class FetchWork:
    """What came of a repository, what was needed of it, and what it lists; None: not kept, or not listed."""

    fetched_bytes: int
    needed_bytes: int
    listed_bytes: int | None
    formats: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One run. ``shape`` names the size of the model, by which a measurement of another run may stand for this one."""

    name: str
    kind: Kind
    what: str
    at_us: int
    ours: Side
    model: str | None = None
    version: str | None = None
    shape: str | None = None
    work: TrainingWork | AnswersWork | FetchWork | None = None
    open: bool = False
    why_not: str = ""  # why there is nothing to compare it with, whatever would be measured


def list_runs(engine: Engine | None, models: ModelStore, since_us: int = 0) -> list[Run]:
    """Return the runs since a moment, the newest first; of trainings the newest ``MOST_RUNS``."""
    found = [*_fetches(models, since_us)]
    if engine is not None:
        found += [*_trainings(engine, since_us), *_answers(engine, since_us)]
    return sorted(found, key=lambda run: (run.at_us, run.name), reverse=True)


def find_run(runs: Iterable[Run], name: str) -> Run:
    """Return the run of this name; UnknownName with the nearest one."""
    known = {run.name: run for run in runs}
    if name not in known:
        raise UnknownName("run", name, list(known), "" if known else "There is no run yet.")
    return known[name]


def version_of(models: ModelStore, model: str | None, revision: str | None) -> ModelVersion | None:
    """Return the version that a run worked with, or the one with weights that it was optimised from; None: gone."""
    from wattbus.ml.engine_files import is_optimised

    if model is None or model not in models.names():
        return None
    versions = {one.id: one for one in models.versions(model)}
    found = next((one for one in versions.values() if revision in (one.id, one.revision)), None)
    while found is not None and is_optimised(found.path):
        found = versions.get(found.parent) if found.parent else None
    return found


# -- trainings ----------------------------------------------------------------------------------------------------


def _trainings(engine: Engine, since_us: int) -> list[Run]:
    trainings = [one for one in list_trainings(engine, limit=MOST_RUNS) if one.created_us >= since_us]
    records: dict[int, list[EnergyRecord]] = {}
    for record in records_of_messages(engine, [one.id for one in trainings]):
        records.setdefault(record.message_id, []).append(record)
    asked: dict[tuple[object, ...], int] = {}
    runs = []
    for one in reversed(trainings):
        same = asked.setdefault(_request(one), one.id)
        runs.append(_training(one, records.get(one.id, []), None if same == one.id else same))
    return runs


def _training(one: TrainingRun, records: Sequence[EnergyRecord], same_as: int | None) -> Run:
    facts = next((record.facts for record in reversed(records) if record.facts is not None), None)
    work, shape = _training_work(one, facts), _shape("training", facts)
    again = f", the same request as training-{same_as}" if same_as is not None else ""
    rows = f"{words.counted(one.train_rows, 'row')} of {one.table}" if one.train_rows else one.table
    times = (
        f", {facts.epochs:g} epoch{'' if facts.epochs == 1 else 's'}"
        if facts is not None and facts.epochs
        else ""
    )
    tries = f", {one.attempts} attempts" if one.attempts > 1 else ""
    is_open = one.state in _OPEN
    return Run(
        name=f"training-{one.id}",
        kind=Kind.TRAINING,
        what=f"fine-tuning of {one.model or 'a model'} on {rows}{times}{tries}{again}",
        at_us=one.started_us or one.created_us,
        ours=_side(records),
        model=one.model,
        version=one.old_version,
        shape=None if work is None else shape,
        work=work,
        open=is_open,
        why_not=_no_training(one, is_open) if work is None else "" if shape else _NO_SIZE,
    )


def _training_work(one: TrainingRun, facts: TaskFacts | None) -> TrainingWork | None:
    if not one.train_rows or one.test_rows is None or facts is None or not facts.epochs:
        return None
    batch = one.options.get("per_device_train_batch_size")
    source = next((part.source_uri for part in facts.data if part.source_uri), None)
    return TrainingWork(
        table=one.table,
        columns=tuple(part.strip() for part in one.columns.split(",")),
        train_rows=one.train_rows,
        test_rows=one.test_rows,
        epochs=facts.epochs,
        batch_size=batch if isinstance(batch, int) and batch > 0 else None,
        labels=tuple(one.labels),
        source=None if source is None else source.rpartition("#")[0],
    )


def _no_training(one: TrainingRun, is_open: bool) -> str:
    if is_open:
        return "it has not ended yet"
    if one.new_version is None:
        return "it made no version, so there is nothing to set beside what it cost"
    return "its record does not say how many rows and epochs it went through"


def _request(one: TrainingRun) -> tuple[object, ...]:
    """Return what two requests have in common that ask for the very same training."""
    told = (one.item, one.old_version, one.table, one.columns, one.limit, one.p_of_train)
    return (*told, tuple(sorted((name, str(value)) for name, value in one.options.items())))


def _side(records: Sequence[EnergyRecord]) -> Side:
    """Add up the attempts of a training on this machine; unknown where one of them is."""
    own = [one for one in records if one.scope is Scope.LOCAL]
    if not own:
        return Side()
    found = figures_of_records(own, "run")
    return Side(
        found.duration_seconds, found.energy_joules, found.low_joules, found.high_joules, found.tier,
        cpu_seconds=found.cpu_seconds,
    )  # fmt: skip


# -- answers ------------------------------------------------------------------------------------------------------


def _answers(engine: Engine, since_us: int) -> list[Run]:
    groups: dict[tuple[str, str, str, str], list[EnergySum]] = {}
    for one in energy_sums(engine, since_us // DAY_US * DAY_US, _FOREVER_US, step_us=DAY_US):
        task = one.operation_kind
        if one.scope != Scope.LOCAL or task is None or task not in TASKS or not one.model or not one.revision:
            continue
        groups.setdefault((one.item, task, one.model, one.revision), []).append(one)
    runs = [_answered(engine, *key, sums) for key, sums in groups.items()]
    names = Counter(run.name for run in runs)
    return [run if names[run.name] == 1 else replace(run, name=f"{run.name}/{_task(run)}") for run in runs]


def _task(run: Run) -> str:
    return run.work.task if isinstance(run.work, AnswersWork) else ""


def _answered(
    engine: Engine, item: str, task: str, model: str, revision: str, sums: Sequence[EnergySum]
) -> Run:
    requests = sum(one.attempts for one in sums)
    ours, metered = _side_of_sums(sums)
    newest = _newest_record(engine, item, model, revision)
    facts = None if newest is None else newest.facts
    shape = _shape(f"{item}, {task}", facts)
    return Run(
        name=f"{item}/{revision[:14]}",
        kind=Kind.ANSWERS,
        what=f"{words.counted(requests, 'answer')} of {model} {revision[:14]}"
        + (f" ({facts.framework}, {facts.precision})" if facts is not None else ""),
        at_us=min(one.start_us for one in sums) if newest is None else newest.started_at_us,
        ours=ours,
        model=model,
        version=revision,
        shape=shape,
        work=AnswersWork(item, task, revision, requests, metered),
        why_not="" if shape else _NO_SIZE,
    )


def _side_of_sums(sums: Sequence[EnergySum]) -> tuple[Side, int]:
    """Add up the sums of days, joules of the tier that most answers have; return how many answers those are of."""
    by_tier = Counter[str]()
    for one in sums:
        by_tier[one.tier] += one.attempts - one.unknown
    tier, metered = by_tier.most_common(1)[0]
    known = [one for one in sums if one.tier == tier and one.joules is not None]
    bounded = bool(known) and all(one.bounded == one.attempts - one.unknown for one in known)
    side = Side(
        seconds=_sum(one.duration_seconds for one in sums),
        joules=_sum(one.joules for one in known),
        low_joules=_sum(one.low_joules for one in known) if bounded else None,
        high_joules=_sum(one.high_joules for one in known) if bounded else None,
        tier=Tier(tier) if known else Tier.NONE,
        cpu_seconds=_sum(one.cpu_seconds for one in sums),
    )
    return side, metered


def _newest_record(engine: Engine, item: str, model: str, revision: str) -> EnergyRecord | None:
    query = (
        select(energy)
        .where(energy.c.item == item, energy.c.model == model, energy.c.revision == revision)
        .order_by(energy.c.started_at_us.desc())
        .limit(1)
    )
    with engine.connect() as connection:
        row = connection.execute(query).first()
    return None if row is None else energy_record(row)


# -- fetches ------------------------------------------------------------------------------------------------------


def _fetches(models: ModelStore, since_us: int) -> Iterable[Run]:
    for name in models.names():
        for version in models.versions(name):
            if version.parent is None and version.created_at_us >= since_us and _came(version):
                yield _fetch(version)


def _came(version: ModelVersion) -> bool:
    """Tell whether a version came from elsewhere: a folder of the user's own was here already."""
    return "://" in version.source or version.source.startswith("pkg:")


def _fetch(version: ModelVersion) -> Run:
    facts = version.facts
    kept = {"fetched_bytes", "needed_bytes"} <= facts.keys()
    work = (
        FetchWork(
            int(facts["fetched_bytes"]), int(facts["needed_bytes"]), facts.get("listed_bytes"),
            tuple(facts.get("listed_formats", ())),
        )
        if kept
        else None
    )  # fmt: skip
    why = "" if kept else "it was fetched before the sizes of a listing were kept"
    if version.source.startswith("pkg:"):
        why = "it came in a package, which holds one format of weights"
    if work is not None and work.listed_bytes is None:
        why = "its repository does not list the sizes of all its files"
    cached = " (the same revision was here under another name)" if work and not work.fetched_bytes else ""
    return Run(
        name=f"fetch-{version.name}-{version.id}",
        kind=Kind.FETCH,
        what=f"fetch of {version.name} {version.id}{cached}",
        at_us=version.created_at_us,
        ours=Side(
            seconds=facts.get("fetch_seconds") if kept else None,
            bytes=work.fetched_bytes if work else version.size_bytes,
        ),
        model=version.name,
        version=version.id,
        work=work,
        why_not=why,
    )


def _shape(of: str, facts: TaskFacts | None) -> str | None:
    """Name what is measured and the size of its model, as a document can be called."""
    if facts is None or not facts.parameters:
        return None
    layers = f", {words.counted(facts.layers, 'layer')}" if facts.layers else ""
    return f"{of}: {facts.algorithm_name or 'a model'}, {facts.parameters:,} parameters{layers}"


def _sum(values: Iterable[float | None]) -> float | None:
    """Add up; unknown where one of them is."""
    known = list(values)
    return None if not known or None in known else sum(one or 0.0 for one in known)
