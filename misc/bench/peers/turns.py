"""Contenders in processes of their own that take turns at the same inputs, each with its own memory and meter.

A contender is made in a fresh process by a function, which returns a :class:`Contender`. The driver asks it for a turn:
all inputs, from so many clients. A contender that is not at its turn is stopped, so that its waiting costs nobody.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import psutil

START_SECONDS, TURN_SECONDS = 180.0, 300.0


@dataclass(frozen=True)
class Turn:
    """All inputs answered once; ``p50_seconds`` is None where the answers came together."""

    count: int
    seconds: float
    p50_seconds: float | None
    cpu_seconds: float  # of the process, its clients and its children


@dataclass(frozen=True)
class End:
    """What a contender tells when it has had its turns."""

    joules: float | None  # of all turns but the first
    tier: str
    peak_mib: float  # of the process and its children
    torch_loaded: bool


class Contender(Protocol):
    """What the process of a contender must have."""

    def turn(self, inputs: Sequence[str], clients: int) -> tuple[float, float | None]:
        """Answer all inputs; return the seconds of it, and the median seconds of an answer."""
        ...

    def settle(self) -> None:
        """Have the energy of the turn read, before the process is stopped."""
        ...

    def energy(self) -> tuple[float | None, str]:
        """Return the joules of all turns but the first, and the tier."""
        ...

    def close(self) -> None:
        """End what it began."""
        ...


class Apart:
    """The driver's side: a contender in its process, stopped between its turns."""

    def __init__(self, make: Callable[..., Contender], *given: Any) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, make, given))
        self._process.start()
        theirs.close()
        self._answer(START_SECONDS)
        self._signal(signal.SIGSTOP)

    def turn(self, inputs: Sequence[str], clients: int) -> Turn:
        self._signal(signal.SIGCONT)
        self._pipe.send((list(inputs), clients))
        turn: Turn = self._answer(TURN_SECONDS)
        self._signal(signal.SIGSTOP)
        return turn

    def end(self) -> End:
        """Ask for what it used; the process has ended afterwards."""
        self._signal(signal.SIGCONT)
        self._pipe.send(None)
        end: End = self._answer(START_SECONDS)
        self.close()
        return end

    def close(self) -> None:
        """End the process, and what it has left behind; harmless after :meth:`end`."""
        if self._process.is_alive():
            family = self._family()
            self._signal(signal.SIGCONT)
            self._process.join(20)
            for one in family:
                try:
                    one.kill()
                except psutil.NoSuchProcess:
                    continue
            self._process.join()

    def _answer(self, seconds: float) -> Any:
        if not self._pipe.poll(seconds):
            self.close()
            raise TimeoutError(f"a contender said nothing for {seconds:g} s")
        try:
            done, told = self._pipe.recv()
        except EOFError:
            raise RuntimeError("the process of a contender ended; see above") from None
        if not done:
            self.close()
            raise RuntimeError(f"a contender failed:\n{told}")
        return told

    def _family(self) -> list[psutil.Process]:
        assert self._process.pid is not None
        try:
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _signal(self, number: int) -> None:
        for one in self._family():
            try:
                one.send_signal(number)
            except psutil.NoSuchProcess:
                continue


def timed(ask: Callable[[str], Any], inputs: Sequence[str], clients: int) -> tuple[float, float | None]:
    """Ask for each input, from so many clients at once."""

    def one(given: str) -> float:
        began = time.perf_counter()
        ask(given)
        return time.perf_counter() - began

    began = time.perf_counter()
    if clients == 1:
        each = [one(given) for given in inputs]
    else:
        with ThreadPoolExecutor(clients) as pool:
            each = list(pool.map(one, inputs))
    return time.perf_counter() - began, statistics.median(each)


class Windows:
    """A window of ``wattbus.energy`` around each turn of a script; the first turn is not counted."""

    def __init__(self) -> None:
        from wattbus import energy

        energy.wait_until_metering(120)  # a process that is stopped while it looks for meters finds none
        self._open = energy.window("turn")
        self._measured: list[Any] = []

    def around(self, work: Callable[[], tuple[float, float | None]]) -> tuple[float, float | None]:
        with self._open as measured:
            answer = work()
        self._measured.append(measured)
        return answer

    def settle(self) -> None:
        self._measured[-1].result()

    def energy(self) -> tuple[float | None, str]:
        records = [one.result() for one in self._measured[1:]]
        joules = [one.energy_joules for one in records if one.energy_joules is not None]
        if not joules or len(joules) < len(records):
            return None, "none"
        return sum(joules), records[-1].tier.value


def _serve(pipe: Connection, make: Callable[..., Contender], given: tuple[Any, ...]) -> None:
    import sys

    contender = None
    try:
        contender = make(*given)
        pipe.send((True, None))
        while (asked := pipe.recv()) is not None:
            before = _cpu_seconds()
            seconds, p50 = contender.turn(*asked)
            turn = Turn(len(asked[0]), seconds, p50, _cpu_seconds() - before)
            contender.settle()
            pipe.send((True, turn))
        joules, tier = contender.energy()
        pipe.send((True, End(joules, tier, _peak_mib(), "torch" in sys.modules)))
    except EOFError:
        pass  # the driver is gone
    except Exception:
        pipe.send((False, traceback.format_exc()))
    finally:
        if contender is not None:
            contender.close()


def _each() -> list[psutil.Process]:
    here = psutil.Process()
    return [here, *here.children(recursive=True)]


def _cpu_seconds() -> float:
    used = [one.cpu_times() for one in _each()]
    return sum(one.user + one.system for one in used)


def _peak_mib() -> float:
    """Return the peaks of the process and its children, added up."""
    found = 0
    for one in _each():
        try:
            status = Path(f"/proc/{one.pid}/status").read_text()
        except OSError:
            continue
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        found += int(peak[1]) if peak else 0
    return found / 1024


def threads() -> int:
    """Return how many threads all contenders compute with."""
    return int(os.environ["OMP_NUM_THREADS"])
