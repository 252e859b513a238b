"""What the doctor looks for in the files of a home: whole models, nothing half written, readable by the owner only."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wattbus import words
from wattbus.doctor.report import Findings
from wattbus.errors import ModelError, WattbusError
from wattbus.home import Home
from wattbus.ml.run_folders import left_by_hand

if TYPE_CHECKING:
    from wattbus.ml.models import ModelStore

MODELS_CURE = "roll back with `wattbus models rollback NAME`, or fetch the damaged version again."
PARTS_CURE = (
    "delete the files named: they are the rest of writes that were cut off, and no reader looks at them."
)
OWNER_CURE = "run `chmod -R go= HOME`, and take links out that lead elsewhere."
_SUFFIX = ".part"


# -- L6 ------------------------------------------------------------------------------------------------------------


def models_whole(home: Home, found: Findings) -> None:
    """L6: every version equals its manifest, and what is published or staged is there."""
    if not home.models.is_dir() or not any(home.models.iterdir()):
        found.count("no model is cached yet")
        return
    from wattbus.ml.models import ModelStore

    waiting = sum(file.name.endswith(_SUFFIX) for file in _files_of(home.models))
    store = ModelStore(home.models)
    versions = size = 0
    for verified in store.verify():
        versions += 1
        if verified.ok:
            size += store.get(verified.name, verified.version).size_bytes
        found.all_wrong(f"{verified.name} {verified.version}: {problem}" for problem in verified.problems)
    for name in store.names():
        for pointer in (store.staged, store.current):
            try:
                pointer(name)
            except ModelError as error:
                found.wrong(str(error))
    found.count(
        f"{words.counted(len(store.names()), 'model')}, {words.counted(versions, 'version')}, "
        f"{words.size(size)} equal to the manifests"
    )
    if waiting:
        found.note(f"{words.counted(waiting, 'download')} cut off: the next fetch goes on with it")
    asides = sum(_is_left(guard) for guard in home.models.glob("*/aside/*.lock"))
    if asides:
        found.note(f"{words.counted(asides, 'version')} in the making cut off: the next start removes it")
    _compiled_known(home, store, found)


def _is_left(guard: Path) -> bool:
    """Tell whether nobody holds the lock of a version in the making: its maker was killed."""
    with guard.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _compiled_known(home: Home, store: ModelStore, found: Findings) -> None:
    """Say so where engines keep compiled code of versions that are gone: a cache, which the next load clears."""
    known = {(name, version) for name in store.names() for version in store.ids(name)}
    kept = [path for path in home.compiled.glob("*/*") if path.is_dir()]
    gone = [path for path in kept if (path.parent.name, path.name) not in known]
    if gone:
        found.note(
            f"compiled code of {words.counted(len(gone), 'version')} that is gone: the next load removes it"
        )


# -- L7 ------------------------------------------------------------------------------------------------------------


def nothing_half_written(home: Home, found: Findings) -> None:
    """L7: no write was cut off half way, and the secrets can be read."""
    count = 0
    for file in _files_of(home.root, leave_out=(home.models, home.runs)):
        count += 1
        if file.name.endswith(_SUFFIX) and not _is_being_written(file):
            found.wrong(f"{file.relative_to(home.root)} is half written")
    found.count(
        f"{words.counted(count, 'file')}, none of them half written" if found.ok else f"{count:,} files"
    )
    left = list(left_by_hand(home.runs))
    if left:
        found.note(
            f"{words.counted(len(left), 'optimisation')} by hand cut off (runs/{left[0].name}): the next one, or the "
            "next start of the production, removes it"
        )
    _secrets_readable(home, found)


def _is_being_written(file: Path) -> bool:
    """Tell whether the process in the name (``.NAME.PID.part``) is alive."""
    pid = file.name.removesuffix(_SUFFIX).rpartition(".")[2]
    if not pid.isdecimal() or len(pid) > 10:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _secrets_readable(home: Home, found: Findings) -> None:
    if not home.secrets_file.exists():
        return
    key = home.secrets_file.with_suffix(".key")
    if not key.exists():
        found.wrong(
            f"{home.secrets_file.name} is there and its key {key.name} is not: send the secrets once more"
        )
        return
    from cryptography.fernet import InvalidToken

    from wattbus.secrets import Vault

    try:
        Vault(home.secrets_file).redact("")
    except (InvalidToken, ValueError, WattbusError):
        found.wrong(f"{home.secrets_file.name} cannot be read with {key.name}: send the secrets once more")
        return
    found.count("secrets readable")


# -- P1 ------------------------------------------------------------------------------------------------------------


def owner_only(home: Home, found: Findings) -> None:
    """P1: nobody but the owner can read, write or enter anything in the home, and no link leads out of it."""
    root = home.root.stat()
    count = 0
    wrong: list[str] = []
    for path in (home.root, *_all_below(home.root)):
        try:
            found_stat = path.lstat()
        except FileNotFoundError:
            continue  # a running production has just removed it
        count += 1
        problem = _open_to_others(path, found_stat, root.st_uid, home.root)
        if problem is not None and len(wrong) < 1_000:
            wrong.append(f"{path.relative_to(home.root.parent)} {problem}")
    found.all_wrong(wrong)
    found.count(f"{words.counted(count, 'file or folder', 'files and folders')} looked at")


def _open_to_others(path: Path, found: os.stat_result, owner: int, root: Path) -> str | None:
    if stat.S_ISLNK(found.st_mode):
        inside = path.resolve().is_relative_to(root.resolve())
        return None if inside else f"is a link that leads to {path.resolve()}"
    if found.st_uid != owner:
        return f"belongs to user {found.st_uid}, and the home to user {owner}"
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077 == 0:
        return None
    return f"has mode {mode:04o}: others can use it, {'0700' if path.is_dir() else '0600'} is right"


def _files_of(folder: Path, leave_out: tuple[Path, ...] = ()) -> Iterator[Path]:
    for path in _all_below(folder, leave_out):
        if not path.is_symlink() and path.is_file():
            yield path


def _all_below(folder: Path, leave_out: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield all files and folders below ``folder``; links are named and not followed."""
    for parent, folders, files in os.walk(folder, onerror=_raise, followlinks=False):
        folders[:] = [name for name in folders if Path(parent, name) not in leave_out]
        yield from (Path(parent, name) for name in (*folders, *files))


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
