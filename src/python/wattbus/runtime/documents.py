"""Changes of kept documents, by the process that may write the store."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import Engine

from wattbus.errors import NotRunning, UnknownName
from wattbus.home import Home
from wattbus.runtime.control import call
from wattbus.store.database import holder_of
from wattbus.store.documents import forget_document, save_document
from wattbus.store.item_settings import opened

#: The name of the call on the control socket.
CALL = "documents"


def perform(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    """Save or forget a document, and answer what is kept now."""
    action, kind, name = str(request["action"]), str(request["kind"]), str(request["document"])
    if action == "save":
        made = save_document(engine, kind, name, dict(request["content"]), str(request.get("by") or "CLI"))
        return dataclasses.asdict(made)
    if action == "forget":
        return {"versions": forget_document(engine, kind, name)}
    raise UnknownName("action", action, ("save", "forget"))


def change_document(home: Home, store_url: str | None, **request: Any) -> dict[str, Any]:
    """Have the process of a home change a document, or do it here where none runs."""
    try:
        answer: dict[str, Any] = call(home, CALL, **request)
    except NotRunning:
        if holder_of(home) is not None:
            raise
        with opened(home, store_url) as engine:
            answer = perform(engine, request)
    return answer
