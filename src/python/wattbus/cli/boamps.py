"""The part of the command for BoAmps reports: what is there, what is left to fill, status, signature, publishing."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from wattbus import words
from wattbus.cli.output import JsonOption, configured, home, reading, say, say_json, say_table
from wattbus.errors import BadRequest, Refused

boamps = typer.Typer(help="BoAmps reports: export, fill, make final, sign, publish.", no_args_is_help=True)

FolderOption = Annotated[
    Path | None, typer.Option(help="Where the reports go; by default `exports` in the home.")
]
FileArgument = Annotated[str, typer.Argument(metavar="REPORT", help="A file, its name, or a report's id.")]
FilesArgument = Annotated[
    list[str], typer.Argument(metavar="REPORT...", help="Files, their names, or reports' ids.")
]
KeyOption = Annotated[
    list[str] | None, typer.Option("--key", help="A public key that you know, or a file that holds one.")
]


@boamps.command("export")
def export_boamps(
    folder: FolderOption = None,
    format: Annotated[str, typer.Option(help="json, or csv: BoAmps' flattened form, a row each.")] = "json",
    as_json: JsonOption = False,
) -> None:
    """Write BoAmps reports: one a fine-tune, and one an operation, model, day of inference."""
    from wattbus.export.stored import write_boamps

    if format not in ("json", "csv"):
        raise BadRequest(f"unknown format {format!r}: json or csv.")
    config = configured()
    target = folder or home().exports
    made = write_boamps(reading(), home(), target, country=config.country)
    sheet = _sheet([report.path for report in made.reports], target) if format == "csv" else None
    if as_json:
        reports = [asdict(report) for report in made.reports]
        say_json({"reports": reports, "skipped": made.skipped} | ({} if sheet is None else {"csv": sheet}))
    else:
        for report in made.reports:
            say(
                f"{report.path}  {report.stage} of {report.model}, {report.filled} / {report.applicable} fields filled"
            )
        if sheet is not None:
            say(f"{sheet}  {words.counted(len(made.reports), 'report')}, a row each")
        for reason, count in made.skipped.items():
            say(f"left out: {count} x {reason}")
    if not made.reports:
        raise BadRequest("there is nothing to report: no settled inference or training is in the store.")


@boamps.command("ls")
def ls(folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """List the written reports with their status and signature."""
    from wattbus.export.stored import report_files

    place = folder or home().exports
    keys = _known_keys(None)
    rows = [
        {**asdict(one), "signature": "" if one.fault else _signature(place / one.name, keys)}
        for one in report_files(place)
    ]
    if as_json:
        say_json(rows)
        return
    say_table(
        ["file", "task", "model", "status", "signature", "quality", "corrects or wrong"],
        (
            (
                row["name"], row["stage"], row["model"], row["status"], row["signature"], row["quality"],
                row["fault"] or row["corrects"],
            )
            for row in rows
        ),
        empty="No report was written yet: `wattbus boamps export` writes them.",
    )  # fmt: skip


@boamps.command("fill")
def fill(as_json: JsonOption = False) -> None:
    """Offer what only your organisation can say, field by field: Enter skips, Ctrl-D ends; nothing blocks."""
    from wattbus.export.organisation import (
        HINTS,
        choices_of,
        read_organisation,
        with_answer,
        write_organisation,
    )

    organisation = read_organisation(home())
    left = [name for name, value in organisation.model_dump().items() if value is None]
    if as_json or not sys.stdin.isatty():
        rows = [{"field": name, "hint": HINTS[name], "choices": choices_of(name)} for name in left]
        if as_json:
            say_json(rows)
            return
        say_table(
            ["left to say", "what for", "one of"],
            ((row["field"], row["hint"], ", ".join(row["choices"])) for row in rows),
            empty="Nothing is left: all of it is said.",
        )
        return
    say("Once for all reports; Enter skips a field, Ctrl-D ends.")
    filled = organisation
    for name in left:
        choices = f" ({', '.join(choices_of(name))})" if choices_of(name) else ""
        while text := _asked(f"{name.replace('_', ' ')}, {HINTS[name]}{choices}: "):
            try:
                filled = with_answer(filled, name, text)
                break
            except BadRequest as error:
                say(str(error))
        if text is None:
            break
    if filled == organisation:
        say("Nothing was changed.")
        return
    path = write_organisation(home(), filled)
    say(f"{path}: kept. The next reports carry it; `wattbus boamps final REPORT` fills it into a draft.")


@boamps.command("final")
def final(report: FileArgument, folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Make a draft final, with your organisation's answers, signed; the draft stays beside it."""
    from wattbus.export.boamps_status import finalised
    from wattbus.export.organisation import read_organisation
    from wattbus.export.report_files import find_file, read_document, write_document
    from wattbus.export.signing import signing_key

    place = folder or home().exports
    document = finalised(
        read_document(find_file(report, place)),
        organisation=read_organisation(home()),
        signer=signing_key(home()),
    )
    _told(write_document(document, place, suffix=".final"), document, as_json)


@boamps.command("correct")
def correct(
    report: FileArgument,
    changes: Annotated[
        list[str], typer.Option("--set", help="FIELD=VALUE, such as environment.country=France.")
    ],
    because: Annotated[str, typer.Option(help="Why; it stands in the new report.")],
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a corrective report, which names the final one that it corrects; that one stays as it is."""
    from wattbus.export.boamps_status import corrected
    from wattbus.export.report_files import find_file, read_document, write_document
    from wattbus.export.signing import signing_key

    place = folder or home().exports
    pairs = dict(_pair(change) for change in changes)
    document = corrected(read_document(find_file(report, place)), pairs, because, signer=signing_key(home()))
    _told(write_document(document, place), document, as_json)


@boamps.command("sign")
def sign(as_json: JsonOption = False) -> None:
    """Show the public key that reports are signed with, made once for this home."""
    from wattbus.export.signing import signing_key

    key = signing_key(home())
    assert key is not None
    if as_json:
        say_json({"public_key": key.public_key, "file": home().signing_key_file})
        return
    say(key.public_key)
    say(
        f"Reports are signed when they are exported, with {home().signing_key_file}: keep that file to yourself."
    )


@boamps.command("verify")
def verify_reports(
    reports: FilesArgument, key: KeyOption = None, folder: FolderOption = None, as_json: JsonOption = False
) -> None:
    """Say of each report whether it is as it was signed, and by whom; exit status 1 unless all are valid."""
    from wattbus.export.report_files import find_file, read_document
    from wattbus.export.signing import Verdict, verify

    keys = _known_keys(key)
    found = []
    for name in reports:
        file = find_file(name, folder or home().exports)
        found.append((file, verify(read_document(file), keys)))
    if as_json:
        say_json([{"file": file, **asdict(one)} for file, one in found])
    for file, one in found if not as_json else ():
        say(f"{one.verdict.value:<12} {file.name}: {one.text}")
        if one.verdict is Verdict.UNKNOWN_KEY:
            say(f"{'':<12} {one.public_key}")
    if any(one.verdict is not Verdict.VALID for _, one in found):
        raise typer.Exit(1)


@boamps.command("publish")
def publish_reports(
    reports: FilesArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dataset: Annotated[str, typer.Option(help="The data set on the Hub.")] = "boavizta/open_data_boamps",
    into: Annotated[str, typer.Option(help="The folder in the data set.")] = "data",
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show exactly what would leave, ask, and open a pull request on the open data set."""
    from wattbus.export.publishing import plan, publish
    from wattbus.export.report_files import find_file
    from wattbus.ml.publishing import DatasetHub

    place = folder or home().exports
    destination = DatasetHub(dataset, endpoint=configured().hub_url)
    files = [find_file(name, place) for name in reports]
    publication = plan(files, home(), destination, _known_keys(None), folder=into)
    shown = {
        "destination": publication.page,
        "account": publication.account,
        "files": [{**asdict(one), "data": None} for one in publication.files],
    }
    if not as_json:
        say(f"To {publication.page}, as {publication.account}, by pull request, for everybody to read:")
        for one in publication.files:
            say(f"  {one.file}  {one.size_bytes:,} bytes -> {one.path}")
            named = one.publisher or "nobody named"
            say(f"    {one.task}; published by {named}; {one.status}, signature {one.signature}")
        say(f"In all {sum(one.size_bytes for one in publication.files):,} bytes, and nothing else.")
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise Refused("nothing was published: say --yes to publish what is shown.")
        if not typer.confirm("Publish?", default=False):
            raise Refused("nothing was published.")
    opened = publish(publication, home(), destination)
    say_json({**shown, "pull_request": opened.url}) if as_json else say(f"Opened: {opened.url}")


def _sheet(paths: list[Path], folder: Path) -> Path | None:
    from datetime import UTC, datetime

    from wattbus.export.boamps_csv import csv_text
    from wattbus.export.report_files import read_document
    from wattbus.home import write_durably

    if not paths:
        return None
    path = folder / f"boamps-{datetime.now(UTC):%Y%m%dT%H%M%S}.csv"
    write_durably(path, csv_text([read_document(file) for file in paths]).encode())
    return path


def _asked(prompt: str) -> str | None:
    """Return what was typed, empty for a skipped field; None at the end of the input."""
    try:
        return input(prompt).strip()
    except EOFError:
        say()
        return None


def _known_keys(given: list[str] | None) -> list[str]:
    """Return the keys that are trusted here: of this home, of the organisation, and those that are given."""
    from wattbus.export.organisation import read_organisation
    from wattbus.export.signing import signing_key

    own = signing_key(home(), make=False)
    declared = read_organisation(home()).public_key
    keys = [Path(text).read_text().strip() if Path(text).is_file() else text for text in given or ()]
    return [*keys, *([own.public_key] if own else []), *([declared] if declared else [])]


def _signature(file: Path, keys: list[str]) -> str:
    from wattbus.export.signing import verify

    return str(verify(json.loads(file.read_bytes()), keys).verdict)


def _pair(text: str) -> tuple[str, str]:
    field, separator, value = text.partition("=")
    if not separator:
        raise BadRequest(f"--set {text!r} has no '=': write FIELD=VALUE, such as environment.country=France.")
    return field.strip(), value


def _told(path: Path, document: dict[str, Any], as_json: bool) -> None:
    header = document["header"]
    if as_json:
        say_json({"file": path, "report_id": header["reportId"], "status": header["reportStatus"]})
        return
    say(f"{path}  {header['reportStatus']}")


def meter(
    command: Annotated[
        list[str], typer.Argument(metavar="SCRIPT [ARGUMENT]...", help="A script, or -m and a module.")
    ],
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a Python script as it is, metered and watched, and write its BoAmps report."""
    import traceback

    from wattbus.export.script import run_script

    try:
        run, status = run_script(command, folder)
    except BadRequest:
        raise
    except Exception:  # noqa: BLE001 -- the script's own error, shown as Python shows it
        traceback.print_exc()
        raise typer.Exit(1) from None
    if as_json:
        score = run.score
        say_json(
            {
                "report": run.path,
                "remote_report": run.remote_path,
                "reason": run.reason,
                "filled": None if score is None else score.filled,
                "applicable": None if score is None else score.applicable,
                "energy_joules": None if run.record is None else run.record.energy_joules,
                "exit_status": status,
            }
        )
    elif run.path is None or run.record is None:
        say(f"no report: {run.reason}")
    else:
        record = run.record
        say(f"{run.path}  {words.joules(record.energy_joules, record.tier)}, {run.score} fields filled")
        if run.remote_path is not None:
            say(f"{run.remote_path}  the other side of the calls")
    if status:
        raise typer.Exit(status)
