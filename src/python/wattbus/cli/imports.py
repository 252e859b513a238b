"""The part of the command that imports runs which other meters measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wattbus import words
from wattbus.cli.output import JsonOption, configured, home, reading, say, say_json, say_table
from wattbus.errors import BadRequest

if TYPE_CHECKING:
    from wattbus.energy.figures import RunFigures
    from wattbus.imports.imported import FileRun, Imported


def import_runs(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="emissions.csv of codecarbon, a BoAmps report, or the csv of GAISSALabel's plug-in."
        ),
    ] = None,
    run: Annotated[str | None, typer.Option(help="Run id or row, where the file holds several.")] = None,
    only_list: Annotated[
        bool, typer.Option("--list", help="Show what the file holds, and keep nothing.")
    ] = False,
    stage: Annotated[str | None, typer.Option(help="training or inference; wins over the file.")] = None,
    model: Annotated[str | None, typer.Option(help="Which model it was; wins over the file.")] = None,
    task: Annotated[str | None, typer.Option(help="Such as text-classification; wins over the file.")] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="Inferences answered in the run.")] = None,
    forget: Annotated[str | None, typer.Option(help="Forget a run that was imported, by its name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Import one run of a file of another meter; without a file show those that were imported."""
    from wattbus.imports.imported import Given
    from wattbus.imports.reading import read_runs

    if forget is not None:
        _forget(forget, as_json)
        return
    if file is None:
        _show_kept(as_json)
        return
    given = Given(_stage(stage), model, task, requests)
    found = read_runs(file)
    if only_list:
        _show(found, as_json)
        return
    chosen = found.chosen(run)
    figures = given.over(chosen.figures)
    _keep(figures)
    if as_json:
        say_json({"kept": figures.to_content(), "notes": chosen.notes, "skipped": found.skipped})
        return
    say(f"{figures.name} is kept: {words.joules(figures.energy_joules, figures.tier)}.")
    for note in chosen.notes:
        say(f"{note[0].upper()}{note[1:]}.")
    _say_skipped(found)


def _stage(text: str | None) -> Any:
    from wattbus.energy.figures import Stage

    if text is None:
        return None
    if text not in list(Stage):
        raise BadRequest(f"the stage is {text!r}: give training or inference.")
    return Stage(text)


def _keep(figures: RunFigures) -> None:
    from wattbus.imports.stored_runs import KIND
    from wattbus.runtime.documents import keep_document

    keep_document(home(), configured().store_url, KIND, figures.name, figures.to_content())


def _forget(name: str, as_json: bool) -> None:
    from wattbus.imports.stored_runs import KIND
    from wattbus.runtime.documents import drop_document

    versions = drop_document(home(), configured().store_url, KIND, name)
    say_json({"forgotten": name, "versions": versions}) if as_json else say(f"{name} is forgotten.")


def _show_kept(as_json: bool) -> None:
    from wattbus.imports.stored_runs import list_runs

    kept = list_runs(reading())
    if as_json:
        say_json([figures.to_content() for figures in kept])
        return
    say_table(
        ["run", "stage", "model", "when", "#energy", "#CO2e", "from"],
        ((one.name, one.stage, one.model or "", *_figures(one), one.origin) for one in kept),
        empty="No run was imported yet: `wattbus import FILE`.",
    )


def _show(found: Imported, as_json: bool) -> None:
    if as_json:
        say_json({"file": found.file, "kind": found.kind, "runs": found.runs, "skipped": found.skipped})
        return
    say_table(
        ["#row", "run", "what", "when", "#energy", "#CO2e", "note"],
        (_line(run) for run in found.runs),
        empty=f"{found.file} holds no run that can be used.",
    )
    _say_skipped(found)


def _line(run: FileRun) -> tuple[Any, ...]:
    return (run.row, run.run_id or "", run.figures.name, *_figures(run.figures), "; ".join(run.notes))


def _figures(figures: RunFigures) -> tuple[str, str, str]:
    moment = "" if figures.measured_at_us is None else words.local_time(figures.measured_at_us)
    carbon = words.UNKNOWN if figures.carbon_grams is None else f"{figures.carbon_grams:.3g} g"
    return moment, words.joules(figures.energy_joules, figures.tier), carbon


def _say_skipped(found: Imported) -> None:
    for one in found.skipped:
        say(f"Skipped: {one.where} {one.reason}.")
