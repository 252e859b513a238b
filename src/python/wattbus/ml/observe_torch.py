"""What torch does in an observed window: which model ran, on what, how often, and whether it was trained."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from wattbus.energy.record import DataFacts, TaskFacts
from wattbus.ml.observe import Sighting, Tell
from wattbus.ml.observe_data import Tally, count_array
from wattbus.ml.observe_model import module_facts, pretrained, unwrapped
from wattbus.ml.observe_patches import Patches

#: By the name of the node that a loss leaves in the graph.
LOSSES = {
    "NllLoss": "classification",
    "BinaryCrossEntropy": "classification",
    "MultiMargin": "classification",
    "MultilabelMargin": "classification",
    "MseLoss": "regression",
    "SmoothL1Loss": "regression",
    "HuberLoss": "regression",
}
_LOSS_NODES = 12  # a loss is that near to the end of the graph, or is not looked for
_KEPT_BATCHES = 10_000


@dataclass
class Pass:
    """One pass over a loader."""

    batches: int | None
    items: int | None
    calls: int = 0


@dataclass
class ModelSeen:
    """One outermost module and what was asked of it."""

    module: weakref.ref[Any]
    facts: dict[str, Any]
    gpu: bool
    commit: str | None = None
    inputs: Tally = field(default_factory=Tally)
    outputs: Tally = field(default_factory=Tally)
    training_calls: int = 0
    seconds: float = 0.0


class TorchNotes:
    """What one observation has seen of torch."""

    def __init__(self, on_gpu: Callable[[], object]) -> None:
        self._on_gpu = on_gpu
        self._models: dict[int, ModelSeen] = {}
        self._gone: list[ModelSeen] = []
        self._passes: list[Pass] = []
        self._batches: dict[tuple[int, int, tuple[int, ...]], tuple[weakref.ref[Any], int]] | None = {}
        self._optimizers: dict[str, int] = {}
        self._loss: str | None = None
        self._backward_seen = False

    def called(
        self, module: Any, inputs: tuple[Any, ...], named: dict[str, Any], output: Any, seconds: float
    ) -> None:
        """Note one call of an outermost module."""
        tensors = [value for value in (*inputs, *named.values()) if hasattr(value, "untyped_storage")]
        seen = self._seen(module)
        seen.seconds += seconds
        if tensors:
            count_array(seen.inputs, tensors[0])
            answers = _first_tensor(output)
            if answers is not None:
                count_array(seen.outputs, answers)
        if module.training and _gradients():
            seen.training_calls += 1
            if self._passes:
                self._passes[-1].calls += 1
            elif tensors:
                self._count_batch(tensors[0])

    def passed(self, loader: Any) -> None:
        """Note that a loader begins to be read."""
        try:
            batches: int | None = len(loader)
            items: int | None = len(loader.dataset)
        except TypeError:
            batches = items = None
        self._passes.append(Pass(batches, items))

    def stepped(self, optimizer: Any) -> None:
        name = type(optimizer).__name__
        self._optimizers[name] = self._optimizers.get(name, 0) + 1

    def went_back(self, loss: Any) -> None:
        """Note what kind of loss it is; looked for once."""
        if not self._backward_seen:
            self._backward_seen = True
            self._loss = loss_of(loss)

    def sightings(self) -> list[Sighting]:
        models = [*self._gone, *self._models.values()]
        with_weights = [seen for seen in models if seen.facts.get("parameters")]
        if not with_weights:
            return []
        trained = [seen for seen in with_weights if seen.training_calls]
        if self._optimizers and trained:
            return [self._training(max(trained, key=lambda seen: seen.facts["parameters"]))]
        return [self._inference(max(with_weights, key=lambda seen: seen.seconds))]

    def _inference(self, seen: ModelSeen) -> Sighting:
        data = (seen.inputs.facts("input"), seen.outputs.facts("output"))
        calls = max(1, seen.inputs.calls)
        facts = TaskFacts("inference", requests=calls, data=data, **seen.facts)
        return Sighting(facts, seen.seconds, _name(seen), seen.commit, seen.gpu)

    def _training(self, seen: ModelSeen) -> Sighting:
        epochs = self._epochs()
        inputs = seen.inputs
        rows = self._rows(inputs, epochs)
        values = dict(seen.facts)
        values["family"] = values.get("family") or self._loss
        pretrained = bool(values.get("foundation_model"))
        supervised = "supervisedLearning" if self._loss else None
        facts = TaskFacts(
            "finetuning" if pretrained else "training",
            epochs=epochs,
            optimizer=max(self._optimizers, key=lambda name: self._optimizers[name]),
            training_type="transferLearning" if pretrained else supervised,
            data=(self._training_data(inputs, rows, epochs),),
            **values,
        )
        return Sighting(facts, seen.seconds, _name(seen), seen.commit, seen.gpu)

    def _training_data(self, inputs: Tally, rows: int | None, epochs: float | None) -> DataFacts:
        bytes_once = None if inputs.bytes is None or not epochs else int(inputs.bytes / epochs)
        shape = inputs.shape(rows) if rows is not None else None
        return replace(inputs.facts("input"), items=rows, bytes=bytes_once, shape=shape)

    def _rows(self, inputs: Tally, epochs: float | None) -> int | None:
        read = [one.items for one in self._passes if one.calls and one.items]
        if read:
            return max(read)
        if epochs is None or inputs.axes is None:
            return None
        batches = self._batches or {}
        return sum(key[2][0] for key in batches if key[2]) or None

    def _epochs(self) -> float | None:
        """Return the passes over the data: of the loader, else over batches that stayed the same tensors."""
        if self._passes:
            read = [one for one in self._passes if one.calls]
            if not read or any(not one.batches for one in read):
                return None
            return round(sum(min(1.0, one.calls / (one.batches or 1)) for one in read), 4)
        batches = self._batches or {}
        counts = {count for _, count in batches.values()}
        # Of batches that are made, used once and dropped nobody knows how often they come again.
        dropped = counts == {1} and any(kept() is None for kept, _ in batches.values())
        return float(counts.pop()) if len(counts) == 1 and not dropped else None

    def _count_batch(self, tensor: Any) -> None:
        if self._batches is None:
            return
        base = tensor._base if tensor._base is not None else tensor
        key = (id(base), tensor.storage_offset(), tuple(tensor.shape))
        known = self._batches.get(key)
        if len(self._batches) > _KEPT_BATCHES or (known is not None and known[0]() is not base):
            self._batches = None  # too many, or another tensor in the place of one that is gone
            return
        self._batches[key] = (weakref.ref(base), 1 if known is None else known[1] + 1)

    def _seen(self, module: Any) -> ModelSeen:
        seen = self._models.get(id(module))
        if seen is not None and seen.module() is module:
            return seen
        if seen is not None:  # another module has got the place in memory of one that is gone
            self._gone.append(seen)
        gpu = any(weight.is_cuda for weight in module.parameters())
        if gpu:
            self._on_gpu()
        base = pretrained(unwrapped(module))
        commit = base.commit if base is not None else None
        seen = ModelSeen(weakref.ref(module), module_facts(module), gpu, commit)
        self._models[id(module)] = seen
        return seen


class TorchWatch:
    """Looks into torch by the hooks that it offers for all modules and optimizers."""

    name = "torch"

    def __init__(self) -> None:
        self._calls = _Calls()

    def wants(self, module: str) -> bool:
        return module == "torch"

    def notes(self, on_gpu: Callable[[], object]) -> TorchNotes:
        return TorchNotes(on_gpu)

    def install(self, patches: Patches, tell: Tell) -> None:
        import torch
        from torch.nn.modules import module as modules
        from torch.optim.optimizer import register_optimizer_step_post_hook

        calls = self._calls

        def before(module: Any, inputs: Any) -> None:
            calls.open.append(time.perf_counter())

        def after(module: Any, inputs: Any, *rest: Any) -> None:
            # After a failed call torch 2.13 leaves the named arguments out, though they were asked for.
            named, output = rest if len(rest) == 2 else ({}, None)
            began = calls.open.pop() if calls.open else None
            if began is None or calls.open or output is None:
                return
            seconds = time.perf_counter() - began
            tell("torch", lambda notes: notes.called(module, inputs, named, output, seconds))

        def stepped(optimizer: Any, args: Any, named: Any) -> None:
            tell("torch", lambda notes: notes.stepped(optimizer))

        def backward(original: Callable[..., Any]) -> Callable[..., Any]:
            def run(loss: Any, *args: Any, **named: Any) -> Any:
                tell("torch", lambda notes: notes.went_back(loss))
                return original(loss, *args, **named)

            return run

        def read(original: Callable[..., Any]) -> Callable[..., Any]:
            def run(loader: Any) -> Any:
                tell("torch", lambda notes: notes.passed(loader))
                return original(loader)

            return run

        patches.later(modules.register_module_forward_pre_hook(before).remove)
        patches.later(modules.register_module_forward_hook(after, with_kwargs=True, always_call=True).remove)
        patches.later(register_optimizer_step_post_hook(stepped).remove)
        patches.wrap(torch.Tensor, "backward", backward)
        patches.wrap(torch.utils.data.DataLoader, "__iter__", read)


class _Calls(threading.local):
    """The modules whose forward runs in this thread, by when each began."""

    def __init__(self) -> None:
        self.open: list[float] = []


def loss_of(loss: Any) -> str | None:
    """Return what a loss teaches, by the nodes at the end of its graph."""
    nodes = [getattr(loss, "grad_fn", None)]
    for _ in range(_LOSS_NODES):
        if not nodes:
            return None
        node = nodes.pop(0)
        if node is None:
            continue
        for part, family in LOSSES.items():
            if type(node).__name__.startswith(part):
                return family
        nodes += [following for following, _ in node.next_functions]
    return None


def _first_tensor(output: Any) -> Any:
    logits = getattr(output, "logits", None)
    if logits is not None:
        return logits
    parts = (
        output.values()
        if isinstance(output, dict)
        else output
        if isinstance(output, tuple | list)
        else [output]
    )
    return next((part for part in parts if hasattr(part, "untyped_storage")), None)


def _gradients() -> bool:
    return bool(sys.modules["torch"].is_grad_enabled())


def _name(seen: ModelSeen) -> str | None:
    return seen.facts.get("foundation_model") or seen.facts.get("algorithm_name")
