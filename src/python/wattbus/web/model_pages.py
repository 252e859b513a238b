"""The models: what is cached, and the versions of one model with what can be done to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel, Field

from wattbus import words
from wattbus.access import Role
from wattbus.errors import ModelCorrupt
from wattbus.ml.models import Change, ModelFile, ModelStore, ModelVersion, Verification
from wattbus.operations.optimise import OptimiseOperation
from wattbus.store.trainings import TrainingEnergy, TrainingRun, find_trainings, list_trainings
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.optimise_pages import DEFAULT_REQUESTS
from wattbus.web.training_pages import model_of
from wattbus.web.twin import Twins

MOST_VERSIONS = 100
#: Among so many of the newest trainings the one is looked for that made a version which does not say so itself.
_LOOKED_THROUGH = 200


@dataclass(frozen=True)
class ModelRow:
    """A model in the list; its figures are those of the published version."""

    name: str
    versions: int
    published: str | None
    staged: str | None
    size_bytes: int | None  # of all versions
    source: str
    licence: str | None
    accuracy: float | None
    used_by: list[str]
    problem: str = ""


@dataclass(frozen=True)
class ModelsView:
    """All models that have a version."""

    models: list[ModelRow]


@dataclass(frozen=True)
class VersionView:
    """One version: its marks, where it came from, what it costs and can."""

    id: str
    mark: str  # published, staged, or empty
    created_us: int | None
    size_bytes: int | None
    source: str
    revision: str | None
    licence: str | None
    parent: str | None
    note: str
    metrics: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    files: list[ModelFile] = field(default_factory=list)
    training: int | None = None  # the id of the TrainRequest that made it
    energy: TrainingEnergy | None = None
    children: list[str] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True)
class Optimiser:
    """An item that optimises the model, and the page where that is asked for."""

    item: str
    address: str


@dataclass(frozen=True)
class ModelView:
    """A model: its versions, the newest first, the items that name it, and what became of it."""

    name: str
    versions: list[VersionView]
    left_out: int
    published: str | None
    staged: str | None
    rolls_back_to: str | None
    used_by: list[str]
    history: list[Change]
    optimisers: list[Optimiser] = field(default_factory=list)


class OneVersion(BaseModel):
    """Which version."""

    version: str = Field(description="id of the version, such as v0002-0a1b2c3d")


class SomeVersion(BaseModel):
    """Which version, where one is meant."""

    version: str | None = Field(
        default=None, description="id of the version; the published one when left out"
    )


@dataclass(frozen=True)
class Verified:
    """What a comparison of all files with their manifests found."""

    ok: bool
    checks: list[Verification]


@dataclass(frozen=True)
class Done:
    """What was done to a version."""

    model: str
    version: str
    sentence: str


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages."""

    def models() -> ModelsView:
        """List the models that are cached."""
        store, users = desk.models(), _users(desk)
        return ModelsView([_row(store, name, users.get(name, [])) for name in store.names()])

    def model(name: str) -> ModelView:
        """Show a model: its versions with their files, where it is used, what became of it."""
        store = desk.models()
        found = _versions(desk, store, name)
        ids = store.ids(name)
        return ModelView(
            name,
            found,
            len(ids) - len(found),
            store.published(name),
            _staged(store, name),
            store.previous(name),
            _users(desk).get(name, []),
            list(store.history(name)),
            _optimisers(desk, name),
        )

    def verify(name: str) -> Verified:
        """Compare every file of every version with its manifest."""
        checks = desk.models().verify(name)
        return Verified(all(check.ok for check in checks), checks)

    def publish(name: str, body: OneVersion, who: Who) -> Done:
        """Make a version live; the one that it replaces stays, and can be rolled back to."""
        store = desk.models()
        before = store.published(name)
        version = store.publish(name, body.version, by=f"{who.name} in the portal")
        return told(version, who, f"is published and replaces {before or 'none'}")

    def rollback(name: str, who: Who) -> Done:
        """Publish the version again that was published before this one."""
        store = desk.models()
        before = store.published(name)
        return told(store.rollback(name), who, f"is published again, in place of {before}")

    def repair(name: str, body: SomeVersion, who: Who) -> Done:
        """Fetch the missing and the changed files of a version anew, from the same revision and no other."""
        done = desk.models().repair(name, body.version)
        return told(done.version, who, f"is whole, {words.size(done.bytes_fetched)} were fetched")

    def remove(name: str, body: OneVersion, who: Who) -> Done:
        """Remove a version that is neither published nor staged, and that no other one was made from."""
        gone = desk.models().remove(name, body.version)
        return told(gone, who, f"is removed, {words.size(gone.size_bytes)} are free")

    def told(version: ModelVersion, who: Who, what: str) -> Done:
        sentence = f"model {version.name}: {version.id} {what}"
        if desk.running is not None:
            desk.running.bus.log("Info", f"{sentence}; by {who.name} in the portal", "")
        return Done(version.name, version.id, f"{sentence}.")

    def said(done: Any) -> str:
        return str(done.sentence)

    twins.view("/models", "models.html", models, tag="models")
    twins.view("/models/{name}", "model.html", model, tag="models")
    twins.action(
        "/models/{name}/verify", verify, tag="models", said=_verified_words, wrong=lambda done: not done.ok
    )
    twins.action("/models/{name}/publish", publish, tag="models", said=said)
    twins.action("/models/{name}/rollback", rollback, tag="models", said=said)
    twins.action("/models/{name}/repair", repair, tag="models", said=said)
    twins.action("/models/{name}/delete", remove, tag="models", role=Role.ADMIN, said=said)


def _verified_words(done: Any) -> str:
    wrong = [check for check in done.checks if not check.ok]
    if not wrong:
        return f"{words.counted(len(done.checks), 'version')} verified: every file is as its manifest says."
    return "\n".join(f"{check.version} is wrong: {'; '.join(check.problems)}" for check in wrong)


def _users(desk: Desk) -> dict[str, list[str]]:
    """Return of each model the items whose settings name it."""
    production = desk.production()
    users: dict[str, list[str]] = {}
    for item in production.items.values() if production is not None else ():
        named = model_of(item)
        if named is not None:
            users.setdefault(named, []).append(item.name)
    return users


def _optimisers(desk: Desk, name: str) -> list[Optimiser]:
    """Return the items that optimise a model, each with the page that sends requests, this one filled in."""
    production = desk.production()
    items = production.items.values() if production is not None else ()
    body = json.dumps({"to": "auto", "requests": DEFAULT_REQUESTS}, indent=2)
    return [
        Optimiser(
            item.name, "/test?" + urlencode({"item": item.name, "type": "OptimiseRequest", "body": body})
        )
        for item in items
        if issubclass(item.component, OptimiseOperation) and model_of(item) == name
    ]


def _row(store: ModelStore, name: str, used_by: list[str]) -> ModelRow:
    ids, published = store.ids(name), store.published(name)
    try:
        versions = {version.id: version for version in store.versions(name)}
        shown = versions[published or ids[-1]]
    except (ModelCorrupt, KeyError) as error:
        why = (
            str(error)
            if isinstance(error, ModelCorrupt)
            else f"its published version {published} is missing."
        )
        return ModelRow(name, len(ids), published, _staged(store, name), None, "", None, None, used_by, why)
    return ModelRow(
        name,
        len(ids),
        published,
        _staged(store, name),
        sum(version.size_bytes for version in versions.values()),
        shown.source,
        shown.licence,
        shown.metrics.get("accuracy"),
        used_by,
    )


def _staged(store: ModelStore, name: str) -> str | None:
    try:
        staged = store.staged(name)
    except ModelCorrupt:
        return None  # what it points to is gone: there is nothing to publish
    return None if staged is None else staged.id


def _versions(desk: Desk, store: ModelStore, name: str) -> list[VersionView]:
    """Return the newest versions of a model, each with the training that made it."""
    ids = store.ids(name)
    if not ids:
        store.current(name)  # says that there is no such model, and which one is meant
    read: dict[str, ModelVersion | str] = {}
    for version_id in reversed(ids[-MOST_VERSIONS:]):
        try:
            read[version_id] = store.get(name, version_id)
        except ModelCorrupt as error:
            read[version_id] = str(error)
    whole = [version for version in read.values() if isinstance(version, ModelVersion)]
    runs = _runs(desk, name, whole)
    marks = {_staged(store, name): "staged", store.published(name): "published"}
    found = []
    for version_id, version in read.items():
        mark = marks.get(version_id, "")
        if isinstance(version, str):
            found.append(VersionView(version_id, mark, None, None, "", None, None, None, "", problem=version))
            continue
        run = runs.get(version_id)
        found.append(
            VersionView(
                version_id,
                mark,
                version.created_at_us,
                version.size_bytes,
                version.source,
                version.revision,
                version.licence,
                version.parent,
                version.note,
                version.metrics,
                version.facts,
                list(store.files(name, version_id)),
                None if run is None else run.id,
                None if run is None else run.energy,
                [one.id for one in whole if one.parent == version_id],
            )
        )
    return found


def _runs(desk: Desk, name: str, versions: Sequence[ModelVersion]) -> dict[str, TrainingRun]:
    """Return of each version the training that made it: the one it names, else one whose response names it."""
    with desk.reading() as engine:
        if engine is None or not any(version.parent for version in versions):
            return {}
        runs = list_trainings(engine, limit=_LOOKED_THROUGH)
        seen = {run.id for run in runs}
        named = [version.facts.get("message_id") for version in versions]
        older = [one for one in named if isinstance(one, int) and one not in seen]
        runs += find_trainings(engine, older)
    return {run.new_version: run for run in reversed(runs) if run.new_version and run.model == name}
