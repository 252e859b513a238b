"""A live service here that sends through a wattbus in another process, over HTTP: ``WATTBUS_URL``.

The component, its handle and the bus are the ones that run everywhere; only the store under the bus is elsewhere. A
message is safe in the other process before a send returns, and carries a key, so that no repeated call sends it twice.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

from wattbus.access import Access
from wattbus.config import Config, read_config
from wattbus.energy.feed import NullFeed
from wattbus.energy.ledger import Ledger
from wattbus.errors import BadRequest, BadSettings, NotRunning, RequestFailed, StoreError, WattbusError
from wattbus.home import Home
from wattbus.runtime.bus import Bus
from wattbus.runtime.context import Place
from wattbus.runtime.host import Host
from wattbus.runtime.iris import Envelope
from wattbus.runtime.live import LiveService
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.reading import load_all
from wattbus.runtime.settings_files import named_settings
from wattbus.runtime.types import MessageTypes
from wattbus.secrets import Vault
from wattbus.store.rows import Event, Header
from wattbus.store.store import Store, now_us
from wattbus.store.units import Acceptance
from wattbus.transport import PORTS, FetchedResponse, Transport

logger = logging.getLogger("wattbus.remote")

_WAIT_SECONDS = 20.0
_CALL_SECONDS = 60.0
#: How long the other process may be gone, to be started anew for instance, while an answer is waited for.
_GONE_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 0.5
_LARGEST_ANSWER_BYTES = 300 * 1024 * 1024


def remote_service(name: str, url: str, home: Home | None = None) -> LiveService:
    """Return the live service of an item, whose class comes from the settings file that is named here.

    It shows WATTBUS_TOKEN at the door of ``url``; without one a pass of ``home``, where that is the door's own.
    """
    config = read_config()
    file = named_settings(config)
    if file is None:
        raise BadSettings(
            f"the class of {name!r} is not known here: set WATTBUS_SETTINGS to the settings.py that declares the item."
        )
    for production in load_all(file).values():
        if name in production.items:
            break
    else:
        raise BadSettings(
            f"{file} declares no item {name!r}: set WATTBUS_SETTINGS to the settings.py that does."
        )
    bus = _RemoteBus(_Caller(url, _shown(config, home)), production)
    host = Host(
        production.items[name],
        bus,
        Ledger(NullFeed("the work is done elsewhere"), on_settled=lambda *_: None),
    )
    return LiveService(lambda: host)


class _Sending(Acceptance):
    """A message on its way to the other process."""

    __slots__ = ("header",)

    def __init__(self, header: Header, json: str | None, **callbacks: Any) -> None:
        super().__init__(header, json, **callbacks)
        self.header = header


class _RemoteBus(Bus):
    """The bus over a store in another process."""

    def __init__(self, caller: _Caller, production: ProductionConfig) -> None:
        home = Home.find(read_config().home)
        # It has the few methods of a store that sending needs.
        store = cast(Store, _RemoteStore(caller, self))
        super().__init__(store, production, MessageTypes.of(production), Place(home, Vault(None)))

    def is_awaited(self, message_id: int) -> bool:
        """Tell whether somebody waits for an answer."""
        return message_id in self._waiters

    def wake(self, message_id: int, response: Envelope | None, error_status: str | None) -> None:
        """Give an answer to who waits for it."""
        self._wake(message_id, response, error_status)

    def _written(self, body: Envelope | None) -> str | None:
        # Secrets are sealed where the message is stored, with the vault that is there.
        return None if body is None else body.json


class _RemoteStore:
    """What a bus needs of a store to send and to log."""

    shared = False

    def __init__(self, caller: _Caller, bus: _RemoteBus) -> None:
        self._caller, self._bus = caller, bus

    def prepare(self, header: Header, json: str | None, **callbacks: Any) -> _Sending:
        return _Sending(header, json, **callbacks)

    def accept(self, sending: _Sending) -> None:
        """Send, and tell when the message is safe; who waits for its answer is told by a thread."""
        header = sending.header
        body = {
            "source": header.source_item,
            "target": header.target_item,
            "queue": header.target_queue,
            "type": header.body_class or None,
            "body": sending.json or "{}",
            "description": header.description,
            "priority": header.priority,
            "response_required": header.response_required,
            "session_id": header.session_id,
            "idempotency_key": header.idempotency_key or uuid.uuid4().hex,
        }
        try:
            sending.id = self._caller.call("POST", "send", body)["message_id"]
        except WattbusError as error:
            sending.refusal = error
            sending.committed()
            return
        sending.committed()
        if header.response_required:
            threading.Thread(
                target=self._answer, args=(sending.id,), name="wattbus-answer", daemon=True
            ).start()

    def accept_later(self, sending: _Sending) -> None:
        threading.Thread(target=self.accept, args=(sending,), name="wattbus-send", daemon=True).start()

    def header(self, message_id: int) -> None:
        return None

    def log(self, event: Event) -> None:
        line = {
            "item": event.item,
            "type": event.type,
            "text": event.text,
            "session_id": event.session_id,
            "source_class": event.source_class,
            "source_method": event.source_method,
        }
        try:
            self._caller.call("POST", "log", line)
        except WattbusError as error:
            # Where it should be read it cannot be written; a log line must not fail a call.
            logger.warning("%s (not logged in the event log: %s)", event.text, error)

    def now_us(self) -> int:
        return now_us()

    def _answer(self, message_id: int) -> None:
        """Wait for an answer as long as somebody here waits for it, and pass it on."""
        pause, seen = threading.Event(), time.monotonic()
        while self._bus.is_awaited(message_id):
            try:
                answer = self._caller.call("GET", f"answers/{message_id}?wait_seconds={_WAIT_SECONDS}")
            except WattbusError as error:
                if time.monotonic() - seen > _GONE_SECONDS:
                    self._bus.wake(
                        message_id, None, f"{error} Message {message_id} is kept there and goes on."
                    )
                pause.wait(_LOOK_AGAIN_SECONDS)
                continue
            seen = time.monotonic()
            if answer["done"]:
                body = Envelope(answer["type"], answer["body"] or "") if answer["type"] else None
                self._bus.wake(message_id, body, answer["error"])


class _Caller:
    """Calls the other process."""

    def __init__(self, url: str, shown: Callable[[], str | None]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise BadSettings(f"WATTBUS_URL is {url!r}: give http://host:port, as `wattbus status` shows it.")
        place = f"{parts.hostname}:{parts.port or PORTS[parts.scheme]}"
        self._url, self._places = url.rstrip("/"), frozenset({place})
        self._transport = Transport(self._places)
        self._shown = shown

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the other process answers; raise its error in its words."""
        headers, token = {"content-type": "application/json"}, self._shown()
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        answer = self._transport.fetch(
            f"{self._url}/api/wattbus/{path}",
            method=method,
            headers=headers,
            json=body,
            secret_hosts=self._places,
            timeout_seconds=_CALL_SECONDS,
            max_bytes=_LARGEST_ANSWER_BYTES,
        )
        if answer.status != 200:
            raise _error_of(answer, self._url)
        said: dict[str, Any] = json.loads(answer.content)
        return said


def _shown(config: Config, home: Home | None) -> Callable[[], str | None]:
    """Return what makes the token that the door is shown; a pass lasts a minute, so each call has its own."""
    if config.token is not None:
        token = config.token.get_secret_value()
        return lambda: token
    if home is not None:
        return Access(home.access_file).sign_pass
    return lambda: None


def _error_of(answer: FetchedResponse, url: str) -> WattbusError:
    try:
        sentence = str(json.loads(answer.content)["error"])
    except (ValueError, KeyError, TypeError):
        sentence = f"{url} answers {answer.status}, and not as a wattbus does: see WATTBUS_URL."
    if answer.status == 409:
        return NotRunning(sentence)
    if answer.status == 503:
        return StoreError(sentence)
    return BadRequest(sentence) if answer.status < 500 else RequestFailed(sentence)
