"""Documents: versioned JSON under a kind and a name, such as a label profile, an analysis or an imported run.

A saved version is never changed: what was graded or reckoned with it can be told again later.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select

from wattbus.clock import SYSTEM
from wattbus.errors import BadRequest, UnknownName
from wattbus.store.database import transaction
from wattbus.store.tables import documents

LONGEST_NAME = 200
LARGEST_BYTES = 4_000_000


@dataclass(frozen=True)
class Document:
    """One version of a document; versions count from 1."""

    kind: str
    name: str
    version: int
    content: dict[str, Any]
    made_us: int
    made_by: str


def save_document(engine: Engine, kind: str, name: str, content: dict[str, Any], by: str = "") -> Document:
    """Keep ``content`` as the next version; the newest version is returned where it says the same already."""
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise BadRequest(
            f"the name {name[:80]!r} cannot be used: give 1 to {LONGEST_NAME} letters, digits or signs."
        )
    text = json.dumps(content, allow_nan=False, sort_keys=True, separators=(",", ":"))
    size = len(text.encode())
    if size > LARGEST_BYTES:
        raise BadRequest(
            f"the {kind} {name!r} is {size:,} bytes long, and {LARGEST_BYTES:,} are kept: make it smaller."
        )
    with transaction(engine) as connection:
        newest = _newest(connection, kind, name)
        if newest is not None and newest.content == json.loads(text):
            return newest
        made = Document(
            kind,
            name,
            1 if newest is None else newest.version + 1,
            json.loads(text),
            SYSTEM.now_us(),
            by[:128],
        )
        connection.execute(
            insert(documents).values(
                kind=kind,
                name=name,
                version=made.version,
                content=text,
                made_us=made.made_us,
                made_by=made.made_by,
            )
        )
    return made


def document(engine: Engine, kind: str, name: str, version: int | None = None) -> Document:
    """Return the newest version of a document, or the one that is asked for."""
    with engine.connect() as connection:
        found = _newest(connection, kind, name, version)
    if found is None:
        known = [one.name for one in list_documents(engine, kind)]
        if version is not None and name in known:
            raise UnknownName(
                f"version of the {kind} {name!r}",
                str(version),
                [str(one.version) for one in document_versions(engine, kind, name)],
            )
        raise _unknown(kind, name, known)
    return found


def document_versions(engine: Engine, kind: str, name: str) -> list[Document]:
    """Return all versions of a document, the newest first."""
    query = (
        select(documents)
        .where(documents.c.kind == kind, documents.c.name == name)
        .order_by(documents.c.version.desc())
    )
    with engine.connect() as connection:
        return [_document(row) for row in connection.execute(query)]


def list_documents(engine: Engine, kind: str, *, limit: int = 1_000) -> list[Document]:
    """Return the newest version of each document of a kind, the one that was saved last first."""
    newest = (
        select(documents.c.name, func.max(documents.c.version).label("version"))
        .where(documents.c.kind == kind)
        .group_by(documents.c.name)
        .subquery()
    )
    query = (
        select(documents)
        .join(newest, (documents.c.name == newest.c.name) & (documents.c.version == newest.c.version))
        .where(documents.c.kind == kind)
        .order_by(documents.c.made_us.desc(), documents.c.name)
        .limit(limit)
    )
    with engine.connect() as connection:
        return [_document(row) for row in connection.execute(query)]


def forget_document(engine: Engine, kind: str, name: str) -> int:
    """Delete a document with all its versions, and return how many there were."""
    which = (documents.c.kind == kind) & (documents.c.name == name)
    with transaction(engine) as connection:
        gone = connection.execute(delete(documents).where(which)).rowcount
    if not gone:
        raise _unknown(kind, name, [one.name for one in list_documents(engine, kind)])
    return gone


def _unknown(kind: str, name: str, known: list[str]) -> UnknownName:
    return UnknownName(kind, name, known, "" if known else "None is kept yet.")


def _newest(connection: Connection, kind: str, name: str, version: int | None = None) -> Document | None:
    query = select(documents).where(documents.c.kind == kind, documents.c.name == name)
    if version is not None:
        query = query.where(documents.c.version == version)
    row = connection.execute(query.order_by(documents.c.version.desc()).limit(1)).first()
    return None if row is None else _document(row)


def _document(row: Any) -> Document:
    return Document(row.kind, row.name, row.version, json.loads(row.content), row.made_us, row.made_by)
