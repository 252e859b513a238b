"""The web application: the pages, the API and the older doors behind one guard, and errors as sentences."""

from __future__ import annotations

import logging
import math

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from wattbus import __version__, words
from wattbus.errors import (
    AlreadyRunning,
    BadRequest,
    BadSettings,
    ModelCorrupt,
    ModelNotCached,
    NotRunning,
    QueueFull,
    Refused,
    RequestFailed,
    RequestTimeout,
    StoreError,
    StoreFull,
    UnknownName,
    UsedKey,
    WattbusError,
)
from wattbus.web import (
    access_page,
    alert_page,
    boamps_pages,
    comparison_pages,
    docs_page,
    energy_pages,
    evaluation_pages,
    home_page,
    iop_api,
    item_pages,
    job_pages,
    label_pages,
    label_pictures,
    live_api,
    log_page,
    measure_pages,
    message_actions,
    message_pages,
    messages_api,
    metrics_page,
    model_pages,
    models_api,
    openai_api,
    optimise_pages,
    production_pages,
    profile_pages,
    provider_pages,
    purge_page,
    queue_pages,
    roi_pages,
    run_pages,
    savings_pages,
    send_api,
    sign_in,
    static_files,
    table_pages,
    test_pages,
    trace_pages,
    training_pages,
)
from wattbus.web.audit import Audit, AuditBook
from wattbus.web.desk import Desk
from wattbus.web.drawing import Drawing
from wattbus.web.guard import Guard, Rules
from wattbus.web.shapes import error_body, is_for_programs, problem
from wattbus.web.twin import Twins

logger = logging.getLogger("wattbus.door")

#: The status of each kind of error; the first kind that fits counts.
_STATUSES: tuple[tuple[type[WattbusError], int], ...] = (
    (UnknownName, 404),
    (ModelNotCached, 404),
    (ModelCorrupt, 409),
    (Refused, 403),
    (UsedKey, 422),
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


def make_app(desk: Desk, rules: Rules) -> FastAPI:
    """Return the application that answers for a director."""
    # No pages made elsewhere: FastAPI's own documentation page loads its script from a CDN.
    app = FastAPI(title="wattbus", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    drawing = app.state.drawing = Drawing(lambda: _production(desk))
    twins, book = Twins(drawing), AuditBook(desk)
    for part in (
        home_page,
        production_pages,
        item_pages,
        live_api,
        model_pages,
        optimise_pages,
        training_pages,
        table_pages,
        log_page,
        queue_pages,
        job_pages,
        alert_page,
        purge_page,
        metrics_page,
        energy_pages,
        boamps_pages,
        provider_pages,
        label_pictures,  # before the pages of labels: /energy/models/org/name/label.svg is no model
        label_pages,
        run_pages,
        evaluation_pages,
        profile_pages,
        measure_pages,
        comparison_pages,
        roi_pages,
        savings_pages,
        messages_api,
        test_pages,
        trace_pages,
        message_actions,  # before the pages: /messages/bulk is no id
        message_pages,
    ):
        part.add(twins, desk)
    access_page.add(twins, desk, book)
    app.include_router(iop_api.router(desk.director), prefix="/api/iop")
    app.include_router(send_api.router(desk.director), prefix="/api/wattbus")
    app.include_router(twins.api)
    app.include_router(twins.pages)
    app.include_router(sign_in.router(twins, desk.access))
    app.include_router(static_files.router())
    app.include_router(docs_page.router(twins, app))
    app.include_router(openai_api.router(desk))
    # Last: its name may hold slashes, and the pages under /models come first.
    app.include_router(models_api.router(desk))
    errors = _Errors(twins)
    app.add_exception_handler(WattbusError, errors.told)
    app.add_exception_handler(RequestValidationError, errors.not_understood)
    app.add_exception_handler(HTTPException, errors.no_such_thing)
    app.add_exception_handler(UnicodeEncodeError, errors.half_a_character)
    app.add_exception_handler(Exception, errors.a_bug)
    app.add_middleware(Guard, rules=rules)
    app.add_middleware(Audit, book=book)
    return app


def _production(desk: Desk) -> tuple[str, str]:
    running = desk.running
    try:
        name = running.production.name if running else desk.director.get_default_production()
    except WattbusError:  # settings.py cannot be read now: the production page says why
        name = words.UNKNOWN
    return name, desk.state()


class _Errors:
    """Errors in the form that who asks can read: a page, problem+json, or the older doors' own."""

    def __init__(self, twins: Twins) -> None:
        self._twins = twins

    async def told(self, request: Request, error: Exception) -> Response:
        status = next(status for kind, status in _STATUSES if isinstance(error, kind))
        seconds = getattr(error, "retry_after_seconds", None)
        headers = {} if seconds is None else {"Retry-After": str(math.ceil(seconds))}
        message = getattr(error, "message_id", None)
        return self._answer(request, status, str(error), headers, trace_id=message, message_id=message)

    async def not_understood(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return self._answer(request, 400, f"the request was not understood: {where}: {first['msg']}.")

    async def no_such_thing(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        sentence = str(error.detail)
        if request.url.path.startswith("/api/atelier"):
            sentence = "wattbus needs none of iop's ObjectScript classes: there is nothing to set up here."
        elif error.status_code == 404:
            sentence = f"there is nothing at {request.url.path}."
        elif error.status_code == 405:
            sentence = f"{request.method} is not known at {request.url.path}."
        return self._answer(request, error.status_code, sentence, dict(error.headers or {}))

    async def half_a_character(self, request: Request, error: Exception) -> Response:
        sentence = "a text holds half a character (a lone surrogate), which cannot be kept: take it out."
        return self._answer(request, 400, sentence)

    async def a_bug(self, request: Request, error: Exception) -> Response:
        # The traceback goes to the output of the process, which is `wattbus.log`.
        # Its text may hold what it was about, such as the values of a statement: that is for who may read the log.
        sentence = f"an unexpected {type(error).__name__}: this is a bug; wattbus.log has more."
        return self._answer(request, 500, sentence)

    def _answer(
        self,
        request: Request,
        status: int,
        sentence: str,
        headers: dict[str, str] | None = None,
        **more: object,
    ) -> Response:
        path = request.url.path
        request.state.refused = sentence  # for the audit
        if "text/html" in request.headers.get("accept", "") and not is_for_programs(path):
            page = self._twins.draw(request, "error.html", problem(status, sentence, path), status)
            page.headers.update(headers or {})
            return page
        told, kind = error_body(path, status, sentence, **more)
        return JSONResponse(told, status, headers, media_type=kind)
