"""An emissions tracker with codecarbon's methods, fed by the ledger: any number of trackers and tasks at once.

``tracking_mode="machine"`` gives what the whole machine used over the run, as codecarbon does; ``"process"`` what this
process and its children used. A meter that fails never fails the script: its figures are then unknown, and the log says
why.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import threading
import time
import uuid
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any

import psutil

from wattbus.energy.emissions_data import EmissionsData
from wattbus.energy.emissions_file import EmissionsFile
from wattbus.energy.grid import CURE, grid_of
from wattbus.energy.machine_account import Joules, MachineAccount, Run, Share
from wattbus.energy.process_meter import START_SECONDS, ConfiguredFeed, ProcessMeter, process_meter
from wattbus.energy.tracker_settings import TrackerSettings, read_settings

logger = logging.getLogger("wattbus.codecarbon")

JOULES_PER_KWH = 3_600_000.0
# A run of which less was read than this is said to be incomplete.
READ_ENOUGH = 0.95


class Task:
    """A task that runs, or its figures once it ended."""

    def __init__(self, asked: str, name: str, share: Share) -> None:
        self.asked, self.name, self.share = asked, name, share
        self.thread = threading.get_ident()
        self.begun = time.perf_counter()
        self.ended = False
        self.data: EmissionsData | None = None


class EmissionsTracker:
    """Track what a run used: ``start`` and ``stop``, a ``with`` block, or tasks by name, from any thread."""

    def __init__(self, *positional: Any, meter: ProcessMeter | None = None, **settings: Any) -> None:
        self.settings: TrackerSettings = read_settings(positional, settings)
        logger.setLevel(_level(self.settings.log_level))
        self._meter = meter or process_meter()
        self.grid = grid_of(self.settings, self._meter.carbon)
        self.run_id = uuid.uuid4()
        self.final_emissions: float | None = None
        self.final_emissions_data: EmissionsData | None = None
        self._lock = threading.RLock()
        self._run: Run | None = None
        self._tasks: list[Task] = []
        self._begun = 0.0
        self._machine_begun = (0.0, 0.0)
        self._flushed: EmissionsData | None = None
        self._handlers = self._outputs()
        self._force()
        self._meter.start()

    def start(self) -> None:
        """Begin the run; waits, the first time in a process, until the power is read: two seconds."""
        with self._lock:
            if self._run is not None and self._run.always:
                logger.warning("The tracker was started already.")
                return
            self._begin(always=True)

    def stop(self) -> float | None:
        """End the run and its tasks, write its row, and return the kilograms of CO2 equivalent, None when unknown."""
        with self._lock:
            if self._run is None:
                logger.warning("The tracker was not started, or was stopped already.")
                return self.final_emissions
            while (task := self._claim(None)) is not None:
                self._end_task(self._run, task)
            self._account.end_run(self._run)
            data = self._data(self._run, self._seconds())
            self._write(data)
            for handler in self.settings.output_handlers:
                self._safely(getattr(handler, "exit", None))
            self._run = None
            self.final_emissions_data, self.final_emissions = data, data.emissions
            if data.emissions is None and data.energy_consumed is not None:
                logger.warning("%s.", CURE[0].upper() + CURE[1:])
            return data.emissions

    def flush(self) -> float | None:
        """Write a row of what was used so far, go on, and return the kilograms so far."""
        with self._lock:
            if self._run is None:
                logger.error("The tracker was not started: there is nothing to flush.")
                return None
            self._account.cut()
            data = self._data(self._run, self._seconds())
            self._write(data)
            return data.emissions

    def start_task(self, task_name: str | None = None) -> None:
        """Begin a task in this thread; others may run, in this thread too."""
        with self._lock:
            if self._run is None:
                self._begin(always=False)
            assert self._run is not None
            run, asked = self._run, task_name or str(uuid.uuid4())
            taken = any(task.name == asked for task in self._tasks)
            name = f"{asked}_{uuid.uuid4()}" if taken else asked
        share = self._account.begin_task(run, name)
        with self._lock:
            self._tasks.append(Task(asked, name, share))

    def stop_task(self, task_name: str | None = None) -> EmissionsData | None:
        """End a task and return what it used; without a name the one that this thread began last."""
        with self._lock:
            run, task = self._run, self._claim(task_name)
        if task is None or run is None:
            logger.warning("There is no task %s to stop.", repr(task_name) if task_name else "")
            return None
        return self._end_task(run, task)

    def get_detected_hardware(self) -> dict[str, Any]:
        """Return what the machine has, as far as it was found."""
        self._meter.ledger.wait_ready(START_SECONDS)
        return self._hardware()

    def _hardware(self) -> dict[str, Any]:
        return {
            "ram_total_size": psutil.virtual_memory().total / 2**30,
            "cpu_count": os.cpu_count(),
            "cpu_physical_count": psutil.cpu_count(logical=False),
            "cpu_model": self._facts("cpu_model"),
            "gpu_count": self._gpu_count(),
            "gpu_model": self._facts("gpu_model"),
            "gpu_ids": None,
        }

    def service_shutdown(self, signum: int, _frame: Any) -> None:
        """Stop on a signal: for ``signal.signal(signal.SIGTERM, tracker.service_shutdown)``."""
        logger.warning("Signal %d: the tracker stops.", signum)
        self.stop()

    def __enter__(self) -> EmissionsTracker:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _account(self) -> MachineAccount:
        return self._meter.account

    def _begin(self, *, always: bool) -> None:
        self._meter.start()
        if not self._meter.ledger.wait_ready(START_SECONDS):
            logger.warning(
                "No power is read on this machine (`wattbus energy check`): energies stay unknown."
            )
        if self._run is not None:  # tasks came before start(): from here on all of the run counts
            self._account.cut()
            self._run.always = True
        else:
            self._run = self._account.begin_run(
                always=always, with_window=self.settings.tracking_mode == "process"
            )
            self._tasks = []
        self._flushed = None
        self._begun = time.perf_counter()
        self._machine_begun = self._meter.ledger.cpu.machine()

    def _end_task(self, run: Run, task: Task) -> EmissionsData:
        self._account.end_task(run, task.share)
        task.data = self._data(task.share, time.perf_counter() - task.begun)
        return task.data

    def _claim(self, name: str | None) -> Task | None:
        """Take the task that is meant to end it: of this thread before those of others, the last one that began."""
        running = [task for task in self._tasks if not task.ended]
        named = [task for task in running if name is None or name in (task.asked, task.name)]
        mine = [task for task in named if task.thread == threading.get_ident()]
        if not named:
            return None
        task = (mine or named)[-1]
        task.ended = True
        return task

    def _seconds(self) -> float:
        return time.perf_counter() - self._begun

    def _data(self, share: Share, seconds: float) -> EmissionsData:
        settings, grid = self.settings, self.grid
        used = share.process if settings.tracking_mode == "process" else share.machine
        known = share.read_seconds > 0
        expected = seconds if not isinstance(share, Run) or share.always else share.read_seconds
        if known and share.read_seconds < READ_ENOUGH * expected - 0.1:
            logger.warning("The power was read for %.1f of %.1f s.", share.read_seconds, seconds)
        kwh = Joules(*(part / JOULES_PER_KWH * settings.pue for part in (used.cpu, used.gpu, used.ram)))
        kilograms = kwh.total * grid.kg_per_kwh if known and grid.kg_per_kwh is not None else None
        watts = used * (settings.pue / share.read_seconds) if known else Joules()
        capacity, busy = (
            now - before
            for now, before in zip(self._meter.ledger.cpu.machine(), self._machine_begun, strict=True)
        )
        hardware = self._hardware()
        return EmissionsData(
            timestamp=datetime.now().strftime("%Y-%m-%dT%H:%M:%S"),
            project_name=settings.project_name,
            run_id=str(self.run_id),
            experiment_id=settings.experiment_id,
            duration=seconds,
            emissions=kilograms,
            emissions_rate=None if kilograms is None or seconds <= 0 else kilograms / seconds,
            cpu_power=watts.cpu if known else None,
            gpu_power=watts.gpu if known else None,
            ram_power=watts.ram if known else None,
            cpu_energy=kwh.cpu if known else None,
            gpu_energy=kwh.gpu if known else None,
            ram_energy=kwh.ram if known else None,
            energy_consumed=kwh.total if known else None,
            water_consumed=kwh.total * settings.wue if known else None,
            country_name=grid.country_name,
            country_iso_code=grid.country_iso_code,
            region=grid.region,
            cloud_provider=grid.cloud_provider,
            cloud_region=grid.cloud_region,
            os=platform.platform(),
            python_version=platform.python_version(),
            codecarbon_version=_codecarbon_version(),
            cpu_count=hardware["cpu_count"],
            cpu_model=hardware["cpu_model"],
            gpu_count=hardware["gpu_count"],
            gpu_model=hardware["gpu_model"],
            longitude=None,
            latitude=None,
            ram_total_size=hardware["ram_total_size"],
            tracking_mode=settings.tracking_mode,
            cpu_utilization_percent=100.0 * busy / capacity if capacity > 0 else None,
            ram_utilization_percent=share.memory_percent,
            ram_used_gb=share.memory_gigabytes,
            on_cloud=grid.on_cloud,
            pue=settings.pue,
            wue=settings.wue,
        )

    def _outputs(self) -> list[Any]:
        outputs: list[Any] = list(self.settings.output_handlers)
        if "csv" in self.settings.output_methods:
            settings = self.settings
            outputs.append(EmissionsFile(settings.output_dir, settings.output_file, settings.on_csv_write))
        if "logger" in self.settings.output_methods:
            outputs.append(self.settings.logging_logger)
        return outputs

    def _write(self, data: EmissionsData) -> None:
        delta, self._flushed = data.since(self._flushed), data
        tasks = [(task.name, task.data) for task in self._tasks if task.data is not None]
        for handler in self._handlers:
            self._safely(handler.out, data, delta)
            if tasks:
                rows = tasks if isinstance(handler, EmissionsFile) else [_named(*task) for task in tasks]
                self._safely(getattr(handler, "task_out", None), rows, self.settings.experiment_name)

    def _safely(self, write: Any, *values: Any) -> None:
        """Call an output, which may be the user's; one that fails costs its own row and nothing else."""
        try:
            if write is not None:
                write(*values)
        except Exception:
            logger.exception("an output of the tracker failed; the run goes on")

    def _force(self) -> None:
        """Hand the stated watts to the meter, where it has not begun without them."""
        stated = (self.settings.force_cpu_power, self.settings.force_ram_power)
        feed = self._meter.feed
        if stated == (None, None) or not isinstance(feed, ConfiguredFeed):
            return
        if not feed.state(*stated):
            logger.warning(
                "force_cpu_power and force_ram_power have no effect: this process is metered already, without them. "
                "Make this tracker first."
            )

    def _facts(self, name: str) -> str | None:
        facts = self._meter.ledger.facts
        return None if facts is None else getattr(facts, name)

    def _gpu_count(self) -> int | None:
        """Return how many GPUs codecarbon named: its text is ``2 x NVIDIA H100``."""
        counts = re.findall(r"(\d+) x ", self._facts("gpu_model") or "")
        return sum(int(count) for count in counts) or None


class _TaskData:
    """A task for a user's own output: the fields of its row, with its name."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)
        self.values = values


def _named(name: str, data: EmissionsData) -> _TaskData:
    return _TaskData({"task_name": name, **data.values})


def _level(given: str | int) -> int:
    if isinstance(given, int):
        return given
    known: int | None = logging.getLevelNamesMapping().get(str(given).upper())
    return logging.INFO if known is None else known


def _codecarbon_version() -> str | None:
    try:
        return version("codecarbon")
    except PackageNotFoundError:
        return None
