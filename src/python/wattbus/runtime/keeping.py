"""Keep a document from a command: by the process that runs on the home, since its store has one writer, or here."""

from __future__ import annotations

from typing import Any

from wattbus.errors import NotRunning
from wattbus.home import Home
from wattbus.runtime import control
from wattbus.store.documents import Document, document, save_document
from wattbus.store.item_settings import looked_at, opened


def keep_document(
    home: Home, store_url: str | None, kind: str, name: str, content: dict[str, Any], by: str = "CLI"
) -> Document:
    """Keep ``content`` as the next version of a document, and return that version."""
    if control.server_of(home) is None:
        with opened(home, store_url) as engine:
            return save_document(engine, kind, name, content, by)
    kept = control.call(home, "documents", act="save", kind=kind, document=name, content=content, by=by)
    with looked_at(home, store_url) as reader:
        if reader is None:
            raise NotRunning(f"the store of {home.root} cannot be read: see `wattbus log`.")
        return document(reader, kind, kept["name"], kept["version"])
