"""Evaluations: a form to grade a run with a profile, each result as a label, and the history under its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import Engine
from starlette.datastructures import UploadFile

from wattbus.access import Role
from wattbus.energy.figures import RunFigures
from wattbus.errors import BadRequest, UnknownName, WattbusError
from wattbus.imports.imported import LARGEST_BYTES as LARGEST_FILE_BYTES
from wattbus.imports.imported import Given
from wattbus.imports.reading import read_runs
from wattbus.imports.stored_runs import list_runs, stored_run
from wattbus.labels.evaluate import check_stage, evaluate, typed_figures, typed_values
from wattbus.labels.face import LabelFace
from wattbus.labels.faces import face_of, plain_number
from wattbus.labels.history import (
    KIND,
    KeptEvaluation,
    evaluation_versions,
    get_evaluation,
    list_evaluations,
    save_evaluation,
)
from wattbus.labels.own_runs import figures_of_messages
from wattbus.labels.profiles import KeptProfile, get_profile, list_profiles
from wattbus.runtime.parsing import validation_sentence
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.roles import needs
from wattbus.web.twin import PROBLEMS, Twins, plain
from wattbus.web.uploads import aside, blocks, keep

_FIELD = "metric."
_INSTEAD = "send the rows that you want, with the header"


@dataclass(frozen=True)
class EvaluationsView:
    """The newest evaluation of each name, the one that was made last first, and what can be graded with."""

    evaluations: list[KeptEvaluation]
    profiles: list[KeptProfile]


@dataclass(frozen=True)
class EvaluationView:
    """One evaluation as it was graded, its label, and the others under its name."""

    kept: KeptEvaluation
    face: LabelFace
    versions: list[KeptEvaluation]


@dataclass(frozen=True)
class EvaluateView:
    """The form: the profile's metrics to type in, or a run to choose; with what was typed where it was wrong."""

    kept: KeptProfile
    profiles: list[KeptProfile]
    runs: list[RunFigures]
    typed: Mapping[str, Any] = field(default_factory=dict)
    wrong: str = ""


class EvaluateBody(BaseModel):
    """What is graded: typed values by metric, a message of ours, or a kept run; typed values win over a run's."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        default="", max_length=200, description="under which it is kept; empty: that of the model"
    )
    model: str = Field(default="", max_length=200)
    task: str = Field(
        default="", max_length=100, description="a pipeline's task, such as text-classification"
    )
    message: int | None = Field(
        default=None, ge=1, le=2**63 - 1, description="id of a training or an inference"
    )
    run: str = Field(default="", max_length=200, description="name of a kept run")
    values: dict[str, str | float] = Field(default_factory=dict, description="by the id of a metric")

    @model_validator(mode="before")
    @classmethod
    def _of_a_form(cls, given: Any) -> Any:
        """Take the fields of a form, ``metric.flops`` and so on, as values."""
        if not isinstance(given, dict) or not any(str(name).startswith(_FIELD) for name in given):
            return given
        values = {name.removeprefix(_FIELD): text for name, text in given.items() if name.startswith(_FIELD)}
        others = {name: text for name, text in given.items() if not name.startswith(_FIELD)}
        return {**others, "values": values}


class FileGiven(BaseModel):
    """What somebody says about the run of a file, because many files do not."""

    which: str = Field(default="", max_length=200, description="run id or row, where the file holds several")
    model: str = Field(default="", max_length=200)
    task: str = Field(default="", max_length=100)
    requests: int | None = Field(default=None, ge=1, le=10**15, description="inferences in the run")
    name: str = Field(default="", max_length=200)


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages."""

    def evaluations() -> EvaluationsView:
        """List the evaluations that are kept."""
        with desk.reading() as engine:
            kept = [] if engine is None else list_evaluations(engine)
            return EvaluationsView(kept, list_profiles(engine))

    def evaluation(name: str, version: int | None = None) -> EvaluationView:
        """Show an evaluation as it was graded: the newest of its name, or a version."""
        with desk.reading() as engine:
            if engine is None:
                raise UnknownName(KIND, name, [])
            kept = get_evaluation(engine, name, version)
            return EvaluationView(kept, face_of(kept), evaluation_versions(engine, name))

    def form(
        profile: str, message: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None, run: str = ""
    ) -> EvaluateView:
        """Show what can be typed in for a profile, and the runs that can be chosen."""
        return _form(desk, profile, {"message": message or "", "run": run})

    def again(wrong: str, typed: Mapping[str, Any], profile: str) -> EvaluateView:
        return replace(_form(desk, profile, typed), wrong=wrong)

    def grade(profile: str, body: EvaluateBody, who: Who) -> KeptEvaluation:
        """Grade typed values, a message of ours or a kept run with a profile, and keep the result."""
        with desk.writing() as engine:
            kept = get_profile(engine, profile)
            figures = _figures(desk, engine, kept, body, who)
            return save_evaluation(engine, evaluate(kept, figures), who.name, body.name)

    _add_files(twins, desk)
    twins.share(plain_number=plain_number)
    twins.view("/energy/labels", "labels.html", evaluations, tag="labels")
    twins.view("/energy/labels/evaluations/{name:path}", "label.html", evaluation, tag="labels")
    twins.view("/energy/labels/evaluate/{profile}", "label_evaluate.html", form, tag="labels")
    twins.action(
        "/energy/labels/evaluate/{profile}",
        grade,
        tag="labels",
        then=lambda done: str(done.address),
        said="Graded and kept.",
        again=("label_evaluate.html", again),
    )


def _add_files(twins: Twins, desk: Desk) -> None:
    """Open the ways in for files: emissions.csv, a BoAmps report, the table of GAISSALabel's plug-in."""

    def grade(profile: str, file: Path, said: FileGiven, by: str) -> KeptEvaluation:
        run = read_runs(file).chosen(said.which.strip() or None)
        with desk.writing() as engine:
            kept = get_profile(engine, profile)
            given = Given(kept.profile.stage, said.model or None, said.task or None, said.requests)
            figures = given.over(run.figures)
            check_stage(kept, figures)
            return save_evaluation(engine, evaluate(kept, figures), by, said.name)

    async def from_form(request: Request, profile: str) -> Response:
        async with request.form() as form:
            upload, who = form.get("file"), request.state.who
            fields = {name: str(form.get(name) or "") for name in FileGiven.model_fields}
            try:
                if not isinstance(upload, UploadFile) or not upload.filename:
                    raise BadRequest("no file was chosen: choose an emissions.csv or a BoAmps report.")
                said = FileGiven.model_validate({name: text for name, text in fields.items() if text.strip()})
                with aside(desk) as file:
                    await keep(blocks(upload), file, LARGEST_FILE_BYTES, _INSTEAD)
                    done = await run_in_threadpool(
                        _named, upload.filename, file, grade, profile, said, who.name
                    )
            except (WattbusError, ValidationError) as error:
                sentence = (
                    str(error) if isinstance(error, WattbusError) else validation_sentence("the form", error)
                )
                request.state.refused = sentence
                view = await run_in_threadpool(_form, desk, profile, fields)
                return twins.draw(request, "label_evaluate.html", replace(view, wrong=sentence), 422)
        return twins.back(done.address, "Graded and kept.")

    async def from_body(
        request: Request,
        profile: str,
        which: str = "",
        model: str = "",
        task: str = "",
        requests: Annotated[int | None, Query(ge=1, le=10**15)] = None,
        name: str = "",
    ) -> Response:
        """Grade a run of a file that is sent as it is: emissions.csv, BoAmps JSON, or GAISSALabel's plug-in csv."""
        said = FileGiven(which=which, model=model, task=task, requests=requests, name=name)
        with aside(desk) as file:
            await keep(request.stream(), file, LARGEST_FILE_BYTES, _INSTEAD)
            who = request.state.who
            done = await run_in_threadpool(_named, "the file", file, grade, profile, said, who.name)
        return JSONResponse(plain(done))

    path, needed = "/energy/labels/evaluate/{profile}/file", [needs(Role.OPERATOR)]
    twins.pages.add_api_route(path, from_form, methods=["POST"], dependencies=needed, name="grade a file")
    twins.api.add_api_route(
        path, from_body, methods=["POST"], dependencies=needed, tags=["labels"], responses=PROBLEMS,
        operation_id="post_energy_labels_evaluate_profile_file", response_model=KeptEvaluation,
        openapi_extra={
            "requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}
        },
    )  # fmt: skip


def _named(
    name: str, file: Path, grade: Callable[..., KeptEvaluation], profile: str, said: FileGiven, by: str
) -> KeptEvaluation:
    """Grade, and speak of the file as its sender knows it: not by our name for it."""
    try:
        return grade(profile, file, said, by)
    except BadRequest as error:
        if file.name in str(error):
            raise BadRequest(str(error).replace(str(file), name).replace(file.name, name)) from error
        raise


def _form(desk: Desk, profile: str, typed: Mapping[str, Any]) -> EvaluateView:
    with desk.reading() as engine:
        runs = [] if engine is None else list_runs(engine)
        return EvaluateView(get_profile(engine, profile), list_profiles(engine), runs, typed)


def _figures(desk: Desk, engine: Engine, kept: KeptProfile, body: EvaluateBody, who: Who) -> RunFigures:
    given = {name: str(value) for name, value in body.values.items()}
    if body.message is None and not body.run.strip():
        return typed_figures(kept, given, who.name, name=body.name, model=body.model, task=body.task)
    if body.message is not None:
        found = figures_of_messages(engine, [body.message], desk.models())
    else:
        found = stored_run(engine, body.run.strip())
    check_stage(kept, found)
    added = typed_values(kept, given)
    origin = f"{found.origin}; {', '.join(added)} typed by {who.name}" if added else found.origin
    return replace(
        found,
        model=body.model.strip() or found.model,
        task=body.task.strip() or found.task,
        origin=origin,
        extra={**found.extra, **added},
    )
