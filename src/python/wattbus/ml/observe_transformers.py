"""What transformers does in an observed window: pipelines that were called, texts generated, trainings by a Trainer."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wattbus.energy.record import DataFacts, TaskFacts
from wattbus.ml.observe import Sighting, Tell
from wattbus.ml.observe_data import Tally, length_of
from wattbus.ml.observe_model import module_facts, pretrained, unwrapped
from wattbus.ml.observe_patches import Patches

PIPELINES, TRAINER, GENERATION = (
    "transformers.pipelines.base",
    "transformers.trainer",
    "transformers.generation.utils",
)
#: What a model's main input is, and the kind of data that it stands for.
_KINDS = {"input_ids": "text", "pixel_values": "image", "input_values": "audio", "input_features": "audio"}


@dataclass
class Asked:
    """One pipeline, or one model that generated, and what was asked of it."""

    facts: dict[str, Any]
    commit: str | None
    gpu: bool
    requests: int = 0
    inputs: Tally = field(default_factory=Tally)
    outputs: Tally = field(default_factory=Tally)
    seconds: float = 0.0


@dataclass
class Trained:
    """One training by a Trainer, as it stood at its end."""

    facts: dict[str, Any]
    commit: str | None
    gpu: bool
    data: DataFacts
    seconds: float


class TransformersNotes:
    """What one observation has seen of transformers."""

    def __init__(self) -> None:
        self._asked: dict[int, Asked] = {}
        self._trained: dict[int, Trained] = {}
        self._accuracy: dict[int, float] = {}

    def answered(self, pipeline: Any, inputs: Any, output: Any, seconds: float) -> None:
        """Note one call of a pipeline; what it answers one by one later is not counted here."""
        asked = self._about(pipeline.model)
        asked.facts["family"] = str(pipeline.task)
        asked.seconds += seconds
        kind, items, size = counted(inputs)
        asked.requests += items or 1
        asked.inputs.add(kind, items, size, None if items is None else (items,))
        if isinstance(output, list | dict | str):
            answers = len(output) if isinstance(output, list) else 1
            asked.outputs.add("object", answers, _json_bytes(output), (answers,))

    def generated(self, model: Any, prompt: Any, output: Any, seconds: float) -> None:
        """Note one call of ``generate``, in tokens."""
        asked = self._about(model)
        asked.facts.setdefault("family", "textGeneration")
        asked.seconds += seconds
        sequences = getattr(output, "sequences", output)
        asked.requests += int(sequences.shape[0])
        if prompt is not None and prompt.dim() == 2 and not prompt.is_floating_point():
            asked.inputs.add("token", prompt.numel(), prompt.nbytes, tuple(prompt.shape))
        asked.outputs.add("token", sequences.numel(), sequences.nbytes, tuple(sequences.shape))

    def trained(self, trainer: Any, seconds: float) -> None:
        """Note a training that ended, or failed, in ``Trainer.train``."""
        model = unwrapped(trainer.model)
        facts = {**module_facts(model), **_libraries()}
        base = pretrained(model)
        facts |= {
            "stage": "finetuning" if base else "training",
            "training_type": "transferLearning" if base else "supervisedLearning",
            "epochs": trainer.state.epoch,
            "optimizer": str(getattr(trainer.args.optim, "value", trainer.args.optim)),
        }
        self._trained[id(trainer)] = Trained(
            facts,
            base.commit if base else None,
            trainer.args.device.type == "cuda",
            _rows(trainer.train_dataset, model),
            seconds,
        )

    def evaluated(self, trainer: Any, metrics: Any) -> None:
        """Note the accuracy that an evaluation gave."""
        for name, value in metrics.items():
            if name.endswith("accuracy") and isinstance(value, float) and 0 <= value <= 1:
                self._accuracy[id(trainer)] = value

    def sightings(self) -> list[Sighting]:
        trainings = [
            Sighting(
                TaskFacts(**one.facts, accuracy=self._accuracy.get(key), data=(one.data,)),
                one.seconds,
                one.facts.get("foundation_model") or one.facts["algorithm_name"],
                one.commit,
                one.gpu,
            )
            for key, one in self._trained.items()
        ]
        return trainings + [_answers(asked) for asked in self._asked.values()]

    def _about(self, model: Any) -> Asked:
        known = self._asked.get(id(model))
        if known is None:
            base = pretrained(model)
            known = self._asked[id(model)] = Asked(
                {**module_facts(model), **_libraries()},
                base.commit if base else None,
                getattr(getattr(model, "device", None), "type", "") == "cuda",
            )
        return known


class TransformersWatch:
    """Looks into the calls of pipelines, of ``generate`` and of the Trainer."""

    name = "transformers"

    def __init__(self) -> None:
        self._depth = _Depth()

    def wants(self, module: str) -> bool:
        return module in (PIPELINES, TRAINER, GENERATION)

    def notes(self, on_gpu: Callable[[], object]) -> TransformersNotes:
        return TransformersNotes()

    def install(self, patches: Patches, tell: Tell) -> None:
        for module, kind, method, make in (
            (PIPELINES, "Pipeline", "__call__", self._outermost(tell, _note_answer)),
            (GENERATION, "GenerationMixin", "generate", self._outermost(tell, _note_generated)),
            (TRAINER, "Trainer", "train", self._outermost(tell, _note_trained, always=True)),
            (TRAINER, "Trainer", "evaluate", _evaluating(tell)),
        ):
            owner = getattr(sys.modules.get(module), kind, None)
            if owner is not None:
                patches.wrap(owner, method, make)

    def _outermost(
        self, tell: Tell, note: Callable[..., Callable[[Any], object]], *, always: bool = False
    ) -> Callable[..., Any]:
        """Return what wraps a method so that its outermost call is noted; ``always``: a failed one too."""
        depth = self._depth

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def run(owner: Any, *args: Any, **named: Any) -> Any:
                if depth.value:
                    return original(owner, *args, **named)
                depth.value, began, output, ended = 1, time.perf_counter(), None, False
                try:
                    output = original(owner, *args, **named)
                    ended = True
                    return output
                finally:
                    depth.value = 0
                    if ended or always:
                        seconds = time.perf_counter() - began
                        tell("transformers", note(owner, args, named, output, seconds))

            return run

        return make


class _Depth(threading.local):
    value = 0


def _evaluating(tell: Tell) -> Callable[..., Any]:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def run(trainer: Any, *args: Any, **named: Any) -> Any:
            metrics = original(trainer, *args, **named)
            tell("transformers", lambda notes: notes.evaluated(trainer, metrics))
            return metrics

        return run

    return make


def _note_answer(
    pipeline: Any, args: Any, named: Any, output: Any, seconds: float
) -> Callable[[Any], object]:
    inputs = args[0] if args else named.get("inputs")
    return lambda notes: notes.answered(pipeline, inputs, output, seconds)


def _note_generated(
    model: Any, args: Any, named: Any, output: Any, seconds: float
) -> Callable[[Any], object]:
    prompt = args[0] if args else named.get("inputs", named.get("input_ids"))
    return lambda notes: notes.generated(model, prompt, output, seconds)


def _note_trained(
    trainer: Any, args: Any, named: Any, output: Any, seconds: float
) -> Callable[[Any], object]:
    return lambda notes: notes.trained(trainer, seconds)


def counted(inputs: Any) -> tuple[str, int | None, int | None]:
    """Return kind, items and bytes of what a pipeline was asked; items None for what comes one by one.

    >>> counted(["one", "two"]), counted("Zoé")
    (('text', 2, 6), ('text', 1, 4))
    """
    if isinstance(inputs, str):
        return "text", 1, len(inputs.encode())
    if isinstance(inputs, list | tuple) and inputs:
        parts = [counted(part) for part in inputs]
        kinds = {kind for kind, _, _ in parts}
        sizes = [size for _, _, size in parts if size is not None]
        return (
            kinds.pop() if len(kinds) == 1 else "other",
            len(parts),
            sum(sizes) if len(sizes) == len(parts) else None,
        )
    if isinstance(inputs, dict):
        return "object", 1, _json_bytes(inputs)
    if hasattr(inputs, "getbands"):  # a picture of Pillow
        return "image", 1, inputs.width * inputs.height * len(inputs.getbands())
    if hasattr(inputs, "nbytes"):
        return "audio", 1, int(inputs.nbytes)
    return "other", None, None


def _answers(asked: Asked) -> Sighting:
    data = tuple(
        tally.facts(usage)
        for usage, tally in (("input", asked.inputs), ("output", asked.outputs))
        if tally.calls
    )
    facts = TaskFacts("inference", requests=asked.requests, data=data, **asked.facts)
    name = asked.facts.get("foundation_model") or asked.facts["algorithm_name"]
    return Sighting(facts, asked.seconds, name, asked.commit, asked.gpu)


def _rows(dataset: Any, model: Any) -> DataFacts:
    """Describe a training's data; a row is not asked for, which could draw a random number of the user's."""
    rows = length_of(dataset)
    columns = getattr(dataset, "column_names", None)
    if columns is None and isinstance(dataset, list) and dataset and isinstance(dataset[0], dict):
        columns = list(dataset[0])
    kind = _KINDS.get(getattr(model, "main_input_name", ""), "other")
    shape = f"({rows}, {len(columns)})" if rows is not None and columns else None
    return DataFacts("input", kind, rows, None, shape)


def _libraries() -> dict[str, str]:
    return {"framework": "transformers", "framework_version": str(sys.modules["transformers"].__version__)}


def _json_bytes(value: Any) -> int | None:
    try:
        return len(json.dumps(value).encode())
    except (TypeError, ValueError):
        return None
