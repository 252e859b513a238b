"""A linear head on frozen features, written into a model's own classification head: an ordinary model again.

Two forms. A model whose stored weights hold a classification head keeps all but the last linear layer of it, and the
features are what that layer reads. A bare encoder of the BERT family gets one layer more, which makes of every
token the mean of all tokens: attention without queries and keys weighs all tokens alike. The vector that the head reads
is then the mean-pooled one that sentence encoders are made for, and no code of ours is needed to serve it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from wattbus.ml.classifier import Classifier

#: What the added layer multiplies the mean by, so that the token itself, which the layer adds to it, does not count.
#: In two factors of 100, for fp16 weights hold no more than 65504.
_GAIN = 100.0
#: So far from 0, tanh is a straight line to 1 in 3000 for features of size 1.
_TANH_SCALE = 0.03
#: The names by model type of the layers, and of the parts of the head that stand before its last linear layer.
_BERT_LAYER = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "out": "attention.output.dense", "norm": "attention.output.LayerNorm", "up": "intermediate.dense",
    "down": "output.dense", "last_norm": "output.LayerNorm",
}  # fmt: skip
_DISTIL_LAYER = {
    "query": "attention.q_lin", "key": "attention.k_lin", "value": "attention.v_lin", "out": "attention.out_lin",
    "norm": "sa_layer_norm", "up": "ffn.lin1", "down": "ffn.lin2", "last_norm": "output_layer_norm",
}  # fmt: skip


class HeadForm(Protocol):
    """How the features of a model are read, and how a linear head on them is written into it."""

    @property
    def kind(self) -> str:
        """Name the vectors: two forms of one kind give the same vectors for the same encoder."""
        ...

    def vectors(self, batch: Any) -> Any:
        """Return the vectors of a batch by torch, (rows, size), in numpy."""
        ...

    def features(self, vectors: Any) -> Any:
        """Return what the last linear layer reads where the encoder gave ``vectors``, in float64."""
        ...

    def written(self, weight: Any, bias: Any) -> Classifier:
        """Return the model with ``features @ weight.T + bias`` as its logits."""
        ...

    @property
    def has_bias(self) -> bool: ...


@dataclasses.dataclass(frozen=True)
class _Family:
    layers: str  # the list of layers in the encoder
    count: str  # how the configuration calls their number
    names: dict[str, str]
    before: str  # of the head: the square layer before the last one
    squash: str  # what that layer's outputs go through
    norm_eps: str | None


_FAMILIES = {
    "bert": _Family("encoder.layer", "num_hidden_layers", _BERT_LAYER, "bert.pooler.dense", "tanh", "layer_norm_eps"),
    **{
        kind: _Family(
            "encoder.layer", "num_hidden_layers", _BERT_LAYER, "classifier.dense", "tanh", "layer_norm_eps"
        )
        for kind in ("roberta", "xlm-roberta", "camembert")
    },
    "distilbert": _Family("transformer.layer", "n_layers", _DISTIL_LAYER, "pre_classifier", "relu", None),
}  # fmt: skip


def head_form(base: Classifier, folder: Path) -> HeadForm | None:
    """Return how a linear head is expressed in this model; None where its head does not end in a linear layer."""
    last = _last_linear(base.model)
    if last is None:
        return None
    family = _FAMILIES.get(str(getattr(base.model.config, "model_type", "")))
    if family is not None and not _has_head(folder) and _pools_by_mean(folder):
        return Averaged(base, family)
    return LastLinear(base, last)


class LastLinear:
    """The features are what the last linear layer of the head reads, all before it as it is."""

    kind = "head input"

    def __init__(self, base: Classifier, last: str) -> None:
        self._base = base
        self._last = last

    @property
    def has_bias(self) -> bool:
        return self._base.model.get_submodule(self._last).bias is not None

    def vectors(self, batch: Any) -> Any:
        import torch

        seen: list[Any] = []
        layer = self._base.model.get_submodule(self._last)
        hook = layer.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
        try:
            with torch.inference_mode():
                self._base.model.eval()(**batch)
        finally:
            hook.remove()
        found = seen[0]
        if found.ndim == 3:  # decoders: every token has logits, and those of the last real one count
            ends = batch["attention_mask"].sum(dim=1) - 1
            found = found[torch.arange(found.shape[0]), ends]
        return found.float().cpu().numpy()

    def features(self, vectors: Any) -> Any:
        import numpy

        return vectors.astype(numpy.float64)

    def written(self, weight: Any, bias: Any) -> Classifier:
        _write(self._base.model.get_submodule(self._last), weight, bias)
        return self._base


class Averaged:
    """The features are the mean of the token vectors, normed; one more layer makes them inside the model."""

    kind = "mean"
    has_bias = True

    def __init__(self, base: Classifier, family: _Family) -> None:
        self._base = base
        self._family = family

    def vectors(self, batch: Any) -> Any:
        import torch

        encoder = getattr(self._base.model, self._base.model.base_model_prefix)
        with torch.inference_mode():
            hidden = encoder.eval()(**batch)[0].float()
            mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            return ((hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)).cpu().numpy()

    def features(self, vectors: Any) -> Any:
        """Norm as the two norms of the added layer do, then squash as the head does."""
        import numpy

        wide = vectors.astype(numpy.float64)
        centred = wide - wide.mean(axis=1, keepdims=True)
        normed = centred / numpy.sqrt(centred.var(axis=1, keepdims=True) + self._eps / _GAIN**4)
        normed = normed / numpy.sqrt(normed.var(axis=1, keepdims=True) + self._eps)
        if self._family.squash == "relu":
            return normed + self._shift(vectors.shape[1])
        return numpy.tanh(_TANH_SCALE * normed)

    def written(self, weight: Any, bias: Any) -> Classifier:
        import copy

        import torch
        from transformers import AutoModelForSequenceClassification

        model = self._base.model
        config = copy.deepcopy(model.config)
        added = getattr(config, self._family.count)
        setattr(config, self._family.count, added + 1)
        fuller = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            fuller.load_state_dict(model.state_dict(), strict=False)
            self._make_average(getattr(fuller, fuller.base_model_prefix), added)
            before = fuller.get_submodule(self._family.before)
            size = before.weight.shape[0]
            if self._family.squash == "relu":
                _write(before, torch.eye(size), torch.full((size,), self._shift(size)))
            else:
                _write(before, _TANH_SCALE * torch.eye(size), torch.zeros(size))
        last = _last_linear(fuller)
        assert last is not None
        _write(fuller.get_submodule(last), weight, bias)
        return dataclasses.replace(self._base, model=fuller.eval())

    def _make_average(self, encoder: Any, number: int) -> None:
        """Set the weights of layer ``number``: of all tokens the mean, and nothing else."""
        import torch

        layer = encoder.get_submodule(f"{self._family.layers}.{number}")
        parts = {name: layer.get_submodule(path) for name, path in self._family.names.items()}
        size = parts["value"].weight.shape[0]
        for name in ("query", "key", "up", "down"):
            torch.nn.init.zeros_(parts[name].weight)
        for name in ("value", "out"):
            parts[name].weight.copy_(_GAIN * torch.eye(size))
        for name in ("norm", "last_norm"):
            torch.nn.init.ones_(parts[name].weight)
        for part in parts.values():
            torch.nn.init.zeros_(part.bias)

    @property
    def _eps(self) -> float:
        name = self._family.norm_eps
        return 1e-12 if name is None else float(getattr(self._base.model.config, name))

    @staticmethod
    def _shift(size: int) -> float:
        """Return what makes every normed feature positive: none is below minus the root of their number."""
        return math.ceil(math.sqrt(size)) + 1.0


def _write(layer: Any, weight: Any, bias: Any) -> None:
    import torch

    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight))
        if layer.bias is not None:
            layer.bias.copy_(torch.as_tensor(bias))


def _last_linear(model: Any) -> str | None:
    """Return the name of the last linear layer of the head, one output a label."""
    import torch

    prefix = f"{model.base_model_prefix}."
    found = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and not name.startswith(prefix)
        and module.out_features == model.config.num_labels
    ]
    return found[-1] if found else None


def _has_head(folder: Path) -> bool:
    names: Sequence[Any] = json.loads((folder / "config.json").read_bytes()).get("architectures") or ()
    return any("ForSequenceClassification" in str(name) for name in names)


def _pools_by_mean(folder: Path) -> bool:
    """Tell whether a text's vector is the mean of its tokens; sentence-transformers takes that where none is named."""
    file = folder / "1_Pooling" / "config.json"
    if not file.is_file():
        return True
    return json.loads(file.read_bytes()).get("pooling_mode_cls_token") is not True
