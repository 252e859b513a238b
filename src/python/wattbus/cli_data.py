"""The parts of the command that look after data: models, tables, exports."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wattbus import words
from wattbus.cli_output import JsonOption, configured, home, reading, say, say_json, say_table
from wattbus.errors import BadRequest, ModelCorrupt

if TYPE_CHECKING:
    from wattbus.ml.models import ModelStore, ModelVersion
    from wattbus.ml.tables import TrainingTables

models = typer.Typer(help="Versions of the cached models.", no_args_is_help=True)
tables = typer.Typer(help="SQL tables that trainings read.", no_args_is_help=True)
export = typer.Typer(help="Reports in open formats.", no_args_is_help=True)


@models.command("ls")
def models_ls(
    name: Annotated[str | None, typer.Argument(help="Only this model.")] = None, as_json: JsonOption = False
) -> None:
    """List the cached versions; * marks the published one, + the staged one."""
    store = _models()
    rows = [
        _version_row(store, version)
        for each in ([name] if name else store.names())
        for version in store.versions(each)
    ]
    if as_json:
        say_json(rows)
        return
    say_table(
        ["", "model", "version", "#size", "accuracy", "made from", "source", "licence"],
        (
            (
                row["mark"],
                row["name"],
                row["id"],
                words.size(row["size_bytes"]),
                "" if row["metrics"].get("accuracy") is None else f"{row['metrics']['accuracy']:.3f}",
                row["parent"] or "",
                row["source"],
                row["licence"] or "unknown",
            )
            for row in rows
        ),
        empty="No model is cached yet: start a production, or run `wattbus demo`.",
    )


@models.command("verify")
def models_verify(
    name: Annotated[str | None, typer.Argument(help="Only this model.")] = None, as_json: JsonOption = False
) -> None:
    """Compare every file with its manifest; exit status 1 when one differs."""
    found = _models().verify(name)
    if as_json:
        say_json(found)
    for check in found if not as_json else ():
        say(
            f"{'ok    ' if check.ok else 'WRONG '} {check.name} {check.version} {'; '.join(check.problems)}".rstrip()
        )
    if not found and not as_json:
        say("No model is cached yet.")
    if any(not check.ok for check in found):
        raise ModelCorrupt(
            "a version differs from its manifest: roll back with `wattbus models rollback NAME`."
        )


@models.command("rollback")
def models_rollback(
    name: Annotated[str, typer.Argument(help="Name of the model.")], as_json: JsonOption = False
) -> None:
    """Publish the version before the current one again."""
    store = _models()
    before = store.current(name)
    version = store.rollback(name)
    if as_json:
        say_json({"model": name, "version": version.id, "replaced": before.id})
        return
    say(f"{name}: {version.id} answers from now on, in place of {before.id}.")


@models.command("repair")
def models_repair(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[
        str | None, typer.Argument(help="Id of the version; by default the published one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the missing and the changed files of a version anew, from the same revision and no other."""
    done = _models().repair(name, version, progress=None if as_json else say)
    if as_json:
        say_json({"model": name, "version": done.version.id, "bytes_fetched": done.bytes_fetched})
        return
    say(f"{name}: {done.version.id} is whole, {words.size(done.bytes_fetched)} fetched.")


@models.command("rm")
def models_rm(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="Id of the version.")],
    as_json: JsonOption = False,
) -> None:
    """Remove a version that is neither published nor staged, and that no other one was made from."""
    gone = _models().remove(name, version)
    if as_json:
        say_json({"model": name, "version": gone.id, "bytes_freed": gone.size_bytes})
        return
    say(f"{name}: {gone.id} is removed, {words.size(gone.size_bytes)} are free.")


@tables.command("ls")
def tables_ls(as_json: JsonOption = False) -> None:
    """List the tables with their columns and rows."""
    source = _tables()
    found = [source.describe(name) for name in source.names()]
    if as_json:
        say_json(found)
        return
    say_table(
        ["table", "#rows", "columns"],
        (
            (
                table.name,
                f"{table.rows:,}",
                ", ".join(f"{column.name} {column.type}" for column in table.columns),
            )
            for table in found
        ),
        empty="No tables yet: load one with `wattbus tables load TABLE FILE.csv`.",
    )


@tables.command("load")
def tables_load(
    table: Annotated[str, typer.Argument(help="Name of the table, such as iris.Review.")],
    file: Annotated[Path, typer.Argument(help="A CSV file with a header.")],
    replace: Annotated[bool, typer.Option(help="Replace a table that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a table from a CSV file, whole or not at all."""
    home().create()
    rows = _tables().load_csv(table, file, if_exists="replace" if replace else "keep")
    if as_json:
        say_json({"table": table, "rows_loaded": rows})
        return
    say(
        f"{table}: {rows:,} rows loaded."
        if rows
        else f"{table} is there already and was kept; --replace loads it anew."
    )


@export.command("boamps")
def export_boamps(
    folder: Annotated[
        Path | None, typer.Option(help="Where the reports go; by default `exports` in the home.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write BoAmps reports: one a fine-tune, and one an operation, model, day of inference."""
    from wattbus.export.stored import write_boamps

    config = configured()
    made = write_boamps(reading(), home(), folder or home().exports, country=config.country)
    if as_json:
        say_json({"reports": [asdict(report) for report in made.reports], "skipped": made.skipped})
    else:
        for report in made.reports:
            say(
                f"{report.path}  {report.stage} of {report.model}, {report.filled} / {report.applicable} fields filled"
            )
        for reason, count in made.skipped.items():
            say(f"left out: {count} x {reason}")
    if not made.reports:
        raise BadRequest("there is nothing to report: no settled inference or training is in the store.")


def _version_row(store: ModelStore, version: ModelVersion) -> dict[str, Any]:
    staged = store.staged(version.name)
    mark = (
        "*"
        if store.current(version.name).id == version.id
        else "+"
        if staged and staged.id == version.id
        else ""
    )
    return {"mark": mark, **asdict(version)}


def _models() -> ModelStore:
    from wattbus.ml.models import ModelStore

    return ModelStore(home().models, hub_url=configured().hub_url)


def _tables() -> TrainingTables:
    from wattbus.ml.tables import TrainingTables

    return TrainingTables(configured().tables_url or f"sqlite:///{home().tables_file}")
