"""What the operations share of the place they run in: the model store, the transport, the training tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import make_url

from wattbus.errors import BadSettings
from wattbus.home import Home
from wattbus.runtime import context
from wattbus.store.tables import metadata

if TYPE_CHECKING:
    from wattbus.ml.models import ModelStore, ModelVersion
    from wattbus.ml.tables import TrainingTables
    from wattbus.transport import Transport


def model_store(own_folder: str = "") -> ModelStore:
    """Return the store of models of this home; ``own_folder`` may hold models that the user brings."""
    from wattbus.ml.hub import Hub
    from wattbus.ml.models import ModelStore

    here = context.place()
    own = Path(own_folder) if own_folder else None
    folders = (own,) if own is not None and own.is_dir() else ()
    return here.resources.get(
        ("model store", folders),
        lambda: ModelStore(here.home.models, own_folders=folders, hub=Hub(here.hub_url)),
    )


def transport() -> Transport:
    """Return the guarded way out, with the private hosts that the configuration allows."""
    from wattbus.transport import Transport

    here = context.place()
    return here.resources.get("transport", lambda: Transport(here.allow_hosts, here.resolver))


def training_tables(url: str = "") -> TrainingTables:
    """Return the tables that trainings read: of ``url``, by default those of the configuration.

    The product's own tables are not among them, also where they share a database with the user's.
    """
    here = context.place()
    return tables_beside(here.home, here.store_url, url or tables_url())


def tables_beside(home: Home, store_url: str | None, address: str) -> TrainingTables:
    """Return the tables of a database without those of the store of ``home``, where that lies in it as well."""
    from wattbus.ml.tables import TrainingTables

    shared = _are_one(store_url or f"sqlite:///{home.store_file}", address)
    return TrainingTables(address, private=frozenset(metadata.tables) if shared else frozenset())


def _are_one(store_url: str, address: str) -> bool:
    from wattbus.ml.tables import parse_url

    ours, theirs = make_url(store_url), parse_url(address)
    return (ours.host, ours.port, ours.database) == (theirs.host, theirs.port, theirs.database)


def tables_url() -> str:
    """Return the address of the database of training tables."""
    here = context.place()
    return here.tables_url or f"sqlite:///{here.home.tables_file}"


def page_of(models: ModelStore, version: ModelVersion) -> str | None:
    """Return the public address of the model that a version was made from, pinned; None for a folder of the user's."""
    while version.parent is not None:
        version = models.get(version.name, version.parent)
    if version.source.startswith("https://"):
        address, _, revision = version.source.rpartition("@")
        return f"{address}/tree/{revision}" if address else version.source
    return version.source if version.source.startswith("pkg:") else None


def check_trained_for(models: ModelStore, version: ModelVersion, task: str) -> None:
    """Refuse, with BadSettings, a version that was trained here for another task than ``task``.

    The vectors of an encoder are of use whatever it was trained for, and zero-shot models are text classifiers.
    """
    from wattbus.ml.pipeline_tasks import find_task

    asked = find_task(task).name
    trained = version
    while "task" not in trained.facts and trained.parent is not None:
        trained = models.get(trained.name, trained.parent)
    made_for = trained.facts.get("task", asked)
    if made_for == asked or asked in _ALSO.get(made_for, _VECTORS):
        return
    raise BadSettings(
        f"the version {version.id} of the model {version.name} was trained for {made_for} and the item asks for "
        f"{asked}: set task={made_for}, or publish another version, or roll back with `wattbus models rollback "
        f"{version.name}`."
    )


_VECTORS = frozenset({"feature-extraction", "image-feature-extraction"})
_ALSO = {"text-classification": _VECTORS | {"zero-shot-classification"}}
