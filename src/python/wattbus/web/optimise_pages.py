"""Optimise a model: asked for with one click, by the production's own item where it has one, and the report of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wattbus import words
from wattbus.errors import BadRequest, WattbusError
from wattbus.messages import OptimiseRequest, OptimiseResponse
from wattbus.ml.optimise_spec import AUTO, CANDIDATES
from wattbus.operations.optimise import OptimiseOperation, by_hand
from wattbus.operations.serving import served_models
from wattbus.runtime import jobs as runtime_jobs
from wattbus.runtime.parsing import validation_sentence
from wattbus.store.answers import stored_answer
from wattbus.web.background import Background
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.training_pages import model_of
from wattbus.web.twin import Twins

_DOOR = "Portal"
#: The newest requests that a click compares on.
DEFAULT_REQUESTS = 100
_Shown = Annotated[
    int | None, Query(ge=1, le=2**63 - 1, description="id of the request whose report is shown")
]


class OptimiseBody(BaseModel):
    """What to convert to, and what to compare on: a table with its column, else the newest requests."""

    model_config = ConfigDict(extra="forbid")

    to: str = Field(default=AUTO, max_length=40)
    table: str = Field(default="", max_length=200)
    text_column: str = Field(default="", max_length=200)
    limit: int | None = Field(default=None, description="rows to read, 256 at most")
    requests: int | None = Field(
        default=None, description=f"the newest requests; {DEFAULT_REQUESTS} where no table is named"
    )
    budget_seconds: float = 600.0
    min_agreement: float = 0.995
    min_speedup: float = 1.1

    def request(self) -> OptimiseRequest:
        """Return the message that it comes to; BadRequest where it comes to none."""
        given: dict[str, Any] = self.model_dump()
        given["table"], given["text_column"] = self.table.strip() or None, self.text_column.strip() or None
        if self.requests is None and given["table"] is None:
            given["requests"] = DEFAULT_REQUESTS
        try:
            return OptimiseRequest.model_validate(given)
        except ValidationError as error:
            raise BadRequest(validation_sentence("the form", error)) from None


@dataclass(frozen=True)
class OptimiseView:
    """What can be asked for, what is being done, and the report of the last one or of the one named."""

    name: str
    published: str | None
    staged: str | None
    rolls_back_to: str | None
    item: str  # the production's own, that is asked; empty: the portal does it
    ways: tuple[str, ...]
    tables: tuple[str, ...]
    message_id: int | None = None
    doing: str = ""
    failure: str = ""
    report: OptimiseResponse | None = None
    typed: Mapping[str, Any] = field(default_factory=dict)
    wrong: str = ""


@dataclass(frozen=True)
class Begun:
    """What became of an optimisation by now: its report, or that it goes on."""

    sentence: str
    address: str
    message_id: int | None = None
    report: OptimiseResponse | None = None


class _ByHand:
    """What the portal optimises itself, one model at a time."""

    def __init__(self) -> None:
        self.work = Background()
        self.model = ""
        self.stage = ""
        self.reports: dict[str, OptimiseResponse] = {}


def add(twins: Twins, desk: Desk) -> None:
    """Open the page."""
    own = _ByHand()

    def page(name: str, message: _Shown = None) -> OptimiseView:
        """Show what an optimisation of a model can be asked for, and the report of one."""
        return _view(desk, own, name, message)

    def again(wrong: str, typed: Mapping[str, Any], name: str) -> OptimiseView:
        return replace(_view(desk, own, name, None), typed=typed, wrong=wrong)

    def optimise(name: str, body: OptimiseBody, who: Who) -> Begun:
        """Convert the published version, compare it on your own inputs, and stage what passes the gate."""
        desk.models().current(name)
        request, item = body.request(), _item(desk, name)
        address = f"/models/{name}/optimise"
        if item:
            message_id = desk.current().submit(item, request, door=_DOOR)
            said = f"{item} has it as message {message_id}; this page tells when it is done."
            return Begun(said, f"{address}?message={message_id}", message_id)
        return _by_hand(desk, own, name, request, who, address)

    twins.view("/models/{name}/optimise", "optimise.html", page, tag="models")
    twins.action(
        "/models/{name}/optimise",
        optimise,
        tag="models",
        then=lambda done: str(done.address),
        said=lambda done: str(done.sentence),
        again=("optimise.html", again),
    )


def _by_hand(desk: Desk, own: _ByHand, name: str, request: OptimiseRequest, who: Who, address: str) -> Begun:
    def tell(stage: str) -> None:
        own.stage = stage

    asked = by_hand(
        request, desk.models(), desk.home, name, _task(desk, name),
        tables_url=desk.config.tables_url, store_url=desk.config.store_url,
    )  # fmt: skip

    def work() -> None:
        own.model, own.stage = name, ""
        report = own.reports[name] = asked.run(tell, cancelled=lambda: desk.streams.closing)
        if desk.running is not None:
            desk.running.bus.log("Info", f"model {name}: {report.reason}; by {who.name} in the portal", "")

    if own.work.do(f"Optimising {name}", work):
        return Begun(_outcome(own.reports[name]), address, None, own.reports[name])
    return Begun("It is being optimised; this page tells when that is done.", address)


def _view(desk: Desk, own: _ByHand, name: str, message_id: int | None) -> OptimiseView:
    store = desk.models()
    store.current(name)
    staged = store.staged(name)
    view = OptimiseView(
        name,
        store.published(name),
        None if staged is None else staged.id,
        store.previous(name),
        _item(desk, name),
        (AUTO, *CANDIDATES),
        _tables(desk),
        message_id,
    )
    if message_id is not None:
        return _of_message(desk, view, message_id)
    mine = own.model == name
    doing = f"{own.work.doing}: {own.stage}".rstrip(": ") if own.work.doing and mine else own.work.doing
    return replace(
        view,
        doing=doing,
        failure=own.work.failure if mine else "",
        report=None if doing and mine else own.reports.get(name),
    )


def _of_message(desk: Desk, view: OptimiseView, message_id: int) -> OptimiseView:
    with desk.store() as engine:
        found = stored_answer(engine, desk.home.bodies, message_id)
    if found.request.body_class.rpartition(".")[2] != "OptimiseRequest":
        raise BadRequest(f"message {message_id} is no optimisation: the list of messages shows what it is.")
    if not found.done:
        held = runtime_jobs.held(desk.running) if desk.running is not None else []
        stage = next((one.progress for one in held if one.message.message_id == message_id), None)
        return replace(
            view, doing=f"message {message_id} is {found.request.status.lower()}, {stage or 'it waits'}"
        )
    if found.error:
        return replace(view, failure=words.clean(found.error, 1500))
    report = OptimiseResponse.model_validate(found.value)
    if report.model != view.name:
        raise BadRequest(
            f"message {message_id} optimised {report.model}, and this is the page of {view.name}."
        )
    return replace(view, report=report)


def _item(desk: Desk, name: str) -> str:
    """Return the item of the production that runs which optimises this model; empty: there is none."""
    running = desk.running
    items = running.production.items.values() if running is not None else ()
    return next(
        (one.name for one in items if issubclass(one.component, OptimiseOperation) and model_of(one) == name),
        "",
    )


def _task(desk: Desk, name: str) -> str:
    """Return the task that the production serves the model for; empty: its files say."""
    production = desk.production()
    served = served_models(production) if production is not None else []
    return next((one.task for one in served if one.name == name), "")


def _tables(desk: Desk) -> tuple[str, ...]:
    try:
        return desk.tables().names()
    except WattbusError:
        return ()  # there is no database of tables yet: requests can be compared on


def _outcome(report: OptimiseResponse) -> str:
    if report.new_version is None:
        return f"The version stays as it is. {report.reason}"
    return f"{report.new_version} is staged, {report.reason}"
