"""The figures of runs in our own store: a training, an inference, or several inferences together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import Engine, select

from wattbus.energy.advice import machine_in_words
from wattbus.energy.figures import RunFigures, Source, Stage
from wattbus.energy.hardware import read_machine
from wattbus.energy.label import tokens_of
from wattbus.energy.record import EnergyRecord, EnergyStatus, Scope, Tier, is_hit
from wattbus.errors import BadRequest
from wattbus.store.rows import energy_record
from wattbus.store.tables import energy
from wattbus.store.trainings import find_trainings

if TYPE_CHECKING:
    from wattbus.ml.models import ModelStore, ModelVersion

_TRAINING_STAGES = frozenset({"training", "finetuning"})
#: So many ids go into one query.
_AT_ONCE = 500


def figures_of_messages(engine: Engine, ids: Sequence[int], models: ModelStore | None = None) -> RunFigures:
    """Return the figures of the attempts of these messages together; BadRequest where they have none."""
    records = records_of_messages(engine, ids)
    name = f"message {ids[0]}" if len(ids) == 1 else f"messages {ids[0]} to {ids[-1]}"
    if not records:
        raise BadRequest(
            f"{name} has no record of energy: give the id of a request to an operation, as `wattbus trace` shows it."
        )
    found = figures_of_records(records, name, models)
    if len(ids) == 1 and found.stage is Stage.TRAINING:
        for run in find_trainings(engine, ids):
            accuracy = run.new_metrics.get("accuracy")
            found = replace(
                found, model=run.model or found.model, revision=run.new_version or found.revision,
                accuracy=accuracy if accuracy is not None else found.accuracy,
            )  # fmt: skip
    return completed(found, models)


def records_of_messages(engine: Engine, ids: Sequence[int]) -> list[EnergyRecord]:
    """Return the records of the attempts of these messages, by message and attempt."""
    found: list[EnergyRecord] = []
    with engine.connect() as connection:
        for start in range(0, len(ids), _AT_ONCE):
            query = (
                select(energy)
                .where(energy.c.message_id.in_(ids[start : start + _AT_ONCE]))
                .order_by(energy.c.message_id, energy.c.attempt)
            )
            found += [energy_record(row) for row in connection.execute(query)]
    return found


def figures_of_records(
    records: Sequence[EnergyRecord], name: str, models: ModelStore | None = None
) -> RunFigures:
    """Add up the attempts of one run: those on this machine, or, of a remote call, those of the remote side.

    Where one of them has no figure, or where their tiers differ, the sum is unknown: they are not added up. Answers
    from the cache are not among them; BadRequest where there is nothing else.
    """
    records = [one for one in records if not is_hit(one)]
    if not records:
        raise BadRequest(
            f"{name} was answered from the cache of answers, so no model has worked for it: take a request that the "
            "model answered, or set result_cache to 0."
        )
    own = [one for one in records if one.scope is Scope.LOCAL]
    records = own or [one for one in records if one.scope is Scope.REMOTE] or list(records)
    last = records[-1]
    known = [one for one in records if one.facts is not None]
    facts = known[-1].facts if known else None
    training = any(one.facts is not None and one.facts.stage in _TRAINING_STAGES for one in records)
    settled = all(one.status is not EnergyStatus.PENDING for one in records)
    tiers = {one.tier for one in records}
    same = settled and len(tiers) == 1 and all((one.energy_joules or 0) > 0 for one in records)
    tokens = [tokens_of(one) for one in records]
    data_bytes = (
        _sum(part.bytes for part in facts.data if part.usage == "input") if training and facts else None
    )
    return RunFigures(
        name=name,
        stage=Stage.TRAINING if training else Stage.INFERENCE,
        source=Source.LEDGER,
        origin=f"{name}, metered by wattbus",
        model=last.model,
        revision=last.revision,
        task=None if training else last.operation_kind,
        measured_at_us=records[0].started_at_us,
        energy_joules=_sum(one.energy_joules for one in records) if same else None,
        low_joules=_sum(one.low_joules for one in records) if same else None,
        high_joules=_sum(one.high_joules for one in records) if same else None,
        tier=tiers.pop() if same else Tier.NONE,
        method=last.method,
        # What came from nowhere dirty, at 0 g/kWh, is no figure that can be graded or divided by.
        carbon_grams=_sum(one.carbon_grams for one in records) or None if same else None,
        carbon_intensity_g_per_kwh=last.carbon_intensity_g_per_kwh,
        country=_country(last.carbon_source),
        carbon_source=last.carbon_source,
        duration_seconds=_sum(one.duration_seconds for one in records),
        cpu_seconds=_sum(one.cpu_seconds for one in records),
        requests=None if training else sum(_requests(one) for one in records) or None,
        tokens=None if None in tokens else sum(one or 0 for one in tokens),
        parameters=facts.parameters if facts else None,
        accuracy=facts.accuracy if facts else None,
        hardware=machine_in_words(read_machine()),
        precision=facts.precision if facts else None,
        extra={} if not data_bytes else {"dataset_bytes": float(data_bytes)},
    )


def completed(figures: RunFigures, models: ModelStore | None) -> RunFigures:
    """Add what the model store knows of the version: its size, and the accuracy of its evaluation."""
    version = None if models is None else _version(models, figures.model, figures.revision)
    if version is None:
        return figures
    accuracy = version.metrics.get("accuracy")
    return replace(
        figures,
        size_bytes=figures.size_bytes or version.size_bytes or None,
        accuracy=figures.accuracy if figures.accuracy is not None or accuracy is None else float(accuracy),
    )


def _version(models: ModelStore, model: str | None, revision: str | None) -> ModelVersion | None:
    if model is None or model not in models.names():
        return None
    versions = models.versions(model)
    return next((one for one in versions if revision in (one.id, one.revision)), None)


def _requests(record: EnergyRecord) -> int:
    # 0: a further part of a request that is counted elsewhere, such as a token of a stream.
    return 1 if record.facts is None or record.facts.requests is None else record.facts.requests


def _country(carbon_source: str | None) -> str | None:
    """Return the country that a record's carbon source begins with.

    >>> _country("FRA, 2024, codecarbon 3.3.2"), _country("configuration")
    ('FRA', None)
    """
    first = (carbon_source or "").partition(",")[0].strip()
    return first if len(first) == 3 and first.isalpha() and first.isupper() else None


def _sum(values: Iterable[float | None]) -> float | None:
    """Add up; unknown where one of them is."""
    known = list(values)
    return None if not known or None in known else sum(one or 0 for one in known)
