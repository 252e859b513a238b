"""The part of the command that synchronises from a model provider, and shows what it declares."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from wattbus import words
from wattbus.cli.output import JsonOption, configured, home, say, say_json, say_table
from wattbus.errors import UnknownName


def sync(
    author: Annotated[str, typer.Option(help="A user or an organisation.")] = "",
    search: Annotated[str, typer.Option(help="Words in the name.")] = "",
    task: Annotated[str, typer.Option(help="A pipeline's task, such as text-classification.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Read so many models at most.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also models that declare no emissions; they are listed as skipped.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin at the first page, whatever was read.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read what the cards of models declare of their training, from where the last run of the same ended."""
    from wattbus.clock import SYSTEM
    from wattbus.labels.synchronise import provider_models, reasons, sync_run, synchronise
    from wattbus.ml.hub_figures import HubList, Selection

    selection = Selection(author.strip(), search.strip(), task.strip(), everything)
    with _looked_at() as engine:
        before = None if engine is None or restart else sync_run(engine, selection)
    run = synchronise(
        HubList(configured().hub_url), selection, _keep, before, SYSTEM.now_us, limit=limit, tell=_tell
    )
    if as_json:
        say_json({**_run_row(run), "sentence": run.sentence})
        return
    say(run.sentence)
    with _looked_at() as engine:
        skipped = reasons([] if engine is None else provider_models(engine))
    for reason, count in skipped.items():
        say(f"  {words.counted(count, 'model')} skipped: {reason}")
    say("`wattbus label provider` lists all that is kept.")


def provider(
    name: Annotated[str | None, typer.Argument(help="One model; by default all are listed.")] = None,
    skipped: Annotated[bool, typer.Option("--skipped", help="Those without a figure, and why.")] = False,
    profile: Annotated[
        str,
        typer.Option(
            "--grade", help="Grade the model with this profile, such as gaissa-training, and keep it."
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Show what a model provider declares of its models, or grade one of them."""
    from wattbus.errors import BadRequest
    from wattbus.labels.synchronise import MODELS, ProviderModel, provider_model, provider_models

    if profile and name is None:
        raise BadRequest(
            "name the model that is graded, as in `wattbus label provider org/name --grade gaissa-training`."
        )
    with _looked_at() as engine:
        if name is not None:
            if engine is None:
                raise UnknownName(MODELS, name, [])
            found: list[ProviderModel] = [provider_model(engine, name)]
        else:
            found = [] if engine is None else provider_models(engine)
    if profile and name is not None:
        _grade(name, profile, as_json)
        return
    if name is None:
        found = [one for one in found if (one.figures is None) == skipped]
    if as_json:
        say_json(found)
    elif skipped or (name is not None and found[0].figures is None):
        rows = ((one.name, one.skipped) for one in found)
        say_table(["model", "why it was skipped"], rows, empty="None was skipped.")
    else:
        say_table(
            ["model", "#g CO2e", "as the card says", "#parameters", "size", "#downloads", "doubts"],
            (_figures_row(one) for one in found),
            empty="Nothing is kept yet: `wattbus label sync` reads the list of the provider.",
        )


def _figures_row(one: Any) -> tuple[Any, ...]:
    figures = one.figures
    return (
        one.name,
        f"{figures.carbon_grams:,.3g}",
        words.clean(one.said, 40),
        words.UNKNOWN if figures.parameters is None else f"{figures.parameters:,}",
        words.size(figures.size_bytes),
        words.UNKNOWN if one.downloads is None else f"{one.downloads:,}",
        "; ".join(one.doubts),
    )


def _grade(name: str, profile: str, as_json: bool) -> None:
    from wattbus.cli.label import keep_evaluation
    from wattbus.labels.evaluate import evaluate
    from wattbus.labels.profiles import get_profile
    from wattbus.labels.synchronise import provider_figures

    with _looked_at() as engine:
        graded = evaluate(get_profile(engine, profile), provider_figures(engine, name))
    keep_evaluation(graded, "", as_json)


def _keep(documents: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
    """Keep documents in their order: by the process that runs on the home, or, a page at a time, here."""
    from wattbus.runtime import control
    from wattbus.runtime.documents import keep_document
    from wattbus.store.documents import save_document
    from wattbus.store.item_settings import opened

    if control.server_of(home()) is not None:
        for kind, name, content in documents:
            keep_document(home(), configured().store_url, kind, name, content)
        return
    with opened(home(), configured().store_url) as engine:
        for kind, name, content in documents:
            save_document(engine, kind, name, content, "CLI")


def _tell(text: str) -> None:
    """Say how far it is to who watches; the output itself stays one document."""
    sys.stderr.write(words.clean(text) + "\n")


def _run_row(run: Any) -> dict[str, Any]:
    return {
        "selection": run.selection.title,
        "endpoint": run.endpoint,
        "read": run.read,
        "kept": run.kept,
        "skipped": run.skipped,
        "to_the_end": run.is_whole,
    }


def _looked_at() -> Any:
    """Open the store for reading; None where there is none yet."""
    from wattbus.store.item_settings import looked_at

    return looked_at(home(), configured().store_url)
