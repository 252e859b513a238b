"""An isolated item: its component lives in a child process, and everything else of it stays in the production.

``Host`` makes and calls the component as it always does; what it holds stands for an object in the child (far.py). So
the order of calls, retries, processes, children and energy are those of every item, and a crash of the child takes
down nothing else: the attempt ends as "worker lost", and the next one gets a fresh child, made anew by the same steps.
A message that takes too long or too much memory, or is cancelled, ends as an error: softly first, by SIGTERM, and
after a grace for good, by SIGKILL to the child and to all that it has started.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import sys
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iop.components.generator_request import _GeneratorRequest

from wattbus.energy.attempt_window import current_window
from wattbus.energy.record import facts_from_dict
from wattbus.energy.remote import RemoteEstimate
from wattbus.errors import BadSettings, Cancelled, NotRunning, RequestFailed, StoreError
from wattbus.runtime import context
from wattbus.runtime.childcall import STOP_GRACE_SECONDS, ChildCall, Limits, still_in_hand
from wattbus.runtime.childprocess import ChildProcess, Ended
from wattbus.runtime.context import Progress
from wattbus.runtime.far import Thing, far, number_of
from wattbus.runtime.handle import Handle
from wattbus.runtime.pipe import BrokenPipe, Frame, Values, read_error, references, write_error
from wattbus.runtime.settings import host_setting

if TYPE_CHECKING:
    from wattbus.runtime.host import Host
    from wattbus.runtime.production import ItemConfig

#: Before the second fresh child in a row; then twice as long each time.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 10.0
_MEGABYTE = 1024 * 1024
#: So many lines of output may wait for the store before the child waits as well.
_LINES_BETWEEN_FLUSHES = 500
#: Asked of the handle in the worker's own thread: they do not wait for others.
_AT_ONCE = frozenset(
    {"dispatchSendRequestAsync", "dispatchSetTimer", "getPersistentProperty", "setPersistentProperty"}
)


def make(host: Host) -> tuple[Any, Handle]:
    """Make the component of an isolated item in a child process of its own."""
    isolation = Isolation(host)
    try:
        made = host.make_by(isolation.new)
    except BaseException:
        isolation.end()
        raise
    isolation.made()
    return made


class Isolation:
    """The child process of one thread of an item's pool, and the component in it."""

    def __init__(self, host: Host) -> None:
        item = host.item
        self._host, self._bus, self._place = host, host.bus, host.bus.place
        self._limits = Limits(
            host_setting(item, "TimeLimit", 0.0) or None,
            int(host_setting(item, "MemoryLimit", 0.0) * _MEGABYTE) or None,
        )
        self._classes = [cls for cls in (item.component, item.adapter) if cls is not None]
        self._start = _start_frame(host, self._classes)
        self._values = Values(host.bus.types, self._name_of, self._object_of)
        self._handle: Handle | None = None
        self._parts: dict[int, Any] = {}  # the component, and its adapter
        self._things: weakref.WeakValueDictionary[int, Thing] = weakref.WeakValueDictionary()
        #: Attributes as they were last told, and as they were read.
        self._seen: dict[tuple[int, str], tuple[Any, Any]] = {}
        self._streams: dict[int, _Stream] = {}
        # A component is called by one thread at a time, and a stop may come from another.
        self._turn = threading.RLock()
        self._process: ChildProcess | None = None
        self._steps: list[Frame] = []  # what makes the component, to be done again in a fresh child
        self._made = self._over = self._given_up = False
        self._fresh_in_a_row = 0
        self._told_seconds = 0.0  # CPU time of the child up to its last answer
        self._lines = 0
        self._call = ChildCall(0, None, self._limits, 0.0)

    # -- the component ------------------------------------------------------------------------------------------

    def new(self, cls: type) -> Any:
        """Make an object of the item's component or adapter class in the child."""
        step = {"do": "new", "class": self._classes.index(cls)}
        with self._turn:
            number = self._done(step)["ok"]["number"]
            self._steps.append(step)
        made = self._parts[number] = far(self, cls, number)
        return made

    def made(self) -> None:
        """Note that the component has started: what is done to it from now on is not done again in a fresh child."""
        self._made = True

    def give_up(self) -> None:
        """Have the child killed now; whoever waits for it puts back what is in hand. Any thread may ask for it."""
        self._given_up = True

    def end(self) -> None:
        """End the child."""
        self._over = True
        self._place.leashes.discard(self.give_up)
        with self._turn:
            self._close()

    def get(self, number: int, name: str) -> Any:
        """Return an attribute of an object in the child, a method as something to call."""
        answer = self._done({"do": "get", "on": number, "name": name})
        if answer.get("method"):
            return functools.partial(self.call, number, name)
        return self._values.read(answer["ok"])

    def set(self, number: int, name: str, value: Any) -> None:
        """Set an attribute of an object in the child."""
        step = {"do": "set", "on": number, "name": name, "value": self._values.write(value)}
        with self._turn:
            self._done(step)
            self._remember(step)

    def call(self, number: int, name: str, *arguments: Any, **named: Any) -> Any:
        """Call a method of an object in the child, and raise what it raises."""
        step = {
            "do": "call", "on": number, "name": name, "args": self._values.write(list(arguments)),
            "named": {key: self._values.write(value) for key, value in named.items()},
        }  # fmt: skip
        if name == "_dispatch_on_tear_down":
            return self._tear_down(step)
        with self._turn:
            self._remember(step)
            return self._values.read(self._done(step)["ok"])

    def _tear_down(self, step: Frame) -> None:
        """Let the component clean up, where there is one, and end the child."""
        try:
            with self._turn:
                if self._process is not None and not self._process.is_gone():
                    self._exchange(step, Limits(STOP_GRACE_SECONDS, None))
        finally:
            self.end()

    def attributes(self, number: int) -> dict[str, Any]:
        """Return the attributes of an object in the child; none where there is no child any more."""
        if self._process is None:
            return {}
        told = self._done({"do": "attributes", "on": number})["ok"]
        return {name: self._read_attribute(number, name, value) for name, value in told.items()}

    def _read_attribute(self, number: int, name: str, told: Any) -> Any:
        """Return the same object as long as the child tells the same value: who looks for changes compares objects."""
        before = self._seen.get((number, name))
        if before is None or before[0] != told:
            before = self._seen[number, name] = (told, self._values.read(told))
        return before[1]

    def replace(self, number: int, values: dict[str, Any]) -> None:
        """Let an object in the child have these attributes and no others."""
        if self._process is None:
            return
        gone = [name for name, value in values.items() if isinstance(value, Thing) and value.is_gone()]
        if gone:
            self._log("Warning", f"died with a child process: what the attributes {', '.join(gone)} held")
        written = {name: self._values.write(value) for name, value in values.items() if name not in gone}
        self._done({"do": "replace", "on": number, "values": written})

    def holds(self, process: ChildProcess | None) -> bool:
        """Tell whether ``process`` is the child that there is now."""
        return process is not None and process is self._process

    def _drop(self, process: ChildProcess | None, number: int) -> None:
        """Let the child forget an object that nobody here holds any more."""
        if process is not None and self.holds(process):
            process.send({"do": "drop", "on": number})

    def _remember(self, step: Frame) -> None:
        if not self._made:
            self._steps.append(step)

    def _name_of(self, value: Any) -> Frame | None:
        if isinstance(value, Handle):
            self._handle = value
            return {"$": "handle"}
        number = number_of(value)
        return None if number is None else {"$": "object", "number": number}

    def _object_of(self, tag: Frame) -> Any:
        if tag["$"] == "handle":
            return self._handle
        number = tag["number"]
        known = self._parts.get(number, self._things.get(number))
        if known is None:
            known = self._things[number] = Thing(self, self._process, number)
            weakref.finalize(known, self._drop, self._process, number).atexit = False
        return known

    # -- one thing done in the child ----------------------------------------------------------------------------

    def _done(self, frame: Frame) -> Frame:
        """Do one thing in the child, in a fresh one where it is gone."""
        with self._turn:
            if self._over:
                raise NotRunning(f"the child process of item {self._host.name!r} has been ended.")
            if self._process is None or self._process.is_gone():
                self._begin()
            now = context.current()
            in_hand = now is not None and now.message_id is not None
            return self._exchange(frame, self._limits if in_hand else self._limits.untimed())

    def _begin(self) -> None:
        """Start a child; a later one is made by the steps that made the first."""
        ended = self._close()
        if ended is not None:
            self._log("Error", f"the child process is gone: {ended}")
            if self._call.is_of(context.current()):
                # It died between two calls of one attempt, which a fresh component cannot go on with.
                current_window().cut_off()
                raise self._call.lost(self._host.name, ended)
        if not self._made:
            self._open()
            return
        self._seen.clear()
        self._streams.clear()
        self._things.clear()
        self._pause()
        try:
            self._open()
            for step in self._steps:
                self._again(step)
        except Exception as error:
            self._close()
            if isinstance(error, context.PutBack | Cancelled):
                raise
            raise context.PutBack(f"the component cannot start in a fresh child process: {error}") from error

    def _pause(self) -> None:
        """Wait before a fresh child, the longer the more of them died in a row."""
        self._fresh_in_a_row += 1
        if self._fresh_in_a_row > 1:
            pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** (self._fresh_in_a_row - 2))
            if self._place.clock.wait(self._place.stopping, pause):
                raise still_in_hand()

    def _open(self) -> None:
        self._place.leashes.add(self.give_up)
        self._process = ChildProcess(self._line)
        self._told_seconds = 0.0
        self._exchange({**self._start, "mark": self._process.mark}, self._limits.untimed(), making=True)

    def _again(self, step: Frame) -> None:
        try:
            self._exchange(step, self._limits.untimed(), making=True)
        except (context.PutBack, Cancelled):
            raise
        except Exception as error:  # a user's component; an error here is a warning, as on IRIS
            if step.get("name") != "_dispatch_on_connected":
                raise
            self._log("Warning", f"on_connected: {error}")

    def _close(self) -> Ended | None:
        """End the process, if there is one, and return how it ended."""
        process, self._process = self._process, None
        if process is None:
            return None
        self._place.children.pop(process.pid or 0, None)
        return process.end()

    def _exchange(self, frame: Frame, limits: Limits, *, making: bool = False) -> Frame:
        """Send a frame, serve the component while it works, and return the answer; raise what ended it instead."""
        process, before = self._process, self._call
        assert process is not None
        now = context.current()
        same = before.is_of(now) and not before.making and not making
        began = before.began if same else self._place.clock.monotonic()
        call = self._call = ChildCall(before.number + 1, now, limits, began, making=making)
        if same:
            call.goes_on_from(before)
        window = current_window()
        if process.pid is not None:
            call.memory.look(process.pid)
            window.watch_child(process.pid, self._told_seconds)
        told = {
            "message_id": call.message_id, "session_id": call.session_id, "attempt": call.attempt,
            "cut_off": now is not None and now.cut_off,
        }  # fmt: skip
        process.send({**frame, "id": call.number, "now": told})
        try:
            with context.on_cancel(call.cancel):
                process.listen(
                    lambda came: self._came(process, call, came), lambda: self._tick(process, call)
                )
        except BrokenPipe as error:
            call.stop = call.stop or RequestFailed(str(error))
        except Ended:
            pass  # told below, with what is known of it once it is closed
        answer = call.answer
        if answer is None or call.stop is not None:
            raise self._ended(process, call) from None
        process.await_marks(answer["marks"])
        call.over = True
        window.add_child_cpu_seconds(answer["cpu_seconds"], process.pid)
        self._told_seconds = answer["cpu_total"]
        if "error" in answer:
            raise read_error(answer["error"])
        if call.message_id is not None and not making:
            self._fresh_in_a_row = 0
        return answer

    def _ended(self, process: ChildProcess, call: ChildCall) -> Exception:
        """Close a child that has ended or must, account for it, and return what to raise."""
        ended = self._close()
        assert ended is not None
        call.over = True
        if ended.cpu_seconds is not None:
            spent = max(0.0, ended.cpu_seconds - self._told_seconds)
            current_window().add_child_cpu_seconds(spent, process.pid)
        if call.stop is not None:
            return call.stop
        self._log("Error", f"the child process is gone: {ended}")
        lost = call.lost(self._host.name, ended)
        if isinstance(lost, context.WorkerLost):
            current_window().cut_off()
        return lost

    # -- while it works -----------------------------------------------------------------------------------------

    def _tick(self, process: ChildProcess, call: ChildCall) -> None:
        """Look at the limits; stop the child softly, and when that is not enough, for good."""
        now = self._place.clock.monotonic()
        if self._place.stopping.is_set() and call.note_stopping():
            process.send({"do": "stopping"})
        if self._given_up:
            call.stop = call.stop or still_in_hand()
            process.kill()
        elif call.stop is not None:
            if call.grace_is_over(now):
                process.kill()
        elif (reason := call.reason_to_stop(now)) is not None:
            call.stop_for(reason, now)
            process.ask_to_end()
            self._log("Warning", f"{reason}: the child process is asked to end")
        elif process.pid is not None and (reason := call.out_of_memory(process.pid)) is not None:
            call.stop_for(reason, now)
            process.kill()  # no grace: the next moment may be too late for the machine

    def _came(self, process: ChildProcess, call: ChildCall, frame: Frame) -> bool:
        """Serve one frame of the child; tell whether it is the answer that is waited for."""
        if "hello" in frame:
            process.pid = frame["hello"]
            self._place.children[frame["hello"]] = self._host.name
        elif "tell" in frame:
            self._told(frame)
        elif "ask" in frame:
            if frame["of"] == "vault" or frame["do"] != "call" or frame["name"] in _AT_ONCE:
                self._serve(process, frame)
            else:
                # It may wait long, and the limits are looked at meanwhile. Named as the worker: it is its job.
                serve = functools.partial(contextvars.copy_context().run, self._serve, process, frame)
                threading.Thread(target=serve, name=threading.current_thread().name, daemon=True).start()
        elif frame.get("answer") == call.number:
            call.answer = frame
            return True
        return False

    def _told(self, frame: Frame) -> None:
        tell = frame["tell"]
        if tell == "log":
            self._bus.log(
                frame["type"], frame["text"], self._host.name, frame["message_id"], frame["session_id"],
                frame["source_class"], frame["source_method"],
            )  # fmt: skip
        elif tell == "progress":
            self._bus.tell_progress(frame["id"], Progress(frame["text"], frame["done"], frame["total"]))
        elif tell == "describe":
            current_window().describe(facts=facts_from_dict(frame["facts"]), **frame["what"])
        elif tell == "remote":
            current_window().remote(RemoteEstimate(**frame["estimate"]), **frame["what"])
        elif tell == "unread":
            self._streams.pop(frame["stream"], None)

    def _serve(self, process: ChildProcess, frame: Frame) -> None:
        """Answer what the component asks of its handle, or of the vault."""
        answer: Frame = {"answer": frame["ask"]}
        try:
            on: Any = self._place.vault if frame["of"] == "vault" else self._handle
            answer |= self._answered(on, frame)
        except Exception as error:  # noqa: BLE001 - whatever the bus refuses is the component's to hear
            answer["error"] = write_error(error)
        process.send(answer)

    def _answered(self, on: Any, frame: Frame) -> Frame:
        if frame["do"] == "set":
            setattr(on, frame["name"], self._values.read(frame["value"]))
            return {"ok": None}
        member = getattr(on, frame["name"])
        if frame["do"] == "get":
            return {"method": True} if callable(member) else {"ok": self._values.write(member)}
        arguments = self._values.read(frame["args"])
        stream = frame.get("stream")
        if stream is not None:
            member = functools.partial(self._streams.setdefault(stream, _Stream()).ask, member)
        with context.send_options(idempotency_key=frame.get("key")):
            returned = member(*arguments)
        return {
            "ok": self._values.write(returned),
            "references": [self._values.write(reference.value) for reference in references(arguments)],
        }

    def _line(self, type_: str, text: str) -> None:
        """Write a line of the child's output to the event log; it is told of the message in hand."""
        call = self._call
        message_id, session_id = (None, None) if call.over else (call.message_id, call.session_id)
        with contextlib.suppress(StoreError):  # the store is closed: the production has ended meanwhile
            self._bus.log(type_, text, self._host.name, message_id, session_id)
            self._lines += 1
            if self._lines % _LINES_BETWEEN_FLUSHES == 0:
                self._bus.store.flush()

    def _log(self, type_: str, text: str) -> None:
        self._bus.log(type_, text, self._host.name, self._call.message_id, self._call.session_id)


class _Stream(_GeneratorRequest):
    """Iop's reader of a stream, which is in the child; the handle finds by it whose poll comes."""

    def __init__(self) -> None:
        """Ask for nothing: the child has asked."""

    def ask(self, member: Any, *arguments: Any) -> Any:
        """Ask the handle as the reader itself would."""
        return member(*arguments)


def _start_frame(host: Host, classes: list[type]) -> Frame:
    """Return what a child has to know to make the component; refuse what it cannot find."""
    item, production, place = host.item, host.bus.production, host.bus.place
    source = production.source if production.source and Path(production.source).is_file() else ""
    if not source:
        for cls in classes:
            _refuse_unimportable(cls, item)
    return {
        "do": "start",
        "item": item.name,
        "production": production.name,
        "settings": source,
        "classes": [[cls.__module__, cls.__qualname__] for cls in classes],
        "path": sys.path,
        "place": {
            "home": str(place.home.root),
            "tables_url": place.tables_url,
            "store_url": place.store_url,
            "allow_hosts": sorted(place.allow_hosts),
            "hub_url": place.hub_url,
        },
    }


def _refuse_unimportable(cls: type, item: ItemConfig) -> None:
    found: Any = None if cls.__module__ == "__main__" else sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not cls:
        raise BadSettings(
            f"item {item.name!r} is isolated, and a child process cannot import its class "
            f"{cls.__module__}.{cls.__qualname__}: put the class at the top level of a module of its own, or run the "
            "production from a settings.py, or take the setting Isolated away."
        )
