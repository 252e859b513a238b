"""Files on their way in: written to a file of the home as they come, and never longer than they may be."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from wattbus import words
from wattbus.errors import BadRequest
from wattbus.web.desk import Desk

_BLOCK = 1 << 20


@contextlib.contextmanager
def aside(desk: Desk) -> Iterator[Path]:
    """Give a file of the home for what is on its way in; what a kill leaves is removed at the next start."""
    desk.home.create()
    descriptor, name = tempfile.mkstemp(prefix=".load-", suffix=".part", dir=desk.home.root)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


async def blocks(upload: UploadFile) -> AsyncIterator[bytes]:
    """Yield a file of a form in parts."""
    while block := await upload.read(_BLOCK):
        yield block


async def keep(parts: AsyncIterator[bytes], file: Path, largest: int, instead: str) -> None:
    """Write what comes to a file, and stop where it becomes too long; ``instead`` says what to do then."""
    size = 0
    with file.open("wb") as out:
        async for block in parts:
            size += len(block)
            if size > largest:
                raise BadRequest(f"the file is longer than {words.size(largest)}: {instead}.")
            await run_in_threadpool(out.write, block)
    if not size:
        raise BadRequest("the file is empty: a header line and at least one row are needed.")
