"""The command ``wattbus check``: what is wrong with a production, said before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattbus.cli.output import JsonOption, configured, say, say_json, say_table

ProductionOption = Annotated[
    str | None,
    typer.Option("--production", help="Which production of the settings file; by default the first."),
]


def check(
    settings: Annotated[
        Path | None, typer.Argument(help="The settings.py to check; by default the one that runs.")
    ] = None,
    production: ProductionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with a production before it runs; exit status 1 where something is."""
    from wattbus.door import settings_file
    from wattbus.runtime.check import check as checked

    config = configured()
    file = settings or settings_file(config)
    findings = checked(file, production or config.production)
    errors = sum(finding.level == "error" for finding in findings)
    if as_json:
        say_json({"settings": file, "ok": not errors, "findings": findings})
    else:
        say_table(
            ["level", "item", "finding"],
            ((finding.level, finding.item or "production", finding.sentence) for finding in findings),
            empty=f"{file}: nothing to say against it.",
        )
        if findings:
            say(f"{errors} errors, {sum(finding.level == 'warning' for finding in findings)} warnings.")
    if errors:
        raise typer.Exit(1)
