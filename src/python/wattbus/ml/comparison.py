"""Two predictors on the same inputs: whether they answer alike, and how fast and at what energy, turn by turn."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from wattbus.energy.ledger import Ledger
from wattbus.energy.record import EnergyRecord, Tier
from wattbus.errors import BadRequest
from wattbus.ml import boxes
from wattbus.ml.optimise_spec import CHARACTERS_SHOWN, ROWS_SHOWN, ChangedRow, Likeness, Speed
from wattbus.ml.prediction import Prediction

#: Two vectors that are this near mean the same.
SAME_COSINE = 0.99
SETTLE_SECONDS = 10.0

#: The options by which a task shows all that can be compared.
_LOOKS: Mapping[str, Mapping[str, Any]] = {
    "text-classification": {"top_k": None, "function_to_apply": "none"},
    "image-classification": {"top_k": 1000, "function_to_apply": "none"},
    "token-classification": {"aggregation_strategy": "none", "ignore_labels": ["-"]},
    "fill-mask": {"top_k": 1},
    "feature-extraction": {"pooling": "model"},
    "object-detection": {},  # with the threshold that a request without one gets
}
_MEASURES = {
    "token-classification": "labels of tokens",
    "fill-mask": "words",
    "feature-extraction": "vectors",
    "object-detection": "objects",
}


class Predicts(Protocol):
    """Either side: a pipeline, or an optimised version."""

    def predict(self, inputs: Mapping[str, Any]) -> Prediction: ...


@dataclass
class _Counted:
    """What is gathered over the inputs."""

    same: int = 0
    compared: int = 0
    differences: list[float] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    changed: list[ChangedRow] = field(default_factory=list)

    def broken(self, row: int, given: str) -> None:
        """Count an input whose new answer holds numbers that are none."""
        self.compared += 1
        self.changed.append(
            ChangedRow(row=row, text=given[:CHARACTERS_SHOWN], old="", new="no number (NaN or infinite)")
        )


def likeness(task: str, before: Predicts, after: Predicts, inputs: Sequence[str]) -> Likeness:
    """Ask both for all of ``inputs`` and count what is the same; BadRequest where there is nothing to count."""
    counted = _Counted()
    look = _LOOKS[task]
    for row, given in enumerate(inputs, start=1):
        old, new = (one.predict({"inputs": given, **look}).output for one in (before, after))
        if not _finite(new):
            counted.broken(row, given)
            continue
        _COUNTS.get(task, _count_labels)(counted, row, given, old, new)
    if not counted.compared:
        raise BadRequest(
            f"there is nothing to compare: the model finds no {_MEASURES.get(task, 'labels')} in any of the "
            f"{len(inputs)} inputs. Give inputs in which it finds some."
        )
    return Likeness(
        measure=_MEASURES.get(task, "labels"),
        agreement=counted.same / counted.compared,
        compared=counted.compared,
        max_difference=max(counted.differences, default=None),
        mean_difference=statistics.fmean(counted.differences) if counted.differences else None,
        min_cosine=min(counted.cosines, default=None),
        mean_cosine=statistics.fmean(counted.cosines) if counted.cosines else None,
        changed=len(counted.changed),
        changed_rows=tuple(counted.changed[:ROWS_SHOWN]),
    )


def _count_labels(counted: _Counted, row: int, given: str, old: Any, new: Any) -> None:
    scores = {one["label"]: one["score"] for one in new}
    counted.differences += [abs(one["score"] - scores[one["label"]]) for one in old]
    _count(counted, row, given, [(old[0]["label"], new[0]["label"])])


def _count_tokens(counted: _Counted, row: int, given: str, old: Any, new: Any) -> None:
    counted.differences += [abs(one["score"] - other["score"]) for one, other in zip(old, new, strict=True)]
    named = [
        (f"{one['word']} {one['entity']}", f"{other['word']} {other['entity']}")
        for one, other in zip(old, new, strict=True)
    ]
    _count(counted, row, given, named)


def _count_words(counted: _Counted, row: int, given: str, old: Any, new: Any) -> None:
    rows = list(zip(_nested(old), _nested(new), strict=True))
    counted.differences += [abs(one[0]["score"] - other[0]["score"]) for one, other in rows]
    _count(counted, row, given, [(one[0]["token_str"], other[0]["token_str"]) for one, other in rows])


def _count_vectors(counted: _Counted, row: int, given: str, old: Any, new: Any) -> None:
    import numpy

    one, other = (numpy.asarray(vector, dtype=numpy.float64) for vector in (old, new))
    lengths = float(numpy.linalg.norm(one) * numpy.linalg.norm(other))
    cosine = float(one @ other) / lengths if lengths else 1.0
    counted.cosines.append(cosine)
    same = cosine >= SAME_COSINE
    _count(counted, row, given, [("", "" if same else f"cosine {cosine:.4f}")])


def _count_objects(counted: _Counted, row: int, given: str, old: Any, new: Any) -> None:
    pairs = boxes.matched(old, new)
    both = [(one, other) for one, other, same in pairs if same and one and other]
    counted.differences += [abs(one["score"] - other["score"]) for one, other in both]
    named = [("", "") if same else (boxes.in_words(one), boxes.in_words(other)) for one, other, same in pairs]
    _count(counted, row, given, named)


_COUNTS: Mapping[str, Callable[[_Counted, int, str, Any, Any], None]] = {
    "token-classification": _count_tokens,
    "fill-mask": _count_words,
    "feature-extraction": _count_vectors,
    "object-detection": _count_objects,
}


def _count(counted: _Counted, row: int, given: str, pairs: list[tuple[str, str]]) -> None:
    counted.compared += len(pairs)
    counted.same += sum(old == new for old, new in pairs)
    changed = [(old, new) for old, new in pairs if old != new]
    if changed:
        old, new = changed[0]
        counted.changed.append(ChangedRow(row=row, text=given[:CHARACTERS_SHOWN], old=old, new=new))


def _finite(answer: Any) -> bool:
    """Tell whether all numbers of an answer are numbers."""
    if isinstance(answer, Mapping):
        return all(map(_finite, answer.values()))
    if isinstance(answer, list):
        return all(map(_finite, answer))
    return answer is not None and (not isinstance(answer, float) or math.isfinite(answer))


def _nested(found: Any) -> list[Any]:
    """Return the words of each open place, also where there was one place only."""
    return list(found) if found and isinstance(found[0], list) else [found]


class Meter:
    """Energy of the two sides, by a ledger of this process; without one, all it gives is unknown."""

    def __init__(self, ledger: Ledger | None) -> None:
        self._ledger = ledger
        self._records: dict[int, EnergyRecord] = {}
        self._next = 0

    def settled(self, records: list[EnergyRecord]) -> None:
        """Take what the ledger settled."""
        self._records.update({record.message_id: record for record in records})

    def measure(self, work: Callable[[], None]) -> int:
        """Do ``work`` in a window, and return its number."""
        self._next += 1
        if self._ledger is None:
            work()
            return self._next
        window = self._ledger.open(self._next, 1, "optimise")
        try:
            work()
        finally:
            window.close()
        return self._next

    def joules(self, numbers: Sequence[int]) -> tuple[float | None, str | None]:
        """Return the energy of windows together, and on which tier; None unless each of them was read."""
        if self._ledger is None:
            return None, None
        self._ledger.settle(SETTLE_SECONDS)
        found = [self._records.get(number) for number in numbers]
        total = 0.0
        tier: Tier | None = None
        for record in found:
            if record is None or record.energy_joules is None:
                return None, None
            total += record.energy_joules
            tier = record.tier
        return total, tier.value if tier is not None else None


@dataclass
class _Side:
    predictor: Predicts
    rounds: list[list[float]] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    windows: list[int] = field(default_factory=list)

    def turn(self, inputs: Sequence[str], meter: Meter) -> None:
        """Answer all inputs, one at a time."""
        seconds: list[float] = []

        def work() -> None:
            for given in inputs:
                began = time.perf_counter()
                self.predictor.predict({"inputs": given})
                seconds.append(time.perf_counter() - began)

        used = time.process_time()
        self.windows.append(meter.measure(work))
        self.cpu_seconds.append(time.process_time() - used)
        self.rounds.append(seconds)

    def speed(self, size_bytes: int, load_seconds: float, meter: Meter) -> Speed:
        count = len(self.rounds[0])
        joules, tier = meter.joules(self.windows)
        return Speed(
            size_bytes=size_bytes,
            load_seconds=load_seconds,
            p50_ms=1000 * statistics.median(_share(one, 0.5) for one in self.rounds),
            p95_ms=1000 * statistics.median(_share(one, 0.95) for one in self.rounds),
            per_second=statistics.median(count / sum(one) for one in self.rounds),
            cpu_seconds_per_1000=1000 / count * statistics.median(self.cpu_seconds),
            joules_per_1000=None if joules is None else 1000 * joules / (count * len(self.rounds)),
            tier=tier,
        )


@dataclass(frozen=True)
class Loaded:
    """A predictor, with what its files weigh and how long it took to load."""

    predictor: Predicts
    size_bytes: int
    load_seconds: float


def speeds(
    before: Loaded, after: Loaded, inputs: Sequence[str], rounds: int, meter: Meter
) -> tuple[Speed, Speed]:
    """Let both answer all inputs in turns, A B A B, so that what the machine does else falls on both."""
    sides = (_Side(before.predictor), _Side(after.predictor))
    for one in (before, after):
        one.predictor.predict({"inputs": inputs[0]})
    for _ in range(rounds):
        for side in sides:
            side.turn(inputs, meter)
    first, second = sides
    return (
        first.speed(before.size_bytes, before.load_seconds, meter),
        second.speed(after.size_bytes, after.load_seconds, meter),
    )


def _share(seconds: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lie."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
