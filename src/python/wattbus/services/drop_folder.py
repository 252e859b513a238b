"""A drop folder: files are taken out of it whole, kept in a work folder, and leave it once they are sent.

A file is taken by a rename into a folder of its own under the work folder, whose name is new: that name is the identity
of what was dropped. The rename is on the disk before anything is sent, so a crash at any point leaves the file either
where it was dropped or in the work folder, with the same identity.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import shutil
import stat
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from wattbus.errors import BadRequest, BadSettings
from wattbus.home import sync_folder

#: Where the service keeps what it works on, inside the drop folder and hidden; other names by its settings.
OWN_FOLDER = ".dropped"
#: What programs write a file under until it is whole.
UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", ".lock", ".lck", "~")
_LOCKS = (".lock", ".lck")
_MOST_BYTES_AT_ONCE = 1 << 20
_LONGEST_NAME = 255


class StillWritten(Exception):
    """A file changes while it is read: it is left for the next poll."""


@dataclass(frozen=True)
class Taken:
    """A file in the work folder."""

    identity: str
    path: Path

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class Content:
    """The bytes of a file and what its folder says of it."""

    data: bytes
    modified: datetime


@dataclass(frozen=True)
class Odd:
    """Something in the drop folder that is not taken."""

    path: Path
    why: str


class DropFolder:
    """One folder with its work and error folders, and an archive or none."""

    def __init__(
        self, folder: Path, *, work: Path | None, archive: Path | None, errors: Path | None, patterns: str
    ) -> None:
        self.folder, self._archive = folder, archive
        self.work = work or folder / OWN_FOLDER / "work"
        self.errors = errors or folder / OWN_FOLDER / "error"
        split = patterns.replace(";", ",").split(",")
        self._patterns = [pattern.strip() for pattern in split if pattern.strip()] or ["*"]
        #: Each file with what it looked like, and since when.
        self._seen: dict[str, tuple[tuple[int, int, int], float]] = {}

    def prepare(self) -> None:
        """Make the folders that are missing; raise :class:`BadSettings` where one cannot be used."""
        if not self.folder.is_dir():
            raise BadSettings(f"FilePath {str(self.folder)!r} is no folder: make it, or name another.")
        for setting, path in (
            ("WorkPath", self.work),
            ("ErrorPath", self.errors),
            ("ArchivePath", self._archive),
        ):
            if path is None:
                continue
            if path.resolve() == self.folder.resolve():
                raise BadSettings(f"{setting} is the drop folder itself: name another folder.")
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadSettings(
                    f"{setting} {str(path)!r} cannot be made ({error.strerror}): name another."
                ) from None
            # A rename is whole or not at all, and there is none from one disk to another.
            if setting != "ArchivePath" and path.stat().st_dev != self.folder.stat().st_dev:
                raise BadSettings(
                    f"{setting} {str(path)!r} is on another disk than FilePath {str(self.folder)!r}: "
                    "name a folder on the same one."
                )

    # -- what is there ------------------------------------------------------------------------------------------

    def look(self, now_seconds: float, still_seconds: float) -> tuple[list[str], list[Odd]]:
        """Return the files that are whole, in the order of their times, and what cannot be taken.

        Whole is what has not changed in size, time and identity for ``still_seconds``, and has no lock beside it.
        """
        ready: list[tuple[int, str]] = []
        odd: list[Odd] = []
        seen, self._seen = self._seen, {}
        names = {entry.name: entry for entry in os.scandir(self.folder)}
        for name, entry in names.items():
            if not self._wanted(name) or any(name + lock in names for lock in _LOCKS):
                continue
            with contextlib.suppress(FileNotFoundError):  # it went while we looked
                facts = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(facts.st_mode):
                    continue
                if not stat.S_ISREG(facts.st_mode):
                    odd.append(Odd(self.folder / name, _kind(facts.st_mode)))
                    continue
                looks = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
                before = seen.get(name)
                since = before[1] if before is not None and before[0] == looks else now_seconds
                self._seen[name] = (looks, since)
                if before is not None and now_seconds - since >= still_seconds:
                    ready.append((facts.st_mtime_ns, name))
        return [name for _, name in sorted(ready)], odd

    def _wanted(self, name: str) -> bool:
        if name.startswith(".") or name.lower().endswith(UNFINISHED):
            return False
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns)

    def taken(self) -> list[Taken]:
        """Return the files in the work folder, the first one taken first; a crash may have left some."""
        found: list[Taken] = []
        for folder in sorted(
            entry.path for entry in os.scandir(self.work) if entry.is_dir(follow_symlinks=False)
        ):
            files = [Path(entry.path) for entry in os.scandir(folder)]
            found += [Taken(os.path.basename(folder), path) for path in files]
            if not files:
                with contextlib.suppress(OSError):  # somebody is about to fill it
                    os.rmdir(folder)
        return found

    # -- moving -------------------------------------------------------------------------------------------------

    def take(self, name: str) -> Taken | None:
        """Move a file into the work folder, durably; None: somebody else took it."""
        identity = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}"
        own = self.work / identity
        own.mkdir(mode=0o700)
        try:
            os.rename(self.folder / name, own / name)
        except FileNotFoundError:
            with contextlib.suppress(OSError):
                own.rmdir()
            return None
        for changed in (own, self.work, self.folder):
            sync_folder(changed)
        self._seen.pop(name, None)
        return Taken(identity, own / name)

    def read(self, taken: Taken, most_bytes: int) -> Content:
        """Read a file; raise :class:`BadRequest` where it is too large or cannot be read."""
        try:
            descriptor = os.open(taken.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise BadRequest(f"it cannot be read ({error.strerror})") from None
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise BadRequest(f"it is {_kind(facts.st_mode)}")
            if facts.st_size > most_bytes:
                raise BadRequest(f"it has {facts.st_size:,} bytes, and at most {most_bytes:,} are taken")
            try:
                data = _read(file, most_bytes)
            except OSError as error:
                raise BadRequest(f"it cannot be read ({error.strerror})") from None
            after = os.fstat(descriptor)
        if (after.st_size, after.st_mtime_ns) != (facts.st_size, facts.st_mtime_ns) or len(
            data
        ) != facts.st_size:
            raise StillWritten
        return Content(data, datetime.fromtimestamp(facts.st_mtime_ns / 1e9, UTC))

    def done(self, taken: Taken) -> None:
        """Move a file that was sent to the archive; where there is none, remove it, as IRIS does."""
        with contextlib.suppress(FileNotFoundError):
            if self._archive is None:
                taken.path.unlink()
            else:
                self._move(taken.path, self._archive, taken.identity)
            taken.path.parent.rmdir()
            sync_folder(self.work)

    def refuse(self, path: Path) -> Path | None:
        """Move what cannot be sent to the error folder and return where it lies; None: it is gone."""
        try:
            place = self._move(path, self.errors, uuid.uuid4().hex[:12])
        except FileNotFoundError:
            return None
        if path.parent.parent == self.work:
            with contextlib.suppress(OSError):
                path.parent.rmdir()
        return place

    def _move(self, path: Path, folder: Path, identity: str) -> Path:
        place = folder / path.name
        if os.path.lexists(place):
            # One of that name is there already: it is kept.
            place = folder / _short(f"{identity}-{path.name}")
        try:
            os.rename(path, place)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _move_across(path, place)
        for changed in (folder, path.parent):
            sync_folder(changed)
        return place


def _move_across(path: Path, place: Path) -> None:
    """Move a file to another disk: the copy is whole and on the disk before the original goes."""
    aside = place.with_name(f".{uuid.uuid4().hex}.part")
    shutil.copy2(path, aside, follow_symlinks=False)
    with aside.open("rb") as copy:
        os.fsync(copy.fileno())
    os.replace(aside, place)
    sync_folder(place.parent)
    path.unlink()


def _read(file: BinaryIO, most_bytes: int) -> bytes:
    data = bytearray()
    while part := file.read(_MOST_BYTES_AT_ONCE):
        data += part
        if len(data) > most_bytes:
            raise StillWritten  # it was smaller a moment ago
    return bytes(data)


def _short(name: str) -> str:
    """Return a name that a disk takes."""
    return os.fsencode(name)[:_LONGEST_NAME].decode("utf-8", "ignore")


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link, and what it leads to may lie anywhere: copy the file itself"
    return "no regular file: drop files only"
