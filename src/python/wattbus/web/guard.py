"""The guard of the HTTP door: who asks, with which role, from which page, and how much they may send.

It stands before everything: nothing of a request is parsed before it is known who sends it and how long it is. What a
role may do is said at each route, by :func:`wattbus.web.roles.needs`.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import quote

from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wattbus.access import Access, Role, Session
from wattbus.errors import BadSettings
from wattbus.runtime.parsing import LARGEST_BODY
from wattbus.web.arriving import Reading, Shape, too_long
from wattbus.web.buckets import Bucket, Failures
from wattbus.web.origins import is_foreign, is_loopback, name_in, network_of
from wattbus.web.shapes import error_body, is_for_programs

logger = logging.getLogger("wattbus.door")

COOKIE = "wattbus_session"
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
#: What anybody may see: the sign-in page with its style, and whether the process is alive.
OPEN_PATHS = frozenset({"/login", "/healthz", "/static/portal.css", "/static/favicon.svg"})
#: Headers that decide something here: where one comes twice, two readers could each believe another.
_ONCE = frozenset(
    {
        "host", "authorization", "cookie", "origin", "content-length", "content-type", "content-encoding",
        "transfer-encoding", "x-csrf-token", "sec-fetch-site", "sec-fetch-mode", "idempotency-key",
    }
)  # fmt: skip
#: What a stranger and a viewer may send: a token, a sign-out.
_SMALL_BODY = 64 * 1024
#: Bodies over a megabyte that may be on their way at once, all together.
_MOST_IN_HAND = 2 * LARGEST_BODY
_SAFETY = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    # Not no-referrer: with it a browser sends `Origin: null` with our own forms. Other sites are told nothing.
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


@dataclass(frozen=True)
class Who:
    """Somebody who has been let in."""

    name: str
    role: Role
    token_id: str = ""
    csrf: str | None = None  # of a browser's session: a change must carry it
    session: Session | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Rules:
    """What the guard holds to."""

    access: Access
    #: Let everybody on this machine in without a token.
    insecure_local: bool = False
    #: The names, beside those of this machine, that the door is reached under.
    names: frozenset[str] = frozenset()
    largest_body_bytes: int = LARGEST_BODY
    #: Requests that one client may send at once, how many a second it gets back, and how many may be in hand.
    burst: int = 2_000
    per_second: float = 1_000.0
    in_hand: int = 300
    #: Wrong tokens that one client may show at once, and how many a second it gets back.
    failures: int = 20
    failures_per_second: float = 0.2


class Turned(Exception):
    """A request that is turned away."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Guard:
    """An ASGI application in front of another."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app, self._rules = app, rules
        self._asked = Bucket(rules.burst, rules.per_second)
        self._failures = Failures(Bucket(rules.failures, rules.failures_per_second))
        self._in_hand: Counter[str] = Counter()
        self._coming_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # there is none here: whoever asks for one is turned away
                await send({"type": "websocket.close", "code": 1008})
            return
        send = _with_safety(send, scope["path"])
        headers: dict[str, str] = {}
        try:
            headers = _headers(scope)
            client = network_of(scope["client"][0] if scope.get("client") else "")
            who = self._let_in(scope, headers, client)
            longest = self._longest(who)
            declared = _declared(headers, longest)
            await self._pass_on(scope, Reading(
                receive, longest=longest, declared=declared,
                shape=None if headers.get("content-type", "").lower().startswith(FORMS) else Shape(),
            ), send, who, client, declared or 0)  # fmt: skip
        except Turned as turned:
            if turned.status is HTTPStatus.UNAUTHORIZED and _is_a_page(scope, headers):
                await _to_sign_in(scope, send)
            else:
                await _answer(send, scope, headers, turned.status, turned.sentence)

    def _let_in(self, scope: Scope, headers: dict[str, str], client: str) -> Who | None:
        """Return who asks; None: nobody that is known, for what anybody may see. Turned: they are not let in."""
        host, method = headers.get("host", ""), scope["method"]
        name = name_in(host)
        if not is_loopback(name) and name not in self._rules.names:
            raise Turned(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this door is not called {host[:100]!r}: use localhost or 127.0.0.1, or name it in "
                "WATTBUS_HTTP_NAMES.",
            )
        if is_foreign(method, headers):
            raise Turned(
                HTTPStatus.FORBIDDEN,
                f"the page {headers.get('origin', '')[:100]} may change nothing here and embed nothing of it: use a "
                "page of this door.",
            )
        try:
            who = self._who(scope, client, headers)
        except BadSettings as error:
            logger.error("%s", error)
            raise Turned(
                HTTPStatus.SERVICE_UNAVAILABLE, "nobody can be let in now: wattbus.log says why."
            ) from None
        if who is None and scope["path"] not in OPEN_PATHS:
            raise Turned(
                HTTPStatus.UNAUTHORIZED,
                "this door wants a token: as `Authorization: Bearer TOKEN`, as the password of HTTP basic "
                "authentication (for the iop program: IOP_PASSWORD), or sign in at /login. `wattbus token new NAME` "
                "makes one.",
            )
        if not self._asked.take(_named(who, client)):
            raise Turned(
                HTTPStatus.TOO_MANY_REQUESTS, "too many requests: wait a second, then go on more slowly."
            )
        return who

    def _who(self, scope: Scope, client: str, headers: dict[str, str]) -> Who | None:
        """Return who asks; None: nobody that is known."""
        access = self._rules.access
        shown = _token_in(headers.get("authorization", ""))
        if shown is not None:
            token = access.holder(shown)
            if token is not None and self._failures.right(client, token.id):
                return Who(token.name, token.role, token.id)
            if token is not None or not self._failures.wrong(client):
                raise Turned(
                    HTTPStatus.TOO_MANY_REQUESTS, "too many wrong tokens from this address: wait a minute."
                )
            return None
        session = access.session(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""))
        if session is not None:
            return Who(session.token.name, session.token.role, session.token.id, session.csrf, session)
        if self._rules.insecure_local and "authorization" not in headers and is_loopback(client):
            return Who("this machine", Role.ADMIN)
        return None

    def _longest(self, who: Who | None) -> int:
        may_send = who is not None and who.role.allows(Role.OPERATOR)
        return (
            self._rules.largest_body_bytes if may_send else min(_SMALL_BODY, self._rules.largest_body_bytes)
        )

    async def _pass_on(
        self, scope: Scope, receive: Receive, send: Send, who: Who | None, client: str, declared: int
    ) -> None:
        """Let the application answer, so many requests and bytes at once."""
        name, large = _named(who, client), declared if declared > 1024 * 1024 else 0
        if self._in_hand[name] >= self._rules.in_hand:
            raise Turned(
                HTTPStatus.TOO_MANY_REQUESTS, "too many requests at once: let some of them end first."
            )
        if large and self._coming_bytes + large > max(_MOST_IN_HAND, self._rules.largest_body_bytes):
            raise Turned(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many large bodies at once: send it again in a moment."
            )
        self._in_hand[name] += 1
        self._coming_bytes += large
        scope["state"] = {
            **scope.get("state", {}),
            "who": who,
            "failures": self._failures,
        }
        try:
            await self._app(scope, receive, send)
        finally:
            self._coming_bytes -= large
            self._in_hand[name] -= 1
            if not self._in_hand[name]:
                del self._in_hand[name]


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers by their names in lower case; Turned where one that decides something comes twice."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").lower()
        if name in headers and name in _ONCE:
            raise Turned(HTTPStatus.BAD_REQUEST, f"the header {name} comes twice: send it once.")
        headers[name] = raw_value.decode("latin-1")
    if "content-length" in headers and "transfer-encoding" in headers:
        raise Turned(
            HTTPStatus.BAD_REQUEST,
            "a body has a length or comes in chunks: send content-length or transfer-encoding.",
        )
    return headers


def _declared(headers: dict[str, str], longest: int) -> int | None:
    """Return the length that a body says it has; None where it says none. Turned: it is not taken."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Turned(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a body comes as it is here: send it without compression."
        )
    if "transfer-encoding" in headers:
        return None
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()):
        raise Turned(HTTPStatus.BAD_REQUEST, "the content-length is no number.")
    if len(length) > 18 or int(length) > longest:
        raise Turned(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_long(longest).detail)
    return int(length)


def _named(who: Who | None, client: str) -> str:
    return f"{who.token_id if who else ''} {client}"


def _token_in(authorization: str) -> str | None:
    """Return the token that a header shows; None: it shows none."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(given.strip(), validate=True).partition(b":")[2].decode()
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return None


def _is_a_page(scope: Scope, headers: dict[str, str]) -> bool:
    return (
        scope["method"] == "GET"
        and not is_for_programs(scope["path"])
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


async def _answer(send: Send, scope: Scope, asked: dict[str, str], status: HTTPStatus, sentence: str) -> None:
    path = scope["path"]
    told, kind = error_body(path, status, sentence)
    body = json.dumps(told).encode()
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    old = path.startswith(("/api/iop", "/api/wattbus"))
    if status is HTTPStatus.UNAUTHORIZED:
        # A browser would keep a password that it has asked for, and show it with whatever it sends.
        basic = old and "sec-fetch-mode" not in asked
        headers.append(
            (b"www-authenticate", b'Basic realm="wattbus"' if basic else b'Bearer realm="wattbus"')
        )
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
