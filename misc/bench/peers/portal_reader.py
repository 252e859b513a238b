"""People with the portal open: a process of its own that reads pages as browsers do, on the standard library.

``python portal_reader.py URL`` with the token in WATTBUS_TOKEN; each line on its input is one job as JSON
(``{"pages": [...], "readers": 200, "every_seconds": 3, "seconds": 10}``), each line of its output what came of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

ANSWER_SECONDS = 30.0


@dataclass
class Reading:
    """What some readers saw: how long each page took, in order, and what went wrong."""

    seconds: list[float] = field(default_factory=list)
    bytes: int = 0
    errors: list[str] = field(default_factory=list)


class Browser:
    """One connection that is kept open, and made anew where the server closed it."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._headers = f"Host: {parts.netloc}\r\nAuthorization: Bearer {token}\r\nAccept: text/html\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, int]:
        """Return the status of a page and its size."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(f"GET {path} HTTP/1.1\r\n{self._headers}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        length = next(int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:"))
        await reader.readexactly(length)
        if "\r\nconnection: close" in head:
            await self.close()
        return status, length

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            with contextlib.suppress(OSError):
                await self._streams[1].wait_closed()
            self._streams = None


async def read(
    url: str, token: str, pages: list[str], readers: int, every_seconds: float, seconds: float
) -> Reading:
    """Let so many readers look at one page each, again and again, spread evenly over the time between two looks."""
    found = Reading()
    ends = time.monotonic() + seconds

    async def reader(number: int) -> None:
        browser, page = Browser(url, token), pages[number % len(pages)]
        await asyncio.sleep(every_seconds * number / readers)
        while time.monotonic() < ends:
            began = time.monotonic()
            try:
                status, size = await asyncio.wait_for(browser.get(page), ANSWER_SECONDS)
                if status != 200:
                    found.errors.append(f"{page}: {status}")
                found.seconds.append(time.monotonic() - began)
                found.bytes += size
            except (OSError, EOFError, ValueError, StopIteration, TimeoutError) as error:
                found.errors.append(f"{page}: {type(error).__name__}: {error}")
                await browser.close()
            await asyncio.sleep(max(0.0, began + every_seconds - time.monotonic()))
        await browser.close()

    await asyncio.gather(*(reader(number) for number in range(readers)))
    return found


def main() -> None:
    url, token = sys.argv[1], os.environ["WATTBUS_TOKEN"]
    for line in sys.stdin:
        print(json.dumps(asdict(asyncio.run(read(url, token, **json.loads(line))))), flush=True)


if __name__ == "__main__":
    main()
