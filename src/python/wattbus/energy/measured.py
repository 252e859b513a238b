"""A window around any code, with no production: ``with wattbus.energy.window("task") as measured:``."""

from __future__ import annotations

import functools
import inspect
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeVar, cast

from wattbus.energy.code_window import CodeWindow
from wattbus.energy.process_meter import ProcessMeter, process_meter
from wattbus.energy.record import EnergyRecord, EnergyStatus, TaskFacts, Tier, make_record
from wattbus.energy.remote import RemoteEstimate
from wattbus.errors import BadRequest

logger = logging.getLogger("wattbus.energy")

# Of a decorated function so many runs are kept, the newest ones.
KEPT_RUNS = 1_000
Function = TypeVar("Function", bound=Callable[..., Any])


class WindowObserver(Protocol):
    """Looks on from outside a window, to say what kind of work was done; its own time is not metered."""

    def enter(self, measured: Measured) -> None:
        """Look at what is there before the window opens."""
        ...

    def exit(self, measured: Measured) -> TaskFacts | None:
        """Say, after the window closed, what was done; None when that cannot be seen."""
        ...


class Measured:
    """What one run of a piece of code used. Everything unknown is None, and ``reason`` says why.

    ``record`` is None until the second that holds the end was read; ``result()`` does not wait for it. ``facts`` may
    be set at any time, by the code or by an observer.
    """

    def __init__(self, name: str, facts: TaskFacts | None = None) -> None:
        self.name = name
        self.facts = facts
        self._window: CodeWindow | None = None
        self._meter: ProcessMeter | None = None
        self._settled: EnergyRecord | None = None
        self._elsewhere: EnergyRecord | None = None
        self._come = threading.Event()

    @property
    def record(self) -> EnergyRecord | None:
        """The final record, or None as long as it is pending."""
        return None if self._settled is None else self._with_facts(self._settled)

    @property
    def remote_record(self) -> EnergyRecord | None:
        """The record of the other side, after the block, where :meth:`remote` was told of one."""
        return None if self._elsewhere is None else self._with_facts(self._elsewhere)

    @property
    def energy_joules(self) -> float | None:
        return self._figure("energy_joules")

    @property
    def low_joules(self) -> float | None:
        return self._figure("low_joules")

    @property
    def high_joules(self) -> float | None:
        return self._figure("high_joules")

    @property
    def carbon_grams(self) -> float | None:
        return self._figure("carbon_grams")

    @property
    def cpu_seconds(self) -> float | None:
        return self._figure("cpu_seconds")

    @property
    def duration_seconds(self) -> float | None:
        return self._figure("duration_seconds")

    @property
    def tier(self) -> Tier:
        return Tier.NONE if self._settled is None else self._settled.tier

    @property
    def reason(self) -> str | None:
        """Why there is no figure, or only a part of one."""
        if self._settled is not None:
            return self._settled.reason
        return (
            "the block still runs"
            if self._open()
            else "no power reading yet: ask for result() to have it now"
        )

    def result(self, timeout_seconds: float = 10.0) -> EnergyRecord:
        """Settle now and return the record; it is still pending where that took too long."""
        window, meter = self._window, self._meter
        if window is None or meter is None or window.provisional is None:
            raise BadRequest(f"the window {self.name!r} is still open: ask for its result after the block.")
        if self._settled is None:
            meter.ledger.settle(timeout_seconds)
            self._come.wait(timeout_seconds if meter.ledger.running else 0.1)
        return self._with_facts(self._settled or window.provisional)

    def describe(
        self, *, kind: str | None = None, model: str | None = None, revision: str | None = None
    ) -> None:
        """Say, inside the block, what it does; this goes into its record."""
        if self._window is not None:
            self._window.describe(kind=kind, model=model, revision=revision)

    def uses_gpu(self) -> None:
        """Say, inside the block, that it uses the GPU: what the device used above its rest is then counted to it."""
        if self._window is not None:
            self._window.describe(gpu=True)

    def remote(self, estimate: RemoteEstimate, *, model: str | None = None) -> None:
        """Say, inside the block, that the work was done elsewhere: our side becomes the client's."""
        if self._window is not None:
            self._window.remote(estimate, model=model)

    def open(self, meter: ProcessMeter) -> CodeWindow:
        """Open the window in this thread."""
        self._meter = meter
        self._window = meter.open(self.name, self._take)
        return self._window

    def close(self, failed: BaseException | None = None) -> None:
        """Close the window; what happened in it is none of its business."""
        if self._window is None:
            return
        record, *others = self._window.close(None if failed is None else type(failed).__name__)
        self._elsewhere = others[0] if others else None
        if record.status is not EnergyStatus.PENDING and self._settled is None:
            self._take(record)  # the ledger does not run: nobody settles it later

    def _open(self) -> bool:
        return self._window is None or self._window.provisional is None

    def _take(self, record: EnergyRecord) -> None:
        self._settled = record
        self._come.set()

    def _figure(self, name: str) -> float | None:
        figure: float | None = None if self._settled is None else getattr(self._settled, name)
        return figure

    def _with_facts(self, record: EnergyRecord) -> EnergyRecord:
        return record if self.facts is None else make_record(record, {"facts": self.facts})

    def __repr__(self) -> str:
        if self.energy_joules is None:
            return f"<{self.name}: energy unknown: {self.reason}>"
        return (
            f"<{self.name}: {self.energy_joules:.2g} J ({self.tier}), {self.cpu_seconds:.3g} s of CPU time>"
        )


class window:
    """Meter a block or a function: a context manager and a decorator.

    The decorated function keeps its runs, the newest last, in ``function.runs``. A coroutine function is metered
    while it runs and not while it waits; a ``with`` block in one counts what its thread did meanwhile.
    """

    def __init__(
        self,
        name: str,
        *,
        facts: TaskFacts | None = None,
        observers: Sequence[WindowObserver] = (),
        meter: ProcessMeter | None = None,
    ) -> None:
        self.name, self.facts, self.observers = name, facts, tuple(observers)
        self._meter = meter
        self._entered = _Entered()

    def __enter__(self) -> Measured:
        measured = self._begin()
        self._entered.stack.append(measured)
        measured.open(self._meter or process_meter())
        return measured

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(self._entered.stack.pop(), error)

    def __call__(self, function: Function) -> Function:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise BadRequest(
                f"{function.__name__} makes values one by one, and runs between other code: put a window around the "
                "loop that takes them."
            )
        runs: deque[Measured] = deque(maxlen=KEPT_RUNS)
        wrapper = (
            self._stepped(function, runs)
            if inspect.iscoroutinefunction(function)
            else self._plain(function, runs)
        )
        wrapper.runs = runs  # type: ignore[attr-defined]
        return cast(Function, wrapper)

    def _plain(self, function: Callable[..., Any], runs: deque[Measured]) -> Callable[..., Any]:
        @functools.wraps(function)
        def metered(*args: Any, **kwargs: Any) -> Any:
            with self as measured:
                runs.append(measured)
                return function(*args, **kwargs)

        return metered

    def _stepped(self, function: Callable[..., Any], runs: deque[Measured]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def metered(*args: Any, **kwargs: Any) -> Any:
            measured = self._begin()
            runs.append(measured)
            opened = measured.open(self._meter or process_meter())
            opened.detach()
            failed: BaseException | None = None
            try:
                return await _Steps(function(*args, **kwargs), opened)
            except BaseException as error:
                failed = error
                raise
            finally:
                self._end(measured, failed)

        return metered

    def _begin(self) -> Measured:
        measured = Measured(self.name, self.facts)
        for observer in self.observers:
            try:
                observer.enter(measured)
            except Exception:
                logger.exception("an observer of the window %r failed; the code goes on", self.name)
        return measured

    def _end(self, measured: Measured, error: BaseException | None) -> None:
        measured.close(error)
        for observer in self.observers:
            try:
                measured.facts = observer.exit(measured) or measured.facts
            except Exception:
                logger.exception("an observer of the window %r failed; the code goes on", self.name)


class _Entered(threading.local):
    """The blocks of one window that a thread is in: one window may be entered by several threads."""

    def __init__(self) -> None:
        self.stack: list[Measured] = []


class _Steps:
    """Runs a coroutine with its window entered during each step, and left between them."""

    def __init__(self, work: Awaitable[Any], opened: CodeWindow) -> None:
        self._work, self._opened = work, opened

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._work.__await__()
        step: Callable[[], Any] = functools.partial(next, steps)
        while True:
            self._opened.attach()
            try:
                waits_for = step()
            except StopIteration as end:
                return end.value
            finally:
                self._opened.detach()
            try:
                answer = yield waits_for
            except BaseException as error:  # noqa: BLE001 - a cancellation goes on to the code that is metered
                step = functools.partial(steps.throw, error)
            else:
                step = functools.partial(steps.send, answer)
