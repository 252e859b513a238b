"""The actions on messages as a door asks for them: a JSON object in, what became of each message out.

The control socket, and a command with no production running, hand the same object in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from wattbus.errors import BadRequest
from wattbus.runtime.parsing import parse
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.types import MessageTypes, sealed, write_envelope
from wattbus.secrets import Vault
from wattbus.store.actions import Actions, By
from wattbus.store.filters import parse_filter
from wattbus.store.purge import purge
from wattbus.store.store import Store


class KnownProduction:
    """What the actions must know of a production: its items, its message types, its secrets."""

    def __init__(self, production: ProductionConfig, types: MessageTypes, vault: Vault) -> None:
        self._production, self._types, self._vault = production, types, vault

    def target(self, name: str) -> tuple[str, str]:
        """Return the name and the business type of an item."""
        item = self._production.item(name)
        return item.name, item.business_type

    def written(self, body_class: str, body: Any) -> str:
        """Check a body against its type and return its JSON text without secrets."""
        if not body_class:
            raise BadRequest("the message has no body that could be edited: send it again as it is.")
        cls = self._types.resolve(body_class)
        return sealed(cls, write_envelope(parse(cls, body)).json, self._vault)


def perform(actions: Actions, store: Store, request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks for, and return the result as JSON-safe values.

    ``{"action": "suspend", "ids": [1, 2]}`` or ``{"action": "suspend", "filter": "item=Echo", "dry_run": true}``, with
    ``door`` and ``reason``; for a resend also ``to`` and ``idempotency_key``, for ``edit`` a ``body``, for ``replay`` a
    ``hop``, for ``purge`` an ``older_than_seconds``.
    """
    action = str(request["action"])
    by = By(str(request.get("door") or "CLI"), str(request.get("reason") or ""))
    if action == "purge":
        return _purge(store, request, by)
    if request.get("filter") is not None:
        which = parse_filter(str(request["filter"]), store.now_us())
        if request.get("dry_run"):
            return asdict(actions.plan(action, which))
        return asdict(actions.every(action, which, by))
    ids = [int(one) for one in request.get("ids") or ()]
    if not ids:
        raise BadRequest("no message is named: give ids, or a filter.")
    again = {"idempotency_key": request.get("idempotency_key")}
    if action in ("edit", "replay") and len(ids) != 1:
        raise BadRequest(f"{action} takes one message: {len(ids)} are named.")
    acts: dict[str, Callable[[], Any]] = {
        "suspend": lambda: actions.suspend(ids, by),
        "resume": lambda: actions.resume(ids, by),
        "discard": lambda: actions.discard(ids, by),
        "abort": lambda: actions.abort(ids, by),
        "resend": lambda: actions.resend(ids, by, to=request.get("to"), **again),
        "edit": lambda: actions.edit_and_resend(
            ids[0], request.get("body"), by, to=request.get("to"), **again
        ),
        "replay": lambda: actions.replay(ids[0], by, hop=request.get("hop"), **again),
    }
    if action not in acts:
        raise BadRequest(f"unknown action {action!r}: there are {', '.join([*acts, 'purge'])}.")
    return asdict(acts[action]())


def _purge(store: Store, request: dict[str, Any], by: By) -> dict[str, Any]:
    text = request.get("filter")
    purged = purge(
        store,
        float(request["older_than_seconds"]),
        by,
        which=parse_filter(str(text), store.now_us()) if text else None,
        keep_errors=bool(request.get("keep_errors")),
        with_energy=bool(request.get("with_energy")),
        dry_run=bool(request.get("dry_run")),
    )
    return asdict(purged)
