"""The energy ledger: opens a window an attempt, reads the power feed each second, divides what was used.

Two threads of its own: one ticks, divides and settles (this file), one touches the feed (feed_thread.py). An
operation only appends its window to a queue and reads two clocks; whatever the feed does cannot delay it.

Invariant: operations + idle + others + overhead = the interval's total, and the intervals sum to the
feed's total. An interval without a reading has no total: it settles its attempts with the reason, and
their CPU time counts to others in the reading that spans it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from wattbus.energy.account import Account
from wattbus.energy.attempt_window import Window
from wattbus.energy.batch_window import BatchWindow
from wattbus.energy.calibration import Calibration, IdlePower
from wattbus.energy.carbon import CarbonIntensity
from wattbus.energy.cputime import NOBODY, CpuTimes, cpu_times
from wattbus.energy.feed import PowerFacts, PowerFeed, PowerReading, component_fault
from wattbus.energy.feed_thread import FeedThread, Gap
from wattbus.energy.interval import interval_record, joined
from wattbus.energy.record import EnergyRecord, IntervalRecord
from wattbus.energy.split import Load, split_interval

logger = logging.getLogger("wattbus.energy")

INTERVAL_SECONDS = 1.0
READ_DEADLINE_SECONDS = 5.0
# While nothing runs, intervals are joined into one record of up to a minute: an idle bus need not write.
QUIET_SECONDS = 60.0
# A reading this much longer than the interval spans earlier intervals that had none.
SPANS_A_GAP = 1.25
# Readings that are kept at hand for who looks on; the store has all of them, the quiet ones joined.
KEPT_INTERVALS = 120


class Ledger:
    """Meters attempts; calls ``on_settled(records, interval)`` in its own thread, once a tick that has news.

    ``records`` are final and may come before the caller of ``close`` has stored the pending ones: those
    must not overwrite them. ``interval`` is None when the feed gave no reading. If ``on_settled`` raises, the
    same records come again with the next tick.
    """

    def __init__(
        self,
        feed: PowerFeed,
        *,
        on_settled: Callable[[list[EnergyRecord], IntervalRecord | None], None],
        carbon: CarbonIntensity | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        interval_seconds: float = INTERVAL_SECONDS,
        cpu: CpuTimes | None = None,
    ) -> None:
        self.clock, self.wall = clock, wall
        self.cpu: CpuTimes = cpu or cpu_times()
        self.running = False
        self.last_interval: IntervalRecord | None = None
        self._recent: deque[IntervalRecord] = deque(maxlen=KEPT_INTERVALS)
        self._on_settled = on_settled
        self._carbon = carbon
        self._interval_seconds = interval_seconds
        self._born: deque[Window] = deque()
        self._live: list[Window] = []
        self._withdrawn: deque[Window] = deque()
        self._workers: set[int] = set()
        self._wake = threading.Event()
        self._begun = threading.Event()
        self._ready = False
        self._stopping = False
        self._waiting: deque[threading.Event] = deque()
        self._power = FeedThread(feed, self._wake.set)
        self._thread = threading.Thread(target=self._run, name="wattbus-ledger", daemon=True)
        self._since = 0.0
        self._machine = (0.0, 0.0)
        self._process = 0.0
        self._pool: dict[int, float] = {}
        self._skipped = (0.0, 0.0, 0.0)  # capacity, busy, overhead seconds of intervals without a reading
        self._calibration = Calibration()
        self._undelivered: list[EnergyRecord] = []
        self._quiet: IntervalRecord | None = None

    @property
    def facts(self) -> PowerFacts | None:
        """What the feed found; None until it has started."""
        return self._power.facts

    @property
    def idle(self) -> IdlePower | None:
        """What the machine is taken to spend at rest; None until something is known of it."""
        facts = self._power.facts
        return None if facts is None else self._calibration.idle_power(facts)

    def start(self) -> None:
        """Start metering; returns at once, the feed starts in the background."""
        self.running = True
        self._baseline()
        self._power.start()
        self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Read and attribute the last partial interval, settle what ended, stop the feed."""
        if not self.running:
            return
        self._stopping = True
        self._wake.set()
        self._power.hurry()
        self._thread.join(timeout_seconds)
        self.running = False

    def open(self, message_id: int, attempt: int, item: str) -> Window:
        """Open the window of one attempt in its thread; it becomes ``current_window()`` there."""
        window = Window(self, message_id, attempt, item)
        if self.running:
            self._born.append(window)
        return window

    def take_in(self, window: Window) -> None:
        """Meter a window that its owner made itself."""
        if self.running:
            self._born.append(window)

    def open_batch(self, attempts: Sequence[tuple[int, int]], item: str) -> BatchWindow:
        """Open the window of one piece of work for several attempts, each (message id, attempt number)."""
        window = BatchWindow(self, attempts, item)
        if self.running:
            self._born.extend(window.shares)
        return window

    def withdraw(self, windows: Sequence[Window]) -> None:
        """Forget windows that were opened for nothing; what they used goes to the overhead."""
        self._withdrawn.extend(windows)

    def settle(self, timeout_seconds: float = 2.0) -> bool:
        """End the interval now and settle what is closed; False when that took too long."""
        if not self.running:
            return True
        done = threading.Event()
        self._waiting.append(done)
        self._wake.set()
        return done.wait(timeout_seconds)

    def live(self) -> list[EnergyRecord]:
        """Return a partial record for each attempt that runs, with its energy as of the last reading."""
        records = []
        for window in [*self._live, *self._born.copy()]:
            if window.closed is None:
                account = window.account or Account()
                records.append(self._settled(window.so_far(), account, live=True))
        return records

    def joules_of(self, window: Window) -> float | None:
        """Return what an attempt that runs has used as of the last reading; None where that is not known."""
        if window.account is None:
            return None
        return self._settled(window.so_far(), window.account, live=True).energy_joules

    def recent(self) -> list[IntervalRecord]:
        """Return the newest readings with their buckets, one a second, the oldest first."""
        return list(self._recent.copy())

    def wait_ready(self, timeout_seconds: float = 10.0) -> bool:
        """Wait until readings count; False when the feed failed or needs longer. Work need not wait."""
        self._begun.wait(timeout_seconds)
        return self._ready

    def settle_late(self, window: Window) -> EnergyRecord:
        """Return the final record of a window that closes while the ledger does not run."""
        assert window.provisional is not None
        assert window.closed is not None
        account = window.account or Account()
        account.overlap_seconds = max(0.0, window.closed - max(self._since, window.opened))
        account.used_seconds = 0.0
        account.miss(Gap("the energy ledger is not running", failed=False))
        return self._settled(window.provisional, account)

    # The rest runs in the ledger's thread.

    def _run(self) -> None:
        while True:
            self._wake.wait(self._interval_seconds)
            self._wake.clear()
            stopping = self._stopping
            waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
            # the first time a feed is ready there is nothing to read: energy and CPU time both count from here
            just_ready = self._power.facts is not None and not self._ready
            answer = _NOT_READY if just_ready else self._power.read(READ_DEADLINE_SECONDS)
            self._tick(answer, urgent=bool(waiting) or stopping)
            self._ready = self._power.facts is not None
            if self._ready or self._power.failed:
                self._begun.set()
            for done in waiting:
                done.set()
            if stopping:
                self.running = False
                # windows that closed between the tick and the line above have nobody else to settle them
                self._tick(Gap("the energy ledger was stopped", failed=False), urgent=True)
                self._power.stop(timeout_seconds=1.0)
                return

    def _baseline(self) -> None:
        self._since = self.clock()
        self._machine = self.cpu.machine()
        self._process = self.cpu.process()
        self._pool = self.cpu.pool(self._workers)

    def _tick(self, answer: PowerReading | Gap, *, urgent: bool) -> None:
        """Close one interval: what each attempt used, what it cost, whom it settles."""
        while self._born:
            window = self._born.popleft()
            window.account = Account()
            self._workers.add(window.thread_id)
            self._live.append(window)
        while self._withdrawn:
            window = self._withdrawn.popleft()
            if window in self._live:
                self._live.remove(window)
        since, machine, process, pool = self._since, self._machine, self._process, self._pool
        self._baseline()
        span = max(self._since - since, 1e-9)
        capacity, busy = self._machine[0] - machine[0], self._machine[1] - machine[1]
        # whether it ended is asked first: an attempt that ends meanwhile is settled by the next tick, in full
        ended = [window.closed is not None for window in self._live]
        accounts = [self._account(window, since) for window in self._live]
        pools = {maker: spent - pool.get(maker, 0.0) for maker, spent in self._pool.items()}
        overhead = self._share_process(accounts, span, self._process - process, pools)
        interval = None
        if isinstance(answer, PowerReading):
            interval = self._divide(answer, accounts, span, Load(capacity, busy, overhead, 0.0))
        else:
            self._skip(answer, accounts, (capacity, busy, overhead))
        facts, carbon, known = self._power.facts, self._carbon, self.cpu.knows_threads
        settled = [
            account.settle(window.provisional, facts, carbon, known)
            for window, account, over in zip(self._live, accounts, ended, strict=True)
            if over and window.provisional is not None
        ]
        self._live = [window for window, over in zip(self._live, ended, strict=True) if not over]
        self._deliver(settled, interval, urgent=urgent)

    def _account(self, window: Window, since: float) -> Account:
        """Bring the account of one window up to date with its CPU time."""
        account = window.account
        assert account is not None
        closed, now = window.closed, self._since
        until = now if closed is None or closed > now else closed
        begun = window.opened if window.opened > since else since
        if closed is None:
            window.sample_children()
        account.take(window.own_ns(), window.child_seconds(), until - begun if until > begun else 0.0)
        if window.uses_gpu:
            account.on_gpu = True
        return account

    def _share_process(
        self, accounts: list[Account], span: float, process: float, pools: dict[int, float]
    ) -> float:
        """Give each attempt its CPU seconds, pool threads included; return what is left to the bus.

        A pool thread works for the worker that made it, as far as that is known and the worker works; else for
        all, in proportion to their own time.
        """
        if not self.cpu.knows_threads:
            overlap = sum(account.overlap_seconds for account in accounts)
            whole = max(overlap, span)
            for account in accounts:
                account.used_seconds = process * account.overlap_seconds / whole + account.child_seconds
                account.cpu_seconds += account.used_seconds
            return process * max(0.0, 1.0 - overlap / whole)
        whole = sum([account.own_seconds for account in accounts])
        if whole <= 0:
            for account in accounts:
                account.used_seconds = account.child_seconds
                account.cpu_seconds += account.child_seconds
            return max(0.0, process)  # pool threads had nobody to work for
        own: dict[int, float] = {}
        if any(spent > 0 for maker, spent in pools.items() if maker != NOBODY):
            for window, account in zip(self._live, accounts, strict=True):
                own[window.thread_id] = own.get(window.thread_id, 0.0) + account.own_seconds
        pool = sum(pools.values())
        made = {maker: spent for maker, spent in pools.items() if own.get(maker, 0.0) > 0}
        factor = 1.0 + (pool - sum(made.values())) / whole
        for account in accounts:
            account.used_seconds = used = account.own_seconds * factor + account.child_seconds
            account.cpu_seconds += used
        if made:
            for window, account in zip(self._live, accounts, strict=True):
                if window.thread_id in made:
                    more = account.own_seconds * made[window.thread_id] / own[window.thread_id]
                    account.used_seconds += more
                    account.cpu_seconds += more
        return max(0.0, process - whole - pool)

    def _divide(
        self, reading: PowerReading, accounts: list[Account], span: float, load: Load
    ) -> IntervalRecord:
        """Divide a reading among the accounts and return its buckets."""
        facts = self._power.facts
        assert facts is not None
        gpu_gap = _gpu_gap(facts, reading)
        if gpu_gap is not None:
            reading = replace(reading, gpu_joules=None)
        spans = self._skipped if reading.duration_seconds > SPANS_A_GAP * span else (0.0, 0.0, 0.0)
        self._skipped = (0.0, 0.0, 0.0)
        load = Load(
            load.capacity_seconds + spans[0],
            load.busy_seconds + spans[1],
            load.overhead_seconds + spans[2],
            sum(account.used_seconds for account in accounts),
            sum(account.overlap_seconds for account in accounts if account.on_gpu),
        )
        split = split_interval(reading, self._calibration.learn(reading, facts, load), load)
        alone = sum(account.used_seconds > 0 for account in accounts) <= 1
        cores = split.capacity_seconds / reading.duration_seconds or 1.0
        for account in accounts:
            account.add(split, facts, cores, alone=alone)
            if gpu_gap is not None and account.on_gpu:
                account.miss(gpu_gap)
        self.last_interval = interval_record(reading, facts, split, int(self.wall() * 1e6))
        self._recent.append(self.last_interval)
        return self.last_interval

    def _skip(self, gap: Gap, accounts: list[Account], seconds: tuple[float, float, float]) -> None:
        """Note that the interval has no reading; its CPU time waits for one that spans it."""
        if self._ready:
            capacity, busy, overhead = self._skipped
            self._skipped = (capacity + seconds[0], busy + seconds[1], overhead + seconds[2])
        for account in accounts:
            account.miss(gap)

    def _settled(self, provisional: EnergyRecord, account: Account, *, live: bool = False) -> EnergyRecord:
        return account.settle(provisional, self._power.facts, self._carbon, self.cpu.knows_threads, live=live)

    def _deliver(self, settled: list[EnergyRecord], interval: IntervalRecord | None, *, urgent: bool) -> None:
        records = self._undelivered + settled
        if interval is not None:
            interval = interval if self._quiet is None else joined(self._quiet, interval)
            self._quiet = interval
        waits = self._quiet is not None and self._quiet.duration_seconds < QUIET_SECONDS
        if not records and (self._quiet is None or (waits and not urgent and not self._live)):
            return
        quiet, self._quiet, self._undelivered = self._quiet, None, []
        try:
            self._on_settled(records, quiet)
        except Exception:
            # the store is down, or its caller is wrong: neither may end the metering, and nothing is lost
            logger.exception(
                "settled energy records could not be stored; they come again with the next interval"
            )
            self._undelivered, self._quiet = records, quiet


def _gpu_gap(facts: PowerFacts, reading: PowerReading) -> Gap | None:
    """Say why the GPU's figure is none: wrong, or a counter that may not have moved in so short a time."""
    fault = component_fault("GPU", facts.gpu, reading.gpu_joules, reading.duration_seconds)
    if fault:
        return Gap(fault, failed=True)
    if reading.gpu_joules == 0:
        return Gap(f"the GPU's counter has not moved in {reading.duration_seconds:.2f} s", failed=False)
    return None


_NOT_READY = Gap("no power reading yet: the power feed is still starting", failed=False)
