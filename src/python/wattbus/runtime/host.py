"""A host plays ObjectScript for one item: it makes the component, applies its settings and calls it.

The order of calls is the contract of iop 4.1: ``__new__`` without ``__init__``, handles, settings, on_connected,
on_init; then one call a message; at the end on_tear_down.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import iop

from wattbus import killpoints
from wattbus.energy.ledger import Ledger
from wattbus.errors import BadSettings, Cancelled, WattbusError
from wattbus.runtime import context, settings, streams, unwritable
from wattbus.runtime.bus import Bus
from wattbus.runtime.context import Current
from wattbus.runtime.handle import Handle
from wattbus.runtime.iris import Envelope, GeneratorStop
from wattbus.runtime.production import ItemConfig
from wattbus.runtime.result import Result
from wattbus.runtime.types import handler_keys, read_typed, to_envelope
from wattbus.store import tries
from wattbus.store.rows import Claimed
from wattbus.store.units import Ending

T = TypeVar("T")
#: Seconds between two calls of ``on_keepalive``.
KEEPALIVE_SECONDS = 30.0


class Ticker(Protocol):
    """A thread that calls a component now and then."""

    def stop(self) -> None: ...


class Host:
    """One item of a running production; each thread of its pool has a component of its own."""

    def __init__(self, item: ItemConfig, bus: Bus, ledger: Ledger) -> None:
        self.item, self.bus, self.ledger = item, bus, ledger
        self.name, self.business_type = item.name, item.business_type
        self.state = "Starting"
        self.error: str | None = None
        #: Set when its workers are to leave: none of them waits for a retry any more, or begins what takes long.
        self.leaving = threading.Event()
        self._handled: tuple[str, ...] | None = None
        self._accepts: dict[type, bool] = {}
        self._lock = threading.Lock()
        self._made: dict[type, Any] = {}

    def _shared(self, cls: type[T]) -> T:
        """Return what the seats of this item share, made once."""
        with self._lock:
            if cls not in self._made:
                self._made[cls] = cls(self)  # type: ignore[call-arg]
            return self._made[cls]  # type: ignore[no-any-return]

    def accepts(self, cls: type) -> bool:
        """Tell whether the component has a handler for the type; True while that is not known yet."""
        handled = self._handled
        if handled is None:
            return True
        known = self._accepts.get(cls)
        if known is None:
            known = self._accepts[cls] = any(key in handled for key in handler_keys(cls))
        return known

    @property
    def handled(self) -> tuple[str, ...]:
        """Return the names of the types that the component handles; empty: all, or not known yet."""
        return self._handled or ()

    def connect(self) -> Seat:
        """Make a component and start it; raise what its ``on_init`` raises."""
        from wattbus.runtime.duplex import DuplexProcessSeat, DuplexSeat
        from wattbus.runtime.process import Processes, ProcessSeat
        from wattbus.runtime.service import Keepalive, ServiceSeat

        component, handle = self.make()
        self._handled, self._accepts = self._handlers(component), {}
        if self.item.kind == "process":
            duplex = issubclass(self.item.component, iop.DuplexProcess)
            return (DuplexProcessSeat if duplex else ProcessSeat)(
                self, component, handle, self._shared(Processes)
            )
        if issubclass(self.item.component, iop.DuplexService | iop.DuplexOperation):
            return DuplexSeat(self, component, handle)
        if self.item.kind == "service":
            return ServiceSeat(self, component, handle)
        seat = self._operation_seat(component, handle)
        if _has_keepalive(component):
            seat.ticker = Keepalive(
                seat, settings.host_setting(self.item, "KeepaliveInterval", KEEPALIVE_SECONDS)
            )
        return seat

    def _operation_seat(self, component: Any, handle: Handle) -> Seat:
        from wattbus.runtime.batches import BatchSeat, Returning

        # A setting of this name may be the component's own: it means batching where there is on_batch.
        if not callable(getattr(component, "on_batch", None)):
            return Seat(self, component, handle)
        size = settings.host_setting(self.item, "BatchSize", 1)
        if size <= 1:
            return Seat(self, component, handle)
        wait_seconds = settings.host_setting(self.item, "BatchWaitMs", 0.0) / 1000
        return BatchSeat(self, component, handle, size, wait_seconds, self._shared(Returning))

    def make(self) -> tuple[Any, Handle]:
        """Make a component and its handle, with settings and adapter, and let it start."""
        if not settings.host_setting(self.item, "Isolated", False):
            return self.make_by(object.__new__)
        from wattbus.runtime.isolated import make

        return make(self)

    def make_by(self, new: Callable[[type], Any]) -> tuple[Any, Handle]:
        """Do as :meth:`make` with objects that ``new`` makes, here or in a child process."""
        # iop's contract: __init__ is never called.
        component: Any = new(self.item.component)
        handle = Handle(self, component)
        component._set_iris_handles(handle, None)
        with self.at_work():
            settings.apply(component, self.item, lambda text: self.bus.log("Warning", text, self.name))
            self._connect_adapter(component, handle, new)
            try:
                component._dispatch_on_connected(handle)
            except Exception as error:  # noqa: BLE001 - a user's component; an error here is a warning, as on IRIS
                self.bus.log("Warning", f"on_connected: {sentence_of(error)}", self.name)
            component._dispatch_on_init(handle)
        return component, handle

    def _connect_adapter(self, component: Any, handle: Handle, new: Callable[[type], Any]) -> None:
        """Make the adapter of an item, where it is a Python class, with the adapter's own settings."""
        cls = self.item.adapter
        if cls is None:
            return
        adapter: Any = new(cls)
        adapter._set_iris_handles(handle, handle)
        settings.apply_to_adapter(adapter, self.item, lambda text: self.bus.log("Warning", text, self.name))
        component.Adapter = component.adapter = adapter
        if hasattr(adapter, "on_init"):
            adapter.on_init()

    @contextlib.contextmanager
    def at_work(self) -> Any:
        """Run a block for this item, on no message in particular."""
        before = context.enter(Current(self.bus.place, self.bus, self.name, leaving=self.leaving))
        try:
            yield
        finally:
            context.enter(before)

    def _handlers(self, component: Any) -> tuple[str, ...] | None:
        """Return the dispatch table's types, or None where ``on_message`` takes whatever comes."""
        base = "iop.components."
        for name in ("on_message", "on_request", "on_process_input"):
            method = getattr(type(component), name, None)
            if method is not None and not str(method.__module__).startswith(base):
                return None
        return tuple(key for key, _ in getattr(component, "DISPATCH", ()))


class Seat:
    """A component in one thread of the pool; here an operation, which all others build on."""

    def __init__(self, host: Host, component: Any, handle: Handle) -> None:
        self.host, self.component, self.handle_ = host, component, handle
        #: The queue that the thread takes its next message from: the item's, or that of a stream that it serves.
        self.queue = host.name
        self.ticker: Ticker | None = None
        self._on_message = unwrapped(component, "_dispatch_on_message")
        # A component is called by one thread at a time, also by the clock's ticks.
        self._turn = threading.RLock()

    def handle(self, claimed: Claimed) -> Result:
        """Hand one message to the component, with an energy window open; an exception becomes an error status."""
        header, host = claimed.header, self.host
        bus = host.bus
        window = host.ledger.open(header.id, claimed.attempt, host.name)
        now = Current(bus.place, bus, host.name, header.id, header.session_id, claimed.attempt, window)
        if claimed.attempt > 1:
            now.cut_off = tries.was_cut_off(bus.store.engine, header.id, claimed.attempt)
        context.enter(now)
        bus.in_hand[header.id] = header
        failed = None
        began = time.perf_counter()
        with self._turn:
            self.handle_.begin(header, claimed.attempt)
            try:
                if killpoints.ARMED:
                    killpoints.reached("handle.before-effect")
                result = self.work(claimed, now)
                if killpoints.ARMED:
                    killpoints.reached("handle.after-effect")
            except context.PutBack as reason:
                self.interrupted()
                result = Result(0.0, ending=Ending(reason.ending), detail=str(reason))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the one place where a user's component meets the bus
                # The ledger is told the kind only: a message's content has no place in an energy report.
                failed = type(error).__name__
                result = self.failed(claimed, error)
            finally:
                self.handle_.finish()
        duration = time.perf_counter() - began
        bus.in_hand.pop(header.id, None)
        records = window.close(failed)
        context.enter(None)
        result.duration_seconds, result.energy = duration, records
        return result

    def work(self, claimed: Claimed, now: Current) -> Result:
        """Call the component with one message; raise what it raises."""
        header = claimed.header
        if header.body_class == streams.START:
            start = streams.start_of(self.text_of(claimed))
            self.component._dispatch_generator_started(read_typed(self.host.bus.types, start))
            self.queue = streams.stream_queue(self.host.name, header.id)
            return Result(0.0, Envelope(streams.ACK, "{}"), children=now.outbox)
        if header.body_class in (streams.POLL, streams.STOP):
            return Result(0.0, self._next_of_stream(header.body_class), children=now.outbox)
        return Result(0.0, to_envelope(self.call(self.body_of(claimed))), children=now.outbox)

    def call(self, body: Any) -> Any:
        """Call the component's handler."""
        return self._on_message(body)

    def failed(self, claimed: Claimed, error: BaseException) -> Result:
        """Return the end of an attempt whose component has raised, and log the traceback."""
        header, host = claimed.header, self.host
        if header.body_class in (streams.POLL, streams.STOP):
            self.queue = host.name
        detail = host.bus.writable("".join(traceback.format_exception(error)))
        host.bus.log("Error", detail, host.name, header.id, header.session_id, type(self.component).__name__)
        return Result(
            0.0,
            ending=Ending.ERROR,
            error_status=host.bus.writable(sentence_of(error)),
            detail=detail,
            final=isinstance(error, Cancelled),
            replied=self.handle_.replied,
        )

    def interrupted(self) -> None:
        """Let go of what an attempt had in hand that is put back."""

    def _next_of_stream(self, asked: str) -> Envelope | None:
        """Return the next value of the stream that this thread serves, or Stop; then it is free again."""
        if asked == streams.STOP:
            close = getattr(getattr(self.component, "_gen", None), "close", None)
            if close is not None:
                close()
            self.queue = self.host.name
            return None
        value = self.component._dispatch_generator_poll()
        if isinstance(value, GeneratorStop):
            self.queue = self.host.name
        return to_envelope(value)

    def tear_down(self) -> None:
        """Let the component clean up."""
        if self.ticker is not None:
            self.ticker.stop()
        with self.host.at_work(), self._turn:
            try:
                self.component._dispatch_on_tear_down(self.handle_)
            except Exception as error:  # noqa: BLE001 - a user's component
                self.host.bus.log("Warning", f"on_tear_down: {sentence_of(error)}", self.host.name)

    def keepalive(self) -> None:
        """Let an operation that stays connected tell its other side that it is there."""
        with self._turn:
            for part in (self.component, self.component.Adapter):
                if _overrides_keepalive(part):
                    try:
                        part.on_keepalive()
                    except Exception as error:  # noqa: BLE001 - a user's component
                        self.host.bus.log("Warning", f"on_keepalive: {sentence_of(error)}", self.host.name)

    def body_of(self, claimed: Claimed) -> Any:
        """Return the typed body of a message."""
        header = claimed.header
        text = self.text_of(claimed)
        body = None if text is None else Envelope(header.body_class, text, str(header.id))
        return read_typed(self.host.bus.types, body)

    def text_of(self, claimed: Claimed) -> str | None:
        """Return the JSON text of a message's body, wherever it lies."""
        return claimed.json if claimed.json is not None else self.host.bus.store.body(claimed.header.body_id)


def _no_such_call(*_arguments: Any) -> Any:
    raise BadSettings("this kind of item is not called like that.")


def unwrapped(component: Any, name: str) -> Callable[..., Any]:
    """Return a dispatch method of iop without its serialisers: what goes in is typed, and what comes out is ours.

    iop's serialisers take a message apart field by field; ours look at a class once. A method that a component has
    written itself is called as it is.
    """
    cls: Any = type(component)
    function = getattr(cls, name, None)
    method: Callable[..., Any] = getattr(component, name, _no_such_call)
    plain = cls.__getattribute__ is object.__getattribute__  # not one that stands for another elsewhere
    if not plain or function is None or not str(function.__module__).startswith("iop."):
        return method
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return functools.partial(function, component)


def _has_keepalive(component: Any) -> bool:
    return _overrides_keepalive(component) or _overrides_keepalive(component.Adapter)


def _overrides_keepalive(part: Any) -> bool:
    method = getattr(type(part), "on_keepalive", None)
    return method is not None and not str(method.__module__).startswith("iop.components.")


def sentence_of(error: BaseException) -> str:
    """Return what to tell a caller of an error: our own in its words, another with its kind."""
    if isinstance(error, WattbusError):
        return str(error)
    return unwritable.sentence_for(error) or f"{type(error).__name__}: {error}"
