"""A host plays ObjectScript for one item: it makes the component, applies its settings and calls it.

The order of calls is the contract of iop 4.1: ``__new__`` without ``__init__``, handles, settings, on_connected,
on_init; then one call a message; at the end on_tear_down.
"""

from __future__ import annotations

import time
import traceback
from typing import Any

from wattbus.energy.ledger import Ledger
from wattbus.errors import BadRequest, WattbusError
from wattbus.runtime import context, settings
from wattbus.runtime.bus import Bus, Result
from wattbus.runtime.context import Current
from wattbus.runtime.handle import Handle
from wattbus.runtime.iris import Envelope
from wattbus.runtime.production import ItemConfig
from wattbus.runtime.types import read_typed, type_name
from wattbus.store.rows import Claimed


class Host:
    """One item of a running production; each thread of its pool has a component of its own."""

    def __init__(self, item: ItemConfig, bus: Bus, ledger: Ledger) -> None:
        self.item, self.bus, self._ledger = item, bus, ledger
        self.name, self.business_type = item.name, item.business_type
        self.state = "Starting"
        self.error: str | None = None
        self._handled: tuple[str, ...] | None = None

    def accepts(self, cls: type) -> bool:
        """Tell whether the component has a handler for the type; True while that is not known yet."""
        return self._handled is None or type_name(cls) in self._handled

    @property
    def handled(self) -> tuple[str, ...]:
        """Return the names of the types that the component handles; empty: all, or not known yet."""
        return self._handled or ()

    def connect(self) -> Seated:
        """Make a component and start it; raise what its ``on_init`` raises."""
        # iop's contract: __init__ is never called.
        component: Any = object.__new__(self.item.component)
        handle = Handle(self)
        component._set_iris_handles(handle, None)
        before = context.enter(Current(self.bus.place, self.bus, self.name))
        try:
            settings.apply(component, self.item, lambda text: self.bus.log("Warning", text, self.name))
            try:
                component._dispatch_on_connected(handle)
            except Exception as error:  # noqa: BLE001 - a user's component; an error here is a warning, as on IRIS
                self.bus.log("Warning", f"on_connected: {sentence_of(error)}", self.name)
            component._dispatch_on_init(handle)
        finally:
            context.enter(before)
        self._handled = self._handlers(component)
        return Seated(self, component, handle, self._ledger)

    def _handlers(self, component: Any) -> tuple[str, ...] | None:
        """Return the dispatch table's types, or None where ``on_message`` takes whatever comes."""
        base = "iop.components."
        for name in ("on_message", "on_request"):
            method = getattr(type(component), name, None)
            if method is not None and not str(method.__module__).startswith(base):
                return None
        return tuple(key for key, _ in getattr(component, "DISPATCH", ()))


class Seated:
    """A component in one thread of the pool."""

    def __init__(self, host: Host, component: Any, handle: Handle, ledger: Ledger) -> None:
        self._host, self._component, self._handle, self._ledger = host, component, handle, ledger
        self._call = self._process if host.item.kind == "process" else self._operation

    def handle(self, claimed: Claimed) -> Result:
        """Hand one message to the component, with an energy window open; an exception becomes an error status."""
        header, host = claimed.header, self._host
        window = self._ledger.open(header.id, claimed.attempt, host.name)
        now = Current(
            host.bus.place, host.bus, host.name, header.id, header.session_id, claimed.attempt, window
        )
        context.enter(now)
        self._handle.handling = header
        began = time.perf_counter()
        error_status = detail = response = failed = None
        put_back = False
        try:
            response = self._call(self._body(claimed))
        except context.PutBack as reason:
            put_back, detail = True, str(reason)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the one place where a user's component meets the bus
            # The ledger is told the kind only: a message's content has no place in an energy report.
            failed = type(error).__name__
            error_status, detail = sentence_of(error), "".join(traceback.format_exception(error))
            error_status, detail = host.bus.writable(error_status), host.bus.writable(detail)
            host.bus.log(
                "Error", detail, host.name, header.id, header.session_id, type(self._component).__name__
            )
        duration = time.perf_counter() - began
        records = window.close(failed)
        self._handle.handling = None
        context.enter(None)
        children = [] if put_back or error_status is not None else now.outbox
        return Result(duration, response, error_status, detail, put_back, children, records)

    def tear_down(self) -> None:
        """Let the component clean up."""
        host = self._host
        context.enter(Current(host.bus.place, host.bus, host.name))
        try:
            self._component._dispatch_on_tear_down(self._handle)
        except Exception as error:  # noqa: BLE001 - a user's component
            host.bus.log("Warning", f"on_tear_down: {sentence_of(error)}", host.name)
        finally:
            context.enter(None)

    def _body(self, claimed: Claimed) -> Any:
        header, text = claimed.header, claimed.json
        if text is None:
            text = self._host.bus.store.body(header.body_id)
        body = None if text is None else Envelope(header.body_class, text, str(header.id))
        return read_typed(self._host.bus.types, body)

    def _operation(self, body: Any) -> Envelope | None:
        return _answer(self._component._dispatch_on_message(body))

    def _process(self, body: Any) -> Envelope | None:
        first = self._component._dispatch_on_request(self._handle, body)
        last = self._component._dispatch_on_complete(self._handle, body, first)
        return _answer(first if last is None else last)


def _answer(value: Any) -> Envelope | None:
    if value is None or value == "":
        return None
    if isinstance(value, Envelope):
        return value
    raise BadRequest(
        f"the handler returned a {type(value).__name__}: return a message, None or an empty string."
    )


def sentence_of(error: BaseException) -> str:
    """Return what to tell a caller of an error: our own in its words, another with its kind."""
    return str(error) if isinstance(error, WattbusError) else f"{type(error).__name__}: {error}"
