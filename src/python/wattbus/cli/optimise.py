"""The part of the command that optimises a model: converted, compared on your own rows, and kept if it pays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from wattbus import words
from wattbus.cli.output import JsonOption, configured, home, say, say_json, say_table
from wattbus.errors import BadRequest

if TYPE_CHECKING:
    from wattbus.messages import OptimisedCandidate, OptimiseResponse
    from wattbus.ml.models import ModelStore


def models_optimise(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    to: Annotated[
        str,
        typer.Option(help="auto, fp32, bf16, fp16, int8-weights, int8 or onnx-int8; auto tries them all."),
    ] = "auto",
    task: Annotated[str, typer.Option(help="What it is served for; by default what its files say.")] = "",
    table: Annotated[str | None, typer.Option(help="Compare on the rows of this table.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Its column with the texts.")] = None,
    requests: Annotated[int | None, typer.Option(help="Or compare on so many kept requests.")] = None,
    limit: Annotated[int | None, typer.Option(help="Rows to read, 256 at most.")] = None,
    budget_seconds: Annotated[float, typer.Option(help="No further candidate is begun after it.")] = 600.0,
    min_agreement: Annotated[float, typer.Option(help="Share of the predictions that must stay.")] = 0.995,
    min_speedup: Annotated[float, typer.Option(help="Times the throughput that pays.")] = 1.1,
    as_json: JsonOption = False,
) -> None:
    """Convert the published version to a faster engine, compare both on your own inputs, and stage it if it pays."""
    asked = {
        "to": to, "table": table, "text_column": text_column, "limit": limit, "requests": requests,
        "budget_seconds": budget_seconds, "min_agreement": min_agreement, "min_speedup": min_speedup,
    }  # fmt: skip
    report = _optimised(name, task, asked, quiet=as_json)
    if as_json:
        say_json(report.model_dump(mode="json"))
        return
    _show(report)


def models_publish(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[
        str | None, typer.Argument(help="Id of the version; by default the staged one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a version live; the one that it replaces stays, and can be rolled back to."""
    store = _store()
    before = store.published(name)
    published = store.publish(name, version, by="wattbus models publish")
    if as_json:
        say_json({"model": name, "version": published.id, "replaced": before})
        return
    say(f"{name}: {published.id} answers from now on, in place of {before or 'none'}.")


def _optimised(name: str, task: str, asked: dict[str, Any], *, quiet: bool) -> OptimiseResponse:
    from pydantic import ValidationError

    from wattbus.messages import OptimiseRequest
    from wattbus.operations.optimise import by_hand

    try:
        request = OptimiseRequest.model_validate(asked)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRequest(f"--{first['loc'][0]} cannot be used: {first['msg']}.".replace("_", "-")) from None
    config = configured()
    work = by_hand(
        request, _store(), home().create(), name, task,
        tables_url=config.tables_url, store_url=config.store_url,
    )  # fmt: skip
    return work.run((lambda text: None) if quiet else say)


def _show(report: OptimiseResponse) -> None:
    say(f"{report.model} {report.old_version}, {report.task}, compared on {report.rows} inputs:")
    say_table(
        ["", "candidate", "#agreement", "#size", "#p50", "#p95", "#a second", "#J per 1,000", "tier"],
        [row for one in report.candidates for row in _rows(one, chosen=one.name == report.chosen)],
        empty="Nothing was tried.",
    )
    for one in report.candidates:
        say(f"{one.name}: {one.reason}")
        for changed in one.likeness.changed_rows if one.likeness else ():
            say(f"  row {changed.row}: {changed.old} became {changed.new}: {changed.text[:80]}")
    if report.new_version is None:
        say(report.reason.partition(". ")[0] + ": the version stays as it is.")
        return
    say(f"{report.new_version} is staged: `wattbus models publish {report.model}` makes it live.")


def _rows(one: OptimisedCandidate, *, chosen: bool) -> list[tuple[str, ...]]:
    """Return a candidate's line under that of the version as it is, each with its own figures of the same turns."""
    if one.before is None or one.after is None or one.likeness is None:
        return []
    agreement = f"{one.likeness.agreement:.2%}"
    return [
        (
            mark,
            label,
            same,
            words.size(speed.size_bytes),
            f"{speed.p50_ms:.1f} ms",
            f"{speed.p95_ms:.1f} ms",
            f"{speed.per_second:.1f}",
            "unknown" if speed.joules_per_1000 is None else f"{speed.joules_per_1000:.1f}",
            speed.tier or "",
        )
        for mark, label, same, speed in (
            ("", "as it is", "", one.before),
            ("+" if chosen else "", one.name, agreement, one.after),
        )
    ]


def _store() -> ModelStore:
    from wattbus.ml.models import ModelStore

    return ModelStore(home().models, hub_url=configured().hub_url)
