"""The runs that were imported and are kept: documents of the kind ``run``, each under a name of its own."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine

from wattbus.energy.figures import RunFigures, figures_from_content
from wattbus.imports.imported import FileRun, Given, Imported
from wattbus.store.documents import document, forget_document, list_documents, save_document

KIND = "run"


def save_run(engine: Engine, figures: RunFigures, by: str = "") -> RunFigures:
    """Keep a run under its name; a run of that name that says something else gets a new version."""
    save_document(engine, KIND, figures.name, figures.to_content(), by)
    return figures


def keep_run(engine: Engine, found: Imported, which: str | None, given: Given, by: str = "") -> FileRun:
    """Keep one run of a file: its only one, or the one of a run id or a row; with what the user says about it."""
    chosen = found.chosen(which)
    return replace(chosen, figures=save_run(engine, given.over(chosen.figures), by))


def list_runs(engine: Engine, *, limit: int = 1_000) -> list[RunFigures]:
    """Return the kept runs, the one that was saved last first."""
    return [figures_from_content(one.content) for one in list_documents(engine, KIND, limit=limit)]


def stored_run(engine: Engine, name: str) -> RunFigures:
    """Return one kept run; an unknown name is refused with the nearest one."""
    return figures_from_content(document(engine, KIND, name).content)


def forget_run(engine: Engine, name: str) -> int:
    """Forget a kept run with all its versions, and return how many there were."""
    return forget_document(engine, KIND, name)
