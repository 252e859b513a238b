"""The style sheet, the scripts and the pictures of the portal; vendored, so that nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from wattbus.access import Role
from wattbus.web.drawing import STATIC
from wattbus.web.guard import OPEN_PATHS
from wattbus.web.roles import needs

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def router() -> APIRouter:
    """Return the route of each file that is there; no name that a client sends is ever joined to a path."""
    api = APIRouter(include_in_schema=False)
    for file in sorted(STATIC.rglob("*")):
        if file.suffix not in _TYPES:
            continue
        path = f"/static/{file.relative_to(STATIC).as_posix()}"
        dependencies = [] if path in OPEN_PATHS else [needs(Role.VIEWER)]
        api.add_api_route(
            path, _sender(str(file), _TYPES[file.suffix]), methods=["GET"], dependencies=dependencies
        )

    @api.get("/healthz")
    def alive() -> dict[str, str]:
        return {"status": "alive"}

    @api.get("/static/{rest:path}", dependencies=[needs(Role.VIEWER)])
    def nothing(rest: str) -> None:
        raise HTTPException(404)

    return api


def _sender(file: str, media_type: str) -> Callable[[], Awaitable[FileResponse]]:
    async def send() -> FileResponse:
        return FileResponse(file, media_type=media_type, headers={"cache-control": "no-cache"})

    return send
