"""A process at work: a request that it handles, the responses that it waits for, and what it keeps between them.

A request whose handling has sent asynchronous requests that want a response is Deferred: the process is a row with
the number of responses still to come, the response so far and the component's properties. Each response is a message
of the process's queue; its handling, the next state of the row and what it sends are one transaction. When nothing
is waited for any more, ``on_complete`` is called and the caller is answered. So a crash between two responses loses
nothing: what was committed is there, and the response in hand is handled again.
"""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from wattbus.runtime.bus import ALARM
from wattbus.runtime.context import Current
from wattbus.runtime.handle import Handle
from wattbus.runtime.host import Host, Seat, unwrapped
from wattbus.runtime.iris import Envelope, StandIn
from wattbus.runtime.result import Result
from wattbus.runtime.types import read_typed, to_envelope
from wattbus.store.rows import Claimed, Header, ProcessRow
from wattbus.store.units import Ending, ProcessChange

_SIMPLE = (str, int, float, bool, type(None))
#: Handles and tables of iop that are no state of a process.
_NOT_KEPT = frozenset({"iris_handle", "DISPATCH", "Adapter", "adapter", "_gen"})


class ProcessGone(Exception):
    """The process that a response belongs to has ended before."""


@dataclass
class Process:
    """A process between two calls."""

    request: Header
    body: Any
    response: Envelope | None = None
    waiting: int = 0
    replied: bool = False
    version: int = 0  # of its row; 0: it has none yet
    properties: dict[str, Any] = field(default_factory=dict)
    #: What the component's attributes were after the last call, where they differ from those of a fresh one.
    attributes: dict[str, Any] = field(default_factory=dict)


class Processes:
    """The processes of one item that wait for responses; remembered here, true in the store."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[int, Process] = {}
        self._turns: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()

    def turn(self, message_id: int) -> threading.Lock:
        """Return the lock under which the process of a request goes on; held until its new state is stored."""
        with self._lock:
            return self._turns.setdefault(message_id, threading.Lock())

    def find(self, message_id: int) -> Process:
        """Return the process of a request; raise :class:`ProcessGone` where it has ended."""
        store = self._host.bus.store
        process = None if store.shared else self._known.get(message_id)
        if process is not None:
            return process
        row, request = store.process(message_id), store.header(message_id)
        if row is None or request is None:
            raise ProcessGone
        text = store.body(request.body_id)
        body = None if text is None else Envelope(request.body_class, text, str(request.id))
        kept = json.loads(row.properties, object_hook=_bytes_from_json)
        return Process(
            request,
            read_typed(self._host.bus.types, body),
            response=Envelope(row.response_class, row.response_json)
            if row.response_json is not None
            else None,
            waiting=row.waiting,
            version=row.version,
            properties=kept["properties"],
            attributes=kept["attributes"],
        )

    def remember(self, process: Process, ended: bool) -> None:
        """Keep the state that is now in the store."""
        with self._lock:
            if ended:
                self._known.pop(process.request.id, None)
                self._turns.pop(process.request.id, None)
            else:
                self._known[process.request.id] = process

    def forget(self, message_id: int) -> None:
        """Read the process anew from the store: what was made of it here was not stored."""
        self._known.pop(message_id, None)


class ProcessSeat(Seat):
    """A process's component in one thread of the pool."""

    def __init__(self, host: Host, component: Any, handle: Handle, processes: Processes) -> None:
        super().__init__(host, component, handle)
        self._processes = processes
        self._on_request = unwrapped(component, "_dispatch_on_request")
        self._on_response = unwrapped(component, "_dispatch_on_response")
        self._on_complete = unwrapped(component, "_dispatch_on_complete")
        handle.return_queue = host.name
        self._new_properties = dict(handle.properties)  # as on_init left them
        self._before: dict[str, Any] = {}  # the component's attributes without those of the process in hand
        self._turn_of: threading.Lock | None = None

    def work(self, claimed: Claimed, now: Current) -> Result:
        header = claimed.header
        if header.type == "Response":
            return self._go_on(claimed, now)
        if header.body_class.startswith("IOP.Generator."):
            return super().work(claimed, now)
        process = Process(header, self.body_of(claimed), properties=self._new_properties)
        self._enter(process)
        first = self._on_request(self.handle_, process.body)
        process.response = to_envelope(first)
        return self._end_of_call(process, now, claimed)

    def failed(self, claimed: Claimed, error: BaseException) -> Result:
        if isinstance(error, ProcessGone):
            self._let_go()
            self.host.bus.log(
                "Info",
                "this response came after its process had ended, and is not used",
                self.host.name,
                claimed.header.id,
                claimed.header.session_id,
            )
            return Result(0.0, answers=claimed.header)
        result = super().failed(claimed, error)
        if claimed.header.type != "Response" or self.handle_.request is None:
            self._let_go()
            return result
        self._leave()
        process = self._processes.find(self.handle_.request.id)
        result.process = self._ended(process, Ending.ERROR, result.error_status)
        result.answers = process.request
        result.when_stored = self._when_stored(process, ended=True)
        return result

    def interrupted(self) -> None:
        request = self.handle_.request
        if request is not None and self._turn_of is not None:
            self._leave()
            self._processes.forget(request.id)
        self._let_go()

    # -- one call -----------------------------------------------------------------------------------------------

    def _go_on(self, claimed: Claimed, now: Current) -> Result:
        """Hand a response to the process that waits for it."""
        header, store = claimed.header, self.host.bus.store
        alarm = header.body_class == ALARM
        asked = None if alarm else store.header(header.corresponding_id or 0)
        message_id = header.corresponding_id if alarm else asked.parent_id if asked is not None else None
        if message_id is None:
            raise ProcessGone
        self._turn_of = self._processes.turn(message_id)
        self._turn_of.acquire()
        process = self._processes.find(message_id)
        self._enter(process)
        if header.is_error:
            # On IRIS OnError ends the process with the error of the call; iop has no hook for it.
            raise CallFailed(f"{header.source_item}: {header.error_status}")
        if alarm:
            asked_body, answer = StandIn.cls("Ens.AlarmRequest")._New(), StandIn.cls(ALARM)._New()
            process.waiting = 0  # the longest time to wait is over
        else:
            assert asked is not None
            text = store.body(asked.body_id)
            asked_body = read_typed(
                self.host.bus.types,
                None if text is None else Envelope(asked.body_class, text, str(asked.id)),
            )
            answer = self.body_of(claimed)
            process.waiting -= 1
        said = self._on_response(
            self.handle_,
            process.body,
            read_typed(self.host.bus.types, process.response),
            asked_body,
            answer,
            asked.completion_key if asked is not None and not alarm else header.completion_key,
        )
        process.response = to_envelope(said)
        return self._end_of_call(process, now, claimed)

    def _end_of_call(self, process: Process, now: Current, claimed: Claimed) -> Result:
        """Defer while responses are to come, else complete and answer."""
        asked = sum(child.response_required for child in now.outbox)
        process.waiting += asked
        answers = process.request if claimed.header.type == "Response" else None
        # A timer alone is waited for as well: its process has nothing else that could wake it.
        timers = self.handle_.timers
        if process.waiting > 0 or (timers and process.version == 0):
            process.waiting = max(process.waiting, 0)
            return Result(
                0.0,
                ending=Ending.DEFERRED if answers is None else Ending.COMPLETED,
                children=[*now.outbox, *timers],
                replied=self.handle_.replied,
                process=self._deferred(process),
                answers=answers,
                when_stored=self._when_stored(process, ended=False),
            )
        response = self._on_complete(
            self.handle_, process.body, read_typed(self.host.bus.types, process.response)
        )
        again = sum(child.response_required for child in now.outbox) - asked
        process.response = to_envelope(response)
        change: ProcessChange | None
        if again:
            # on_complete asked for more: the process goes on.
            process.waiting = again
            change = self._deferred(process)
            ending = Ending.DEFERRED if answers is None else Ending.COMPLETED
            ended = False
        else:
            change = None
            if answers is not None:
                self._leave()
                change = self._ended(process, Ending.COMPLETED, None)
            ending, ended = Ending.COMPLETED, True
        return Result(
            0.0,
            None if again else process.response,
            ending=ending,
            children=[*now.outbox, *(timers if again else ())],
            replied=self.handle_.replied,
            process=change,
            answers=answers,
            when_stored=self._when_stored(process, ended),
        )

    def _deferred(self, process: Process) -> ProcessChange:
        process.properties = dict(self.handle_.properties)
        process.attributes = self._attributes()
        process.replied = self.handle_.replied
        before, process.version = process.version, process.version + 1
        simple = {name: value for name, value in process.attributes.items() if _is_simple(value)}
        response = process.response
        row = ProcessRow(
            process.request.id,
            self.host.name,
            process.version,
            process.waiting,
            response.classname if response is not None else "",
            response.json if response is not None else None,
            json.dumps(
                {"properties": process.properties, "attributes": simple},
                ensure_ascii=False,
                default=_bytes_as_json,
            ),
        )
        self._leave()
        return ProcessChange(process.request.id, row, before)

    def _ended(self, process: Process, ending: Ending, error_status: str | None) -> ProcessChange:
        return ProcessChange(process.request.id, None, process.version, ending, error_status)

    def _when_stored(self, process: Process, ended: bool) -> Any:
        turn, self._turn_of = self._turn_of, None

        def stored(durable: bool) -> None:
            nonlocal turn
            if durable:
                self._processes.remember(process, ended)
            else:
                self._processes.forget(process.request.id)
            if turn is not None:  # told twice where the store took it only later
                turn.release()
                turn = None

        return stored

    def _let_go(self) -> None:
        if self._turn_of is not None:
            self._turn_of.release()
            self._turn_of = None

    # -- what belongs to one process ----------------------------------------------------------------------------

    def _enter(self, process: Process) -> None:
        """Give the component and its handle what they had when this process was last at work."""
        self.handle_.request = process.request
        self.handle_.replied = process.replied or process.request.corresponding_id is not None
        self.handle_.properties = dict(process.properties)
        self._before = dict(vars(self.component))
        vars(self.component).update(process.attributes)

    def _leave(self) -> None:
        """Take from the component what belongs to the process, so that the next does not see it."""
        state = vars(self.component)
        state.clear()
        state.update(self._before)

    def _attributes(self) -> dict[str, Any]:
        before = self._before
        return {
            name: value
            for name, value in vars(self.component).items()
            if name not in _NOT_KEPT and (name not in before or before[name] is not value)
        }


class CallFailed(Exception):
    """A request that the process had sent asynchronously ended in error."""


def _bytes_as_json(value: Any) -> dict[str, str]:
    return {"$bytes": base64.b64encode(value).decode()}


def _bytes_from_json(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["$bytes"]) if value.keys() == {"$bytes"} else value


def _is_simple(value: Any) -> bool:
    """Tell whether a value comes back from JSON as it was."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_simple(inner) for key, inner in value.items())
    if type(value) is list:
        return all(map(_is_simple, value))
    return type(value) in _SIMPLE
