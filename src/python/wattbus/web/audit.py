"""The audit: what was changed through the HTTP door and by whom, who was refused, and who has been here lately.

It stands in front of the whole application and looks at each answer, so no door can forget it. A line goes into the
event log with the source class ``Audit``; where no production runs it goes to the output of the process, which is
``wattbus.log``. Messages that are sent are no changes: the store has each with its source.
"""

from __future__ import annotations

import re
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wattbus import words
from wattbus.web.buckets import Bucket
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.origins import CHANGES

SOURCE = "Audit"
_MOST_VISITORS = 500
_LONGEST = 128
#: Where messages are sent; of ``/models/NAME`` only what is no form of the portal.
_SENDS = re.compile(r"/api/wattbus/|/api/iop/test$|/api/v1/(test|messages)$|/v1/|/test$|/models/")
_ITEM = re.compile(
    r"(?:/api/v1)?/items/(.+?)(?:/(?:settings|start|stop|restart|enable|disable|pool|reset|remove|undo))?$"
)
_FORM = b"application/x-www-form-urlencoded"
#: Refusals that one visitor can write into the log at once, and how many a second more.
_REFUSALS, _REFUSALS_PER_SECOND = 20, 0.2


@dataclass(frozen=True)
class Visitor:
    """Somebody who was let in."""

    name: str
    role: str
    client: str
    how: str  # browser, token
    first_us: int
    last_us: int


class AuditBook:
    """Writes the audit, and knows who has been here since the door was opened."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._visitors: OrderedDict[tuple[str, str, str], Visitor] = OrderedDict()
        self._refusals = Bucket(_REFUSALS, _REFUSALS_PER_SECOND)

    def write(self, text: str, item: str = "", method: str = "") -> None:
        """Write a line of the audit."""
        line, running = words.clean(text, 1000), self._desk.running
        if running is not None and running.state == "Running":
            running.bus.log(
                "Status",
                line,
                item[:_LONGEST],
                source_class=SOURCE,
                source_method=words.clean(method, _LONGEST),
            )
        else:
            sys.stderr.write(f"{words.utc_time(time.time_ns() // 1000)} {SOURCE}: {line} ({method})\n")

    def seen(self, who: Who, client: str) -> None:
        """Note that somebody was let in."""
        now_us = time.time_ns() // 1000
        how = "browser" if who.csrf is not None else "token"
        key = (who.token_id, client, how)
        known = self._visitors.get(key)
        self._visitors[key] = (
            Visitor(who.name, str(who.role), client, how, now_us, now_us)
            if known is None
            else replace(known, last_us=now_us)
        )
        self._visitors.move_to_end(key)
        if len(self._visitors) > _MOST_VISITORS:
            self._visitors.popitem(last=False)

    def visitors(self) -> list[Visitor]:
        """Return who has been here since the door was opened, the last first."""
        return list(self._visitors.values())[::-1]

    def may_tell_refusal(self, visitor: str) -> bool:
        """Tell whether a refusal of somebody is written: who tries without end must not fill the log."""
        return self._refusals.take(visitor)


class Audit:
    """An ASGI application in front of the guard."""

    def __init__(self, app: ASGIApp, book: AuditBook) -> None:
        self._app, self._book = app, book

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._look(scope, status)

    def _look(self, scope: Scope, status: int) -> None:
        state: dict[str, Any] = scope.get("state", {})
        client = scope["client"][0] if scope.get("client") else ""
        path, method = scope["path"], scope["method"]
        headers = dict(scope["headers"])
        who: Who | None = state.get("who")
        if who is not None:
            self._book.seen(who, client)
        if path == "/login" and method == "POST":
            self._sign_in(who, client, status)
        elif status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            self._refusal(who, client, scope, status, shown=b"authorization" in headers)
        elif method in CHANGES and who is not None and not _is_send(path, headers):
            self._change(who, client, scope, status)

    def _sign_in(self, who: Who | None, client: str, status: int) -> None:
        if who is not None:
            self._book.write(f"{_name(who)} signed in from {client}", method="POST /login")
        elif self._book.may_tell_refusal(client):
            self._book.write(
                f"sign-in from {client} refused ({status}): no valid token", method="POST /login"
            )

    def _refusal(self, who: Who | None, client: str, scope: Scope, status: int, *, shown: bool) -> None:
        if who is None and not shown and status == HTTPStatus.UNAUTHORIZED:
            return  # a browser that has yet to sign in
        name = _name(who) if who is not None else "a token that is not valid" if shown else "somebody"
        if self._book.may_tell_refusal(f"{name} {client}"):
            asked = f"{scope['method']} {scope['path']}"
            self._book.write(f"{name} from {client} was refused ({status}): {asked}", method=asked)

    def _change(self, who: Who, client: str, scope: Scope, status: int) -> None:
        state = scope["state"]
        asked = f"{scope['method']} {scope['path']}"
        what = state.get("done") or getattr(scope.get("route"), "summary", None) or asked
        refused = state.get("refused") or ("" if status < 400 else f"answered with {status}")
        found = _ITEM.fullmatch(scope["path"])
        item = found[1] if found else ""
        on = f" on {item}" if item else ""
        ended = f" Not done: {refused}" if refused else ""
        self._book.write(f"{_name(who)} from {client}{on}: {what}{ended}", item, asked)


def _name(who: Who) -> str:
    return f"{who.name} ({who.role})"


def _is_send(path: str, headers: dict[bytes, bytes]) -> bool:
    if not _SENDS.match(path):
        return False
    return not (path.startswith("/models/") and headers.get(b"content-type", b"").startswith(_FORM))
