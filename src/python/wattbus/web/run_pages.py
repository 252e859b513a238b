"""Imported runs: files of other meters come in by upload, one run of a file is kept, and a kept one is forgotten."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile

from wattbus import words
from wattbus.access import Role
from wattbus.energy.figures import RunFigures, Stage
from wattbus.errors import BadRequest, WattbusError
from wattbus.imports.imported import LARGEST_BYTES, Given, Imported
from wattbus.imports.reading import read_runs
from wattbus.imports.stored_runs import forget_run, keep_run, list_runs, stored_run
from wattbus.runtime.parsing import validation_sentence
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.roles import needs
from wattbus.web.twin import Twins, plain
from wattbus.web.uploads import aside, blocks, keep

PATH = "/energy/runs"
#: Of a file with more runs the page shows the first so many; the command `wattbus import FILE --list` shows all.
SHOWN_RUNS = 100


@dataclass(frozen=True)
class FoundRun:
    """One run of a file that was looked at."""

    row: int
    run_id: str
    figures: RunFigures
    notes: tuple[str, ...]


@dataclass(frozen=True)
class FoundFile:
    """What a file holds that was sent and not kept, because one of its runs has to be chosen."""

    file: str
    kind: str
    runs: list[FoundRun]
    more: int
    skipped: list[dict[str, str]]
    sentence: str


@dataclass(frozen=True)
class RunsView:
    """The runs that were imported, and the file that was just looked at."""

    runs: list[RunFigures]
    found: FoundFile | None = None


@dataclass(frozen=True)
class RunView:
    """One imported run: what the file said, field by field; what it did not say is left out."""

    name: str
    figures: RunFigures
    known: dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """What became of a file."""

    name: str
    notes: tuple[str, ...]
    skipped: list[dict[str, str]]
    sentence: str


@dataclass(frozen=True)
class Forgotten:
    """A run that is gone."""

    name: str
    versions: int
    sentence: str


class About(BaseModel):
    """What is said about the run of a file, because the file may not."""

    model_config = ConfigDict(extra="forbid")

    run: str | None = Field(default=None, description="run id or row, where the file holds several runs")
    stage: Stage | None = Field(default=None, description="training or inference; wins over the file")
    model: str | None = Field(default=None, max_length=200, description="which model it was")
    task: str | None = Field(default=None, max_length=100, description="such as text-classification")
    requests: int | None = Field(default=None, ge=1, le=2**53, description="inferences answered in the run")

    def given(self) -> Given:
        """Return what was said, as the reader takes it."""
        return Given(self.stage, self.model, self.task, self.requests)


class OneRun(BaseModel):
    """Which run."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "reviews, run 5b0fa12a"}}
    )

    name: str = Field(description="name of the kept run, as the list has it")


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages."""

    def runs() -> RunsView:
        """List the runs that were imported."""
        with desk.reading() as engine:
            return RunsView([] if engine is None else list_runs(engine))

    def run(name: str) -> RunView:
        """Show an imported run with all that its file said."""
        with desk.store() as engine:
            figures = stored_run(engine, name)
        return RunView(name, figures, figures.to_content())

    def forget(body: OneRun, who: Who) -> Forgotten:
        """Forget an imported run, with all its versions."""
        with desk.writing() as engine:
            gone = forget_run(engine, body.name)
        return Forgotten(body.name, gone, f"{body.name} is forgotten.")

    def kept(found: Imported, about: About, who: Who) -> Kept:
        chosen = found.chosen(about.run)
        with desk.writing() as engine:
            chosen = keep_run(engine, found, about.run, about.given(), who.name)
        said = [
            f"{chosen.figures.name} is kept.",
            *(f"{note[0].upper()}{note[1:]}." for note in chosen.notes),
        ]
        if found.skipped:
            said.append(f"{words.counted(len(found.skipped), 'row')} could not be used.")
        return Kept(chosen.figures.name, chosen.notes, [asdict(one) for one in found.skipped], " ".join(said))

    async def read(request: Request, given: UploadFile | None, called: str) -> Imported:
        """Take the file in, and return what it holds."""
        with aside(desk) as file:
            await keep(blocks(given) if given else request.stream(), file, LARGEST_BYTES, _INSTEAD)
            return await run_in_threadpool(read_runs, file, called)

    async def from_form(request: Request) -> Response:
        async with request.form() as form:
            given = form.get("file")
            fields = {name: form.get(name) for name in About.model_fields if form.get(name)}
            try:
                about = About.model_validate(fields)
                if not isinstance(given, UploadFile) or not given.filename:
                    raise BadRequest("no file was chosen: choose an emissions.csv, or a BoAmps report.")
                found = await read(request, given, given.filename)
                if about.run is None and len(found.runs) > 1:
                    view = await run_in_threadpool(runs)
                    return twins.draw(request, "energy_runs.html", RunsView(view.runs, looked_at(found)), 422)
                done = await run_in_threadpool(kept, found, about, request.state.who)
            except ValidationError as error:
                return twins.back(PATH, validation_sentence("the form", error), wrong=True)
            except WattbusError as error:
                return twins.back(PATH, str(error), wrong=True)
        request.state.done = done.sentence
        return twins.back(PATH, done.sentence)

    async def from_body(
        request: Request,
        file: Annotated[str, Query(max_length=100, description="name of the file")] = "the file",
        run: Annotated[str | None, Query(description="run id or row, where it holds several")] = None,
        stage: Annotated[Stage | None, Query(description="wins over the file")] = None,
        model: Annotated[str | None, Query(max_length=200)] = None,
        task: Annotated[str | None, Query(max_length=100)] = None,
        requests: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    ) -> Response:
        """Keep one run of a file of another meter, sent as it is: emissions.csv, BoAmps JSON, GAISSALabel's csv."""
        about = About(run=run or None, stage=stage, model=model or None, task=task or None, requests=requests)
        found = await read(request, None, file)
        done = await run_in_threadpool(kept, found, about, request.state.who)
        request.state.done = done.sentence
        return JSONResponse(plain(done))

    twins.share(run_energy=energy_in_words, run_carbon=carbon_in_words)
    twins.view(PATH, "energy_runs.html", runs, tag="energy")
    twins.action(f"{PATH}/forget", forget, tag="energy", then=PATH, said=lambda done: str(done.sentence))
    twins.view(f"{PATH}/{{name:path}}", "energy_run.html", run, tag="energy")
    twins.pages.add_api_route(
        PATH, from_form, methods=["POST"], dependencies=[needs(Role.OPERATOR)], name="import a run"
    )
    twins.api.add_api_route(
        PATH,
        from_body,
        methods=["POST"],
        dependencies=[needs(Role.OPERATOR)],
        tags=["energy"],
        operation_id="post_energy_runs",
        response_model=Kept,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "text/csv": {"schema": {"type": "string"}},
                    "application/json": {"schema": {"type": "object"}},
                },
            }
        },
    )


def energy_in_words(figures: RunFigures) -> str:
    """Say the energy of an imported run with its tier."""
    return words.joules(figures.energy_joules, figures.tier)


def carbon_in_words(figures: RunFigures) -> str:
    """Say the emissions of an imported run."""
    return words.UNKNOWN if figures.carbon_grams is None else f"{figures.carbon_grams:.3g} g"


def looked_at(found: Imported) -> FoundFile:
    """Return the runs of a file for the page on which one is chosen."""
    shown = [FoundRun(one.row, one.run_id or "", one.figures, one.notes) for one in found.runs[:SHOWN_RUNS]]
    return FoundFile(
        found.file,
        found.kind,
        shown,
        len(found.runs) - len(shown),
        [asdict(one) for one in found.skipped[:SHOWN_RUNS]],
        f"{found.file} holds {words.counted(len(found.runs), 'run')}: choose the file again, with one of these rows.",
    )


_INSTEAD = "keep the header and the rows that you want, or use `wattbus import FILE`"
