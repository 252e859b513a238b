"""The energy window of one attempt: the runtime opens it, the component says what the work is."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from wattbus.energy.cputime import NANO, name_worker, thread_clock
from wattbus.energy.record import EnergyRecord, EnergyStatus, Scope, TaskFacts, Tier, make_record

if TYPE_CHECKING:
    from wattbus.energy.account import Account
    from wattbus.energy.ledger import Ledger
    from wattbus.energy.remote import RemoteEstimate


class NullWindow:
    """What there is outside an attempt, as in IRIS or in a plain script: takes everything, does nothing."""

    __slots__ = ()

    def describe(
        self,
        *,
        kind: str | None = None,
        model: str | None = None,
        revision: str | None = None,
        facts: TaskFacts | None = None,
        gpu: bool | None = None,
    ) -> None:
        """Say what the attempt does; what is None stays as it was."""

    def describe_each(self, facts: Sequence[TaskFacts | None]) -> None:
        """Say what each attempt of a batch does, in their order; of no effect elsewhere."""

    def weigh(self, weights: Sequence[float]) -> None:
        """Say how much of a batch's work each of its attempts was, in their order; of no effect elsewhere."""

    def watch_child(self, pid: int, since_seconds: float = 0.0) -> None:
        """Count the CPU time of a child process and its descendants to this attempt while it lives.

        ``since_seconds`` of it were used before, for others.
        """

    def add_child_cpu_seconds(self, seconds: float, pid: int | None = None) -> None:
        """Give the exact CPU seconds of a child that ended; replaces what was sampled for it."""

    def remote(
        self,
        estimate: RemoteEstimate,
        *,
        kind: str | None = None,
        model: str | None = None,
        revision: str | None = None,
    ) -> None:
        """Say that the work was done elsewhere: adds the remote row, and makes the own row the client's."""

    def joules_so_far(self, *, exact: bool = False) -> float | None:
        """Return what the attempt used until the last reading, None where that is not known; ``exact`` reads now."""
        return None

    def cut_off(self) -> None:
        """Say that the attempt was cut off by the death of its process: its record is partial."""

    def close(self, failed: str | None = None) -> list[EnergyRecord]:
        """End the attempt and return its records."""
        return []

    def _pause(self, now_ns: int) -> None:
        """Stop the own CPU time: another window opened in this thread."""

    def _resume(self, now_ns: int) -> None:
        """Go on with the own CPU time."""

    def _innermost_open(self) -> NullWindow:
        return self


class _Here(threading.local):
    """What a thread knows about itself: its native id (asking is a system call) and its open window."""

    def __init__(self) -> None:
        self.native_id = threading.get_native_id()
        name_worker(self.native_id)
        self.current: NullWindow = _NULL


class _Child:
    __slots__ = ("exact", "pid", "seconds", "since_seconds")

    def __init__(self, pid: int, since_seconds: float = 0.0) -> None:
        self.pid = pid
        self.since_seconds = since_seconds
        self.seconds = 0.0
        self.exact = False


class Window(NullWindow):
    """One attempt while it runs; the attempt's thread calls it, the ledger's thread only reads.

    The own CPU time is ``_own_ns`` plus, while ``_mark_ns`` is set, what the thread's clock ran since that
    mark. It is not set while a window opened later in the same thread is open: no second is counted twice.
    """

    # Defaults live on the class: a window sets what it needs, which keeps open() at about a microsecond.
    _kind: str | None = None
    _model: str | None = None
    _revision: str | None = None
    _facts: TaskFacts | None = None
    uses_gpu = False
    _remote: tuple[RemoteEstimate, str | None, str | None, str | None] | None = None
    _children: list[_Child] | None = None
    _own_ns = 0
    _cut_off = False
    closed: float | None = None
    provisional: EnergyRecord | None = None
    account: Account | None = None

    def __init__(self, ledger: Ledger, message_id: int, attempt: int, item: str) -> None:
        here = _HERE
        outer = here.current
        self._ledger = ledger
        self._message_id = message_id
        self._attempt = attempt
        self._item = item
        self.thread_id = here.native_id
        self._outer = outer
        self._started_us = int(ledger.wall() * 1e6)
        self.opened = ledger.clock()
        here.current = self
        now = time.thread_time_ns()
        if outer is not _NULL:
            outer._pause(now)
        self._mark_ns: int | None = now

    def describe(
        self,
        *,
        kind: str | None = None,
        model: str | None = None,
        revision: str | None = None,
        facts: TaskFacts | None = None,
        gpu: bool | None = None,
    ) -> None:
        if kind is not None:
            self._kind = kind
        if model is not None:
            self._model = model
        if revision is not None:
            self._revision = revision
        if facts is not None:
            self._facts = facts
        if gpu is not None:
            self.uses_gpu = gpu

    def watch_child(self, pid: int, since_seconds: float = 0.0) -> None:
        self._children = [*(self._children or ()), _Child(pid, since_seconds)]

    def add_child_cpu_seconds(self, seconds: float, pid: int | None = None) -> None:
        open_children = [
            child for child in self._children or () if not child.exact and pid in (None, child.pid)
        ]
        child = open_children[-1] if open_children else _Child(pid or 0)
        child.exact = True
        child.seconds = max(0.0, seconds)
        if not open_children:
            self._children = [*(self._children or ()), child]

    def remote(
        self,
        estimate: RemoteEstimate,
        *,
        kind: str | None = None,
        model: str | None = None,
        revision: str | None = None,
    ) -> None:
        self._remote = (estimate, kind, model, revision)

    def cut_off(self) -> None:
        self._cut_off = True

    def close(self, failed: str | None = None) -> list[EnergyRecord]:
        """End the attempt; energy is pending until the interval that holds its end is read.

        ``failed`` says why the attempt failed; failing work is metered like any other. A second call
        returns the same records.
        """
        if self.provisional is not None:
            return self._rows(self.provisional)
        here = _HERE
        if (
            here.current is self and self._outer is _NULL
        ):  # in its own thread: _pause and leave without their calls
            now = time.thread_time_ns()
            mark = self._mark_ns
            if mark is not None:
                self._mark_ns = None
                if now > mark:
                    self._own_ns += now - mark
            here.current = _NULL
        else:
            now = time.thread_time_ns() if here.native_id == self.thread_id else self._clock_ns()
            self._pause(now)
            leave(self, now)
        if self._children is not None:
            self.sample_children()
        closed = self._ledger.clock()
        self.provisional = record = self._record(closed, self._own_ns, failed)
        self.closed = closed  # from here on the ledger's thread may settle it
        if not self._ledger.running:
            self.provisional = record = self._ledger.settle_late(self)
        if self._remote is None:
            return [record]
        return self._rows(record)

    def own_ns(self) -> int:
        """Return the CPU time of the attempt's own thread so far; called from the ledger's thread."""
        mark, own = self._mark_ns, self._own_ns
        if mark is None:
            return own
        now = self._clock_ns()
        if self._mark_ns != mark:  # paused or closed meanwhile; the sum is right again at the next tick
            return self._own_ns
        return own + max(0, now - mark)

    def child_seconds(self) -> float:
        """Return the CPU seconds of the children as last sampled or stated."""
        children = self._children
        return sum(child.seconds for child in children) if children else 0.0

    def sample_children(self) -> None:
        """Read the children that still run."""
        for child in self._children or ():
            if not child.exact:
                seconds = self._ledger.cpu.child(child.pid)
                if seconds is not None and not child.exact:
                    child.seconds = max(child.seconds, seconds - child.since_seconds)

    def joules_so_far(self, *, exact: bool = False) -> float | None:
        if exact:
            self._ledger.settle()
        return self._ledger.joules_of(self)

    def so_far(self) -> EnergyRecord:
        """Return the record as it would be if the attempt ended now."""
        return self._record(self._ledger.clock(), self.own_ns(), None)

    def _clock_ns(self) -> int:
        mark = self._mark_ns or 0
        if not self._ledger.cpu.knows_threads:
            return mark
        try:
            return time.clock_gettime_ns(thread_clock(self.thread_id))
        except OSError:  # the thread ended without closing its window
            return mark

    def _pause(self, now_ns: int) -> None:
        mark = self._mark_ns
        if mark is not None:
            self._mark_ns = None  # first: a reader between the two lines sees too little, never too much
            if now_ns > mark:
                self._own_ns += now_ns - mark

    def _resume(self, now_ns: int) -> None:
        self._mark_ns = now_ns

    def _innermost_open(self) -> NullWindow:
        return self if self.provisional is None else self._outer._innermost_open()

    def _record(self, until: float, own_ns: int, failed: str | None) -> EnergyRecord:
        # The hot half of make_record. What is not in here is the class's default: a dict of a third of the size.
        record = _new(EnergyRecord)
        spent = until - self.opened
        fields = {
            "message_id": self._message_id,
            "attempt": self._attempt,
            "item": self._item,
            "started_at_us": self._started_us,
            "duration_seconds": spent if spent > 0.0 else 0.0,
            "cpu_seconds": own_ns * NANO + (0.0 if self._children is None else self.child_seconds()),
            "operation_kind": self._kind,
            "model": self._model,
            "revision": self._revision,
            "facts": self._facts,
        }
        if self._remote is not None:
            fields["scope"] = Scope.CLIENT
        if self._cut_off:
            fields["partial"] = True
        if failed is not None:
            fields["reason"] = f"the attempt failed: {failed}"
        _set(record, "__dict__", fields)
        return record

    def _rows(self, record: EnergyRecord) -> list[EnergyRecord]:
        return [record] if self._remote is None else [record, self._remote_record(record, *self._remote)]

    def _remote_record(
        self,
        local: EnergyRecord,
        estimate: RemoteEstimate,
        kind: str | None,
        model: str | None,
        revision: str | None,
    ) -> EnergyRecord:
        known = estimate.energy_joules is not None
        return make_record(
            local,
            {
                "scope": Scope.REMOTE,
                "operation_kind": kind or local.operation_kind,
                "model": model or local.model,
                "revision": revision or local.revision,
                **_UNKNOWN_THERE,
                "energy_joules": estimate.energy_joules,
                "low_joules": estimate.low_joules,
                "high_joules": estimate.high_joules,
                "tier": Tier.ESTIMATED_REMOTE if known else Tier.NONE,
                "status": EnergyStatus.ESTIMATED if known else EnergyStatus.NOT_MEASURED,
                "reason": estimate.reason,
                "method": estimate.method,
            },
        )


def leave(window: Window, now_ns: int | None = None) -> None:
    """Make what was current before ``window`` current again in this thread."""
    here = _HERE
    if here.current is window:
        here.current = outer = window._outer
        if outer is not _NULL:
            here.current = outer = outer._innermost_open()
            outer._resume(time.thread_time_ns() if now_ns is None else now_ns)


def enter(window: Window) -> NullWindow:
    """Make ``window`` the current one of this thread again, and return the one that was."""
    before, _HERE.current = _HERE.current, window
    return before


def start_afresh() -> None:
    """Forget, in a forked child, what this thread was in its parent: its number and its open window."""
    _HERE.native_id, _HERE.current = threading.get_native_id(), _NULL


def current_window() -> NullWindow:
    """Return the window of the attempt that this thread runs, or one that does nothing."""
    return _HERE.current


@contextlib.contextmanager
def entered(window: NullWindow) -> Iterator[None]:
    """Make ``window`` the current one of this thread for a block; for who opens none, such as a child process."""
    before, _HERE.current = _HERE.current, window
    try:
        yield
    finally:
        _HERE.current = before


_new, _set = object.__new__, object.__setattr__
_NULL = NullWindow()
_HERE = _Here()
# what the own side may know and the remote side does not tell
_UNKNOWN_THERE = dict.fromkeys(
    (
        "cpu_seconds",
        "gpu_seconds",
        "cpu_joules",
        "gpu_joules",
        "ram_joules",
        "carbon_grams",
        "carbon_intensity_g_per_kwh",
        "carbon_source",
    )
) | {"partial": False}
