"""What the whole machine, and what this process, used over runs and over tasks that may overlap.

Each start and end of a task ends the ledger's interval, so between two such cuts the same tasks are open. What the
machine used there is divided among them: each has what the ledger attributes to its own work, and an equal part of the
rest. So one task at a time has all, as codecarbon gives it, and the parts of several sum to the machine's total.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from wattbus.energy.code_window import CodeWindow
from wattbus.energy.process_meter import ProcessMeter
from wattbus.energy.record import IntervalRecord


@dataclass(frozen=True, slots=True)
class Joules:
    """Energy by component; one that is not read is 0, as it is in codecarbon's figures."""

    cpu: float = 0.0
    gpu: float = 0.0
    ram: float = 0.0

    @property
    def total(self) -> float:
        return self.cpu + self.gpu + self.ram

    def __add__(self, other: Joules) -> Joules:
        return Joules(self.cpu + other.cpu, self.gpu + other.gpu, self.ram + other.ram)

    def __sub__(self, other: Joules) -> Joules:
        return Joules(self.cpu - other.cpu, self.gpu - other.gpu, self.ram - other.ram)

    def __mul__(self, factor: float) -> Joules:
        return Joules(self.cpu * factor, self.gpu * factor, self.ram * factor)


@dataclass
class Reading:
    """What was read since some moment: of the machine, inside this process, and how much memory was in use."""

    machine: Joules = field(default_factory=Joules)
    inside_joules: float = 0.0
    own_memory_joules: float = 0.0
    seconds: float = 0.0
    times: int = 0
    memory_percents: float = 0.0
    memory_gigabytes: float = 0.0

    def add(self, interval: IntervalRecord, process: psutil.Process) -> None:
        """Add an interval that the ledger read just now."""
        memory = psutil.virtual_memory()
        joules = _machine(interval)
        self.machine += joules
        self.inside_joules += interval.operations_joules + interval.overhead_joules
        self.own_memory_joules += joules.ram * min(1.0, process.memory_info().rss / memory.total)
        self.seconds += interval.duration_seconds
        self.times += 1
        self.memory_percents += memory.percent
        self.memory_gigabytes += memory.used / 2**30

    def of_process(self, attributed: Joules) -> Joules:
        """Return the part of this process, given what of GPU and memory was attributed to its windows."""
        cpu = max(0.0, self.inside_joules - attributed.gpu - attributed.ram)
        return Joules(min(cpu, self.machine.cpu), attributed.gpu, self.own_memory_joules)


@dataclass(eq=False)
class Share:
    """A run or a task: what it used so far, of the machine and of this process; ``read_seconds`` of it were read."""

    name: str = ""
    machine: Joules = field(default_factory=Joules)
    process: Joules = field(default_factory=Joules)
    read_seconds: float = 0.0
    window: CodeWindow | None = None
    _memory: tuple[int, float, float] = (0, 0.0, 0.0)

    def add(self, machine: Joules, process: Joules, read: Reading) -> None:
        """Add its part of what was read."""
        self.machine, self.process = self.machine + machine, self.process + process
        self.read_seconds += read.seconds
        times, percents, gigabytes = self._memory
        self._memory = (
            times + read.times,
            percents + read.memory_percents,
            gigabytes + read.memory_gigabytes,
        )

    @property
    def memory_percent(self) -> float | None:
        """The memory in use on the machine, averaged over the readings; None before the first."""
        return self._memory[1] / self._memory[0] if self._memory[0] else None

    @property
    def memory_gigabytes(self) -> float | None:
        return self._memory[2] / self._memory[0] if self._memory[0] else None


@dataclass(eq=False)
class Run(Share):
    """A run: all that is used while it is open, or only while one of its tasks is."""

    always: bool = True
    tasks: list[Share] = field(default_factory=list)


class MachineAccount:
    """Accounts for the runs and tasks of all trackers of this process."""

    def __init__(self, meter: ProcessMeter) -> None:
        self.meter = meter
        self._lock = threading.RLock()
        self._runs: list[Run] = []
        self._unread = Reading()
        self._own: dict[int, Joules] = {}
        self._process = psutil.Process()
        meter.listen(self._listen)

    def begin_run(self, *, always: bool = True, with_window: bool = False) -> Run:
        """Open a run; with a window, child processes and the GPU are counted to this process."""
        self.cut()
        run = Run(always=always)
        if with_window:
            run.window = self.meter.open("run", lambda _: None)
            run.window.describe(gpu=True)
            run.window.detach()
        with self._lock:
            self._runs.append(run)
        return run

    def end_run(self, run: Run) -> None:
        """Close a run and what is still open in it."""
        self.cut()
        with self._lock:
            if run in self._runs:
                self._runs.remove(run)
        for share in (run, *run.tasks):
            if share.window is not None:
                share.window.close()
        run.tasks = []

    def begin_task(self, run: Run, name: str) -> Share:
        """Open a task of a run, in this thread."""
        self.cut()
        task = Share(name, window=self.meter.open(name, lambda _: None))
        with self._lock:
            run.tasks.append(task)
        return task

    def end_task(self, run: Run, task: Share) -> None:
        """Close a task; any thread may."""
        self.cut()
        with self._lock:
            if task in run.tasks:
                run.tasks.remove(task)
        if task.window is not None:
            task.window.close()

    def cut(self) -> None:
        """End the interval, and give each open run and task its part of what was read."""
        self.meter.ledger.settle()
        with self._lock:
            read, self._unread = self._unread, Reading()
            own = self._own_since_last()
            if not read.times:
                return
            process = read.of_process(math_sum(list(own.values())))
            for run in self._runs:
                if run.always or run.tasks:
                    run.add(read.machine, process, read)
            tasks = [task for run in self._runs for task in run.tasks]
            owned = [own.get(task.window.number, Joules()) if task.window else Joules() for task in tasks]
            for task, of_machine, of_process in zip(
                tasks, divide(read.machine, owned), divide(process, owned), strict=True
            ):
                task.add(of_machine, of_process, read)

    def _listen(self, interval: IntervalRecord) -> None:
        with self._lock:
            if self._runs:
                self._unread.add(interval, self._process)

    def _own_since_last(self) -> dict[int, Joules]:
        """Return for each open window what the ledger attributed to it since the last cut."""
        now = {
            record.message_id: Joules(
                record.cpu_joules or 0.0, record.gpu_joules or 0.0, record.ram_joules or 0.0
            )
            for record in self.meter.ledger.live()
        }
        since = {number: joules - self._own.get(number, Joules()) for number, joules in now.items()}
        self._own = now
        return since


def divide(total: Joules, own: Sequence[Joules]) -> list[Joules]:
    """Give each its own part and an equal part of the rest; the parts sum to the total."""
    if not own:
        return []
    parts = [
        _divide(getattr(total, name), [getattr(one, name) for one in own]) for name in ("cpu", "gpu", "ram")
    ]
    return [Joules(*part) for part in zip(*parts, strict=True)]


def _divide(total: float, own: list[float]) -> list[float]:
    claimed = math.fsum(own)
    if claimed > total:
        return [total * one / claimed for one in own]
    rest = (total - claimed) / len(own)
    return [one + rest for one in own]


def math_sum(parts: Sequence[Joules]) -> Joules:
    """Sum joules by component, without the loss of adding many small figures."""
    return Joules(*(math.fsum(getattr(one, name) for one in parts) for name in ("cpu", "gpu", "ram")))


def _machine(interval: IntervalRecord) -> Joules:
    watts, seconds = interval.watts_by_component, interval.duration_seconds
    return Joules(*(watts.get(name, 0.0) * seconds for name in ("cpu", "gpu", "ram")))
