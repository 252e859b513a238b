"""Workers: the threads of an item's pool, each taking one message after the other.

A pool grows and shrinks while it works. Who is to leave finishes what it has in hand first; an idle one is sent home by
the store, which alone knows who is idle. A failed attempt that is to be retried keeps its worker: it waits the interval
and takes the same message again, so that with a pool of one nothing overtakes it.
"""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from wattbus.energy.record import EnergyRecord, EnergyStatus, Tier
from wattbus.errors import StoreError, WattbusError
from wattbus.runtime.batches import BatchSeat
from wattbus.runtime.bus import Bus
from wattbus.runtime.host import Host, Seat, sentence_of
from wattbus.runtime.result import Result
from wattbus.runtime.retry import Action
from wattbus.runtime.rules import Rules
from wattbus.store import tries
from wattbus.store.rows import Claimed
from wattbus.store.units import Delivery, Ending

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
# A component that needs less than this is given its next messages before it asks, so many at most.
_FAST_SECONDS, _AHEAD, _PACE_OVER = 0.001, 32, 8
# What it usually needs is followed in steps: the few that had to wait for the interpreter's lock say nothing.
_STEP = 1.1


class Worker:
    """One thread of a pool."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ready = False
        self.asking: str | None = None  # the queue that it waits at, or is about to


class Job(NamedTuple):
    """How one thread of a pool stands."""

    name: str
    ready: bool
    idle: bool


class Pool:
    """The threads of one item."""

    def __init__(
        self, host: Host, bus: Bus, size: int, *, disable: Callable[[str, str], None] = lambda item, why: None
    ) -> None:
        self.host, self.size = host, size
        self._bus, self._disable = bus, disable
        self._rules: Rules | None = None
        self._workers: list[Worker] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._looked = threading.Event()  # the first component is ready, or cannot be
        self._mean_seconds = self._usual_seconds = _FAST_SECONDS * 2

    @property
    def state(self) -> str:
        """Return Starting, Running, Error, Stopping or Stopped."""
        with self._lock:
            there, ready = len(self._workers), any(worker.ready for worker in self._workers)
        if self.size == 0:
            return "Stopping" if there else "Stopped"
        if ready:
            return "Running"
        if self.host.error is not None:
            return "Error"
        return "Starting" if there else "Stopped"

    @property
    def works(self) -> bool:
        """Tell whether somebody is there to take messages."""
        return self.state in ("Starting", "Running")

    @property
    def jobs(self) -> list[Job]:
        """Return how each thread stands."""
        with self._lock:
            return [
                Job(f"{self.host.name}#{worker.number}", worker.ready, worker.asking is not None)
                for worker in self._workers
            ]

    def start(self) -> None:
        """Start the threads; each makes its component and then takes messages."""
        try:
            self._rules = Rules(self.host.item, self._bus)
        except WattbusError as error:  # a setting that cannot be read: of this item only
            self._bus.log("Error", sentence_of(error), self.host.name)
            self._cannot_start(error)
            self._looked.set()
            return
        self._rules.warn_of_what_never_matches()
        self.resize(self.size)

    def resize(self, size: int) -> None:
        """Have so many threads from now on; those too many leave when what they have in hand is done."""
        with self._lock:
            self.size = size
            if size == 0:
                self._looked.set()
                self.host.leaving.set()
            elif self.host.leaving.is_set():
                self.host.leaving = threading.Event()
            hired = [self._hire() for _ in range(size - len(self._workers)) if self._rules is not None]
        for thread in hired:
            thread.start()
        self._send_home()

    def hush(self) -> None:
        """Wait for no retry any more: the message stays in front of its queue, and its worker goes home."""
        self.host.leaving.set()

    def leave(self) -> None:
        """Let every thread end when what it has in hand is done; wait for it with :meth:`join`."""
        self.resize(0)

    def wait_ready(self, seconds: float | None = None) -> bool:
        """Wait until the first component is ready, or cannot be."""
        return self._looked.wait(seconds)

    def join(self, seconds: float) -> bool:
        """Wait until every thread has ended, at most so long for each, and tell whether they have."""
        for thread in self._threads:
            thread.join(seconds)
        return not any(thread.is_alive() for thread in self._threads)

    # -- coming and going ---------------------------------------------------------------------------------------

    def _hire(self) -> threading.Thread:
        taken = {worker.number for worker in self._workers}
        worker = Worker(next(number for number in range(1, len(taken) + 2) if number not in taken))
        name = f"{self.host.name}#{worker.number}"
        thread = threading.Thread(target=self._live, args=(worker,), name=name, daemon=True)
        self._workers.append(worker)
        self._threads = [known for known in self._threads if known.ident is None or known.is_alive()] + [
            thread
        ]
        return thread

    def _send_home(self) -> None:
        """Wake those that wait at a queue and are too many; the others find it out when they ask for more."""
        with self._lock:
            surplus = max(0, len(self._workers) - self.size)
            waiting = [worker.asking for worker in self._workers if worker.asking is not None]
        for queue, count in Counter(waiting[:surplus]).items():
            # A store that is full or closed has sent them home all the same, or does so with its end.
            with contextlib.suppress(StoreError):
                self._bus.store.release(queue, count)

    def _goes(self, worker: Worker, *, anyway: bool = False) -> bool:
        """Tell whether a worker is one too many, and count it out. The lock is held."""
        if worker in self._workers and (anyway or len(self._workers) > self.size):
            self._workers.remove(worker)
        return worker not in self._workers

    def _live(self, worker: Worker) -> None:
        """Be a worker; what fails outside of the component is told, and the worker begins anew."""
        pause = _FIRST_PAUSE_SECONDS
        try:
            while (seat := self._sit(worker)) is not None:
                try:
                    self._work(worker, seat)
                    return
                except Exception as error:  # noqa: BLE001 - a bug of ours or a failing store must not end a pool in silence
                    if not self._goes_on_after(error, pause):
                        return
                finally:
                    worker.ready, worker.asking = False, None
                    seat.tear_down()
                pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)
        finally:
            with self._lock:
                self._goes(worker, anyway=True)
                last = not self._workers
            if last:
                self._mean_seconds = _FAST_SECONDS * 2
                with contextlib.suppress(StoreError):
                    self._bus.store.put_back(self.host.name)

    def _goes_on_after(self, error: Exception, pause_seconds: float) -> bool:
        place = self._bus.place
        if place.stopping.is_set():
            return False
        name = self.host.name
        self._bus.log("Error", "".join(traceback.format_exception(error)), name)
        self._bus.log(
            "Alert",
            f"a worker of {name!r} failed outside of its component ({sentence_of(error)}) and begins anew in "
            f"{pause_seconds:g} s; the event log has the traceback.",
            name,
        )
        return not place.clock.wait(self.host.leaving, pause_seconds)

    def _sit(self, worker: Worker) -> Seat | None:
        """Make the component of a worker; None where it cannot start: its messages stay queued."""
        host, bus = self.host, self._bus
        job = bus.store.start_job(host.name)
        try:
            seat = host.connect()
        except Exception as error:  # noqa: BLE001 - a user's on_init
            self._cannot_start(error)
            bus.store.job_ready(job, sentence_of(error))
            bus.log("Error", "".join(traceback.format_exception(error)), host.name)
            return None
        else:
            worker.ready, host.error = True, None
            bus.item_runs(host.name)
            bus.store.job_ready(job)
            return seat
        finally:
            self._looked.set()

    def _cannot_start(self, error: Exception) -> None:
        self.host.error = sentence_of(error)
        self._bus.item_failed(self.host.name, self.host.error)

    # -- messages -----------------------------------------------------------------------------------------------

    def _work(self, worker: Worker, seat: Seat) -> None:
        claimed = self._next(worker, seat)
        while claimed is not None:
            claimed = self._handle(worker, seat, claimed)

    def _next(self, worker: Worker, seat: Seat, *ended: Delivery) -> Claimed | None:
        """Make the last end of an attempt durable and wait for the next message; None: the worker leaves."""
        store, job = self._bus.store, threading.current_thread().name
        while True:
            with self._lock:
                if self._goes(worker):
                    break
                worker.asking = seat.queue
            claimed = store.next(seat.queue, job, *ended)
            worker.asking = None
            if claimed is not None:
                for delivery in ended:
                    self._bus.undelivered.wait(delivery.claimed.header.id)
                return claimed
            ended = ()
            if self._bus.place.stopping.is_set():
                break
        for delivery in ended:
            store.deliver(delivery)
        return None

    def _handle(self, worker: Worker, seat: Seat, claimed: Claimed) -> Claimed | None:
        """Handle one message and return the next one in hand."""
        if isinstance(seat, BatchSeat):
            return self._handle_batch(worker, seat, claimed)
        store = self._bus.store
        again = claimed.attempt > 1
        if again:
            # What was in hand when a process died, or only waited there, goes step by step: see Store.begun.
            try:
                store.begun(claimed)
            except StoreError:
                store.give_back(claimed)
                return self._next(worker, seat)
        result, action = self._attempt(seat, claimed)
        self._pace(result.duration_seconds)
        delivery = self._delivery(claimed, result)
        if action is Action.DISABLE:
            # Nobody is left to take the message when it is back in front of its queue.
            self.leave()
            store.deliver(delivery)
            self._disable(self.host.name, result.error_status or "")
            return self._next(worker, seat)
        if action is Action.RETRY:
            store.deliver(delivery)
            return self._again(worker, claimed, result.wait_seconds) or self._next(worker, seat)
        if result.ending is Ending.PUT_BACK and self._bus.place.stopping.is_set():
            with self._lock:
                self._goes(worker, anyway=True)
        if again:
            store.deliver(delivery)
            store.flush()
            return self._next(worker, seat)
        return self._next(worker, seat, delivery)

    def _handle_batch(self, worker: Worker, seat: BatchSeat, claimed: Claimed) -> Claimed | None:
        """Handle what is there with one message of an item that takes batches, and return the next one in hand."""
        clock = self._bus.place.clock
        several = self._gathered(seat, claimed)
        for one in several:
            if one.attempt > 1:
                self._bus.store.begun(one)
        began = clock.monotonic()
        results = seat.handle_all(several)
        seat.returning.answered(several, clock.monotonic() - began)
        ended, disabled = [], ""
        for one, result in zip(several, results, strict=True):
            # A retry goes back into the queue until it is due: a batch keeps no order.
            assert self._rules is not None  # there are workers only where the rules could be read
            judged, action = self._rules.judge(one, result, seat.handle_)
            if action is Action.DISABLE:
                disabled = judged.error_status or "?"
            ended.append(self._delivery(one, judged))
        if disabled:
            self.leave()
            self._disable(self.host.name, disabled)
        return self._next(worker, seat, *ended)

    def _gathered(self, seat: BatchSeat, claimed: Claimed) -> list[Claimed]:
        """Claim what is there with one message, and what is likely to come in a moment."""
        store, job = self._bus.store, threading.current_thread().name
        several = [claimed, *store.more(seat.queue, job, seat.batch_size - 1)]
        seat.returning.came(several)
        looks, pause_seconds = seat.looks(len(several))
        for _ in range(looks):
            if self._bus.place.clock.wait(self.host.leaving, pause_seconds):
                break
            new = store.more(seat.queue, job, seat.batch_size - len(several))
            several += new
            seat.returning.came(new)
            if not new:
                seat.returning.stay_away()
            if not new or not seat.looks(len(several))[0]:
                break
        return several

    def _pace(self, seconds: float) -> None:
        """Have messages claimed ahead for workers that are fast enough to need them before the next commit."""
        self._mean_seconds += (seconds - self._mean_seconds) / _PACE_OVER
        self._usual_seconds *= _STEP if seconds > self._usual_seconds else 1 / _STEP
        ahead = _AHEAD if self._mean_seconds < _FAST_SECONDS else 0
        self._bus.store.claim_ahead(self.host.name, ahead, self._usual_seconds)

    def _attempt(self, seat: Seat, claimed: Claimed) -> tuple[Result, Action]:
        """Let the component handle a message, and apply the rules of the item to what came of it."""
        handle, rules = getattr(seat, "handle_", None), self._rules
        assert rules is not None
        try:
            rules.prepare(handle)
            return rules.judge(claimed, seat.handle(claimed), handle)
        except Exception as error:  # noqa: BLE001 - a bug of ours: the message is kept, and the third time suspended
            header, name = claimed.header, self.host.name
            detail = "".join(traceback.format_exception(error))
            self._bus.log("Error", detail, name, header.id, header.session_id)
            return self._lost(claimed, sentence_of(error), detail), Action.COMPLETE

    def _lost(self, claimed: Claimed, error: str, detail: str) -> Result:
        record = EnergyRecord(
            message_id=claimed.header.id,
            attempt=claimed.attempt,
            item=self.host.name,
            started_at_us=claimed.started_us,
            duration_seconds=None,
            tier=Tier.NONE,
            status=EnergyStatus.NOT_MEASURED,
            reason="the worker failed outside of its component",
            partial=True,
        )
        return Result(0.0, error_status=error, detail=detail, ending=Ending.WORKER_LOST, energy=[record])

    def _delivery(self, claimed: Claimed, result: Result) -> Delivery:
        """Make the end of an attempt; a response that cannot be written is an error of the attempt."""
        try:
            return self._bus.deliver(claimed, result)
        except (WattbusError, OSError, ValueError) as error:
            sentence = f"the response cannot be stored: {sentence_of(error)}"
            return self._bus.deliver(claimed, result.failed(sentence))

    def _again(self, worker: Worker, claimed: Claimed, wait_seconds: float) -> Claimed | None:
        """Wait, and take the same message again; None where it went elsewhere, or the worker is to leave."""
        message_id, store = claimed.header.id, self._bus.store
        self._bus.undelivered.wait(message_id)
        if self._bus.place.clock.wait(self.host.leaving, wait_seconds):
            tries.make_ready(store.engine, message_id)
            with self._lock:
                self._goes(worker, anyway=True)
            return None
        return store.take(message_id, claimed.header.target_queue, threading.current_thread().name)
