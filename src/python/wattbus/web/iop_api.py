"""The door of the ``iop`` program: ``/api/iop``, answered as iop's own service inside IRIS answers.

The model is ``iop/cls/IOP/Service/Remote/Rest/v1.cls``; the reader is ``iop/runtime/remote``. A parameter or field
``namespace`` is accepted everywhere and means nothing here: a home has one.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from wattbus.access import Role
from wattbus.errors import BadRequest, Refused
from wattbus.runtime.deployment import NOT_DEFINED
from wattbus.runtime.director import Director
from wattbus.web.roles import Asking, needs

MOST_LINES = 100_000
_LOOK, _OPERATE, _DEPLOY = [needs(Role.VIEWER)], [needs(Role.OPERATOR)], [needs(Role.ADMIN)]


class Choice(BaseModel):
    """Names a production."""

    production: str | None = None


class Component(BaseModel):
    """Names an item; ``item`` is an older name of the same."""

    component: str | None = None
    item: str | None = None

    @property
    def name(self) -> str:
        name = self.component or self.item
        if not name:
            raise BadRequest('no item is named: send {"component": "its name"}.')
        return name


class Test(BaseModel):
    """A message for an item; the item is restarted first unless ``restart`` is false."""

    target: str = ""
    classname: str = ""
    body: str | dict[str, Any] | None = None
    restart: bool = True


class File(BaseModel):
    """One uploaded file."""

    name: str
    data: str


class Migration(BaseModel):
    """A settings file with the files beside it. ``remote_folder`` is for IRIS."""

    package: str = "python"
    remote_folder: str = ""
    settings_file: str = "settings.py"
    strict_production_validation: bool = False
    body: list[File] = Field(default_factory=list)


def router(director: Director) -> APIRouter:
    """Return the routes of ``/api/iop``."""
    api = APIRouter(tags=["iop"])

    def default_or(name: str | None) -> str:
        return name or director.get_default_production()

    @api.get("/version", dependencies=_LOOK)
    def version() -> dict[str, str]:
        return {"version": "1.0.0", "description": "Interoperability Embedded Python Service API, by wattbus"}

    @api.get("/status", dependencies=_LOOK)
    def status() -> dict[str, str]:
        found = director.status_production()
        return {"production": found["Production"], "status": found["Status"]}

    @api.get("/list", dependencies=_LOOK)
    def list_productions() -> dict[str, Any]:
        return director.list_productions()

    @api.post("/start", dependencies=_OPERATE)
    def start(choice: Choice | None = None) -> dict[str, str]:
        name = default_or(choice.production if choice else None)
        director.start_production(name)
        return {"status": "started", "production": name}

    @api.post("/stop", dependencies=_OPERATE)
    def stop() -> dict[str, str]:
        director.stop_production()
        return {"status": "stopped"}

    @api.post("/kill", dependencies=_OPERATE)
    def kill() -> dict[str, str]:
        director.shutdown_production()
        return {"status": "killed"}

    @api.post("/restart", dependencies=_OPERATE)
    def restart() -> dict[str, str]:
        director.restart_production()
        return {"status": "restarted"}

    @api.post("/update", dependencies=_OPERATE)
    def update() -> dict[str, str]:
        director.update_production()
        return {"status": "updated"}

    @api.post("/component/start", dependencies=_OPERATE)
    def start_component(component: Component) -> dict[str, str]:
        director.start_component(component.name)
        return {"status": "started", "component": component.name}

    @api.post("/component/stop", dependencies=_OPERATE)
    def stop_component(component: Component) -> dict[str, str]:
        director.stop_component(component.name)
        return {"status": "stopped", "component": component.name}

    @api.post("/component/restart", dependencies=_OPERATE)
    def restart_component(component: Component) -> dict[str, str]:
        director.restart_component(component.name)
        return {"status": "restarted", "component": component.name}

    @api.get("/default", dependencies=_LOOK)
    def get_default() -> dict[str, str]:
        name = director.get_default_production()
        return {"production": "" if name == NOT_DEFINED else name}

    @api.put("/default", dependencies=_DEPLOY)
    def put_default(choice: Choice) -> dict[str, str]:
        director.set_default_production(choice.production or "")
        return {"production": choice.production or ""}

    @api.get("/log", dependencies=_LOOK)
    def log(
        top: Annotated[int, Query(ge=1, le=MOST_LINES)] = 10,
        since_id: Annotated[int | None, Query(ge=0)] = None,
    ) -> list[dict[str, Any]]:
        lines = director.log_lines(top, since_id)
        # As in IRIS: the newest first, and after an id the oldest first; the iop program turns the former round.
        return lines if since_id is not None else lines[::-1]

    @api.get("/queues", dependencies=_LOOK)
    def queues(production: str | None = None) -> dict[str, Any]:
        return director.export_production_queue_info(default_or(production))

    @api.get("/export", dependencies=_LOOK)
    def export(production: str | None = None) -> dict[str, Any]:
        return director.export_production(default_or(production))

    @api.get("/connections", dependencies=_LOOK)
    def connections(production: str | None = None) -> dict[str, Any]:
        return director.export_production_connections(default_or(production))

    @api.post("/test", dependencies=_OPERATE)
    def test(message: Test) -> dict[str, Any]:
        if message.restart and message.target:
            director.restart_component(message.target)
        return director.exchange(message.target, message.classname, message.body)

    @api.get("/bindings", dependencies=_LOOK)
    def bindings(unused: str = "") -> list[dict[str, Any]]:
        return director.list_bindings(unused.lower() in ("1", "true", "yes", "on"))

    @api.delete("/binding", dependencies=_DEPLOY)
    def unbind(class_: Annotated[str, Query(alias="class")] = "", classname: str = "") -> dict[str, str]:
        name = class_ or classname
        if not name:
            raise BadRequest("no class is named: add ?class=NAME.")
        director.unbind_component(name)
        return {"status": "unbound", "class": name}

    @api.put("/migrate", dependencies=_DEPLOY)
    def migrate(migration: Migration, who: Asking) -> dict[str, str]:
        if not who.token_id:
            raise Refused(
                "this door takes no code from whoever reaches it: show the token of an admin (for the iop program: "
                "IOP_PASSWORD), or start with `wattbus start --settings FILE`."
            )
        files = {file.name: file.data for file in migration.body}
        return director.upload(
            migration.package, migration.settings_file, files, migration.strict_production_validation
        )

    return api
