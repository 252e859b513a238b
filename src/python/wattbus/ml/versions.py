"""One model's folder: immutable versions, a pointer to the published one, and a lock that dies with its holder.

<name>/versions/<id>/...   complete versions, each with its manifest.json
<name>/current             {"version": id, "before": [ids published earlier], "by": who}, replaced whole
<name>/staged              {"version": id}, until it is published
<name>/history.jsonl       a line for each change
<name>/partial/<commit>/   what a download left, to go on from
<name>/aside/              versions in the making, each with a lock held by its maker
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wattbus import killpoints
from wattbus.errors import ModelCorrupt, Refused, UnknownName
from wattbus.home import OWNER_FILE, make_owner_folder, sync_folder, write_durably
from wattbus.ml import manifest

CURRENT, STAGED, HISTORY = "current", "staged", "history.jsonl"
MOST_REMEMBERED = 100  # versions to roll back to
KEPT_PARTS_SECONDS = 7 * 24 * 3600
_TELL_SECONDS = 2.0
_HISTORY_BYTES = 20_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", re.ASCII)
_ID = re.compile(r"v\d{4,9}-[0-9a-f]{8}", re.ASCII)
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class ModelVersion:
    """One complete version of a model; its files never change."""

    name: str
    id: str
    path: Path
    created_at_us: int
    source: (
        str  # https://huggingface.co/<repo>@<commit>, pkg:pypi/<name>@<version>, folder, or what staged it
    )
    revision: str | None
    parent: str | None
    size_bytes: int
    licence: str | None
    metrics: dict[str, Any]
    facts: dict[str, Any]
    note: str


@dataclass(frozen=True)
class Change:
    """What became of a version: staged, published, rolled back to, removed."""

    at_us: int
    event: str
    version: str


@dataclass(frozen=True)
class Origin:
    """What a new version's manifest says of where it came from."""

    source: str
    revision: str | None = None
    parent: str | None = None
    licence: str | None = None
    metrics: dict[str, Any] | None = None
    facts: dict[str, Any] | None = None
    note: str = ""


@dataclass(frozen=True)
class Pointer:
    """The published version, and the ones that were published before it, oldest first."""

    version: str
    before: tuple[str, ...] = ()
    by: str | None = None  # who published it, where it may have to be known again after a crash


def check_name(name: str) -> str:
    """Return ``name``; Refused for one that could lead out of the models folder."""
    sound = isinstance(name, str) and _NAME.fullmatch(name) and ".." not in name and not name.endswith(".")
    if not sound or _DEVICES.fullmatch(name):
        raise Refused(
            f"the model name {str(name)[:100]!r} cannot be used: take letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit, 96 at most."
        )
    return name


class ModelFolder:
    """The folder of one model below ``root``; methods that write expect the lock to be held."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = check_name(name)
        self.path = root / name
        self.versions = self.path / "versions"
        for path in (self.path, self.versions):
            if path.is_symlink():
                raise Refused(f"{path} is a link: links are not followed, copy the model itself there.")

    def ids(self) -> list[str]:
        """Return the ids of the complete versions, oldest first."""
        if not self.versions.is_dir():
            return []
        found = (entry for entry in os.scandir(self.versions) if entry.is_dir(follow_symlinks=False))
        return sorted((entry.name for entry in found if _ID.fullmatch(entry.name)), key=_number)

    def read(self, version_id: str) -> ModelVersion:
        """Return a version by its id; UnknownName for one that is not here."""
        path = self.versions / version_id
        if not _ID.fullmatch(version_id) or path.is_symlink() or not path.is_dir():
            raise UnknownName(f"version of the model {self.name}", version_id, self.ids())
        document = manifest.read_manifest(path)
        return ModelVersion(
            name=self.name,
            id=version_id,
            path=path,
            created_at_us=document["created_at_us"],
            source=document["source"],
            revision=document["revision"],
            parent=document["parent"],
            size_bytes=sum(entry["size_bytes"] for entry in document["files"].values()),
            licence=document["licence"],
            metrics=document["metrics"],
            facts=document["facts"],
            note=document["note"],
        )

    def current(self) -> Pointer | None:
        """Return the pointer to the published version, or None when nothing was published."""
        return self._pointer(CURRENT)

    def staged(self) -> Pointer | None:
        """Return the pointer to the version that waits to be published, or None."""
        pointer, current = self._pointer(STAGED), self._pointer(CURRENT)
        # A crash between publication and the removal of this pointer leaves it behind.
        return None if pointer is None or (current and current.version == pointer.version) else pointer

    def point(self, pointer: Pointer, event: str) -> None:
        """Publish a version: from here on readers get it, and a crash leaves the old or the new one."""
        self._write(pointer)
        self._note(event, pointer.version)

    def _write(self, pointer: Pointer) -> None:
        document: dict[str, Any] = {
            "version": pointer.version,
            "before": list(pointer.before[-MOST_REMEMBERED:]),
        }
        if pointer.by is not None:
            document["by"] = pointer.by
        write_durably(self.path / CURRENT, json.dumps(document).encode())

    def stage(self, version_id: str) -> None:
        """Let a version wait for its publication."""
        write_durably(self.path / STAGED, json.dumps({"version": version_id}).encode())
        self._note("staged", version_id)

    def unstage(self) -> None:
        """Forget what is staged; the version itself stays."""
        (self.path / STAGED).unlink(missing_ok=True)
        sync_folder(self.path)

    def remove(self, version_id: str) -> None:
        """Remove a version, also from what can be rolled back to; a crash leaves it whole or gone."""
        current = self.current()
        if current is not None and version_id in current.before:
            before = tuple(one for one in current.before if one != version_id)
            self._write(Pointer(current.version, before, current.by))
        with self.aside() as aside:
            os.rename(self.versions / version_id, aside / version_id)
            sync_folder(self.versions)
            self._note("removed", version_id)

    def parent_of(self, version_id: str) -> str | None:
        """Return the version that one was made from; None where its manifest names none, or cannot be read."""
        try:
            return self.read(version_id).parent
        except ModelCorrupt:
            return None

    def history(self) -> list[Change]:
        """Return what became of the versions, the oldest first; of a long history the end."""
        file = self.path / HISTORY
        if file.is_symlink() or not file.is_file():
            return []
        with file.open("rb") as lines:
            lines.seek(max(0, file.stat().st_size - _HISTORY_BYTES))
            text = lines.read(_HISTORY_BYTES).decode(errors="replace")
        return [change for line in text.splitlines() if (change := _change(line)) is not None]

    def adopt(self, folder: Path, origin: Origin) -> ModelVersion:
        """Check ``folder``, seal it with a manifest, and move it among the versions.

        A crash at any step leaves the versions as they were. Content that a sound version has already is that version.
        """
        files = manifest.describe(folder, manifest.check_folder(folder))
        known = self._with_content(files)
        if known is not None:
            return self.read(known)
        number = max((_number(one) for one in self.ids()), default=0) + 1
        version_id = f"v{number:04d}-{manifest.fingerprint(files)[:8]}"
        document = {
            "format": 1,
            "name": self.name,
            "id": version_id,
            "created_at_us": time.time_ns() // 1000,
            "source": origin.source,
            "revision": origin.revision,
            "parent": origin.parent,
            "licence": origin.licence,
            "metrics": origin.metrics or {},
            "facts": origin.facts or {},
            "note": origin.note,
            "files": files,
        }
        manifest.seal(folder, document)
        make_owner_folder(self.versions)
        if killpoints.ARMED:
            killpoints.reached("version.before-rename")
        os.rename(folder, self.versions / version_id)
        sync_folder(self.versions)
        sync_folder(self.path)
        if killpoints.ARMED:
            killpoints.reached("version.after-rename")
        return self.read(version_id)

    def _with_content(self, files: dict[str, dict[str, Any]]) -> str | None:
        """Return the version that has exactly these files, whole on the disk, or None."""
        digest = manifest.fingerprint(files)
        for version_id in self.ids():
            if not version_id.endswith(f"-{digest[:8]}"):
                continue
            try:
                listed = manifest.read_manifest(self.versions / version_id)["files"]
            except ModelCorrupt:
                continue
            if manifest.fingerprint(listed) == digest and not manifest.content_problems(
                self.versions / version_id, listed
            ):
                return version_id
        return None

    @contextmanager
    def locked(self, tell: Callable[[str], object] = lambda text: None) -> Iterator[None]:
        """Hold the model's lock, against threads and processes; the system releases it when the holder dies."""
        make_owner_folder(self.path)
        lock = FileLock(self.path / "lock", mode=OWNER_FILE)
        while True:
            try:
                lock.acquire(timeout=_TELL_SECONDS)
                break
            except Timeout:
                tell(f"model {self.name}: another one is at work on it, waiting{self._fetched_words()}")
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def aside(self) -> Iterator[Path]:
        """Make a folder to build a version in; it is removed at the end, or by ``clean`` after a crash."""
        nest = make_owner_folder(make_owner_folder(self.path) / "aside")
        path = nest / uuid.uuid4().hex[:12]
        guard = FileLock(path.with_suffix(".lock"), mode=OWNER_FILE)
        with guard:
            path.mkdir(mode=0o700)
            try:
                yield path
            finally:
                shutil.rmtree(path, ignore_errors=True)
                path.with_suffix(".lock").unlink(missing_ok=True)

    def partial(self, commit: str) -> Path:
        """Return the folder that the download of ``commit`` goes on from."""
        return make_owner_folder(make_owner_folder(self.path / "partial") / commit)

    def clean(self) -> list[str]:
        """Remove what crashes left behind, and say what; a model that somebody is at work on is left alone."""
        removed = []
        nest = self.path / "aside"
        for guard in sorted(nest.glob("*.lock")) if nest.is_dir() else ():
            try:
                with FileLock(guard, timeout=0, mode=OWNER_FILE):
                    shutil.rmtree(guard.with_suffix(""), ignore_errors=True)
                    guard.unlink(missing_ok=True)
                removed.append(f"{self.name}: an unfinished version")
            except Timeout:
                continue
        try:
            with FileLock(self.path / "lock", timeout=0, mode=OWNER_FILE):
                removed += self._clean_locked()
        except Timeout:
            return removed
        return removed

    def _clean_locked(self) -> list[str]:
        removed = []
        for left in self.path.glob(".*.part"):
            left.unlink(missing_ok=True)
            removed.append(f"{self.name}: an unfinished pointer")
        parts = self.path / "partial"
        for folder in parts.iterdir() if parts.is_dir() else ():
            if time.time() - _newest(folder) > KEPT_PARTS_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(f"{self.name}: a download given up a week ago")
        return removed

    def _pointer(self, which: str) -> Pointer | None:
        path = self.path / which
        if path.is_symlink():
            raise Refused(f"{path} is a link: links are not followed.")
        try:
            document = json.loads(path.read_bytes())
            version, before = document["version"], tuple(document.get("before", ()))
            if not all(isinstance(one, str) and _ID.fullmatch(one) for one in (version, *before)):
                raise ValueError("it names no version")
            by = document.get("by")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelCorrupt(
                f"the pointer {path} cannot be read ({error}): put in {{'version': id}} with double quotes, "
                f"one of {', '.join(self.ids()) or 'none'}."
            ) from None
        return Pointer(version, before, by if isinstance(by, str) else None)

    def _note(self, event: str, version_id: str) -> None:
        line = json.dumps({"at_us": time.time_ns() // 1000, "event": event, "version": version_id}) + "\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(self.path / HISTORY, flags, OWNER_FILE)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _fetched_words(self) -> str:
        parts = self.path / "partial"
        count = (
            sum(path.stat().st_size for path in parts.rglob("*") if path.is_file()) if parts.is_dir() else 0
        )
        return f" ({count:,} bytes are here so far)" if count else ""


def _change(line: str) -> Change | None:
    """Read a line of the history; None for one that a crash, or the beginning of what was read, has cut."""
    try:
        told = json.loads(line)
        return Change(int(told["at_us"]), str(told["event"]), str(told["version"]))
    except (ValueError, KeyError, TypeError):
        return None


def _number(version_id: str) -> int:
    return int(version_id[1:].partition("-")[0])


def _newest(folder: Path) -> float:
    return max((path.stat().st_mtime for path in (folder, *folder.rglob("*"))), default=0.0)
