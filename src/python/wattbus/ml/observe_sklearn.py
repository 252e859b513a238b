"""What scikit-learn does in an observed window: estimators that were fitted or asked, also those of other libraries."""

from __future__ import annotations

import sys
import threading
import time
import types
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from wattbus.energy.record import TaskFacts
from wattbus.ml.observe import Sighting, Tell
from wattbus.ml.observe_data import Tally, count_array
from wattbus.ml.observe_model import class_path, framework_of
from wattbus.ml.observe_patches import Patches
from wattbus.ml.pipelines import PRECISIONS

FITS = ("fit", "partial_fit", "fit_predict", "fit_transform")
ASKS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform", "score_samples")
SCORE = "score"
#: An estimator's own type, and the word for its task.
FAMILIES = {
    "classifier": "classification",
    "regressor": "regression",
    "clusterer": "clustering",
    "outlier_detector": "outlierDetection",
    "density_estimator": "densityEstimation",
    "transformer": "dataTransformation",
}
#: Where the iterations of a fit are passes over the data.
_COUNTS_EPOCHS = ("sklearn.neural_network", "sklearn.linear_model._stochastic_gradient")


@dataclass
class EstimatorSeen:
    """One estimator and what was asked of it."""

    facts: dict[str, Any]
    fits: int = 0
    asks: int = 0
    supervised: bool = False
    accuracy: float | None = None
    seconds: float = 0.0
    fitted: Tally = field(default_factory=Tally)
    inputs: Tally = field(default_factory=Tally)
    outputs: Tally = field(default_factory=Tally)


class SklearnNotes:
    """What one observation has seen of scikit-learn; kept by the estimator, which lives as long."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, EstimatorSeen]] = {}

    def called(self, estimator: Any, method: str, args: Any, named: Any, output: Any, seconds: float) -> None:
        """Note one outermost call of a method."""
        seen = self._of(estimator)
        seen.seconds += seconds
        data = args[0] if args else named.get("X")
        if method in FITS:
            seen.fits += 1
            labels = args[1] if len(args) > 1 else named.get("y")
            seen.supervised = seen.supervised or labels is not None
            count_array(seen.fitted, data)
            seen.facts = estimator_facts(estimator)
        elif method == SCORE:
            if seen.facts.get("family") == "classification" and 0 <= float(output) <= 1:
                seen.accuracy = float(output)
        else:
            seen.asks += 1
            count_array(seen.inputs, data)
            count_array(seen.outputs, output)

    def sightings(self) -> list[Sighting]:
        return [_sighting(seen) for _, seen in self._seen.values() if seen.fits or seen.asks]

    def _of(self, estimator: Any) -> EstimatorSeen:
        known = self._seen.get(id(estimator))
        if known is None:
            known = self._seen[id(estimator)] = (estimator, EstimatorSeen(estimator_facts(estimator)))
        return known[1]


class SklearnWatch:
    """Looks into the methods of every estimator class there is."""

    name = "sklearn"

    def __init__(self) -> None:
        self._running = _Running()
        self._known: weakref.WeakSet[type] = weakref.WeakSet()

    def wants(self, module: str) -> bool:
        return module.startswith("sklearn.")

    def notes(self, on_gpu: Callable[[], object]) -> SklearnNotes:
        return SklearnNotes()

    def install(self, patches: Patches, tell: Tell) -> None:
        base = getattr(sys.modules.get("sklearn.base"), "BaseEstimator", None)
        if base is None:
            return
        if not self._known:
            patches.later(self._known.clear)
        # What an estimator inherits may stand in a class that is none itself.
        kinds = {part for estimator in _descendants(base) for part in estimator.__mro__}
        for kind in kinds.difference(self._known):
            for method in (*FITS, *ASKS, SCORE):
                made = vars(kind).get(method)
                if isinstance(made, types.FunctionType):
                    patches.wrap(kind, method, self._noting(method, tell))
                elif isinstance(getattr(made, "fn", None), types.FunctionType):  # there only if a part has it
                    patches.wrap(made, "fn", self._noting(method, tell))
        self._known.update(kinds)

    def _noting(self, method: str, tell: Tell) -> Callable[..., Any]:
        running = self._running

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def run(estimator: Any, *args: Any, **named: Any) -> Any:
                if not running.begin():
                    return original(estimator, *args, **named)
                began = time.perf_counter()
                try:
                    output = original(estimator, *args, **named)
                finally:
                    running.end()
                seconds = time.perf_counter() - began
                tell("sklearn", lambda notes: notes.called(estimator, method, args, named, output, seconds))
                return output

            return run

        return make


class _Running:
    """Whether an outermost call runs: in this thread, or in one whose pool threads this may be one of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    def begin(self) -> bool:
        with self._lock:
            if self._owner is not None:
                return False
            self._owner = threading.get_ident()
            return True

    def end(self) -> None:
        with self._lock:
            self._owner = None


def estimator_facts(estimator: Any) -> dict[str, Any]:
    """Return the fields of TaskFacts that an estimator tells, fitted or not."""
    inner = _last_step(estimator)
    module = type(inner).__module__
    facts: dict[str, Any] = {
        "algorithm_name": type(inner).__name__,
        "algorithm_type": _kind_of(module),
        "class_path": class_path(inner),
        "family": FAMILIES.get(_estimator_type(inner) or ""),
        "parameters": _parameters(inner),
        "precision": _precision(inner),
        "optimizer": _optimizer(inner),
        **framework_of_estimator(inner),
    }
    if module.startswith(_COUNTS_EPOCHS) and getattr(inner, "n_iter_", None):
        facts["epochs"] = float(inner.n_iter_)
    if module.startswith("sklearn.neural_network") and getattr(inner, "n_layers_", None):
        facts["layers"] = int(inner.n_layers_)
    return {name: value for name, value in facts.items() if value is not None}


def framework_of_estimator(estimator: Any) -> dict[str, str]:
    """Return scikit-learn under the name of its package, or the library that the class is of."""
    if type(estimator).__module__.startswith(("sklearn.", "__main__")):
        return {"framework": "scikit-learn", "framework_version": str(sys.modules["sklearn"].__version__)}
    return framework_of(estimator)


def _sighting(seen: EstimatorSeen) -> Sighting:
    facts = dict(seen.facts)
    if seen.fits:
        task = TaskFacts(
            "training",
            training_type="supervisedLearning" if seen.supervised else "unsupervisedLearning",
            accuracy=seen.accuracy,
            data=(_once(seen.fitted),),
            **facts,
        )
    else:
        data = (seen.inputs.facts("input"), seen.outputs.facts("output"))
        task = TaskFacts("inference", requests=seen.asks, accuracy=seen.accuracy, data=data, **facts)
    return Sighting(task, seen.seconds, facts["algorithm_name"])


def _once(tally: Tally) -> Any:
    """Describe the data of a fit; several fits of one estimator, on parts or again, are added up."""
    return replace(tally.facts("input"), shape=tally.shape(tally.items))


def _last_step(estimator: Any) -> Any:
    """Return the estimator that decides: the last of a pipeline, the best of a search."""
    steps = getattr(estimator, "steps", None)
    if isinstance(steps, list) and steps:
        return _last_step(steps[-1][1])
    best = getattr(estimator, "best_estimator_", None)
    return _last_step(best) if best is not None else estimator


def _estimator_type(estimator: Any) -> str | None:
    from sklearn.utils import get_tags

    tags = get_tags(estimator)
    kind = tags.estimator_type
    return str(kind) if kind else "transformer" if tags.transformer_tags is not None else None


def _kind_of(module: str) -> str | None:
    """Return the branch of scikit-learn that a class is in, in words.

    >>> _kind_of("sklearn.linear_model._logistic"), _kind_of("sklearn.neural_network._multilayer_perceptron")
    ('linear model', 'neural network')
    """
    parts = module.split(".")
    if parts[0] != "sklearn" or len(parts) < 2:
        return None
    return {"svm": "support vector machine", "tree": "decision tree"}.get(
        parts[1], parts[1].replace("_", " ")
    )


def _weights(estimator: Any) -> list[Any]:
    arrays: list[Any] = []
    for name in ("coef_", "intercept_", "coefs_", "intercepts_", "cluster_centers_", "components_"):
        value = getattr(estimator, name, None)
        arrays += value if isinstance(value, list) else [value]
    return [array for array in arrays if hasattr(array, "size") and hasattr(array, "dtype")]


def _parameters(estimator: Any) -> int | None:
    return sum(int(array.size) for array in _weights(estimator)) or None


def _precision(estimator: Any) -> str | None:
    names = {str(array.dtype) for array in _weights(estimator)}
    return PRECISIONS.get(names.pop()) if len(names) == 1 else None


def _optimizer(estimator: Any) -> str | None:
    solver = getattr(estimator, "solver", None)
    if isinstance(solver, str):
        return solver
    return "sgd" if type(estimator).__name__.startswith("SGD") else None


def _descendants(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _descendants(child)
