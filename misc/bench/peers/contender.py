"""A contender: something that answers requests, measured in a child process that the parent commands."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import math
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

#: Of the client and the worker in each contender.
BODY_BYTES = 1000
WORKERS = 16


class NotHere(Exception):
    """The contender cannot run on this machine; the text says why."""


class Failed(Exception):
    """The contender gave up or gave no answer in time; the text says what it was about."""


@dataclass(frozen=True)
class Setup:
    """What a contender is given: a folder on the disk under test, and a name that no other run uses."""

    folder: Path
    run: str


@dataclass(frozen=True)
class Measure:
    """One contender at one number in flight: ``latency_seconds`` is sorted."""

    requests: int
    wall_seconds: float
    cpu_seconds: float  # of the process that holds the client; servers and other processes not counted
    latency_seconds: list[float]

    @property
    def per_second(self) -> float:
        return self.requests / self.wall_seconds

    @property
    def cpu_seconds_per_request(self) -> float:
        return self.cpu_seconds / self.requests

    def quantile(self, share: float) -> float:
        """Return the latency in seconds that ``share`` of the requests did not exceed."""
        return self.latency_seconds[max(0, math.ceil(share * len(self.latency_seconds)) - 1)]


def merged(measures: list[Measure]) -> Measure:
    """Return measures that followed one another as one."""
    return Measure(
        sum(measure.requests for measure in measures),
        sum(measure.wall_seconds for measure in measures),
        sum(measure.cpu_seconds for measure in measures),
        sorted(value for measure in measures for value in measure.latency_seconds),
    )


class Contender(Protocol):
    """Opened once, measured many times, closed with nothing left behind."""

    #: The programs and libraries at work, with their versions.
    version: str

    def measure(self, in_flight: int, requests: int) -> Measure: ...

    def close(self) -> None: ...


def drive(call: Callable[[], None], in_flight: int, requests: int) -> Measure:
    """Call from ``in_flight`` threads, each one call after the other, and measure."""
    calls = [call] * in_flight
    return drive_each(calls, requests)


def drive_each(calls: list[Callable[[], None]], requests: int) -> Measure:
    """As :func:`drive`, with a callable for each thread (its own connection, for instance)."""
    share = max(1, requests // len(calls))
    found: list[list[float]] = [[] for _ in calls]
    failures: list[BaseException] = []
    start = threading.Barrier(len(calls) + 1)

    def client(number: int) -> None:
        call, latency = calls[number], found[number]
        start.wait()
        try:
            for _ in range(share):
                began = time.perf_counter()
                call()
                latency.append(time.perf_counter() - began)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    start.wait()
    cpu, wall = time.process_time(), time.perf_counter()
    for thread in threads:
        thread.join()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if failures:
        raise failures[0]
    latency = sorted(value for part in found for value in part)
    return Measure(len(latency), wall, cpu, latency)


async def drive_tasks(call: Callable[[], Awaitable[None]], in_flight: int, requests: int) -> Measure:
    """As :func:`drive`, from ``in_flight`` tasks of one event loop."""
    share = max(1, requests // in_flight)
    latency: list[float] = []

    async def client() -> None:
        for _ in range(share):
            began = time.perf_counter()
            await call()
            latency.append(time.perf_counter() - began)

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(in_flight)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Measure(len(latency), wall, cpu, sorted(latency))


class Child:
    """A contender in a process of its own; every answer is bounded in time."""

    def __init__(self, name: str, setup: Setup, limit_seconds: float) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._limit_seconds = limit_seconds
        self._pipe, theirs = spawn.Pipe()
        # Not a daemon: a contender may have a process of its own.
        self._process = spawn.Process(target=_serve, args=(theirs, name, setup), name=f"bench-{name}")
        self._process.start()
        theirs.close()
        try:
            self.version = str(self._answer("open"))
        except BaseException:
            self._end()
            raise

    def measure(self, in_flight: int, requests: int) -> Measure:
        """Run one measurement there; raise ``Failed`` where none comes of it."""
        what = f"{requests} requests, {in_flight} in flight"
        try:
            self._pipe.send((in_flight, requests))
        except OSError:
            raise Failed(f"{what}: its process ended") from None
        answer = self._answer(what)
        assert isinstance(answer, Measure)
        return answer

    def close(self) -> None:
        """End the process, which takes back what it made."""
        with contextlib.suppress(OSError):  # it may have ended by itself
            self._pipe.send(None)
        self._end()

    def _end(self) -> None:
        self._process.join(15)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(15)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()

    def _answer(self, what: str) -> Any:
        if not self._pipe.poll(self._limit_seconds):
            self._process.terminate()
            raise Failed(f"{what}: nothing after {self._limit_seconds:g} s")
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise Failed(f"{what}: its process ended") from None
        if isinstance(answer, Failed):
            raise Failed(f"{what}: {answer}")
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(pipe: Connection, name: str, setup: Setup) -> None:
    """Run in the child: open the contender, measure on command, close it also when the parent is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped: too slow"))
    module = importlib.import_module(f"peers.{name.partition('-')[0]}")
    try:
        contender: Contender = module.open_contender(setup, name)
    except NotHere as error:
        pipe.send(error)
        return
    except Exception as error:
        pipe.send(_failure(error))
        return
    try:
        pipe.send(contender.version)
        while (command := _next(pipe)) is not None:
            pipe.send(contender.measure(*command))
    except Exception as error:
        with contextlib.suppress(OSError):  # the parent is gone
            pipe.send(_failure(error))
    finally:
        contender.close()


def _failure(error: Exception) -> Failed:
    return Failed(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")


def _next(pipe: Connection) -> tuple[int, int] | None:
    try:
        return pipe.recv()  # type: ignore[no-any-return]
    except EOFError:
        return None
