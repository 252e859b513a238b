"""A BoAmps report around any code, with nothing typed: ``with wattbus.boamps_report("task") as report:``."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from wattbus.config import Config, read_config
from wattbus.energy.hardware import MachineFacts, read_machine
from wattbus.energy.measured import Measured, window
from wattbus.energy.process_meter import START_SECONDS, ProcessMeter, process_meter
from wattbus.energy.record import EnergyRecord, IntervalRecord, RemoteFacts, TaskFacts
from wattbus.errors import BadRequest, WattbusError
from wattbus.export.boamps import BoampsReport, ReportInput, build_report, write_report
from wattbus.export.boamps_score import Score
from wattbus.export.boamps_tracker import tracker_from
from wattbus.export.organisation import read_organisation
from wattbus.export.signing import signing_key
from wattbus.home import Home
from wattbus.ml.observe import Observation, Sighting

logger = logging.getLogger("wattbus.boamps")

Function = TypeVar("Function", bound=Callable[..., Any])
GENERIC = TaskFacts("other", requests=1)
#: What runs a script, and is none itself.
_RUNNERS = frozenset({"", "-c", "-m", "__main__", "ipykernel_launcher", "colab_kernel_launcher", "wattbus"})


class ReportedRun:
    """What one run of the code came to; there is no report inside the block, and afterwards at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.record: EnergyRecord | None = None
        self.report: BoampsReport | None = None
        self.path: Path | None = None
        self.remote_report: BoampsReport | None = None  # of the other side of a remote call
        self.remote_path: Path | None = None
        self.reason: str | None = "the block still runs"

    @property
    def score(self) -> Score | None:
        """How many fields are filled, of how many that can apply, and what is left."""
        return None if self.report is None else self.report.score

    @property
    def document(self) -> dict[str, Any] | None:
        """The report as JSON values."""
        return None if self.report is None else self.report.document

    def __repr__(self) -> str:
        return (
            f"<{self.name}: {self.score} fields, {self.path}>"
            if self.path
            else f"<{self.name}: {self.reason}>"
        )


class boamps_report:
    """Meter a block or a function, see which model does what in it, and write the BoAmps report.

    Waits at first until the power meter reads, two seconds or so and once a process: what is not metered has no
    report. A block that raises has none either, and a report that cannot be made never fails the block: ``path`` is
    None, and ``reason`` says why. The decorated function keeps its last run in ``function.report``.
    """

    def __init__(
        self,
        name: str,
        *,
        folder: str | Path | None = None,
        meter: ProcessMeter | None = None,
        machine: MachineFacts | None = None,
    ) -> None:
        self.name = name
        self._folder = None if folder is None else Path(folder)
        self._meter = meter
        self._machine = machine
        self._entered = _Entered()

    def __enter__(self) -> ReportedRun:
        meter = self._meter or process_meter()
        meter.start()
        meter.ledger.wait_ready(START_SECONDS)
        around = window(self.name, meter=meter)
        run, watching = ReportedRun(self.name), Observation()
        watching.start()
        measured = around.__enter__()
        watching.on_gpu = measured.uses_gpu
        self._entered.stack.append((around, measured, watching, run))
        return run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        around, measured, watching, run = self._entered.stack.pop()
        sighting = watching.stop()
        if sighting is not None:
            measured.describe(kind=sighting.facts.framework, model=sighting.model, revision=sighting.revision)
            if sighting.remote is not None:
                measured.remote(sighting.remote.estimate, model=sighting.model)
        measured.facts = GENERIC if sighting is None else sighting.facts
        around.__exit__(kind, error, traceback)
        if error is not None:
            run.record, run.reason = measured.record, f"the block ended with {type(error).__name__}"
            return
        try:
            self._report(run, measured, sighting)
        except WattbusError as fault:
            run.reason = str(fault)
            logger.warning("no report of %r: %s", self.name, fault)

    def __call__(self, function: Function) -> Function:
        if (
            inspect.iscoroutinefunction(function)
            or inspect.isgeneratorfunction(function)
            or inspect.isasyncgenfunction(function)
        ):
            raise BadRequest(
                f"{function.__name__} runs in parts, between other code: put a block around what waits for it."
            )

        @functools.wraps(function)
        def reported(*args: Any, **kwargs: Any) -> Any:
            with self as run:
                reported.report = run  # type: ignore[attr-defined]
                return function(*args, **kwargs)

        return cast(Function, reported)

    def _report(self, run: ReportedRun, measured: Measured, sighting: Sighting | None) -> None:
        meter = self._meter or process_meter()
        run.record = measured.result()
        config = read_config()
        folder = self._folder or Home.find(config.home).exports
        machine = self._machine or read_machine()
        intervals = meter.ledger.recent()
        remote, other = None if sighting is None else sighting.remote, measured.remote_record
        if remote is not None and other is not None and other.energy_joules is not None:
            there = report_input(other, intervals, config, machine, remote.machine)
            run.remote_report = build_report(there)
            run.remote_path = write_report(run.remote_report, folder)
        run.report = build_report(report_input(run.record, intervals, config, machine))
        run.path = write_report(run.report, folder)
        run.reason = None


def report_input(
    record: EnergyRecord,
    intervals: list[IntervalRecord],
    config: Config,
    machine: MachineFacts,
    remote: RemoteFacts | None = None,
) -> ReportInput:
    """Put together what a report of one side of one window is made of."""
    home = Home.find(config.home)
    return ReportInput(
        (record,),
        record.facts or GENERIC,
        machine,
        tracker_from((record,), intervals, country=config.country),
        read_organisation(home),
        script=script_name(),
        remote=remote,
        signer=signing_key(home),
    )


def script_name() -> str | None:
    """Return the name of the script that runs, without its folder; None in a notebook or a prompt."""
    name = Path(sys.argv[0] if sys.argv else "").stem
    return None if name in _RUNNERS else name


class _Entered(threading.local):
    """The blocks that a thread is in: one report may be entered by several threads."""

    def __init__(self) -> None:
        self.stack: list[tuple[window, Measured, Observation, ReportedRun]] = []
