"""The calls that the process of a home answers on its control socket, for the command and for directors elsewhere."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

from wattbus.errors import BadRequest, UnknownName
from wattbus.runtime import item_settings
from wattbus.runtime.actions import perform
from wattbus.runtime.control import Call
from wattbus.runtime.director import CALL, Director
from wattbus.runtime.running import RunningProduction
from wattbus.runtime.types import to_envelope
from wattbus.store.documents import forget_document, save_document
from wattbus.store.tables import Priority


class Calls:
    """What one process answers; ``end`` ends it and returns for how long it may take."""

    def __init__(
        self, director: Director, *, url: str | None, supervisor: int | None, end: Callable[[], float]
    ) -> None:
        self._director, self._url, self._supervisor, self._end = director, url, supervisor, end

    def by_name(self) -> dict[str, Call]:
        """Return the calls by their names."""
        return {
            "status": self.status,
            "test": self.test,
            "messages": self.messages,
            "life": self.life,
            "documents": self.documents,
            "types": lambda _request: self._director.current().types.names(),
            "stop": lambda _request: self._end(),
            CALL: self._director.answer,
        }

    def status(self, _request: dict[str, Any]) -> dict[str, Any]:
        """Tell how the production and its items stand."""
        running = self._director.running
        answer: dict[str, Any] = {
            "production": running.production.name if running else self._director.get_default_production(),
            "status": running.state if running else self._director.last_state(),
            "pid": os.getpid(),
            "supervisor": self._supervisor,
            "home": str(self._director.home.root),
            "url": self._url,
            "needs_update": running.needs_update() if running else None,
            "items": [],
        }
        if running is not None:
            alerts = running.bus.alerts
            answer["items"] = [
                {**dataclasses.asdict(item), "alerts": alerts[item.name]} for item in running.items()
            ]
        return answer

    def test(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a message; with ``background`` only its id is answered."""
        production = self._director.current()
        message = production.message(request["type"], request["body"])
        key = request.get("idempotency_key")
        if request.get("background"):
            priority = request.get("priority") or Priority.ASYNC
            sent = production.submit(
                request["item"], message, door="CLI", idempotency_key=key, priority=priority
            )
            return {"message_id": sent}
        message_id, response = production.exchange(
            request["item"],
            message,
            timeout_seconds=request.get("timeout", -1),
            door="CLI",
            idempotency_key=key,
        )
        answer: dict[str, Any] = {"message_id": message_id, "type": None, "body": None}
        written = to_envelope(response)
        if written is not None:
            answer |= {"type": written.classname, "body": written.json}
        return answer

    def messages(self, request: dict[str, Any]) -> dict[str, Any]:
        """Act on stored messages."""
        production = self._director.current()
        return perform(production.actions, production.store, request)

    def life(self, request: dict[str, Any]) -> dict[str, Any]:
        """Change how the production, or an ``item`` of it, runs; answer what was touched and how that stands now."""
        action, item = str(request["action"]), request.get("item")
        if action == "restart":
            self._director.restart_production()
            return self._stands([])
        if action == "update":
            return self._stands(self._director.update())
        running = self._director.current()
        if action == "recover":
            return {"taken_back": running.recover(), **self._stands([])}
        by = str(request.get("by") or "CLI")
        if action == "reset":
            return self._stands(running.reset(item, by))
        if item is None:
            raise BadRequest("no item is named.")
        if action == "set":
            changed = item_settings.change(running, str(item), request["settings"], by)
            return {"sentence": changed.sentence, **self._stands([str(item)])}
        if action == "history":
            rows = item_settings.history(running, str(item), int(request.get("limit") or 50))
            return {"changes": [dataclasses.asdict(row) for row in rows]}
        item_action(running, action, str(item), request.get("size"), by)
        return self._stands([str(item)])

    def documents(self, request: dict[str, Any]) -> dict[str, Any]:
        """Save a document, or forget one: for a command beside a running production, which alone may write."""
        kind, name = str(request["kind"]), str(request["document"])
        with self._director.deployment.writing() as engine:
            if request["act"] == "forget":
                return {"name": name, "versions": forget_document(engine, kind, name)}
            made = save_document(engine, kind, name, request["content"], str(request.get("by") or "CLI"))
            return {"name": made.name, "version": made.version}

    def _stands(self, names: list[str]) -> dict[str, Any]:
        running = self._director.current()
        items = [dataclasses.asdict(item) for item in running.items() if item.name in names]
        return {
            "production": running.production.name,
            "status": running.state,
            "touched": names,
            "items": items,
        }


def item_action(running: RunningProduction, action: str, item: str, size: Any, by: str) -> None:
    """Start, stop or restart an item, enable or disable it, or give it another pool size."""
    acts: dict[str, Callable[[], object]] = {
        "start": lambda: running.start_item(item),
        "stop": lambda: running.stop_item(item),
        "restart_item": lambda: running.restart_item(item),
        "enable": lambda: running.enable(item, True, by),
        "disable": lambda: running.enable(item, False, by),
        "pool": lambda: running.set_pool_size(item, int(size), by),
    }
    if action not in acts:
        raise UnknownName("action", action, acts)
    acts[action]()
