"""What an error of a database or a disk means for the store: full, busy, failed for good, or none of these."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from sqlalchemy import URL

from wattbus.errors import StoreBusy, StoreError, StoreFailed, StoreFull

# https://www.sqlite.org/rescode.html: the low byte is the kind, the rest says more.
_BUSY, _LOCKED, _IO, _CORRUPT, _FULL, _NO_DATABASE = 5, 6, 10, 11, 13, 26
_READ, _SHORT_READ, _SYNC, _FOLDER_SYNC = 266, 522, 1034, 1290
# After these nobody knows what is on the disk: https://www.sqlite.org/atomiccommit.html, and "fsyncgate".
_LOST_TRUST = frozenset((_READ, _SHORT_READ, _SYNC, _FOLDER_SYNC))
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))
_POSTGRES_DISK_FULL = "53100"


def meaning_of(error: BaseException, url: URL) -> StoreError | None:
    """Return what an error of a driver or of the system says about the store at ``url``; None: nothing, it is the
    statement's own.

    >>> from sqlalchemy import make_url
    >>> print(meaning_of(OSError(errno.ENOSPC, "no space"), make_url("sqlite:////home/store.sqlite")))
    the disk of /home is full: nothing new is accepted until there is room. Make room there; it goes on by itself.
    """
    if isinstance(error, StoreError):
        return error if isinstance(error, StoreBusy | StoreFull | StoreFailed) else None
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return _of_sqlite(int(code), error, Path(url.database or ""))
    if isinstance(error, OSError):
        return _of_system(error, Path(url.database or "") if url.get_backend_name() == "sqlite" else None)
    # Of psycopg, which is not imported for those who run on SQLite.
    if getattr(error, "sqlstate", None) == _POSTGRES_DISK_FULL:
        return StoreFull(
            f"the disk of {_address(url)} is full: nothing new is accepted until there is room. Make room there; it "
            "goes on by itself."
        )
    if is_operational(error):
        return StoreBusy(
            f"the database {_address(url)} does not answer ({_first_line(error)}). Everything goes on by itself "
            "when it does; what was not acknowledged is to be sent again."
        )
    return None


def is_operational(error: BaseException) -> bool:
    """Tell whether a driver says that not the statement is at fault: both drivers call that OperationalError."""
    return any(cls.__name__ == "OperationalError" for cls in type(error).__mro__)


def _of_sqlite(code: int, error: BaseException, file: Path) -> StoreError | None:
    kind = code & 0xFF
    if kind == _FULL:
        return _full(file.parent)
    if kind in (_BUSY, _LOCKED):
        return StoreBusy(
            f"the store {file} is locked by {who_holds(file)}: nothing can be stored until it lets go. "
            "Wait, or end it, and send again."
        )
    if kind in (_CORRUPT, _NO_DATABASE):
        return StoreFailed(
            f"the store {file} is damaged ({error}): nothing more is stored by this process. Stop it, look with "
            "`wattbus doctor`, save what can be read with `wattbus doctor --salvage FILE.jsonl`, and put a backup in "
            "its place."
        )
    return failed(file, error) if code in _LOST_TRUST else None


def failed(file: Path, error: BaseException) -> StoreFailed:
    """Return what to say where nobody knows what is on the disk."""
    return StoreFailed(
        f"the disk under {file} failed ({error}): what was written last may not be there, so nothing more is "
        "accepted or stored by this process: stop and start it again. What was acknowledged is recovered from the "
        "store's log."
    )


def _of_system(error: OSError, file: Path | None) -> StoreError | None:
    where = Path(os.fsdecode(error.filename)) if error.filename else file
    if error.errno in _NO_ROOM:
        return _full(file.parent if file is not None else where)
    if error.errno == errno.EIO and file is not None:
        return failed(file, error)
    return None


def _full(folder: Path | None) -> StoreFull:
    return StoreFull(
        f"the disk of {folder or 'the store'} is full: nothing new is accepted until there is room. Make room "
        "there; it goes on by itself."
    )


def who_holds(file: Path) -> str:
    """Say which other processes hold locks on an SQLite file, as far as the system tells."""
    try:
        ours = {
            part.stat().st_ino
            for part in (file, file.with_name(f"{file.name}-shm"), file.with_name(f"{file.name}-wal"))
            if part.exists()
        }
        # "1: POSIX  ADVISORY  WRITE 4711 08:01:131 120 120"
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return "another process"
    held = [
        (fields[3] == "WRITE", int(fields[4]))
        for fields in locks
        if len(fields) >= 6 and fields[1] != "->" and int(fields[5].rpartition(":")[2]) in ours
    ]
    # Whoever reads holds a lock as well; the one that writes is in the way.
    writers = {pid for writes, pid in held if writes} or {pid for _, pid in held}
    others = sorted(pid for pid in writers if pid > 0 and pid != os.getpid())
    if not others:
        return "another process"
    return " and ".join(f"process {pid}{_name_of(pid)}" for pid in others)


def _name_of(pid: int) -> str:
    try:
        return f" ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    except OSError:
        return ""


def _address(url: URL) -> str:
    return f"{url.database or ''} at {url.host or 'localhost'}:{url.port or 5432}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__
