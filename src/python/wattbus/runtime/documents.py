"""Documents that a command keeps or forgets: by the process that runs on the home, since its store has one writer."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import Engine

from wattbus.errors import NotRunning, UnknownName
from wattbus.home import Home
from wattbus.runtime.control import call
from wattbus.store.database import holder_of
from wattbus.store.documents import Document, forget_document, save_document
from wattbus.store.item_settings import opened

#: The name of the call on the control socket.
CALL = "documents"


def keep_document(
    home: Home, store_url: str | None, kind: str, name: str, content: dict[str, Any], by: str = "CLI"
) -> Document:
    """Keep ``content`` as the next version of a document, and return that version."""
    return Document(
        **_asked(home, store_url, action="keep", kind=kind, document=name, content=content, by=by)
    )


def drop_document(home: Home, store_url: str | None, kind: str, name: str) -> int:
    """Forget a document with all its versions, and return how many there were."""
    return int(_asked(home, store_url, action="forget", kind=kind, document=name)["versions"])


def perform(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    """Do what was asked of the process that may write the store."""
    action, kind, name = str(request["action"]), str(request["kind"]), str(request["document"])
    if action == "keep":
        kept = save_document(engine, kind, name, dict(request["content"]), str(request["by"]))
        return dataclasses.asdict(kept)
    if action == "forget":
        return {"versions": forget_document(engine, kind, name)}
    raise UnknownName("action", action, ("keep", "forget"))


def _asked(home: Home, store_url: str | None, **request: Any) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = call(home, CALL, **request)
    except NotRunning:
        if holder_of(home) is not None:
            raise
        with opened(home, store_url) as engine:
            answer = perform(engine, request)
    return answer
