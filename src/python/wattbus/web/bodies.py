"""Bodies as pages show them: the beginning as text, the fields as a table, the pictures that a response names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response, StreamingResponse

from wattbus.access import Role
from wattbus.errors import BadRequest, UnknownName
from wattbus.store.queries import message_body, message_header
from wattbus.store.single import body_part
from wattbus.web.desk import Desk
from wattbus.web.roles import needs
from wattbus.web.twin import MessageId, Twins

#: Of a longer body so many characters are shown; the rest can be downloaded.
SHOWN = 200_000
_MOST_FIELDS, _LONGEST_VALUE, _MOST_PICTURES = 200, 2_000, 24
_PIECE = 64_000
_PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


@dataclass(frozen=True)
class Field:
    """One field of a body."""

    name: str
    value: str
    is_text: bool  # False: it is JSON


@dataclass(frozen=True)
class ShownBody:
    """The body of a message."""

    text: str
    size_bytes: int
    whole: bool
    fields: list[Field]
    pictures: list[str]


def shown_body(desk: Desk, message_id: int) -> ShownBody | None:
    """Read as much of a body as a page shows; None where the message has none."""
    with desk.store() as engine:
        part = body_part(engine, desk.home.bodies, message_id, SHOWN)
    if part is None:
        return None
    value = _parsed(part.text) if part.whole else None
    return ShownBody(part.text, part.size_bytes, part.whole, fields_of(value), pictures_of(value))


def fields_of(value: Any) -> list[Field]:
    """Return the fields of an object, or the places of a list."""
    pairs: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        pairs = iter(value.items())
    elif isinstance(value, list):
        pairs = iter(enumerate(value))
    return [_field(str(name), one) for (name, one), _ in zip(pairs, range(_MOST_FIELDS), strict=False)]


def pictures_of(value: Any) -> list[str]:
    """Return the names of pictures in a response; whether they are there is seen when they are asked for."""
    named = value.get("pictures") if isinstance(value, dict) else None
    if not isinstance(named, list):
        return []
    return [name for name in named if isinstance(name, str) and _is_picture(name)][:_MOST_PICTURES]


def add(twins: Twins, desk: Desk) -> None:
    """Open the downloads of bodies and pictures."""
    for router, described in ((twins.pages, False), (twins.api, True)):
        _add(router, desk, described)


def _add(router: APIRouter, desk: Desk, described: bool) -> None:
    @router.get(
        "/messages/{message_id}/body",
        dependencies=[needs(Role.OPERATOR)],
        tags=["messages"],
        include_in_schema=described,
        response_class=Response,
        responses={200: {"content": {"application/json": {}}, "description": "the body as it is stored"}},
    )
    def body(message_id: MessageId) -> Response:
        """Download the body of a message."""
        with desk.store() as engine:
            header = message_header(engine, message_id)
            text = None if header is None else message_body(engine, desk.home.bodies, header.body_id)
        if text is None:
            raise BadRequest(f"message {message_id} has no body: it has none, or there is no such message.")
        name = f"message-{message_id}.json"
        return StreamingResponse(
            _pieces(text.encode()),
            media_type="application/json",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    if not described:

        @router.get("/pictures/{name}", dependencies=[needs(Role.VIEWER)])
        def picture(name: str) -> Response:
            path = picture_file(desk.home.pictures, name)
            return FileResponse(path, media_type=_PICTURES[path.suffix.lower()])


def picture_file(folder: Path, name: str) -> Path:
    """Return the picture of this name in a folder: one that is there, never one that a name leads to."""
    if _is_picture(name):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name == name and entry.is_file(follow_symlinks=False):
                    return Path(entry.path)
    raise UnknownName("picture", name, ())


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in _PICTURES and Path(name).name == name and not name.startswith(".")


def _field(name: str, value: Any) -> Field:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > _LONGEST_VALUE:
        text = text[:_LONGEST_VALUE] + "…"
    return Field(name, text, isinstance(value, str))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]
