"""The part of the command that reckons what a way to spend less energy returns."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wattbus import words
from wattbus.cli.output import JsonOption, configured, home, reading, say, say_json, say_table, store_if_there
from wattbus.errors import BadRequest

if TYPE_CHECKING:
    from wattbus.roi import Kept

roi = typer.Typer(help="What a way to spend less energy returns.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the analysis.")]
VersionOption = Annotated[int | None, typer.Option("--version", min=1, help="An older version of it.")]


@roi.command("tactics")
def tactics(as_json: JsonOption = False) -> None:
    """List the tactics, what each counts and which costs belong to it."""
    from wattbus.roi import TACTICS

    if as_json:
        say_json(TACTICS)
        return
    rows = ((one.name, one.text, one.unit, "; ".join(one.costs), one.own_energy) for one in TACTICS)
    say_table(["tactic", "what is done", "counts", "costs", "energy of its own"], rows, empty="")


@roi.command("new")
def new(
    name: NameArgument,
    tactic: Annotated[str | None, typer.Option(help="One of `wattbus roi tactics`.")] = None,
    before_joules: Annotated[
        str | None, typer.Option(help="Energy of one inference before, in joules.")
    ] = None,
    before_run: Annotated[str | None, typer.Option(help="Or a stored run.")] = None,
    before_message: Annotated[str | None, typer.Option(help="Or a message that was metered.")] = None,
    before_model: Annotated[str | None, typer.Option(help="Or a model whose inferences were.")] = None,
    after_joules: Annotated[str | None, typer.Option(help="Energy of one inference after.")] = None,
    after_run: Annotated[str | None, typer.Option(help="Or a stored run.")] = None,
    after_message: Annotated[str | None, typer.Option(help="Or a message that was metered.")] = None,
    after_model: Annotated[str | None, typer.Option(help="Or a model whose inferences were.")] = None,
    reduction: Annotated[str | None, typer.Option(help="Or the share that is saved, such as 0.25.")] = None,
    own_joules: Annotated[str | None, typer.Option(help="Energy that the tactic itself used.")] = None,
    own_message: Annotated[str | None, typer.Option(help="Or the message that it was.")] = None,
    cost: Annotated[str | None, typer.Option(help="What implementing it costs.")] = None,
    price: Annotated[str | None, typer.Option(help="Price of a kWh.")] = None,
    currency: Annotated[str | None, typer.Option(help="Of all amounts; EUR unless given.")] = None,
    units: Annotated[
        str | None, typer.Option("--units", "-n", help="How many inferences to look at.")
    ] = None,
    days: Annotated[str | None, typer.Option(help="Or how many days, at --per-day.")] = None,
    per_day: Annotated[str | None, typer.Option(help="Inferences a day.")] = None,
    carbon: Annotated[str | None, typer.Option(help="Carbon intensity, g/kWh.")] = None,
    country: Annotated[str | None, typer.Option(help="Or its country, such as FRA.")] = None,
    point_price: Annotated[
        str | None, typer.Option(help="What 0.01 of accuracy is worth over 1,000 inferences.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other FIELD=VALUE, such as before.fee=0.001 or after.accuracy=0.91."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--from", help="JSON of the whole analysis; options go before it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Reckon an analysis and keep it; a name that is there gets a new version."""
    from wattbus.roi import analysed
    from wattbus.roi.analysis import KIND
    from wattbus.runtime.documents import keep_document

    options = {
        "tactic": tactic, "before.joules": before_joules, "before.run": before_run, "before.message": before_message,
        "before.model": before_model, "after.joules": after_joules, "after.run": after_run,
        "after.message": after_message, "after.model": after_model, "after.reduction": reduction,
        "own.joules": own_joules, "own.message": own_message, "cost": cost, "price_per_kwh": price,
        "currency": currency, "units": units, "days": days, "per_day": per_day, "carbon_g_per_kwh": carbon,
        "country": country, "point_price": point_price, **_settings(settings or []),
    }  # fmt: skip
    given = _flat(_read(file)) if file is not None else {}
    given |= {field: value for field, value in options.items() if value is not None}
    draft = _draft({**given, "name": name})
    with store_if_there() as engine:
        analysis = analysed(draft, engine, _intensity())
    content = analysis.model_dump(mode="json", exclude_none=True)
    made = keep_document(home(), configured().store_url, KIND, draft.name, content)
    _show(_kept(draft.name, made.version), as_json)


@roi.command("ls")
def ls(as_json: JsonOption = False) -> None:
    """List the kept analyses, the one that was saved last first."""
    from wattbus.roi import list_analyses, outcome_of

    with store_if_there() as engine:
        found = [] if engine is None else list_analyses(engine)
    outcomes = [outcome_of(one.analysis) for one in found]
    if as_json:
        say_json(
            [
                {
                    "name": one.name, "version": one.version, "tactic": one.analysis.given.tactic,
                    "verdict": out.verdict, "gaissa_roi": out.gaissa_roi.at.value, "saved_us": one.made_us,
                    "saved_by": one.made_by,
                }
                for one, out in zip(found, outcomes, strict=True)
            ]
        )  # fmt: skip
        return
    say_table(
        ["analysis", "#version", "tactic", "verdict", "saved", "by"],
        (
            (one.name, one.version, out.tactic, out.sentence, words.local_time(one.made_us), one.made_by)
            for one, out in zip(found, outcomes, strict=True)
        ),
        empty="No analysis is kept yet: `wattbus roi new` makes one.",
    )


@roi.command("show")
def show(name: NameArgument, version: VersionOption = None, as_json: JsonOption = False) -> None:
    """Show an analysis: both returns by name, break-evens, savings, and where each figure came from."""
    _show(_kept(name, version), as_json)


@roi.command("compare")
def compare(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Two analyses or more.")],
    as_json: JsonOption = False,
) -> None:
    """Put analyses side by side, with the differences to the first."""
    from wattbus.roi import side_by_side

    table = side_by_side([_kept(name, None) for name in dict.fromkeys(names)])
    if as_json:
        say_json(table)
        return
    for name, sentence in zip(table.names, table.verdicts, strict=True):
        say(f"{name}: {sentence}")
    for remark in table.remarks:
        say(remark)
    say_table(
        ["", "figure", *table.names],
        (
            (
                row.group,
                row.name,
                *(
                    f"{place.text}{f' ({place.difference_text})' if place.difference_text else ''}"
                    for place in row.places
                ),
            )
            for row in table.rows
        ),
        empty="",
    )


@roi.command("export")
def export(
    name: NameArgument,
    format: Annotated[str, typer.Option(help="pdf, csv, json, svg or png.")] = "pdf",
    out: Annotated[Path | None, typer.Option(help="The file to write; by default its name, here.")] = None,
    version: VersionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write an analysis as a file; svg and png are the curve of its return."""
    from wattbus.roi.downloads import download

    made = download(_kept(name, version), format)
    path = out or Path(made.name)
    try:
        path.write_bytes(made.content)
    except OSError as error:
        raise BadRequest(f"{path} cannot be written ({error.strerror}): choose another with --out.") from None
    say_json({"file": path, "bytes": len(made.content)}) if as_json else say(
        f"{path}: {words.size(len(made.content))} written"
    )


@roi.command("rm")
def rm(name: NameArgument, as_json: JsonOption = False) -> None:
    """Forget an analysis with all its versions."""
    from wattbus.roi.analysis import KIND
    from wattbus.runtime.documents import drop_document

    _kept(name, None)  # says in words that there is none of this name
    versions = drop_document(home(), configured().store_url, KIND, name)
    say_json({"versions": versions}) if as_json else say(
        f"{name} is forgotten, {words.counted(versions, 'version')} of it"
    )


# -- how ---------------------------------------------------------------------------------------------------------------


def _show(kept: Kept, as_json: bool) -> None:
    from wattbus.roi import as_record, inputs_of, lines_of, outcome_of

    if as_json:
        say_json(as_record(kept))
        return
    outcome = outcome_of(kept.analysis)
    say(f"{kept.name}, version {kept.version}: {outcome.tactic}. {outcome.sentence}")
    say_table(
        ["", "figure", "value", "bounds"],
        ((line.group, line.name, line.text, line.interval) for line in lines_of(kept.analysis, outcome)),
        empty="",
    )
    say_table(
        ["what went in", "value", "from"],
        ((one.name, one.text, one.origin) for one in inputs_of(kept.analysis)),
        empty="",
    )
    for note in outcome.notes:
        say(note)


def _kept(name: str, version: int | None) -> Kept:
    from wattbus.roi import kept_analysis

    engine = reading()
    try:
        return kept_analysis(engine, name, version)
    finally:
        engine.dispose()


def _draft(given: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from wattbus.roi import Draft
    from wattbus.runtime.parsing import validation_sentence

    try:
        return Draft.model_validate(given)
    except ValidationError as error:
        raise BadRequest(validation_sentence("the analysis", error)) from None


def _intensity() -> Any:
    from wattbus.energy.carbon import carbon_intensity

    config = configured()
    return carbon_intensity(g_per_kwh=config.carbon_g_per_kwh, country=config.country)


def _settings(written: list[str]) -> dict[str, str]:
    given = {}
    for one in written:
        field, equals, value = one.partition("=")
        if not equals or not field.strip():
            raise BadRequest(f"{one!r} is no setting: write FIELD=VALUE, such as before.fee=0.001.")
        given[field.strip()] = value
    return given


def _read(file: Path) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        read = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise BadRequest(f"the analysis file {str(file)!r} cannot be read: {error}.") from None
    if not isinstance(read, dict):
        raise BadRequest(
            f"the analysis file {str(file)!r} holds no JSON object: see docs/roi.md for its fields."
        )
    # What `wattbus roi show --json` printed is taken as well.
    given = read.get("analysis", {}).get("given") if isinstance(read.get("analysis"), dict) else None
    return dict(given) if isinstance(given, dict) else read


def _flat(given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a file under dotted names, so that options may stand in their place."""
    flat: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{field}": part for field, part in value.items()}
        else:
            flat[name] = value
    return flat
