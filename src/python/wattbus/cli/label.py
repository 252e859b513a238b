"""The part of the command that labels models: grade, measure, compare, and the profiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wattbus import words
from wattbus.cli.output import JsonOption, configured, home, say, say_json, say_table
from wattbus.errors import BadRequest, UnknownName

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from wattbus.energy.figures import RunFigures
    from wattbus.labels.evaluate import Evaluation
    from wattbus.labels.face import LabelFace
    from wattbus.labels.history import KeptEvaluation
    from wattbus.labels.profiles import KeptProfile
    from wattbus.ml.models import ModelStore

label = typer.Typer(help="Energy labels: grade, measure and compare models.", no_args_is_help=True)
profile = typer.Typer(help="Label profiles.", no_args_is_help=True)
label.add_typer(profile, name="profile")

NameOption = Annotated[str, typer.Option("--name", help="Under which it is kept.")]
ProfileOption = Annotated[str, typer.Option("--profile", help="`wattbus label profiles` lists them.")]


@label.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of a model, or of an evaluation.")],
    as_json: JsonOption = False,
) -> None:
    """Show the label of a model by its stored attempts, or a kept evaluation."""
    with _looked_at() as engine:
        faces = _faces(engine, name)
    if as_json:
        say_json(faces)
        return
    for face in faces:
        _say_face(face)


@label.command("evaluate")
def evaluate_(
    profile_name: ProfileOption = "default",
    metric: Annotated[list[str] | None, typer.Option("--metric", help="ID=VALUE, several.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="emissions.csv, BoAmps JSON, or GAISSALabel's csv.")
    ] = None,
    which: Annotated[str, typer.Option(help="Run id or row, where the file holds several.")] = "",
    run: Annotated[str, typer.Option(help="Name of a kept run, or id of a message of ours.")] = "",
    model: Annotated[str, typer.Option(help="Name of the model.")] = "",
    task: Annotated[str, typer.Option(help="A pipeline's task, such as text-classification.")] = "",
    requests: Annotated[int | None, typer.Option(min=1, help="Inferences in the run of a file.")] = None,
    name: NameOption = "",
    as_json: JsonOption = False,
) -> None:
    """Grade typed values, a file, a kept run or a message with a profile, and keep the result."""
    from dataclasses import replace

    from wattbus.labels.evaluate import check_stage, evaluate, typed_figures, typed_values

    given = _pairs(metric or [])
    if file is not None and run:
        raise BadRequest("both --file and --run are given: choose one.")
    with _looked_at() as engine:
        kept = _profile(engine, profile_name)
        if file is None and not run:
            figures = typed_figures(kept, given, "CLI", name=name, model=model, task=task)
        else:
            found = _of_file(kept, file, which, requests) if file is not None else _of_run(engine, run)
            check_stage(kept, found)
            added = typed_values(kept, given)
            figures = replace(
                found, model=model or found.model, task=task or found.task, extra={**found.extra, **added}
            )
    keep_evaluation(evaluate(kept, figures), name, as_json)


@label.command("measure")
def measure(
    model: Annotated[str | None, typer.Argument(help="Name of a cached model.")] = None,
    endpoint: Annotated[str, typer.Option(help="Address of a deployed endpoint instead.")] = "",
    task: Annotated[str, typer.Option(help="A pipeline's task, such as text-classification.")] = "",
    version: Annotated[str, typer.Option(help="Id of the version; by default the published one.")] = "",
    body: Annotated[str, typer.Option(help="The example request, as JSON.")] = "",
    repeats: Annotated[int, typer.Option(help="3 or more.")] = 5,
    count: Annotated[int, typer.Option(help="Inferences in a repeat; 0: as many as fill two seconds.")] = 0,
    warm_up: Annotated[int, typer.Option(help="Answers that are not counted.")] = 3,
    batch: Annotated[int, typer.Option(help="Inferences in one call.")] = 1,
    parameters: Annotated[int | None, typer.Option(min=1, help="Of the model behind the endpoint.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for one answer of the endpoint.")] = 30.0,
    profile_name: ProfileOption = "default",
    name: NameOption = "",
    as_json: JsonOption = False,
) -> None:
    """Measure a cached model or a deployed endpoint, grade the result and keep it."""
    from wattbus.labels.evaluate import evaluate, with_measurement
    from wattbus.labels.metering import Plan

    if (model is None) == (not endpoint):
        raise BadRequest("name a cached model, or the address of an endpoint with --endpoint; one of both.")
    plan = Plan(repeats, count, warm_up).checked()
    with _looked_at() as engine:
        kept = _profile(engine, profile_name)
    example = _json(body) if body else None
    if endpoint:
        found = _measured_endpoint(endpoint, example, timeout, plan, model, task, parameters)
    else:
        assert model is not None
        found = _measured_model(model, version, task, example, plan, batch)
    graded = evaluate(kept, found.figures, found.repeats)
    keep_evaluation(with_measurement(graded, found.to_content()), name, as_json)


@label.command("profiles")
def profiles(as_json: JsonOption = False) -> None:
    """List the label profiles."""
    from wattbus.labels.profiles import list_profiles

    with _looked_at() as engine:
        found = list_profiles(engine)
    if as_json:
        say_json([_profile_row(one) for one in found])
        return
    say_table(
        ["profile", "#version", "stage", "rule", "#metrics", "made by"],
        (
            (
                one.profile.name,
                one.version,
                one.profile.stage or "both",
                one.profile.rule.value,
                len(one.profile.metrics),
                "comes with wattbus" if one.built_in else one.made_by,
            )
            for one in found
        ),
        empty="",
    )


@profile.command("show")
def profile_show(
    name: Annotated[str, typer.Argument(help="Name of the profile.")],
    version: Annotated[int | None, typer.Option(min=1, help="By default the newest.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a profile with its intervals; --json is the form that `label profile save` reads."""
    from wattbus.labels.profiles import get_profile

    with _looked_at() as engine:
        kept = get_profile(engine, name, version)
    if as_json:
        say_json(kept.profile.model_dump(mode="json"))
        return
    say(f"{kept.title}: {kept.profile.source}")
    say_table(
        ["metric", "unit", "better", "#weight", *kept.profile.classes],
        (
            (
                metric.key,
                metric.unit,
                metric.direction.value,
                metric.weight,
                *(one.in_words for one in sorted(metric.intervals, key=lambda one: one.letter)),
            )
            for metric in kept.profile.metrics
        ),
        empty="",
    )


@profile.command("save")
def profile_save(
    file: Annotated[Path, typer.Argument(help="JSON, as `label profile show NAME --json` prints it.")],
    as_json: JsonOption = False,
) -> None:
    """Save a profile as the next version of its name."""
    from wattbus.labels.profile import profile_from
    from wattbus.labels.profiles import KIND, check_name
    from wattbus.runtime.documents import keep_document

    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{file} cannot be read: {error}.") from None
    made = profile_from(_json(text))
    check_name(made.name)
    content = made.model_dump(mode="json")
    kept = keep_document(home(), configured().store_url, KIND, made.name, content)
    say_json({"profile": made.name, "version": kept.version}) if as_json else say(
        f"{made.name}: saved as version {kept.version}."
    )


@label.command("compare")
def compare_(as_json: JsonOption = False) -> None:
    """Compare models by energy and quality, with the Pareto front of each comparable group."""
    from wattbus.labels.compare import compare, compared_models
    from wattbus.labels.faces import amount

    with _looked_at() as engine:
        found = compare(compared_models(engine, _models()))
    if as_json:
        say_json(found)
        return
    for group in found.groups:
        say(words.clean(group.title))
        say_table(
            ["front", "model", f"#{group.unit}", "#accuracy"],
            (
                ("*" if one.front else "", one.name, amount(one.energy, one.tier), f"{one.quality:.3f}")
                for one in group.points
            ),
            empty="",
        )
    for one in found.unplaced:
        say(f"not placed: {words.clean(one.name)}: {one.missing}")
    say(found.note if found.groups else "There is no model whose energy and quality are both known.")


def _faces(engine: Engine | None, name: str) -> list[LabelFace]:
    from wattbus.energy.advice import machine_in_words
    from wattbus.energy.hardware import read_machine
    from wattbus.energy.label import labels_of
    from wattbus.labels.faces import face_of, face_of_label
    from wattbus.labels.history import list_evaluations
    from wattbus.store.energy_queries import newest_records_of

    models = _models()
    records = [] if engine is None else newest_records_of(engine, name)
    kept = [] if engine is None else list_evaluations(engine)
    graded = [one for one in kept if name in (one.name, one.evaluation.figures.model)]
    if not records and not graded:
        known = {*models.names(), *(one.name for one in kept)}
        if name in known:
            raise BadRequest(
                f"{name} has answered nothing yet: ask it, or measure it with `wattbus label measure`."
            )
        raise UnknownName("model or evaluation", name, known)
    hardware = machine_in_words(read_machine())
    default = _profile(engine, "default")
    return [
        *(face_of_label(one, default, hardware) for one in labels_of(name, records)),
        *(face_of(one) for one in graded),
    ]


def _say_face(face: LabelFace) -> None:
    letter = face.letter or "no letter"
    say(f"{face.model} {face.version}".strip() + f", {face.profile}: {letter}")
    say(f"  {face.headline} {face.unit}".rstrip())
    for text in (
        face.reason,
        f"classes reached: {face.span}" if face.span else "",
        face.interval,
        face.bounds,
    ):
        if text:
            say(f"  {text}")
    say(f"  tier {face.tier}; {face.coverage}")
    for one in face.classes:
        say(f"  {one.letter or '-'}  {one.name}: {one.value}{f' ({one.reason})' if one.reason else ''}")
    for name, value in (*face.lines, *face.quality):
        say(f"  {name}: {value}")


def keep_evaluation(graded: Evaluation, name: str, as_json: bool) -> None:
    """Keep an evaluation and show it."""
    from wattbus.labels.faces import face_of
    from wattbus.labels.history import KIND, kept, name_of
    from wattbus.runtime.documents import keep_document

    document = keep_document(
        home(), configured().store_url, KIND, name.strip() or name_of(graded), graded.to_content()
    )
    made: KeptEvaluation = kept(document)
    face = face_of(made)
    if as_json:
        say_json({"name": made.name, "version": made.version, "letter": face.letter, "face": face})
        return
    _say_face(face)
    say(f"  kept as {made.name!r}, version {made.version}")


def _of_file(kept: KeptProfile, file: Path, which: str, requests: int | None) -> RunFigures:
    from wattbus.imports.imported import Given
    from wattbus.imports.reading import read_runs

    return Given(kept.profile.stage, requests=requests).over(read_runs(file).chosen(which or None).figures)


def _of_run(engine: Engine | None, run: str) -> RunFigures:
    from wattbus.imports.stored_runs import stored_run
    from wattbus.labels.own_runs import figures_of_messages

    if engine is None:
        raise UnknownName("run", run, [])
    if run.isascii() and run.isdecimal() and 0 < int(run) < 2**63:
        return figures_of_messages(engine, [int(run)], _models())
    return stored_run(engine, run)


def _measured_model(model: str, version: str, task: str, example: Any, plan: Any, batch: int) -> Any:
    from wattbus.door import power_feed
    from wattbus.energy.carbon import carbon_intensity
    from wattbus.labels.measure import measure_cached
    from wattbus.runtime.examples import examples_of

    models, config = _models(), configured()
    found = models.get(model, version) if version else models.current(model)
    if not task:
        raise BadRequest(
            f"the task of {model} is not known here: say it with --task, as in --task fill-mask."
        )
    if example is None:
        ready = [one for one in examples_of("MLRequest", task) if task in one.tasks]
        if not ready:
            raise BadRequest(f"there is no ready example for {task}: give one with --body, as JSON.")
        example = dict(ready[0].body)
    carbon = carbon_intensity(g_per_kwh=config.carbon_g_per_kwh, country=config.country)
    return measure_cached(
        models, found, task, example, plan=plan, feed=power_feed(config), carbon=carbon, batch=batch
    )


def _measured_endpoint(
    url: str, example: Any, timeout: float, plan: Any, model: str | None, task: str, parameters: int | None
) -> Any:
    from wattbus.door import power_feed
    from wattbus.labels.endpoint import Endpoint
    from wattbus.labels.measure import measure_endpoint
    from wattbus.transport import Transport

    config = configured()
    body = {"inputs": "This was a really bad experience"} if example is None else example
    return measure_endpoint(
        Transport(config.allow_hosts), Endpoint(url, body, timeout_seconds=timeout), plan, power_feed(config),
        model=model, task=task or None, parameters=parameters,
    )  # fmt: skip


def _profile(engine: Engine | None, name: str) -> KeptProfile:
    from wattbus.labels.profiles import get_profile

    return get_profile(engine, name)


def _profile_row(one: KeptProfile) -> dict[str, Any]:
    return {
        "name": one.profile.name,
        "version": one.version,
        "stage": one.profile.stage,
        "rule": one.profile.rule,
        "metrics": [metric.key for metric in one.profile.metrics],
        "built_in": one.built_in,
        "made_by": one.made_by,
    }


def _pairs(written: list[str]) -> dict[str, str]:
    given = {}
    for one in written:
        name, equals, value = one.partition("=")
        if not equals or not name.strip():
            raise BadRequest(f"{one!r} is no metric: write ID=VALUE, such as flops=2e9.")
        given[name.strip()] = value
    return given


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"this is no JSON: {error}.") from None


def _models() -> ModelStore:
    from wattbus.ml.models import ModelStore

    return ModelStore(home().models, hub_url=configured().hub_url)


def _looked_at() -> Any:
    """Open the store for reading; None where there is none yet."""
    from wattbus.store.item_settings import looked_at

    return looked_at(home(), configured().store_url)
