"""Watching what a piece of code does with models, with no line of it changed.

While an :class:`Observation` is open, the libraries that the code uses are looked into: torch by its global hooks,
transformers, scikit-learn and keras by their own methods, wrapped and put back afterwards. A library that is imported
meanwhile is looked into from then on; none is imported for it. With no observation open nothing is wrapped.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from wattbus.energy.record import DataFacts, RemoteFacts, TaskFacts
from wattbus.energy.remote import RemoteEstimate
from wattbus.ml.observe_patches import Arrivals, Patches, is_imported

logger = logging.getLogger("wattbus.observe")

Tell = Callable[[str, Callable[[Any], object]], None]


@dataclass(frozen=True)
class Sighting:
    """What one model did in the window, as one library showed it; ``seconds``: how long its calls took."""

    facts: TaskFacts
    seconds: float
    model: str | None = None
    revision: str | None = None
    gpu: bool = False
    remote: RemoteCalls | None = None


@dataclass(frozen=True)
class RemoteCalls:
    """The other side of calls to a service: what its machine is thought to have used, and to be."""

    estimate: RemoteEstimate
    machine: RemoteFacts


class Notes(Protocol):
    """What one observation has seen of one library."""

    def sightings(self) -> list[Sighting]: ...


class Watch(Protocol):
    """How one library is looked into."""

    name: str

    def wants(self, module: str) -> bool:
        """Return whether there is something to look into once ``module`` is imported."""

    def install(self, patches: Patches, tell: Tell) -> None:
        """Look into what is imported by now; called again for each module that arrives."""

    def notes(self, on_gpu: Callable[[], object]) -> Notes:
        """Return empty notes; ``on_gpu`` is called as soon as a model is seen on a GPU."""
        ...


class Observation:
    """What the code of one window does; ``start`` and ``stop`` in the same thread.

    One observation alone sees all threads of the process; several at once see their own thread each.
    """

    def __init__(self) -> None:
        self.thread_id = threading.get_ident()
        self.on_gpu: Callable[[], object] = lambda: None
        self.notes: dict[str, Notes] = {
            watch.name: watch.notes(lambda: self.on_gpu()) for watch in _eyes().watches
        }

    def start(self) -> Observation:
        self.thread_id = threading.get_ident()
        _eyes().open(self)
        return self

    def stop(self) -> Sighting | None:
        """End the watching and return what did most of the work; None when neither a model nor data was seen."""
        _eyes().close(self)
        found: list[Sighting] = []
        for notes in self.notes.values():
            try:
                found += notes.sightings()
            except Exception:
                logger.debug("what was observed cannot be told", exc_info=True)
        sighting = chosen(found)
        facts = self.notes["files"].told_of(None if sighting is None else sighting.facts)  # type: ignore[attr-defined]
        if facts is None:
            return None
        return Sighting(facts, 0.0) if sighting is None else replace(sighting, facts=facts)


def chosen(found: list[Sighting]) -> Sighting | None:
    """Return the sighting whose calls took longest, completed by what the others say of the same model."""
    if not found:
        return None
    found = sorted(found, key=lambda one: -one.seconds)
    first, others = found[0], found[1:]
    for other in others:
        same = (other.facts.class_path, other.facts.stage) == (first.facts.class_path, first.facts.stage)
        if same:
            first = replace(
                first,
                facts=completed(first.facts, other.facts),
                revision=first.revision or other.revision,
                gpu=first.gpu or other.gpu,
            )
    return first


def completed(facts: TaskFacts, other: TaskFacts) -> TaskFacts:
    """Fill what ``facts`` leaves open from ``other``, data by its usage."""
    values = {field.name: getattr(facts, field.name) for field in fields(TaskFacts)}
    for name, value in values.items():
        if value is None:
            values[name] = getattr(other, name)
    values["data"] = tuple(_data_completed(data, other.data) for data in facts.data) or other.data
    if len(facts.data) == 1 and facts.stage == "inference":
        values["data"] += tuple(data for data in other.data if data.usage != facts.data[0].usage)
    return TaskFacts(**values)


def _data_completed(data: DataFacts, others: tuple[DataFacts, ...]) -> DataFacts:
    for other in others:
        if other.usage == data.usage:
            values = {field.name: getattr(data, field.name) for field in fields(DataFacts)}
            return DataFacts(
                **{name: getattr(other, name) if value is None else value for name, value in values.items()}
            )
    return data


class _Eyes:
    """The watches of the process, and the observations that are open."""

    def __init__(self) -> None:
        from wattbus.ml.observe_files import FilesWatch
        from wattbus.ml.observe_keras import KerasWatch
        from wattbus.ml.observe_remote import RemoteWatch
        from wattbus.ml.observe_sklearn import SklearnWatch
        from wattbus.ml.observe_torch import TorchWatch
        from wattbus.ml.observe_transformers import TransformersWatch

        self.watches: tuple[Watch, ...] = (
            TorchWatch(),
            TransformersWatch(),
            SklearnWatch(),
            KerasWatch(),
            RemoteWatch(),
            FilesWatch(),
        )
        self._open: list[Observation] = []
        self._patches = Patches()
        self._arrivals = Arrivals(self._wanted, self._arrived)
        self._lock = threading.RLock()

    def open(self, observation: Observation) -> None:
        with self._lock:
            self._open = [*self._open, observation]
            if len(self._open) == 1:
                sys.meta_path.insert(0, self._arrivals)
                for watch in self.watches:
                    if any(watch.wants(name) and is_imported(name) for name in list(sys.modules)):
                        self._install(watch)

    def close(self, observation: Observation) -> None:
        with self._lock:
            self._open = [one for one in self._open if one is not observation]
            if not self._open and self._arrivals in sys.meta_path:
                sys.meta_path.remove(self._arrivals)
                self._patches.undo()

    def tell(self, library: str, note: Callable[[Any], object]) -> None:
        """Give a note to the observations that it concerns; an observation never fails the work."""
        observations = self._open
        thread = threading.get_ident()
        for observation in observations:
            if len(observations) > 1 and observation.thread_id != thread:
                continue
            try:
                note(observation.notes[library])
            except Exception:
                logger.debug("an observation of %s failed", library, exc_info=True)

    def _wanted(self, module: str) -> bool:
        return any(watch.wants(module) for watch in self.watches)

    def _arrived(self, module: str) -> None:
        with self._lock:
            for watch in self.watches:
                if self._open and watch.wants(module):
                    self._install(watch)

    def _install(self, watch: Watch) -> None:
        try:
            watch.install(self._patches, self.tell)
        except (ImportError, AttributeError):
            logger.debug("%s cannot be observed in this release", watch.name, exc_info=True)


_EYES: _Eyes | None = None


def _eyes() -> _Eyes:
    global _EYES
    if _EYES is None:
        _EYES = _Eyes()
    return _EYES
