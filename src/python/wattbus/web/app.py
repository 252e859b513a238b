"""The web application: the routers of every door that speaks HTTP, behind one guard, and errors as sentences."""

from __future__ import annotations

import math

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from wattbus import __version__
from wattbus.errors import (
    AlreadyRunning,
    BadRequest,
    BadSettings,
    NotRunning,
    QueueFull,
    Refused,
    RequestFailed,
    RequestTimeout,
    StoreError,
    StoreFull,
    UnknownName,
    WattbusError,
)
from wattbus.runtime.director import Director
from wattbus.web import iop_api, send_api
from wattbus.web.guard import Guard, Rules

#: The status of each kind of error; the first kind that fits counts.
_STATUSES: tuple[tuple[type[WattbusError], int], ...] = (
    (UnknownName, 404),
    (Refused, 403),
    (BadRequest, 400),
    (BadSettings, 422),
    (AlreadyRunning, 409),
    (NotRunning, 409),
    (RequestTimeout, 504),
    (RequestFailed, 502),
    (StoreFull, 507),
    (StoreError, 503),
    (QueueFull, 429),
    (WattbusError, 500),
)


def make_app(director: Director, rules: Rules) -> FastAPI:
    """Return the application that answers for a director."""
    # No pages made elsewhere: FastAPI's own documentation page loads its script from a CDN.
    app = FastAPI(title="wattbus", version=__version__, docs_url=None, redoc_url=None)
    app.include_router(iop_api.router(director, rules), prefix="/api/iop")
    app.include_router(send_api.router(director), prefix="/api/wattbus")
    app.add_exception_handler(WattbusError, _told)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _no_such_thing)
    app.add_exception_handler(Exception, _a_bug)
    app.add_middleware(Guard, rules=rules)
    return app


async def _told(_request: Request, error: Exception) -> JSONResponse:
    status = next(status for kind, status in _STATUSES if isinstance(error, kind))
    seconds = getattr(error, "retry_after_seconds", None)
    headers = {} if seconds is None else {"Retry-After": str(math.ceil(seconds))}
    return JSONResponse({"error": str(error)}, status, headers)


async def _not_understood(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"error": f"the request was not understood: {where}: {first['msg']}."}, 400)


async def _no_such_thing(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    sentence = str(error.detail)
    if request.url.path.startswith("/api/atelier"):
        sentence = "wattbus needs none of iop's ObjectScript classes: there is nothing to set up here."
    elif error.status_code == 404:
        sentence = f"there is nothing at {request.url.path}."
    elif error.status_code == 405:
        sentence = f"{request.method} is not known at {request.url.path}."
    return JSONResponse({"error": sentence}, error.status_code)


async def _a_bug(_request: Request, error: Exception) -> JSONResponse:
    # The traceback goes to the output of the process, which is `wattbus.log`.
    return JSONResponse(
        {"error": f"{type(error).__name__}: {error}. This is a bug; wattbus.log has more."}, 500
    )
