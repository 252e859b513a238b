"""What the tests of sending share: a door with a token, what to ask it with, and its pages."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from doors import OpenDoor, open_door
from iop import Production

from wattbus.access import Role

TOKEN = "the-token-of-an-admin-for-the-tests"


@dataclass(frozen=True)
class Answer:
    """An answer: its status, its text, its headers with lower-case names."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def said(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Client:
    """Somebody who asks a door, with a token."""

    door: OpenDoor
    token: str | None = TOKEN

    @property
    def url(self) -> str:
        return self.door.url

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            named.setdefault("authorization", f"Bearer {self.token}")
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            named.setdefault("content-type", "application/json")
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            text = answer.read().decode()
        return Answer(answer.status, text, {name.lower(): value for name, value in answer.getheaders()})

    def form(self, path: str, **fields: str) -> Answer:
        """Send a form as a browser does, which wants a page."""
        kind = "application/x-www-form-urlencoded"
        return self("POST", path, urlencode(fields).encode(), content_type=kind, accept="text/html")

    def page(self, path: str) -> Answer:
        return self("GET", path, accept="text/html")

    def with_role(self, role: Role) -> Client:
        """Return one with a new token of that role."""
        from wattbus.web.serve import access_of

        director = self.door.director
        return Client(self.door, access_of(director.home, _config(self.door)).create(f"a {role}", role))


def _config(door: OpenDoor) -> Any:
    from wattbus.config import read_config

    return read_config(home=door.director.home.root, token=TOKEN)


@contextlib.contextmanager
def signed_in(home: Path, *productions: Production, **config: Any) -> Iterator[Client]:
    """Open a door to productions and return who may do everything there."""
    with open_door(home, *productions, token=TOKEN, **config) as door:
        yield Client(door)
