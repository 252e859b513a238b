"""The evaluations that are kept: each under a name, every one of them with the grades that it got then."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from sqlalchemy import Engine

from wattbus.labels.evaluate import Evaluation, evaluation_from_content
from wattbus.store.documents import Document, document, document_versions, list_documents, save_document

KIND = "label"


@dataclass(frozen=True)
class KeptEvaluation:
    """One evaluation; a later one under the same name is the next version."""

    name: str
    version: int
    made_us: int
    made_by: str
    evaluation: Evaluation

    @property
    def address(self) -> str:
        """Return the path of its page in the portal."""
        return f"/energy/labels/evaluations/{quote(self.name, safe='/')}?version={self.version}"


def save_evaluation(engine: Engine, evaluation: Evaluation, by: str, name: str = "") -> KeptEvaluation:
    """Keep an evaluation; without a name under that of its model, or of its run, with the profile."""
    subject = evaluation.figures.model or evaluation.figures.name
    name = name.strip() or f"{subject} {evaluation.profile}"
    return _kept(save_document(engine, KIND, name, evaluation.to_content(), by))


def list_evaluations(engine: Engine, *, limit: int = 200) -> list[KeptEvaluation]:
    """Return the newest evaluation of each name, the one that was made last first."""
    return [_kept(one) for one in list_documents(engine, KIND, limit=limit)]


def get_evaluation(engine: Engine, name: str, version: int | None = None) -> KeptEvaluation:
    """Return an evaluation as it was graded: the newest of its name, or the version that is asked for."""
    return _kept(document(engine, KIND, name, version))


def evaluation_versions(engine: Engine, name: str) -> list[KeptEvaluation]:
    """Return all evaluations under a name, the newest first."""
    return [_kept(one) for one in document_versions(engine, KIND, name)]


def _kept(one: Document) -> KeptEvaluation:
    return KeptEvaluation(
        one.name, one.version, one.made_us, one.made_by, evaluation_from_content(one.content)
    )
