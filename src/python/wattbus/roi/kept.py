"""Analyses that are kept: documents of the kind ``roi-analysis``, each under a name, with all its versions."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy import Engine

from wattbus.errors import StoreError, UnknownName
from wattbus.roi.analysis import KIND, Analysis
from wattbus.store.documents import (
    Document,
    document,
    document_versions,
    forget_document,
    list_documents,
    save_document,
)


@dataclass(frozen=True)
class Kept:
    """One version of an analysis, with when and by whom it was saved."""

    analysis: Analysis
    version: int
    made_us: int
    made_by: str

    @property
    def name(self) -> str:
        return self.analysis.given.name


def save_analysis(engine: Engine, analysis: Analysis, by: str = "") -> Kept:
    """Keep an analysis as the next version of its name."""
    return _kept(
        save_document(
            engine, KIND, analysis.given.name, analysis.model_dump(mode="json", exclude_none=True), by
        )
    )


def kept_analysis(engine: Engine, name: str, version: int | None = None) -> Kept:
    """Return the newest version of an analysis, or the one that is asked for."""
    try:
        return _kept(document(engine, KIND, name, version))
    except UnknownName as error:
        raise _told(error) from None


def kept_versions(engine: Engine, name: str) -> list[Kept]:
    """Return all versions of an analysis, the newest first."""
    return [_kept(one) for one in document_versions(engine, KIND, name)]


def list_analyses(engine: Engine) -> list[Kept]:
    """Return the newest version of each analysis, the one that was saved last first."""
    return [_kept(one) for one in list_documents(engine, KIND)]


def forget_analysis(engine: Engine, name: str) -> int:
    """Forget an analysis with all its versions, and return how many there were."""
    try:
        return forget_document(engine, KIND, name)
    except UnknownName as error:
        raise _told(error) from None


def _told(error: UnknownName) -> UnknownName:
    """Return the error in the words of people: the kind of a document is none."""
    return UnknownName(
        error.kind.replace(KIND, "analysis"),
        error.name,
        error.known,
        "" if error.known else "None is kept yet.",
    )


def _kept(found: Document) -> Kept:
    try:
        analysis = Analysis.model_validate(found.content)
    except ValidationError as error:
        raise StoreError(
            f"version {found.version} of the analysis {found.name!r} was written by another release and cannot be read "
            f"here ({error.error_count()} fields differ): save it again, or forget it."
        ) from error
    return Kept(analysis, found.version, found.made_us, found.made_by)
