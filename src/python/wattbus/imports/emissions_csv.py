"""Runs out of codecarbon's ``emissions.csv``, of all its releases from 1 to 3, and of the files of its tasks.

Columns are found by their names, whatever their number and order. Energy is in kWh and emissions are in kg there,
joules and grams here. The file does not say whether it was a training, nor with which model: the user may.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from wattbus.energy.figures import RunFigures, Source, Stage
from wattbus.imports.csv_table import CsvTable, Row
from wattbus.imports.imported import (
    JOULES_PER_KWH,
    BadFigure,
    FileRun,
    Imported,
    moment_us,
    not_negative,
    number,
)

KIND = "codecarbon emissions.csv"
_PARTS = {
    "cpu_energy": "cpu_energy_joules",
    "gpu_energy": "gpu_energy_joules",
    "ram_energy": "ram_energy_joules",
}


def is_emissions_csv(columns: list[str]) -> bool:
    """Tell whether the columns are codecarbon's: all its releases have duration and emissions."""
    return {"duration", "emissions"} <= set(columns)


def read_emissions_csv(table: CsvTable) -> Imported:
    """Return each row as a run; one whose energy or emissions are no figure is left out, with the reason."""
    found = Imported(table.called, KIND)
    for row in table.rows():
        found.check_room()
        where = f"row {row.number}"
        if not row.whole:
            found.skip(where, f"does not have the {len(table.columns)} cells that the header has")
            continue
        try:
            found.runs.append(_run(row, table))
        except BadFigure as error:
            found.skip(where, str(error))
    return _told_apart(found)


def _run(row: Row, table: CsvTable) -> FileRun:
    cells, notes = row.cells, []

    def known(column: str) -> float | None:
        """Return a figure that a run can do without."""
        try:
            return not_negative(number(cells.get(column), decimal=table.decimal))
        except BadFigure as error:
            notes.append(f"{column} is left out: {error}")
            return None

    kwh, kilograms = (_needed(cells, column, table.decimal) for column in ("energy_consumed", "emissions"))
    if kwh is None and kilograms is None:
        raise BadFigure("has neither energy_consumed nor emissions")
    for column, value in (("energy_consumed", kwh), ("emissions", kilograms)):
        if value == 0:
            notes.append(f"{column} is 0, as the file says: a meter that read nothing writes that too")
    moment = None
    if (cells.get("timestamp") or "").strip():
        try:
            moment = moment_us(cells["timestamp"])
        except BadFigure as error:
            notes.append(f"timestamp is left out: {error}")
    run_id = (cells.get("run_id") or "").strip() or None
    project = (cells.get("project_name") or "").strip() or "codecarbon"
    task = (cells.get("task_name") or "").strip()
    titled = f"{project}, {task}" if task else project
    called = f"run {run_id}" if run_id else f"row {row.number} of {table.called}"
    parts = {name: known(column) for column, name in _PARTS.items()}
    figures = RunFigures(
        name=f"{titled}, {called}"[:200],
        stage=Stage.TRAINING,
        source=Source.IMPORTED,
        origin=f"{table.called}, {called}",
        measured_at_us=moment,
        energy_joules=None if kwh is None else kwh * JOULES_PER_KWH,
        method=_method(cells),
        carbon_grams=None if kilograms is None else kilograms * 1000.0,
        carbon_intensity_g_per_kwh=kilograms * 1000.0 / kwh if kwh and kilograms else None,
        country=(cells.get("country_iso_code") or "").strip().upper() or None,
        duration_seconds=known("duration"),
        hardware=", ".join(
            part for part in ((cells.get(name) or "").strip() for name in ("cpu_model", "gpu_model")) if part
        )
        or None,
        extra={name: kwh_part * JOULES_PER_KWH for name, kwh_part in parts.items() if kwh_part is not None},
    )
    return FileRun(row.number, run_id, figures, tuple(notes))


def _needed(cells: dict[str, str], column: str, decimal: str) -> float | None:
    try:
        return not_negative(number(cells.get(column), decimal=decimal))
    except BadFigure as error:
        raise BadFigure(f"{column}: {error}") from None


def _method(cells: dict[str, str]) -> str:
    version, mode = ((cells.get(name) or "").strip() for name in ("codecarbon_version", "tracking_mode"))
    return ", ".join(part for part in (f"codecarbon {version}".strip(), mode) if part)


def _told_apart(found: Imported) -> Imported:
    """Give rows of one run names of their own: a tracker that was flushed leaves several, each with all until then."""
    times = Counter(run.figures.name for run in found.runs)
    runs = [
        run
        if times[run.figures.name] == 1
        else replace(run, figures=replace(run.figures, name=f"{run.figures.name[:180]}, row {run.row}"))
        for run in found.runs
    ]
    return replace(found, runs=runs)
