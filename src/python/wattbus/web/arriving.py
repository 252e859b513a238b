"""The body of a request while it comes: how long it may be, how long it may take, and which shape its JSON may have.

All of it is looked at before anything is parsed, part by part, so a body costs no more memory than its limit.
"""

from __future__ import annotations

import asyncio
import re
import time
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

#: A body that does not say how long it is may be so long; curl, requests and browsers say it.
LONGEST_UNDECLARED = 1024 * 1024
#: What a body may take to come, and how many bytes more a second gives.
BODY_SECONDS, BYTES_PER_SECOND = 30.0, 64 * 1024
MOST_DEPTH, MOST_NAMES, MOST_VALUES = 100, 100_000, 1_000_000

_STRING = re.compile(rb"(?:[^\"\\]++|\\.)*+", re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_ODD = re.compile(rb"NaN|Infinity|[eE]\+?(\d{3,})")
#: What may be the beginning of a token that the next part ends.
_UNFINISHED = re.compile(rb"[A-Za-z0-9+]{1,16}\Z")
_LARGEST_EXPONENT = 308


class Shape:
    """Reads JSON by its signs only, and refuses what would cost much to parse or is no JSON.

    >>> Shape().take(b'{"a": [1, 2, "]]]"]}')
    """

    def __init__(self) -> None:
        self._depth = self._names = self._values = 0
        self._in_string, self._left = False, b""

    def take(self, part: bytes) -> None:
        """Look at the next part; HTTPException for what is not taken."""
        text, at = self._left + part, 0
        self._left = b""
        while at < len(text):
            if self._in_string:
                string = _STRING.match(text, at)
                assert string is not None  # it matches everywhere, if only nothing
                at = string.end()
                if text[at : at + 1] == b"\\":  # the first half of an escape
                    self._left = text[at:]
                    return
                self._in_string = at == len(text)
                at += 1
                continue
            quote = text.find(b'"', at)
            if quote < 0:
                unfinished = _UNFINISHED.search(text[max(at, len(text) - 16) :])
                self._left = unfinished[0] if unfinished else b""
            self._look(text[at : quote if quote >= 0 else len(text) - len(self._left)])
            self._in_string, at = quote >= 0, quote + 1 if quote >= 0 else len(text)

    def _look(self, signs: bytes) -> None:
        """Count what stands outside of strings."""
        self._names += signs.count(b":")
        self._values += signs.count(b",")
        opened = signs.count(b"[") + signs.count(b"{")
        if self._depth + opened > MOST_DEPTH:
            self._dive(signs)
        else:
            self._depth += opened - signs.count(b"]") - signs.count(b"}")
        for found in _ODD.finditer(signs):
            if found[1] is None or int(found[1][:9]) > _LARGEST_EXPONENT:
                shown = found[0].decode() if found[1] is None else "a number that is too large"
                raise HTTPException(
                    HTTPStatus.BAD_REQUEST, f"{shown} is not JSON: leave it out, or send null."
                )
        if self._names > MOST_NAMES:
            raise _too_much(f"has more than {MOST_NAMES:,} names")
        if self._values > MOST_VALUES:
            raise _too_much(f"has more than {MOST_VALUES:,} values")

    def _dive(self, signs: bytes) -> None:
        for sign in _BRACKET.findall(signs):
            self._depth += 1 if sign in b"[{" else -1
            if self._depth > MOST_DEPTH:
                raise _too_much(f"is nested more than {MOST_DEPTH} deep")


class Reading:
    """Takes the place of an ASGI ``receive``: hands on the body as long as it keeps to the limits."""

    def __init__(self, receive: Receive, *, longest: int, declared: int | None, shape: Shape | None) -> None:
        self._receive, self._shape = receive, shape
        self._longest = min(longest, LONGEST_UNDECLARED) if declared is None else longest
        self._read, self._whole = 0, False
        self._until = time.monotonic() + BODY_SECONDS + (declared or self._longest) / BYTES_PER_SECOND

    async def __call__(self) -> Message:
        if self._whole:  # what comes now is that the client has gone
            return await self._receive()
        try:
            async with asyncio.timeout(self._until - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            # FastAPI makes a 400 of every other exception while it reads a body.
            raise HTTPException(
                HTTPStatus.REQUEST_TIMEOUT,
                "the body came too slowly: send it again, faster.",
                {"connection": "close"},
            ) from None
        part = message.get("body", b"")
        self._read += len(part)
        self._whole = not message.get("more_body", False)
        if self._read > self._longest:
            raise too_long(self._longest)
        if self._shape is not None:
            self._shape.take(part)
        return message


def too_long(longest: int) -> HTTPException:
    """Return the refusal of a body that is longer than ``longest`` bytes."""
    sentence = f"the body is longer than {longest:,} bytes"
    cure = "send less, or say its length" if longest == LONGEST_UNDECLARED else "send less"
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{sentence}: {cure}.")


def _too_much(what: str) -> HTTPException:
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the JSON {what}: send it in smaller pieces.")
