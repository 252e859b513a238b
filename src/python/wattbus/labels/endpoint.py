"""Ask a deployed endpoint as a measurement does: through the guarded transport, and each bad answer is a sentence."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from wattbus import words
from wattbus.errors import BadRequest, RequestFailed
from wattbus.transport import FetchedResponse, Transport

LONGEST_SECONDS = 120.0


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers, and the JSON that it is asked with."""

    url: str
    body: Any
    api_key: str = ""
    timeout_seconds: float = 30.0

    @property
    def host(self) -> str:
        """Return its host, with the port where one is named; that is all that is kept of an address."""
        parts = urlsplit(self.url)
        return parts.netloc.rpartition("@")[2][:200]


@dataclass(frozen=True)
class EndpointAnswer:
    """One answer: how long it took, how long it is, and the tokens that it says it wrote."""

    seconds: float
    bytes: int
    tokens: int | None


def ask(transport: Transport, endpoint: Endpoint) -> EndpointAnswer:
    """Ask once; RequestFailed or Refused says why there is no answer to measure."""
    if not 0 < endpoint.timeout_seconds <= LONGEST_SECONDS:
        raise BadRequest(
            f"the time-out is {endpoint.timeout_seconds:g} s: give up to {LONGEST_SECONDS:g} seconds."
        )
    headers = {"accept": "application/json"}
    if endpoint.api_key:
        headers["authorization"] = f"Bearer {endpoint.api_key}"
    begun = time.perf_counter()
    answer = transport.fetch(
        endpoint.url,
        method="POST",
        headers=headers,
        json=endpoint.body,
        secret_hosts=frozenset({endpoint.host}) if endpoint.api_key else frozenset(),
        timeout_seconds=endpoint.timeout_seconds,
    )
    seconds = time.perf_counter() - begun
    _check(endpoint, answer)
    return EndpointAnswer(seconds, len(answer.content), _tokens(answer))


def _check(endpoint: Endpoint, answer: FetchedResponse) -> None:
    """Refuse what is no answer of a model: an error, a page for people, nothing."""
    begins = answer.content[:200].lstrip().lower()
    if answer.status >= 400:
        raise RequestFailed(
            f"{endpoint.host} answered {answer.status}{_said(answer)}: mend that first, then measure."
        )
    if "html" in answer.headers.get("content-type", "") or begins.startswith((b"<!doctype", b"<html")):
        raise RequestFailed(
            f"{endpoint.host} answered with a web page and not with a result: check the path of the address."
        )
    if not answer.content.strip():
        raise RequestFailed(
            f"{endpoint.host} answered {answer.status} with nothing: there is nothing to measure."
        )
    if "json" in answer.headers.get("content-type", ""):
        told = _json(answer)
        if told is None:
            raise RequestFailed(f"{endpoint.host} says that it answers with JSON, and that cannot be read.")
        if isinstance(told, dict) and told.get("error"):
            raise RequestFailed(
                f"{endpoint.host} answered with an error: {words.clean(str(told['error']), 200)}."
            )


def _said(answer: FetchedResponse) -> str:
    """Return what an error answer says in words, where it is JSON or a short text."""
    told = _json(answer)
    if isinstance(told, dict):
        for name in ("error", "detail", "message"):
            if told.get(name):
                return f" ({words.clean(str(told[name]), 200)})"
    return ""


def _json(answer: FetchedResponse) -> Any:
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError):
        return None


def _tokens(answer: FetchedResponse) -> int | None:
    """Return the tokens that an answer in the form of OpenAI's says it wrote."""
    told = _json(answer)
    usage = told.get("usage") if isinstance(told, dict) else None
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else None
