"""What keras does in an observed window: models that were fitted, evaluated or asked, on any backend."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from wattbus.energy.record import DataFacts, TaskFacts
from wattbus.ml.observe import Sighting, Tell
from wattbus.ml.observe_data import Tally, count_array
from wattbus.ml.observe_model import class_path
from wattbus.ml.observe_patches import Patches
from wattbus.ml.pipelines import PRECISIONS

METHODS = ("fit", "evaluate", "predict")
_CLASSES = "crossentropy"


@dataclass
class KerasSeen:
    """One model and what was asked of it."""

    facts: dict[str, Any]
    gpu: bool = False
    epochs: float = 0.0
    asks: int = 0
    accuracy: float | None = None
    seconds: float = 0.0
    fitted: Tally = field(default_factory=Tally)
    inputs: Tally = field(default_factory=Tally)
    outputs: Tally = field(default_factory=Tally)


class KerasNotes:
    """What one observation has seen of keras."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, KerasSeen]] = {}

    def called(self, model: Any, method: str, args: Any, named: Any, output: Any, seconds: float) -> None:
        """Note one call of a method of a model."""
        seen = self._of(model)
        seen.seconds += seconds
        seen.facts = model_facts(model)
        data = args[0] if args else named.get("x")
        if method == "fit":
            seen.epochs += len(output.epoch)
            count_array(seen.fitted, data)
            seen.accuracy = _last(output.history, "val_accuracy") or seen.accuracy
        elif method == "evaluate":
            results = model.get_metrics_result()
            found = next((value for name, value in results.items() if name.endswith("accuracy")), None)
            seen.accuracy = seen.accuracy if found is None else float(found)
        else:
            seen.asks += 1
            count_array(seen.inputs, data)
            count_array(seen.outputs, output)

    def sightings(self) -> list[Sighting]:
        return [_sighting(seen) for _, seen in self._seen.values() if seen.epochs or seen.asks]

    def _of(self, model: Any) -> KerasSeen:
        known = self._seen.get(id(model))
        if known is None:
            known = self._seen[id(model)] = (model, KerasSeen({}))
        return known[1]


class KerasWatch:
    """Looks into ``fit``, ``evaluate`` and ``predict`` of every model."""

    name = "keras"

    def __init__(self) -> None:
        self._depth = _Depth()

    def wants(self, module: str) -> bool:
        return module == "keras"

    def notes(self, on_gpu: Callable[[], object]) -> KerasNotes:
        return KerasNotes()

    def install(self, patches: Patches, tell: Tell) -> None:
        for method in METHODS:
            patches.wrap(sys.modules["keras"].Model, method, _noting(method, tell, self._depth))


class _Depth(threading.local):
    """How deep in calls a thread is: a fit with validation data evaluates by itself."""

    value = 0


def _noting(method: str, tell: Tell, depth: _Depth) -> Callable[..., Any]:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def run(model: Any, *args: Any, **named: Any) -> Any:
            if depth.value:
                return original(model, *args, **named)
            depth.value, began = 1, time.perf_counter()
            try:
                output = original(model, *args, **named)
            finally:
                depth.value = 0
            seconds = time.perf_counter() - began
            tell("keras", lambda notes: notes.called(model, method, args, named, output, seconds))
            return output

        return run

    return make


def model_facts(model: Any) -> dict[str, Any]:
    """Return the fields of TaskFacts that a keras model tells."""
    keras = sys.modules["keras"]
    optimizer = getattr(model, "optimizer", None)
    loss = str(getattr(model, "loss", None) or "").casefold().replace("_", "")
    facts = {
        "algorithm_type": "neural network",
        "algorithm_name": type(model).__name__,
        "class_path": class_path(model),
        "parameters": int(model.count_params()) or None,
        "layers": sum(bool(layer.weights) for layer in model.layers) or None,
        "precision": PRECISIONS.get(str(model.dtype_policy.variable_dtype)),
        "framework": "keras",
        "framework_version": str(keras.__version__),
        "optimizer": None if optimizer is None else type(optimizer).__name__,
        "family": "classification"
        if _CLASSES in loss
        else "regression"
        if "mean" in loss or loss in ("mse", "mae")
        else None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _family(loss: str) -> str | None:
    if _CLASSES in loss:
        return "classification"
    return "regression" if "mean" in loss or loss in ("mse", "mae") else None


def _sighting(seen: KerasSeen) -> Sighting:
    facts = dict(seen.facts)
    if seen.epochs:
        task = TaskFacts(
            "training",
            epochs=seen.epochs,
            training_type="supervisedLearning" if facts.get("family") else None,
            accuracy=seen.accuracy,
            data=(_rows(seen.fitted),),
            **facts,
        )
    else:
        data = (seen.inputs.facts("input"), seen.outputs.facts("output"))
        task = TaskFacts("inference", requests=seen.asks, accuracy=seen.accuracy, data=data, **facts)
    return Sighting(task, seen.seconds, facts["algorithm_name"], None, seen.gpu)


def _rows(tally: Tally) -> DataFacts:
    return replace(tally.facts("input"), shape=tally.shape(tally.items))


def _last(history: dict[str, list[float]], name: str) -> float | None:
    values = history.get(name)
    return float(values[-1]) if values else None
