"""The guard of the HTTP door: who may ask, from which page, and how much they may send.

The door does what its owner may do, so no foreign web page may knock through the owner's browser: the ``Host`` header
must name this door (a name server can be made to answer with 127.0.0.1), and a change must not come from another page.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import json
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wattbus.runtime.parsing import LARGEST_BODY

_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Rules:
    """What the guard holds to; without a password only this machine is answered."""

    password: str | None = None
    largest_body_bytes: int = LARGEST_BODY


class Guard:
    """An ASGI application in front of another."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        refusal = self._refusal(scope["method"], headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        await self._app(scope, self._counted(receive), send)

    def _refusal(self, method: str, headers: dict[str, str]) -> tuple[HTTPStatus, str] | None:
        """Return why a request is not answered, or None."""
        host = headers.get("host", "")
        if self._rules.password is None and not is_loopback(_name_of(host)):
            return HTTPStatus.FORBIDDEN, (
                f"this door is called localhost or 127.0.0.1, and not {host!r}: use that address, or set "
                "WATTBUS_PASSWORD to open it under another name."
            )
        if self._rules.password is not None and not _knows(
            headers.get("authorization", ""), self._rules.password
        ):
            return HTTPStatus.UNAUTHORIZED, (
                "this door wants the password in WATTBUS_PASSWORD, by HTTP basic authentication with any user name "
                "(for the iop program: IOP_PASSWORD)."
            )
        if method in _CHANGES and _is_foreign(headers, host):
            return HTTPStatus.FORBIDDEN, (
                f"the page {headers.get('origin', '')} may change nothing here: use a page of this door."
            )
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._rules.largest_body_bytes:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_long()
        return None

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


def _knows(authorization: str, password: str) -> bool:
    scheme, _, coded = authorization.partition(" ")
    try:
        given = base64.b64decode(coded, validate=True).partition(b":")[2]
    except binascii.Error:
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(given, password.encode())


async def _answer(send: Send, status: HTTPStatus, sentence: str) -> None:
    body = json.dumps({"error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status is HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b'Basic realm="wattbus"'))
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
