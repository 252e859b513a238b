"""The jobs of a running production: the workers of each item, what they have in hand, and the processes beside it."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass

import psutil

from wattbus.runtime.running import RunningProduction
from wattbus.store import tried
from wattbus.store.tried import InHand

_GUARD, _TRAINING, _TRAINED = "wattbus.runtime.guard", "wattbus.ml.training", re.compile(r"message-(\d+)")


@dataclass(frozen=True)
class ItemWorkers:
    """The workers of one item."""

    item: str
    kind: str
    state: str
    pool_size: int
    starting: int
    idle: int
    busy: int
    error: str | None


@dataclass(frozen=True)
class Held:
    """A message in hand, how far its handling is, and whether it can be cancelled."""

    message: InHand
    here: bool  # a worker of this process is at it; else it waits for one, or another process has it
    can_cancel: bool
    progress: str | None
    done: int | None
    total: int | None


@dataclass(frozen=True)
class Process:
    """A process of the production: its own, or a child. What the system does not tell is None."""

    pid: int
    what: str
    item: str
    message_id: int | None
    memory_bytes: int | None
    cpu_seconds: float | None
    started_us: int | None


def workers(running: RunningProduction) -> list[ItemWorkers]:
    """Return the workers of each item, in the order of the production."""
    rows = []
    for item in running.items():
        pool = running.life.pools.get(item.name)
        jobs = pool.jobs if pool is not None else []
        idle = sum(job.ready and job.idle for job in jobs)
        busy = sum(job.ready and not job.idle for job in jobs)
        rows.append(
            ItemWorkers(
                item.name,
                item.kind,
                item.state,
                item.pool_size,
                len(jobs) - idle - busy,
                idle,
                busy,
                item.error,
            )
        )
    return rows


def held(running: RunningProduction) -> list[Held]:
    """Return the messages in hand, the oldest first."""
    bus, cancels = running.bus, running.place.cancels
    rows = []
    for message in tried.in_hand(running.store.engine):
        progress = bus.progress.get(message.message_id)
        rows.append(
            Held(
                message,
                message.message_id in bus.in_hand,
                cancels.offers(message.message_id),
                progress.text if progress else None,
                progress.done if progress else None,
                progress.total if progress else None,
            )
        )
    return rows


def processes(running: RunningProduction) -> list[Process]:
    """Return the process of the production and its children, with what they use where the system tells."""
    own = psutil.Process(os.getpid())
    found = [_process(own, "the production", "", None)]
    items = dict(running.place.children)
    with contextlib.suppress(psutil.Error):
        for child in own.children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it may end while it is looked at
                found.append(_child(child, items.get(child.pid)))
    return found


def _child(child: psutil.Process, item: str | None) -> Process:
    command = child.cmdline()
    if item is not None:
        return _process(child, "isolated item", item, None)
    if _TRAINING in command:
        message = _TRAINED.search(" ".join(command))
        return _process(child, "training", "", int(message[1]) if message else None)
    what = "guard of an isolated item" if _GUARD in command else "started by one of these"
    return _process(child, what, "", None)


def _process(process: psutil.Process, what: str, item: str, message_id: int | None) -> Process:
    memory = cpu_seconds = started_us = None
    with contextlib.suppress(psutil.Error):
        memory = int(process.memory_info().rss)
        times = process.cpu_times()
        cpu_seconds = float(times.user + times.system)
        started_us = int(process.create_time() * 1e6)
    return Process(process.pid, what, item, message_id, memory, cpu_seconds, started_us)
