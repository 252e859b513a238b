"""An HTTP door on a free port of this machine, in the test's own process, and what to ask it with."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from iop import Production

from wattbus.config import read_config
from wattbus.door import Director
from wattbus.energy.feed import NullFeed, PowerFeed
from wattbus.web.guard import Rules
from wattbus.web.serve import HttpDoor


@dataclass(frozen=True)
class Asked:
    """An answer: its status, what its JSON says, and its headers with lower-case names."""

    status: int
    said: Any
    headers: dict[str, str]


@dataclass(frozen=True)
class OpenDoor:
    """A door that is open, and its director."""

    url: str
    director: Director
    password: str | None = None

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Asked:
        """Ask; a header is given with underscores for its hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.password is not None and "authorization" not in named:
            named["authorization"] = basic(self.password)
        text = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, text, {"content-type": "application/json", **named})
            answer = connection.getresponse()
            content = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Asked(answer.status, json.loads(content) if content else None, found)


def basic(password: str, user: str = "") -> str:
    """Return the header of HTTP basic authentication."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextlib.contextmanager
def open_door(
    home: Path,
    *productions: Production,
    password: str | None = None,
    rules: Rules | None = None,
    start: bool = True,
    feed: PowerFeed | None = None,
    **config: Any,
) -> Iterator[OpenDoor]:
    """Open a door to productions on a home, the first of them running."""
    made = read_config(home=home, port=0, password=password, **config)
    director = Director(*productions, config=made, feed=feed or NullFeed("a test"))
    door = HttpDoor(director, made, rules)
    try:
        if start:
            director.start_production()
        yield OpenDoor(door.url, director, password)
    finally:
        door.close()
        director.close()
