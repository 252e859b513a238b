"""What a neural network says of itself: its class, size, layers, weights' type, and the pretrained model it is."""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

from wattbus.ml.pipelines import PRECISIONS
from wattbus.ml.sources import PUBLIC_HUB

#: The head of a transformers class tells the task.
HEADS = {
    "ForSequenceClassification": "textClassification",
    "ForTokenClassification": "tokenClassification",
    "ForQuestionAnswering": "questionAnswering",
    "ForMaskedLM": "fillMask",
    "ForCausalLM": "textGeneration",
    "LMHeadModel": "textGeneration",
    "ForConditionalGeneration": "textGeneration",
    "ForImageClassification": "imageClassification",
    "ForObjectDetection": "objectDetection",
    "ForSemanticSegmentation": "imageSegmentation",
    "ForAudioClassification": "audioClassification",
    "ForCTC": "automaticSpeechRecognition",
    "ForMultipleChoice": "multipleChoice",
}
_GENERATES = ("textGeneration",)


def module_facts(module: Any) -> dict[str, Any]:
    """Return the fields of TaskFacts that a torch module tells, one of transformers with its configuration."""
    model = unwrapped(module)
    types = Counter(_precision(weight.dtype) for weight in model.parameters())
    facts: dict[str, Any] = {
        "algorithm_type": "neural network",
        "algorithm_name": type(model).__name__,
        "class_path": class_path(model),
        "parameters": sum(weight.numel() for weight in model.parameters()) or None,
        "layers": _weighted_layers(model) or None,
        "precision": types.most_common(1)[0][0] if types else None,
        **framework_of(model),
    }
    config = getattr(model, "config", None)
    if getattr(config, "model_type", None) and hasattr(config, "to_dict"):
        facts.update(_configured(model, config))
    return facts


def framework_of(model: Any) -> dict[str, str]:
    """Return the library that a class comes from, where it is one that has a version; else torch."""
    for name in (type(model).__module__.partition(".")[0], "torch"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None and name != "__main__":
            return {"framework": name, "framework_version": str(version)}
    return {}


def class_path(model: object) -> str:
    """Return module and class, without the name of the user's own script."""
    kind = type(model)
    return kind.__qualname__ if kind.__module__ == "__main__" else f"{kind.__module__}.{kind.__qualname__}"


def unwrapped(module: Any) -> Any:
    """Return the model inside a wrapper that compiles, distributes or adapts it."""
    for name in ("_orig_mod", "module"):
        inner = getattr(module, name, None)
        if inner is not None and hasattr(inner, "parameters"):
            return unwrapped(inner)
    base = getattr(module, "get_base_model", None)
    return base() if callable(base) else module


def family_of(model: Any) -> str | None:
    """Return the task that the head of a transformers class stands for."""
    name = type(model).__name__
    return next((family for head, family in HEADS.items() if name.endswith(head)), None)


@dataclass(frozen=True)
class Pretrained:
    """The pretrained model that a configuration names; ``hub``: it lies in the Hub's cache under that name."""

    name: str
    hub: bool = False
    commit: str | None = None


def pretrained(model: Any) -> Pretrained | None:
    """Return the pretrained model; of a folder its own name, and not where it lies.

    The commit is known where the cache holds one only: transformers does not keep which one was loaded.
    """
    name = str(getattr(getattr(model, "config", None), "_name_or_path", "") or "")
    if not name:
        return None
    snapshots = [] if os.path.isdir(name) else _snapshots(name)
    if snapshots:
        return Pretrained(name, True, snapshots[0] if len(snapshots) == 1 else None)
    own = os.path.basename(name.rstrip("/\\"))
    return Pretrained(own) if own else None


def _snapshots(repository: str) -> list[str]:
    """Return the commits of a repository that the cache of huggingface_hub holds."""
    client = sys.modules.get("huggingface_hub")
    if client is None:
        return []
    folder = os.path.join(
        client.constants.HF_HUB_CACHE,
        client.file_download.repo_folder_name(repo_id=repository, repo_type="model"),
    )
    try:
        return os.listdir(os.path.join(folder, "snapshots"))
    except (OSError, ValueError):
        return []


def _configured(model: Any, config: Any) -> dict[str, Any]:
    inner = getattr(config, "text_config", config)
    family, base = family_of(model), pretrained(model)
    facts = {
        "algorithm_type": "llm" if family in _GENERATES else "neural network",
        "family": family,
        "foundation_model": base.name if base else None,
        "layers": getattr(inner, "num_hidden_layers", None),
    }
    if base is not None and base.hub:
        page = f"{PUBLIC_HUB}/{base.name}"
        facts["foundation_model_uri"] = page
        facts["algorithm_uri"] = f"{page}/tree/{base.commit}" if base.commit else page
    return {field: value for field, value in facts.items() if value is not None}


def _weighted_layers(model: Any) -> int:
    """Count the layers that hold weights: matrices, filters, embeddings; a norm's vectors are none."""
    return sum(any(weight.dim() > 1 for weight in part.parameters(recurse=False)) for part in model.modules())


def _precision(dtype: object) -> str:
    name = str(dtype).removeprefix("torch.")
    return PRECISIONS.get(name, name)
