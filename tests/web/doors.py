"""An HTTP door on a free port of this machine, in the test's own process, and what to ask it with."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from iop import Production

from wattbus.access import Role
from wattbus.config import read_config
from wattbus.door import Director
from wattbus.energy.feed import NullFeed, PowerFeed
from wattbus.web.serve import HttpDoor, access_of, rules_of

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Asked:
    """An answer: its status, what its JSON says (or its text), and its headers with lower-case names."""

    status: int
    said: Any
    headers: dict[str, str]


@dataclass(frozen=True)
class OpenDoor:
    """A door that is open, and its director; asked with the token of an admin, where it wants one."""

    url: str
    director: Director
    token: str | None = None
    config: Any = None
    app: Any = None
    desk: Any = None

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Asked:
        """Ask; a header is given with underscores for its hyphens. An empty ``authorization`` shows no token."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None and "authorization" not in named and "cookie" not in named:
            named["authorization"] = f"Bearer {self.token}"
        text = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, text, {"content-type": "application/json", **named})
            answer = connection.getresponse()
            content = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        told = (
            json.loads(content)
            if content and found.get("content-type", "").endswith("json")
            else content.decode(errors="replace")
        )
        return Asked(answer.status, told if content else None, found)

    def raw(self, text: bytes, seconds: float = 30.0) -> bytes:
        """Send what no client would, and return what comes until the connection is closed."""
        address = urlsplit(self.url)
        with contextlib.closing(
            socket.create_connection((address.hostname or "", address.port or 0), timeout=seconds)
        ) as connection:
            with contextlib.suppress(ConnectionError):  # closed while it is still being sent
                connection.sendall(text)
            answer = b""
            with contextlib.suppress(ConnectionError):
                while part := connection.recv(65536):
                    answer += part
        return answer

    def first(self, text: bytes) -> bytes:
        """Send what no client would, and return what comes first."""
        address = urlsplit(self.url)
        with contextlib.closing(
            socket.create_connection((address.hostname or "", address.port or 0), timeout=30)
        ) as connection:
            connection.sendall(text)
            return connection.recv(65536)

    def as_role(self, role: Role | str) -> OpenDoor:
        """Return the same door, asked with a new token of another role."""
        access = access_of(self.director.home, self.config)
        return replace(self, token=access.create(f"a {role}", Role(role)))

    def page(self, path: str, **headers: str) -> Asked:
        """Ask for a page, as a browser does."""
        return self("GET", path, accept="text/html", **headers)

    def form(self, path: str, fields: Mapping[str, Any] | None = None, **headers: str) -> Asked:
        """Send the fields of a form; with a token it needs no CSRF value."""
        sent = {"accept": "text/html", "content_type": FORM, **headers}
        return self("POST", path, urlencode(fields or {}, doseq=True).encode(), **sent)


def basic(password: str, user: str = "") -> str:
    """Return the header of HTTP basic authentication."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextlib.contextmanager
def open_door(
    home: Path,
    *productions: Production,
    rules: Mapping[str, Any] | None = None,
    start: bool = True,
    insecure_local: bool = False,
    feed: PowerFeed | None = None,
    **config: Any,
) -> Iterator[OpenDoor]:
    """Open a door to productions on a home, the first of them running; it is asked with the token of an admin.

    ``rules`` are the limits of the guard that differ from the usual. With ``insecure_local`` no token is shown.
    """
    made = read_config(home=home, port=0, insecure_local=insecure_local, **config)
    director = Director(*productions, config=made, feed=feed or NullFeed("a test"))
    token = None if insecure_local else access_of(director.home, made).create("the test", Role.ADMIN)
    door = HttpDoor(director, made, replace(rules_of(director.home, made), **rules) if rules else None)
    try:
        if start:
            director.start_production()
        yield OpenDoor(door.url, director, token, made, door.app, door.desk)
    finally:
        door.close()
        director.close()
