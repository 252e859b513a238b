"""Twins: one function, two ways in: a page for people, and its JSON under ``/api/v1`` for programs.

A *view* is a function that returns a frozen dataclass or a pydantic model; its page draws that value with a template,
its twin sends it as JSON. An *action* is a function that takes one pydantic model and changes something; a page sends
it the fields of a form and goes back to where it came from, its twin a JSON body. So a page can show and do nothing
that a program cannot, and both say the same sentence where something is wrong.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any, get_type_hints
from urllib.parse import quote, unquote, urlsplit

from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from wattbus.access import Role
from wattbus.errors import BadRequest, WattbusError
from wattbus.runtime.parsing import validation_sentence
from wattbus.web.drawing import Drawing
from wattbus.web.roles import Asking, needs

API = "/api/v1"
#: What every route of the API may answer in place of what was asked for; see :func:`wattbus.web.shapes.problem`.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "What was wrong, as problem+json (RFC 9457); `detail` is a sentence for people.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
#: A whole number that a column of a database holds; a larger one is refused before it gets there.
_WHOLE = Field(ge=-(2**63), le=2**63 - 1)
#: A parameter of a path: the id of a message or a session.
MessageId = Annotated[int, Path(ge=1, le=2**63 - 1)]
#: A parameter of a query: where a page of a list begins.
PageId = Annotated[int | None, Query(ge=0, le=2**63 - 1)]
_SAID = "wattbus_said"


class Twins:
    """The pages and the API of one door."""

    def __init__(self, drawing: Drawing) -> None:
        self.pages, self.api = APIRouter(include_in_schema=False), APIRouter(prefix=API)
        self._drawing = drawing

    def view(
        self,
        path: str,
        template: str,
        function: Callable[..., Any],
        *,
        role: Role = Role.VIEWER,
        tag: str = "portal",
        api: str | None = None,
        misread: Callable[..., Any] | None = None,
    ) -> None:
        """Open a page at ``path`` and its JSON at ``/api/v1`` + ``api`` (by default the same path).

        ``function`` is called with its query and path parameters, as FastAPI reads them from its signature. Where it
        raises BadRequest, ``misread`` is called with the error and the same parameters, and the page shows what it
        returns: so a form keeps what was typed.
        """
        signature = _resolved(function)

        async def page(request: Request, **values: Any) -> Response:
            try:
                view = await run_in_threadpool(function, **values)
            except BadRequest as error:
                if misread is None:
                    raise
                return self.draw(request, template, await run_in_threadpool(misread, error, **values), 400)
            return self.draw(request, template, view)

        page.__signature__ = _with_request(signature)  # type: ignore[attr-defined]
        self.pages.add_api_route(path, page, methods=["GET"], dependencies=[needs(role)], name=template)
        self._add_json(api or path, function, "GET", signature, role, tag)

    def read(
        self, path: str, function: Callable[..., Any], *, role: Role = Role.VIEWER, tag: str = "portal"
    ) -> None:
        """Open what only programs read, under ``/api/v1``: a view without a page."""
        self._add_json(path, function, "GET", _resolved(function), role, tag)

    def action(
        self,
        path: str,
        function: Callable[..., Any],
        *,
        role: Role = Role.OPERATOR,
        tag: str = "portal",
        then: str | Callable[[Any], str] = "",
        said: str | Callable[[Any], str] = "",
        wrong: Callable[[Any], bool] = lambda _: False,
        api: str | None = None,
        method: str = "POST",
        shows: str = "",
        again: tuple[str, Callable[..., Any]] | None = None,
    ) -> None:
        """Open an action for forms at ``path`` and for programs at ``/api/v1`` + ``api``.

        ``function`` takes a pydantic model as ``body`` (or nothing), path parameters by name, and the asker where it
        has a parameter ``who``. After a form the browser goes to ``then`` (by default where it was), and ``said``
        stands there as a sentence; both may be made of what the function returns, and ``wrong`` tells whether that is
        bad news. With ``shows``, a template, the answer is a page of what it returns: for what is seen once. ``again``
        is a template and a function of the sentence, the fields and the path parameters, whose page is shown where the
        form is wrong: so that what was typed is kept.
        """
        signature = _resolved(function)
        model = signature.parameters["body"].annotation if "body" in signature.parameters else None

        async def form(request: Request) -> Response:
            back = local_path(
                str((await request.form()).get("back", "")) or request.headers.get("referer", "")
            )
            fields = {} if model is None else await _fields(request, model)
            places: dict[str, Any] | None = None
            try:
                places = _places(request, signature)
                values = dict(places)
                if model is not None:
                    values["body"] = model.model_validate(fields)
                if "who" in signature.parameters:
                    values["who"] = request.state.who
                done = await run_in_threadpool(function, **values)
            except (ValidationError, WattbusError) as error:
                sentence = (
                    validation_sentence("the form", error)
                    if isinstance(error, ValidationError)
                    else str(error)
                )
                request.state.refused = sentence  # for the audit: a form goes back all the same
                if again is None or places is None:
                    return self.back(back, sentence, wrong=True)
                view = await run_in_threadpool(again[1], sentence, fields, **places)
                return self.draw(request, again[0], view, 422)
            _tell(request, done)
            if shows:
                return self.draw(request, shows, done)
            where = then(done) if callable(then) else then
            return self.back(where or back, said(done) if callable(said) else said, wrong=wrong(done))

        summary = _summary(function)
        self.pages.add_api_route(
            path, form, methods=["POST"], dependencies=[needs(role)], name=path, summary=summary
        )
        self._add_json(api or path, function, method, signature, role, tag)

    def _add_json(
        self,
        path: str,
        function: Callable[..., Any],
        method: str,
        signature: inspect.Signature,
        role: Role,
        tag: str,
    ) -> None:
        async def call(_request: Request, **values: Any) -> Any:
            done = await run_in_threadpool(function, **values)
            _tell(_request, done)
            return JSONResponse(plain(done))

        parameters = [
            parameter.replace(annotation=Asking, default=inspect.Parameter.empty)
            if parameter.name == "who"
            else parameter
            for parameter in signature.parameters.values()
        ]
        request = inspect.Parameter("_request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)
        call.__signature__ = signature.replace(parameters=[request, *_keyword_only(parameters)])  # type: ignore[attr-defined]
        call.__doc__ = function.__doc__
        shape = signature.return_annotation
        typed = isinstance(shape, type) and (issubclass(shape, BaseModel) or is_dataclass(shape))
        self.api.add_api_route(
            path,
            call,
            methods=[method],
            dependencies=[needs(role)],
            tags=[tag],
            responses=PROBLEMS,
            name=function.__name__,
            operation_id=re.sub(r":\w+|[{}]", "", f"{method.lower()}{path}").replace("/", "_"),
            response_model=shape if typed else None,
            summary=_summary(function),
        )

    def share(self, **functions: Any) -> None:
        """Give the templates functions of a part under these names."""
        self._drawing.share(**functions)

    # -- answers ------------------------------------------------------------------------------------------------

    def draw(
        self, request: Request, template: str, view: Any, status: int = 200, **more: Any
    ) -> HTMLResponse:
        """Return a page."""
        said = request.cookies.get(_SAID)
        told = _told(said) if said else None
        answer = HTMLResponse(self._drawing.page(request, template, view, told, **more), status)
        if said:
            answer.delete_cookie(_SAID)
        return answer

    @staticmethod
    def back(where: str, sentence: str, *, wrong: bool = False) -> RedirectResponse:
        """Send a browser on after a form; the sentence stands on the page that it comes to."""
        answer = RedirectResponse(where or "/", 303)
        if sentence:
            told = quote(json.dumps({"text": sentence[:1500], "wrong": wrong}), safe="")
            answer.set_cookie(_SAID, told, max_age=60, httponly=True, samesite="strict")
        return answer


def _told(cookie: str) -> dict[str, Any] | None:
    """Return the sentence of the action before; a cookie may come from elsewhere on this machine, and hold anything."""
    try:
        read = json.loads(unquote(cookie))
    except (ValueError, RecursionError):
        return None
    if not isinstance(read, dict) or not isinstance(read.get("text"), str):
        return None
    return {"text": read["text"], "wrong": bool(read.get("wrong"))}


def plain(value: Any) -> Any:
    """Return JSON-safe values of dataclasses, models, tuples and mappings."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(part) for part in value]
    if isinstance(value, float) and value - value != 0:
        return None  # infinity and NaN are no JSON
    return value


def _places(request: Request, signature: inspect.Signature) -> dict[str, Any]:
    """Return the path parameters as the function wants them."""
    return {
        name: TypeAdapter(signature.parameters[name].annotation).validate_python(value)
        for name, value in request.path_params.items()
    }


async def _fields(request: Request, model: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of a form as the model wants them; an empty field is one that was left out."""
    form = await request.form()
    fields: dict[str, Any] = {}
    for name in form:
        if name in ("csrf", "back"):
            continue
        values = [value for value in form.getlist(name) if value != ""]
        known = model.model_fields.get(name)
        many = known is not None and str(known.annotation).startswith(("list", "tuple"))
        if values:
            fields[name] = values if many else values[-1]
    return fields


def _tell(request: Request, done: Any) -> None:
    """Leave for the audit what an action says that it did."""
    request.state.done = str(getattr(done, "sentence", ""))


def _summary(function: Callable[..., Any]) -> str:
    return (function.__doc__ or function.__name__).strip().splitlines()[0]


def local_path(address: str) -> str:
    """Return a path of this door out of an address that a client names; never another host's."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "/"
    path = "/" + parts.path.lstrip("/\\")
    return path + (f"?{parts.query}" if parts.query else "")


def _resolved(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature with its annotations as objects: FastAPI would look for the names in this module."""
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=_bounded(hints.get(parameter.name, parameter.annotation)))
        for parameter in signature.parameters.values()
    ]
    return signature.replace(parameters=parameters, return_annotation=hints.get("return", Any))


def _bounded(annotation: Any) -> Any:
    """Return the annotation of a parameter with the bounds of 64 bits, where it is a whole number."""
    return Annotated[annotation, _WHOLE] if annotation in (int, int | None) else annotation


def _keyword_only(parameters: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]


def _with_request(signature: inspect.Signature) -> inspect.Signature:
    request = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Request)
    others = _keyword_only([one for one in signature.parameters.values() if one.name != "request"])
    return signature.replace(parameters=[request, *others], return_annotation=Response)
