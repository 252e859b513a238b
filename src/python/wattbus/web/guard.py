"""The guard of the HTTP door: who asks, with which role, from which page, and how much they may send.

It stands before everything: nothing of a request is parsed before it is known who sends it and how long it is. The
``Host`` header must name this door (a name server can be made to answer with 127.0.0.1), and a change must not come
from another page. What a role may do is said at each route, by :func:`wattbus.web.roles.needs`.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wattbus.access import Access, Role
from wattbus.runtime.parsing import LARGEST_BODY
from wattbus.web.shapes import error_body

COOKIE = "wattbus_session"
#: What anybody may see: the sign-in page with its style, and whether the process is alive.
OPEN_PATHS = frozenset({"/login", "/healthz", "/static/portal.css", "/static/favicon.svg"})
CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFETY = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Who:
    """Somebody who has been let in."""

    name: str
    role: Role
    token_id: str = ""
    csrf: str | None = None  # of a browser's session: a change must carry it


@dataclass(frozen=True)
class Rules:
    """What the guard holds to."""

    access: Access
    #: Let everybody on this machine in without a token.
    insecure_local: bool = False
    #: The names, beside those of this machine, that the door is reached under.
    names: frozenset[str] = frozenset()
    largest_body_bytes: int = LARGEST_BODY
    #: Requests that one client may send at once, and how many a second it gets back.
    burst: int = 2_000
    per_second: float = 500.0
    #: Wrong tokens that one address may show at once, and how many a second it gets back.
    failures: int = 20
    failures_per_second: float = 0.2


@dataclass
class Bucket:
    """A token bucket for each client; the clients that were seen longest ago are forgotten."""

    size: float
    per_second: float
    most: int = 10_000
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def left(self, client: str) -> float:
        """Return what a client may still take now."""
        left, seen = self._left.get(client, (self.size, 0.0))
        return min(self.size, left + (time.monotonic() - seen) * self.per_second)

    def take(self, client: str) -> bool:
        """Take one; False: there is none left."""
        left = self.left(client)
        self._left[client] = (max(0.0, left - 1), time.monotonic())
        self._left.move_to_end(client)
        if len(self._left) > self.most:
            self._left.popitem(last=False)
        return left >= 1


class Guard:
    """An ASGI application in front of another."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app, self._rules = app, rules
        self._asked = Bucket(rules.burst, rules.per_second)
        self._failed = Bucket(rules.failures, rules.failures_per_second)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # there is none here: whoever asks for one is turned away
                await send({"type": "websocket.close", "code": 1008})
            return
        send = _with_safety(send, scope["path"])
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        refusal = self._refusal(scope, headers)
        if refusal is None:
            scope.setdefault("state", {})["rules"] = self._rules
            scope["state"]["failed"] = self._failed
            await self._app(scope, self._counted(receive), send)
        elif refusal[0] is HTTPStatus.UNAUTHORIZED and _is_a_page(scope, headers):
            await _to_sign_in(scope, send)
        else:
            await _answer(send, scope["path"], *refusal)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[HTTPStatus, str] | None:
        """Return why a request is not answered, or None."""
        host = headers.get("host", "")
        if not self._is_here(host):
            return HTTPStatus.MISDIRECTED_REQUEST, (
                f"this door is not called {host!r}: use localhost or 127.0.0.1, or name it in WATTBUS_HTTP_NAMES."
            )
        client = scope["client"][0] if scope.get("client") else ""
        who = self._who(client, headers)
        if isinstance(who, tuple):
            return who
        if who is None and scope["path"] not in OPEN_PATHS:
            return HTTPStatus.UNAUTHORIZED, (
                "this door wants a token: as `Authorization: Bearer TOKEN`, as the password of HTTP basic "
                "authentication (for the iop program: IOP_PASSWORD), or sign in at /login. `wattbus token new NAME` "
                "makes one."
            )
        if not self._asked.take(f"{who.token_id if who else ''} {client}"):
            return HTTPStatus.TOO_MANY_REQUESTS, "too many requests: wait a second, then go on more slowly."
        if scope["method"] in CHANGES and _is_foreign(headers, host):
            return HTTPStatus.FORBIDDEN, (
                f"the page {headers.get('origin', '')} may change nothing here: use a page of this door."
            )
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._rules.largest_body_bytes:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_long()
        if headers.get("content-encoding", "identity") != "identity":
            return (
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "a body comes as it is here: send it without compression.",
            )
        scope.setdefault("state", {})["who"] = who
        return None

    def _who(self, client: str, headers: dict[str, str]) -> Who | tuple[HTTPStatus, str] | None:
        """Return who asks; None: nobody that is known."""
        shown = _token_in(headers.get("authorization", ""))
        if shown is not None:
            if self._failed.left(client) < 1:
                return HTTPStatus.TOO_MANY_REQUESTS, "too many wrong tokens from this address: wait a minute."
            token = self._rules.access.holder(shown)
            if token is None:
                self._failed.take(client)
                return None
            return Who(token.name, token.role, token.id)
        cookie = _cookie(headers.get("cookie", ""))
        session = self._rules.access.session(cookie) if cookie else None
        if session is not None:
            return Who(session.token.name, session.token.role, session.token.id, session.csrf)
        if self._rules.insecure_local and is_loopback(client) and "authorization" not in headers:
            return Who("this machine", Role.ADMIN)
        return None

    def _is_here(self, host: str) -> bool:
        name = _name_of(host)
        return is_loopback(name) or name.lower() in self._rules.names

    def _counted(self, receive: Receive) -> Receive:
        """Read the body and stop where it becomes too long; its declared length need not be true."""
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._rules.largest_body_bytes:
                # FastAPI makes a 400 of every other exception while it reads a body.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_long())
            return message

        return counted

    def _too_long(self) -> str:
        return f"the body is longer than {self._rules.largest_body_bytes:,} bytes: send less."


def is_loopback(name: str) -> bool:
    """Tell whether an address or a name leads to this machine whatever a name server says."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() in _HERE


def _name_of(host: str) -> str:
    """Return the name in a ``Host`` header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_foreign(headers: dict[str, str], host: str) -> bool:
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != host


def _token_in(authorization: str) -> str | None:
    """Return the token that a header shows; None: it shows none."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(given, validate=True).partition(b":")[2].decode()
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return None


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _is_a_page(scope: Scope, headers: dict[str, str]) -> bool:
    return (
        scope["method"] == "GET"
        and not scope["path"].startswith(("/api/", "/v1/", "/models/"))
        and "text/html" in headers.get("accept", "")
    )


def _with_safety(send: Send, path: str) -> Send:
    """Put the headers on every answer that keep a browser from doing what the page did not say."""

    async def safe(message: Message) -> None:
        if message["type"] == "http.response.start":
            named = {name.lower() for name, _ in message.get("headers", ())}
            extra = [
                (name.encode(), value.encode())
                for name, value in _SAFETY.items()
                if name.encode() not in named
            ]
            if b"cache-control" not in named and not path.startswith("/static/"):
                extra.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return safe


async def _to_sign_in(scope: Scope, send: Send) -> None:
    query = scope["query_string"].decode("latin-1")
    there = quote(scope["path"] + (f"?{query}" if query else ""), safe="")
    headers = [(b"location", f"/login?next={there}".encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, path: str, status: HTTPStatus, sentence: str) -> None:
    told, kind = error_body(path, status, sentence)
    body = json.dumps(told).encode()
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    old = path.startswith(("/api/iop", "/api/wattbus"))
    if status is HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b'Basic realm="wattbus"' if old else b'Bearer realm="wattbus"'))
    if status is HTTPStatus.TOO_MANY_REQUESTS:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
