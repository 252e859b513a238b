"""Pictures that came with a request: kept in the uploads folder under random names until its message has ended."""

from __future__ import annotations

import secrets
import time

from sqlalchemy import Engine, select

from wattbus.home import Home, write_durably
from wattbus.store.tables import OPEN_STATUSES, Status, messages

_PREFIX = "request-"
#: A picture whose message is not there yet is on its way; so long at most.
_ON_ITS_WAY_SECONDS = 3600.0
_KEPT_FOR = tuple(status.value for status in (*OPEN_STATUSES, Status.SUSPENDED))


def keep(home: Home, data: bytes, kind: str) -> tuple[str, str]:
    """Write a picture and return its name, and the idempotency key that its message has to carry."""
    key = secrets.token_hex(16)
    name = f"{_PREFIX}{key}.{kind}"
    write_durably(home.uploads / name, data)
    return name, f"picture-{key}"


def sweep(home: Home, engine: Engine, refused: str = "") -> int:
    """Remove the pictures whose messages have ended, or were not accepted as that of ``refused``; return how many."""
    removed = 0
    for file in home.uploads.glob(f"{_PREFIX}*"):
        key = f"picture-{file.stem.removeprefix(_PREFIX)}"
        with engine.connect() as connection:
            status = connection.execute(
                select(messages.c.status).where(messages.c.idempotency_key == key)
            ).scalar()
        young = (
            status is None
            and file.name != refused
            and time.time() - file.stat().st_mtime < _ON_ITS_WAY_SECONDS
        )
        if status not in _KEPT_FOR and not young:
            file.unlink(missing_ok=True)
            removed += 1
    return removed
