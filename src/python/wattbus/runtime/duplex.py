"""Private sessions: documents that a duplex service or operation and a duplex process send each other.

The first document opens the session: a Start message to the process of DuplexTargetConfigName, and both sides are told.
Each document is a message of the process's queue, in order; on IRIS the process polls for them. Stop ends the session.
"""

from __future__ import annotations

import json
from typing import Any

from wattbus.errors import BadSettings
from wattbus.runtime.context import Current
from wattbus.runtime.handle import Handle
from wattbus.runtime.host import Host, Seat
from wattbus.runtime.iris import Envelope
from wattbus.runtime.process import ProcessSeat
from wattbus.runtime.result import Result
from wattbus.runtime.service import ServiceSeat
from wattbus.runtime.settings import host_setting
from wattbus.runtime.types import read_typed, to_envelope
from wattbus.store.rows import Claimed

START, STOP = "IOP.PrivateSession.Message.Start", "IOP.PrivateSession.Message.Stop"
TARGET = "DuplexTargetConfigName"


class DuplexSession:
    """The session of one duplex component; the calls that it makes on its handle."""

    def __init__(self, host: Host, component: Any, handle: Handle) -> None:
        self._host, self._component, self._handle = host, component, handle
        self.open = False
        handle.dispatchSendDocumentToProcess = self.send  # type: ignore[attr-defined]
        handle.StartPrivateSession = self.start  # type: ignore[attr-defined]
        handle.StopPrivateSession = self.stop  # type: ignore[attr-defined]

    def start(self) -> None:
        """Open the session, and tell the component."""
        if not self.open:
            self.open = True
            self._post(Envelope(START, "{}"))
            self._component._dispatch_on_private_session_started(self._host.name, 1)

    def send(self, document: Any) -> None:
        """Send a document to the process; the first opens the session."""
        self.start()
        self._post(document)

    def stop(self, attached: Any = None) -> None:
        """End the session, with a message to take along, and tell the component."""
        if self.open:
            self.open = False
            body = to_envelope(attached)
            inside = {} if body is None else {"classname": body.classname, "body": body.json}
            self._post(Envelope(STOP, json.dumps(inside, ensure_ascii=False)))
            self._component._dispatch_on_private_session_stopped(self._host.name, 1, attached)

    def told(self, body_class: str, source: str, attached: Any) -> None:
        """Tell the component that the process has opened or ended the session."""
        self.open = body_class == START
        if self.open:
            self._component._dispatch_on_private_session_started(source, 0)
        else:
            self._component._dispatch_on_private_session_stopped(source, 0, attached)

    def _post(self, document: Any) -> None:
        target = host_setting(self._host.item, TARGET, "") or str(getattr(self._component, TARGET, "") or "")
        if not target:
            raise BadSettings(
                f"item {self._host.name!r} sends documents and has no {TARGET}: give it the name of the duplex process."
            )
        self._handle.dispatchSendRequestAsync(target, document, f"document to {target}")


class DuplexSeat(ServiceSeat):
    """A duplex service or operation: called by its adapter, and by the messages that it gets."""

    def __init__(self, host: Host, component: Any, handle: Handle) -> None:
        self._session = DuplexSession(host, component, handle)
        super().__init__(host, component, handle)

    def work(self, claimed: Claimed, now: Current) -> Result:
        header = claimed.header
        if header.body_class in (START, STOP):
            attached = _attached(self, claimed)
            self._session.told(header.body_class, header.source_item, attached)
            return Result(0.0, children=now.outbox)
        return super().work(claimed, now)

    def call(self, body: Any) -> Any:
        return self.component._dispatch_on_message(body)


class DuplexProcessSeat(ProcessSeat):
    """A duplex process: what it is sent is a document, unless it opens or ends a session."""

    def work(self, claimed: Claimed, now: Current) -> Result:
        header = claimed.header
        if header.type == "Response":
            return super().work(claimed, now)
        component, source = self.component, header.source_item
        self.handle_.request = header
        if header.body_class == START:
            component._dispatch_on_private_session_started(self.handle_, source, 0)
        elif header.body_class == STOP:
            component._dispatch_on_private_session_stopped(self.handle_, source, 0, _attached(self, claimed))
        else:
            component._dispatch_on_document(self.handle_, source, self.body_of(claimed))
        # As on IRIS a document has no answer; what the process asks for meanwhile, it asks for synchronously.
        return Result(0.0, children=now.outbox)


def _attached(seat: Seat, claimed: Claimed) -> Any:
    inside = json.loads(seat.text_of(claimed) or "{}")
    return read_typed(seat.host.bus.types, Envelope(inside["classname"], inside["body"])) if inside else None
