"""The parts of the command that look after data: models, tables, exports."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wattbus import words
from wattbus.cli.boamps import export_boamps
from wattbus.cli.output import JsonOption, configured, home, reading, say, say_json, say_table
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


export.command("boamps")(export_boamps)


@export.command("sci")
def export_sci(
    embodied_grams: Annotated[
        float | None,
        typer.Option(min=0, help="What the making of this machine cost, in g CO2e; else WATTBUS_EMBODIED_G."),
    ] = None,
    embodied_hours: Annotated[
        float | None,
        typer.Option(min=1, help="The hours of use that this is spread over; else WATTBUS_EMBODIED_HOURS."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the SCI score (ISO/IEC 21031) by item and model, of consumer and provider apart."""
    from wattbus.export.sci import Embodied, sci_scores
    from wattbus.store.queries import energy_records

    if (embodied_grams is None) != (embodied_hours is None):
        raise BadRequest("--embodied-grams and --embodied-hours belong together: give both, or none of them.")
    config = configured()
    grams, hours = embodied_grams, embodied_hours
    if grams is None:
        grams, hours = config.embodied_g, config.embodied_hours
    embodied = None if grams is None or hours is None else Embodied(grams, hours)
    scores, skipped = sci_scores(
        energy_records(reading()), embodied=embodied, intensity_g_per_kwh=config.carbon_g_per_kwh
    )
    if as_json:
        say_json({"scores": scores, "skipped": skipped})
        return
    say_table(
        ["boundary", "item", "model", "side", "tier", "#R", "#E", "#I", "#M", "#SCI", "why not"],
        (
            (
                one.boundary,
                one.item,
                one.model,
                one.scope,
                one.tier,
                words.counted(one.units, one.unit),
                f"{one.energy_kwh:.3g} kWh",
                _grams(one.intensity_g_per_kwh, "g/kWh"),
                _grams(one.embodied_grams, "g"),
                _grams(one.grams, f"g a {one.unit}"),
                one.reason or "",
            )
            for one in scores
        ),
        empty="No attempt with a known energy is in the store yet.",
    )
    for reason, count in skipped.items():
        say(f"left out: {count} x {reason}")


@export.command("model-card")
def export_model_card(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[
        str | None, typer.Argument(help="Id of a fine-tuned version; by default the newest.")
    ] = None,
    into: Annotated[Path | None, typer.Option(help="A README.md whose head gets the emissions.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a model card's `co2_eq_emissions`, in grams, or write them into one."""
    from wattbus.export.card import emissions_of_version
    from wattbus.ml.model_card import card_with

    emissions = emissions_of_version(
        reading(), home(), _models(), name, version, country=configured().country
    )
    if into is not None:
        try:
            before = into.read_text() if into.exists() else ""
            into.write_text(card_with(before, emissions))
        except OSError as error:
            raise BadRequest(f"{into} cannot be written ({error.strerror}).") from None
    if as_json:
        say_json({"co2_eq_emissions": emissions.content()})
    elif into is None:
        say(card_with("", emissions).rstrip())
    else:
        say(f"{into}: {emissions.emissions_grams:g} g of CO2 equivalent.")


def _grams(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.3g} {unit}"


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
