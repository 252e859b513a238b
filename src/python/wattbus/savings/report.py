"""What every run cost beside the other way, of a span of days; and the samples that are measured for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from wattbus.errors import BadRequest, WattbusError
from wattbus.savings.counterfactual import Counterfactual, kept_samples
from wattbus.savings.measure import Place, Size, Tell, machine_here, measure, obstacle, place_of
from wattbus.savings.reckoning import Row, Totals, row_of, totals_of
from wattbus.savings.runs import Run, find_run, list_runs
from wattbus.store.energy_queries import DAY_US

if TYPE_CHECKING:
    from wattbus.ml.models import ModelStore
    from wattbus.ml.tables import TrainingTables

DAYS, MOST_DAYS = 30, 3_660
#: What the other side is, and what is not in it.
TEMPLATE = (
    "The other way is that of the 2022 template: rows padded to 512 tokens and float32 when it trains, the "
    "transformers pipeline in float32 when it answers, every file of a repository when it fetches. It is "
    "measured on a sample on this machine and scaled; what was not measured is in no sum."
)


@dataclass(frozen=True)
class Report:
    """The runs of a span, the newest first, and their sums."""

    days: int
    machine: str
    what: str
    rows: tuple[Row, ...]
    totals: Totals


def report(engine: Engine | None, models: ModelStore, tables: TrainingTables, days: int = DAYS) -> Report:
    """Set every run of the last days beside the other way, as far as that was measured on this machine."""
    machine = machine_here()
    samples = kept_samples(engine, machine)
    obstacles: dict[tuple[object, ...], str] = {}  # each model and table is looked for once
    rows = []
    for run in list_runs(engine, models, _since_us(days)):
        sample = samples.get(run.shape or "")
        why = ""
        if sample is None and run.shape is not None and not run.why_not:
            place = (run.model, run.version, *place_of(run))
            if place not in obstacles:
                obstacles[place] = obstacle(run, models, tables)
            why = obstacles[place]
        rows.append(row_of(run, sample, why))
    return Report(days, machine, TEMPLATE, tuple(rows), totals_of(rows))


def measured(
    place: Place, names: tuple[str, ...], size: Size, tell: Tell = lambda text: None, days: int = MOST_DAYS
) -> Iterator[tuple[Run, Counterfactual | WattbusError]]:
    """Measure runs by name; without one, each run whose shape has no sample yet, or why that one cannot be.

    What comes is to be kept by the caller, one by one: a later failure takes nothing back.
    """
    size = size.checked()
    runs = list_runs(place.engine, place.models, _since_us(days))
    if names:
        chosen = [find_run(runs, name) for name in names]
        for run in chosen:
            yield run, measure(run, place, size, tell)
        return
    shapes = set(kept_samples(place.engine, machine_here()))
    for run in runs:
        if run.shape is None or run.shape in shapes or run.why_not:
            continue
        tell(f"{run.name}: {run.what}")
        try:
            found = measure(run, place, size, tell)
        except WattbusError as error:
            yield run, error
            continue
        shapes.add(run.shape)
        yield run, found


def _since_us(days: int) -> int:
    if not 1 <= days <= MOST_DAYS:
        raise BadRequest(f"{days} days were asked for: give 1 to {MOST_DAYS}.")
    return int(time.time() * 1e6) - days * DAY_US
