"""Brings a model into its folder, once: from the user's own folder, an installed package, or the Hub."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from wattbus import killpoints
from wattbus.errors import ModelError, ModelNotCached, Refused
from wattbus.home import make_owner_folder, sync_folder
from wattbus.ml import manifest, sources
from wattbus.ml.hub import Hub, Tell, megabytes
from wattbus.ml.plan import Plan
from wattbus.ml.versions import ModelFolder, ModelVersion, Origin

FindTwin = Callable[[str], ModelVersion | None]


class Fetcher:
    """Knows the places that models come from; each method expects the lock of the model's folder to be held."""

    def __init__(
        self, root: Path, own_folders: tuple[Path, ...], hub: Hub, free_bytes: Callable[[Path], int]
    ) -> None:
        self._root = root
        self._own_folders = (*own_folders, root)
        self._hub = hub
        self._free_bytes = free_bytes

    @property
    def endpoint(self) -> str:
        """The address of the Hub."""
        return self._hub.endpoint

    def own_folder(self, name: str) -> Path | None:
        """Return the folder of the user's own model of this name, or None."""
        return sources.own_folder(name, self._own_folders)

    def place_for(self, name: str) -> Path:
        """Return where a user may put a model of this name."""
        return self._own_folders[0] / name

    def bring(
        self, folder: ModelFolder, source: sources.Source | None, tell: Tell, twin: FindTwin
    ) -> tuple[ModelVersion, int]:
        """Make the first version of a model; return it and the bytes that came.

        A folder of the user's own goes first, for it costs nothing. ``twin`` finds a sound version of another name
        with the same source.
        """
        own = self.own_folder(folder.name)
        if own is not None:
            return self._from_folder(folder, own, Origin("folder"), tell)
        if isinstance(source, sources.HubSource):
            return self._from_hub(folder, source, tell, twin)
        if isinstance(source, sources.PackageSource):
            return self._from_package(folder, source, tell)
        raise ModelNotCached(f"the model {folder.name} was in {self.place_for(folder.name)}, and is gone.")

    def again(
        self, folder: ModelFolder, origin: sources.Source, version: ModelVersion, aside: Path, tell: Tell
    ) -> tuple[Path, int]:
        """Return a folder with all files of a version, the damaged ones fetched anew, and the bytes that came."""
        if isinstance(origin, sources.PackageSource):
            return aside, sources.copy_model(sources.package_folder(origin)[0], aside)[0]
        plan = self._hub.plan(origin, tell)
        sources.link_sound(
            version.path, manifest.read_manifest(version.path)["files"], folder.partial(plan.commit)
        )
        return self._fetched(folder, plan, tell)

    def _from_folder(
        self, folder: ModelFolder, own: Path, origin: Origin, tell: Tell
    ) -> tuple[ModelVersion, int]:
        tell(f"model {folder.name}: copying it from {own}")
        with folder.aside() as aside:
            self._check_room(
                folder.name, sum(path.stat().st_size for path in own.glob("*") if path.is_file())
            )
            count, left_out = sources.copy_model(own, aside)
            licence = sources.card_licence(own) or origin.licence
            facts = {"left_out": left_out} if left_out else {}
            version = folder.adopt(
                aside, Origin(origin.source, origin.revision, licence=licence, facts=facts)
            )
        return version, count

    def _from_package(
        self, folder: ModelFolder, source: sources.PackageSource, tell: Tell
    ) -> tuple[ModelVersion, int]:
        path, found, licence = sources.package_folder(source)
        origin = Origin(f"pkg:pypi/{source.distribution}@{found}", found, licence=licence)
        return self._from_folder(folder, path, origin, tell)

    def _from_hub(
        self, folder: ModelFolder, source: sources.HubSource, tell: Tell, find_twin: FindTwin
    ) -> tuple[ModelVersion, int]:
        try:
            plan = self._hub.plan(source, tell)
        except ModelNotCached as error:
            raise ModelNotCached(
                f"{error}: connect to the network, or copy the model's folder to {self._root / folder.name} "
                f"(config.json, *.safetensors, tokenizer), and start again."
            ) from None
        origin = Origin(
            source.named(plan.commit), plan.commit, licence=plan.licence, facts=_fetch_facts(plan, 0, None)
        )
        twin = find_twin(origin.source)
        if twin is not None:
            tell(f"model {folder.name}: the same revision is here as {twin.name} {twin.id}")
            with folder.aside() as aside:
                sources.copy_model(twin.path, aside)
                return folder.adopt(aside, origin), 0
        began = time.monotonic()
        part, count = self._fetched(folder, plan, tell)
        facts = _fetch_facts(plan, count, time.monotonic() - began)
        if killpoints.ARMED:
            killpoints.reached("download.after-files")
        try:
            return folder.adopt(part, replace(origin, facts=facts)), count
        finally:
            shutil.rmtree(folder.path / "partial", ignore_errors=True)

    def _fetched(self, folder: ModelFolder, plan: Plan, tell: Tell) -> tuple[Path, int]:
        """Return the folder with every file of ``plan``, and the bytes received for it."""
        part = folder.partial(plan.commit)
        # Of one who was killed between sealing the folder and giving it its place.
        (part / manifest.MANIFEST).unlink(missing_ok=True)
        here = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
        self._check_room(folder.name, plan.total_bytes - here)
        tell(f"model {folder.name}: fetching {megabytes(plan.total_bytes - here)} of {plan.repo_id}")
        try:
            return part, self._hub.fetch(plan, part, tell, manifest.check_file)
        except (Refused, OSError):
            # nothing of this can be used again, or there is no room for it
            shutil.rmtree(part, ignore_errors=True)
            raise

    def _check_room(self, name: str, needed_bytes: int) -> None:
        free = self._free_bytes(make_owner_folder(self._root))
        if needed_bytes > free:
            raise ModelError(
                f"the model {name} needs {megabytes(needed_bytes)}, {megabytes(free)} are free in {self._root}: "
                "free some space, or set WATTBUS_HOME to a larger disk."
            )


def _fetch_facts(plan: Plan, fetched_bytes: int, seconds: float | None) -> dict[str, Any]:
    """Return what a version keeps of its fetch: what came, what it needs, and what its repository lists in all."""
    return {
        "fetched_bytes": fetched_bytes,
        "needed_bytes": plan.total_bytes,
        "listed_bytes": plan.listed_bytes,
        "listed_formats": list(plan.formats),
        "fetch_seconds": seconds,
    }


@contextmanager
def said_when_full(root: Path, name: str) -> Iterator[None]:
    """Say in words that the disk is full or not ours; what was begun is removed by then."""
    try:
        make_owner_folder(root)
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise ModelError(
                f"{error.filename or root} cannot be written ({error.strerror}), the model {name} is as it was: "
                "set WATTBUS_HOME to a folder that you own."
            ) from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ModelError(
            f"the disk of {root} is full, the model {name} is as it was: free some space, and try again."
        ) from error


def replace_files(fresh: Path, target: Path, files: dict[str, dict[str, Any]]) -> None:
    """Put the files of ``fresh`` in place, one by one and each whole; remove what does not belong there."""
    known = {target / name for name in files} | {target / manifest.MANIFEST}
    for path in [
        path for path in target.rglob("*") if (path.is_symlink() or path.is_file()) and path not in known
    ]:
        path.unlink()
    for name in files:
        (fresh / name).chmod(manifest.READ_ONLY)
        manifest.sync_file(fresh / name)
        (target / name).parent.mkdir(mode=0o700, exist_ok=True)
        os.replace(fresh / name, target / name)
        sync_folder((target / name).parent)
