"""Figures for Prometheus, in its text form: of counters in memory and small indexes, never by counting rows.

Counters begin at 0 with each start of the production, as Prometheus expects them to.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator

import psutil
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from wattbus.runtime import queue_standing
from wattbus.runtime.running import RunningProduction
from wattbus.runtime.tally import BOUNDS, Times
from wattbus.store.conservation import open_messages

#: The media type of what :func:`exposition` returns.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "wattbus_"


def exposition(running: RunningProduction | None, production: str, version: str) -> bytes:
    """Return the figures of now; of a production that does not run, only those of the process."""
    registry = CollectorRegistry()  # of this answer: two productions in one process do not meet
    registry.register(_Figures(running, production, version))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, running: RunningProduction | None, production: str, version: str) -> None:
        self._running, self._info = running, {"production": production, "version": version}

    def describe(self) -> Iterable[Metric]:
        return ()  # so that nothing is collected twice

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(_PREFIX + "production", "The production of this process.", self._info)
        yield _gauge("up", "1 while the production runs.", float(self._running is not None))
        yield from _of_process()
        if self._running is not None:
            yield from _of_messages(self._running)
            yield from _of_queues(self._running)
            yield from _of_energy(self._running)
            yield from _of_store(self._running)


def _of_messages(running: RunningProduction) -> Iterator[Metric]:
    tally = running.bus.tally
    requests = _counter("requests", "Requests that came to their end, since the start.", ("item", "status"))
    for (item, status), count in tally.requests().items():
        requests.add_metric([item, status], count)
    yield requests
    attempts = _counter("attempts", "Attempts that ended, since the start.", ("item", "outcome"))
    for (item, outcome), count in tally.attempts().items():
        attempts.add_metric([item, outcome], count)
    yield attempts
    yield _histogram("attempt_seconds", "How long attempts took.", tally.durations())
    yield _histogram(
        "wait_seconds",
        "How long messages waited from their acceptance to their first attempt.",
        tally.waits(),
    )
    alerts = _counter("alerts", "Alerts raised, since the start.", ("item",))
    for item, count in dict(running.bus.alerts).items():
        alerts.add_metric([item], count)
    yield alerts


def _of_queues(running: RunningProduction) -> Iterator[Metric]:
    depth = GaugeMetricFamily(
        _PREFIX + "queue_messages", "Messages that wait, counted up to 100,000.", labels=("queue",)
    )
    oldest = GaugeMetricFamily(
        _PREFIX + "queue_oldest_seconds", "For how long the oldest of them has waited.", labels=("queue",)
    )
    workers = GaugeMetricFamily(_PREFIX + "workers", "Workers of the item.", labels=("item",))
    in_hand = GaugeMetricFamily(_PREFIX + "in_hand_messages", "Messages in hand.", labels=("item",))
    for queue in queue_standing.queues(running.store.engine, running):
        depth.add_metric([queue.name], queue.queued)
        oldest.add_metric([queue.name], queue.oldest_seconds or 0.0)
        if queue.state:
            workers.add_metric([queue.name], queue.workers)
            in_hand.add_metric([queue.name], queue.in_hand)
    yield from (depth, oldest, workers, in_hand)


def _of_energy(running: RunningProduction) -> Iterator[Metric]:
    labels = ("item", "scope", "tier")
    joules = _counter(
        "energy_joules", "Energy of attempts, since the start; unlike tiers are never added.", labels
    )
    unknown = _counter(
        "energy_unknown_attempts", "Attempts whose energy is not known, since the start.", labels
    )
    for of, one in running.bus.tally.joules().items():
        if one.attempts > one.unknown:
            joules.add_metric(list(of), one.known)
        unknown.add_metric(list(of), one.unknown)
    yield from (joules, unknown)
    machine = _counter(
        "machine_joules",
        "What the machine used while the meter ran; the buckets sum to the total.",
        ("bucket", "tier"),
    )
    for key, value in running.bus.tally.buckets().items():
        machine.add_metric(list(key), value)
    yield machine


def _of_store(running: RunningProduction) -> Iterator[Metric]:
    open_now = open_messages(running.store.engine)
    places = GaugeMetricFamily(
        _PREFIX + "open_messages", "Messages not at their end besides those queued, counted up to 10,000.",
        labels=("place",),
    )  # fmt: skip
    for place in ("in_hand", "deferred", "suspended"):
        places.add_metric([place.replace("_", " ")], getattr(open_now, place))
    yield places
    yield _gauge(
        "conservation_astray_messages",
        "L2, every message is in one place: open messages whose status says otherwise. 0, unless the store is damaged.",
        open_now.astray,
    )
    size = GaugeMetricFamily(_PREFIX + "store_bytes", "The store on the disk.", labels=("part",))
    file = running.home.store_file
    for part, path in (("file", file), ("wal", file.with_name(file.name + "-wal"))):
        with contextlib.suppress(OSError):  # on PostgreSQL there is none
            size.add_metric([part], path.stat().st_size)
    yield size


def _of_process() -> Iterator[Metric]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(os.getpid())
        times = process.cpu_times()
        yield CounterMetricFamily(
            "process_cpu_seconds", "CPU time of this process.", times.user + times.system
        )
        yield GaugeMetricFamily(
            "process_resident_memory_bytes", "Memory of this process.", process.memory_info().rss
        )
        yield GaugeMetricFamily("process_open_fds", "Open file descriptors.", process.num_fds())
        yield GaugeMetricFamily(
            "process_start_time_seconds", "When this process began.", process.create_time()
        )
    yield _gauge("threads", "Threads of this process.", threading.active_count())
    yield _gauge("time_seconds", "When these figures were read.", time.time())


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, text, value)


def _counter(name: str, text: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(_PREFIX + name, text, labels=labels)


def _histogram(name: str, text: str, by_item: dict[str, Times]) -> Metric:
    family = HistogramMetricFamily(_PREFIX + name, text, labels=("item",))
    for item, times in by_item.items():
        counts, so_far = list(times.counts), 0
        buckets = []
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
            so_far += count
            buckets.append((bound, float(so_far)))
        family.add_metric([item], buckets, sum_value=times.total_seconds)
    return family
