"""The evaluations that are kept: each under a name, every one of them with the grades that it got then."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from sqlalchemy import Engine

from wattbus.labels.evaluate import Evaluation, evaluation_from_content
from wattbus.store.documents import (
    LONGEST_NAME,
    Document,
    document,
    document_versions,
    list_documents,
    save_document,
)

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
    return kept(save_document(engine, KIND, name.strip() or name_of(evaluation), evaluation.to_content(), by))


def name_of(evaluation: Evaluation) -> str:
    """Return the name under which an evaluation is kept where nobody gives one."""
    subject = evaluation.figures.model or evaluation.figures.name
    return f"{subject} {evaluation.profile}"[:LONGEST_NAME]


def list_evaluations(engine: Engine, *, limit: int = 200) -> list[KeptEvaluation]:
    """Return the newest evaluation of each name, the one that was made last first."""
    return [kept(one) for one in list_documents(engine, KIND, limit=limit)]


def get_evaluation(engine: Engine, name: str, version: int | None = None) -> KeptEvaluation:
    """Return an evaluation as it was graded: the newest of its name, or the version that is asked for."""
    return kept(document(engine, KIND, name, version))


def evaluation_versions(engine: Engine, name: str) -> list[KeptEvaluation]:
    """Return all evaluations under a name, the newest first."""
    return [kept(one) for one in document_versions(engine, KIND, name)]


def kept(one: Document) -> KeptEvaluation:
    """Return what a document of this kind holds."""
    return KeptEvaluation(
        one.name, one.version, one.made_us, one.made_by, evaluation_from_content(one.content)
    )
