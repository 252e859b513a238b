"""The pictures of labels to take away: SVG, PNG and PDF, and the badge for a README."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from fastapi.responses import Response

from wattbus.access import Role
from wattbus.errors import UnknownName
from wattbus.labels.badge import draw_badge
from wattbus.labels.face import LabelFace
from wattbus.labels.faces import face_of
from wattbus.labels.history import KIND, get_evaluation
from wattbus.labels.model_face import model_face
from wattbus.labels.picture import draw_label
from wattbus.pictures.files import FORMS, draw
from wattbus.web.desk import Desk
from wattbus.web.roles import needs
from wattbus.web.twin import PROBLEMS, Twins

MODELS, EVALUATIONS = "/energy/models/{name:path}", "/energy/labels/evaluations/{name:path}"
# An SVG has its dark colours in a style sheet of its own, and nothing else: it may load and run nothing.
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
}
_Form = Literal["svg", "png", "pdf"]
_Scale = Annotated[float, Query(gt=0, le=8, description="pixels of a PNG for each unit of the label")]
_Word = Annotated[str, Query(max_length=200)]
_Version = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


def add(twins: Twins, desk: Desk) -> None:
    """Open the addresses. They come before the pages of labels, whose names may hold slashes."""

    def of_model(name: str, revision: str, tier: str) -> LabelFace:
        with desk.reading() as engine:
            return model_face(engine, desk.models(), name, revision=revision, tier=tier)

    def of_evaluation(name: str, version: int | None) -> LabelFace:
        with desk.reading() as engine:
            if engine is None:
                raise UnknownName(KIND, name, [])
            return face_of(get_evaluation(engine, name, version))

    def model_label(
        request: Request, name: str, form: _Form, revision: _Word = "", tier: _Word = "", scale: _Scale = 2.0
    ) -> Response:
        """Return the label of a model's stored attempts as a picture."""
        return _label(request, of_model(name, revision, tier), form, scale)

    def model_badge(request: Request, name: str, revision: _Word = "", tier: _Word = "") -> Response:
        """Return the badge of a model for a README."""
        return _badge(request, of_model(name, revision, tier))

    def evaluation_label(
        request: Request, name: str, form: _Form, version: _Version = None, scale: _Scale = 2.0
    ) -> Response:
        """Return the label of a kept evaluation as a picture."""
        return _label(request, of_evaluation(name, version), form, scale)

    def evaluation_badge(request: Request, name: str, version: _Version = None) -> Response:
        """Return the badge of a kept evaluation for a README."""
        return _badge(request, of_evaluation(name, version))

    for path, function, forms in (
        (MODELS + "/label.{form}", model_label, FORMS),
        (MODELS + "/badge.svg", model_badge, {"svg": FORMS["svg"]}),
        (EVALUATIONS + "/label.{form}", evaluation_label, FORMS),
        (EVALUATIONS + "/badge.svg", evaluation_badge, {"svg": FORMS["svg"]}),
    ):
        _open(twins, path, function, forms)


def _open(twins: Twins, path: str, function: Callable[..., Any], forms: dict[str, str]) -> None:
    options: dict[str, Any] = {"methods": ["GET"], "dependencies": [needs(Role.VIEWER)]}
    twins.pages.add_api_route(path, function, **options)
    drawn = {"description": "The picture.", "content": {media_type: {} for media_type in forms.values()}}
    twins.api.add_api_route(
        path,
        function,
        tags=["energy"],
        response_class=Response,
        responses={**PROBLEMS, 200: drawn},
        **options,
    )


def _label(request: Request, face: LabelFace, form: str, scale: float) -> Response:
    return Response(
        draw(draw_label(face, str(request.base_url)), form, scale), media_type=FORMS[form], headers=_HEADERS
    )


def _badge(request: Request, face: LabelFace) -> Response:
    return Response(
        draw(draw_badge(face, str(request.base_url)), "svg"), media_type=FORMS["svg"], headers=_HEADERS
    )
