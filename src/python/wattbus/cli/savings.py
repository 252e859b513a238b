"""The command ``wattbus savings``: what each run cost beside the way of the 2022 template, measured on a sample."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from wattbus import words
from wattbus.cli.output import (
    JsonOption,
    configured,
    home,
    plain,
    say,
    say_json,
    say_table,
    store_if_there,
)
from wattbus.errors import BadRequest, NotRunning, WattbusError

if TYPE_CHECKING:
    from wattbus.ml.models import ModelStore
    from wattbus.ml.tables import TrainingTables
    from wattbus.savings import Counterfactual, Run

savings = typer.Typer(
    help="What each run cost, beside the way of the 2022 template.", invoke_without_command=True
)


@savings.callback()
def table(
    context: typer.Context,
    days: Annotated[int, typer.Option(help="Runs of so many last days.")] = 30,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a markdown table.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show seconds and joules of each run beside the template's way, where that was measured."""
    if context.invoked_subcommand is not None:
        return
    if as_csv + as_markdown + as_json > 1:
        raise BadRequest("--csv, --markdown and --json were given together: choose one.")
    from wattbus.savings.files import COLUMNS, csv_of, lines_of, markdown_of, sentences_of
    from wattbus.savings.report import report

    with store_if_there() as engine:
        found = report(engine, _models(), _tables(), days)
    if as_json:
        say_json(found)
        return
    if as_csv:
        sys.stdout.write(csv_of(found.rows))
        return
    if as_markdown:
        for line in markdown_of(found).splitlines():
            say(line)
        return
    say_table(COLUMNS, lines_of(found), empty=f"No run in the last {words.counted(days, 'day')}.")
    for sentence in (*sentences_of(found.totals), found.what):
        say(sentence)


@savings.command("measure")
def measure(
    run: Annotated[str | None, typer.Argument(help="A run of `wattbus savings`.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Each run that has no sample of its size yet.")
    ] = False,
    rows: Annotated[int, typer.Option(help="Rows, or requests, of a sample; 512 at most.")] = 24,
    repeats: Annotated[
        int, typer.Option(help="How often it is gone through, each time in a new process.")
    ] = 3,
    as_json: JsonOption = False,
) -> None:
    """Measure the template's way on a sample of a run, here and now; it serves all runs of the same model size."""
    if (run is None) != every:
        raise BadRequest("name a run of `wattbus savings`, or give --all: one of the two.")
    from wattbus.door import power_feed
    from wattbus.runtime.documents import keep_document
    from wattbus.savings import KIND, Place, Size, measured

    tell = (lambda text: None) if as_json else say
    kept, refused = [], []
    with store_if_there() as engine:
        if engine is None:
            raise NotRunning("there is no store yet: start the production once, and there will be runs.")
        place = Place(home().create(), engine, _models(), _tables(), power_feed(configured()))
        for one, found in measured(place, () if run is None else (run,), Size(rows, repeats), tell):
            if isinstance(found, WattbusError):
                refused.append({"run": one.name, "why": str(found)})
                tell(f"{one.name}: {found}")
                continue
            made = keep_document(home(), configured().store_url, KIND, found.name, found.to_content())
            kept.append({"run": one.name, "version": made.version, **plain(found)})
            _say_sample(one, found, quiet=as_json)
    if as_json:
        say_json({"measured": kept, "not_measured": refused})
    elif not kept and not refused:
        say("Nothing is left to measure: each run that can be compared has a sample of its size.")


def _say_sample(run: Run, found: Counterfactual, *, quiet: bool) -> None:
    if quiet:
        return
    say(f"{run.name}: {found.sample}; {found.way}")
    say_table(
        ["part", "#seconds a unit", "#least to most", "#energy a unit", "#least to most"],
        (
            (
                part,
                words.seconds(cost.seconds),
                f"{words.seconds(cost.low_seconds)} to {words.seconds(cost.high_seconds)}",
                words.joules(cost.joules, found.tier),
                words.joule_range(cost.low_joules, cost.high_joules),
            )
            for part, cost in found.costs.items()
        ),
        empty="",
    )
    if found.why_no_joules:
        say(f"No joules: {found.why_no_joules}. The seconds are kept.")


def _models() -> ModelStore:
    from wattbus.ml.models import ModelStore

    return ModelStore(home().models, hub_url=configured().hub_url)


def _tables() -> TrainingTables:
    from wattbus.operations.place import tables_beside

    config = configured()
    return tables_beside(home(), config.store_url, config.tables_url or f"sqlite:///{home().tables_file}")
