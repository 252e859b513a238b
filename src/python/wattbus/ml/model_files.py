"""A model folder as a live transformers pipeline: local files, safetensors, no code from the folder."""

from __future__ import annotations

import importlib
import importlib.util
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.errors import BadSettings, ModelCorrupt, ModelError
from wattbus.ml import backbones
from wattbus.ml.precision import choose_dtype, has_bf16
from wattbus.ml.threads import cores

# Keys that make transformers import code, or load it from elsewhere.
CODE_KEYS = ("auto_map", "custom_pipelines", "_attn_implementation_internal", "trust_remote_code")
CONFIG_FILES = (
    "config.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
)
MAX_CONFIG_BYTES = 5_000_000
LONGEST_SENSIBLE_TOKENS = 1_000_000  # tokenizers without a limit say 1e30
LOCAL = {"local_files_only": True, "trust_remote_code": False}
HEAD_SEED = 0


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline, and what its files say about it."""

    pipeline: Any
    untrained: tuple[str, ...]  # names of weights that the files did not hold
    context_tokens: int | None
    foundation_model: str | None
    notes: tuple[str, ...]
    pooling: str | None = None  # of a sentence encoder: how it makes one vector of a text, mean or cls


# transformers sets process-wide defaults while it builds a model (device, dtype, whether weights are filled in), so
# two loads at once can leave a model with weights that nobody wrote.
_ONE_AT_A_TIME = threading.Lock()


def load_parts(folder: Path, task: str, settings: Mapping[str, Any]) -> LoadedModel:
    """Load, one model at a time in a process, and join its parts; see :func:`_load_parts`."""
    import torch

    with _ONE_AT_A_TIME:
        torch.set_num_threads(min(torch.get_num_threads(), cores()))
        return _load_parts(folder, task, settings)


def _load_parts(folder: Path, task: str, settings: Mapping[str, Any]) -> LoadedModel:
    """Load the model, tokenizer and processors of ``folder`` and join them to the pipeline of ``task``.

    Raises ModelError for a folder that cannot serve the task, ModelCorrupt for damaged files, BadSettings for
    a device that is not there.
    """
    from transformers.pipelines import PIPELINE_REGISTRY
    from transformers.utils import logging

    # what these would print, the predictor says in its notes
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    documents = read_configs(folder)
    device = _device(settings.get("device"))
    model, untrained, notes = _load_model(folder, task, settings, device)
    kind = PIPELINE_REGISTRY.check_task(task)[1]["impl"]
    if isinstance(kind, str):
        module, _, name = kind.rpartition(".")
        kind = getattr(importlib.import_module(module), name)
    parts = _load_readers(folder, kind)
    context = _context_tokens(model)
    _limit_tokenizer(parts.get("tokenizer"), model, context)
    pipeline = kind(model=model, task=task, device=device, **parts)
    return LoadedModel(
        pipeline, untrained, context, _foundation(documents["config.json"]), notes, _pooling(folder)
    )


def read_configs(folder: Path) -> dict[str, Any]:
    """Read the JSON files of a model folder and refuse what would run code or is not a whole model."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"there is no config.json in {folder.name!r}: it is not a model folder.")
    if not any(folder.glob("*.safetensors")):
        held = sorted(
            file.name for file in folder.iterdir() if file.suffix in {".bin", ".pt", ".pth", ".h5", ".ckpt"}
        )
        what = f"only {', '.join(held[:3])}, a format that can run code" if held else "no weights"
        raise ModelError(f"the model {folder.name!r} has {what}: give it weights as safetensors.")
    if (folder / "adapter_config.json").exists():
        raise ModelError(f"the model {folder.name!r} is an adapter, not a whole model: merge it first.")
    documents: dict[str, Any] = {}
    for name in CONFIG_FILES:
        if (folder / name).exists():
            documents[name] = _read_json(folder / name)
    for name, document in documents.items():
        for key in _keys(document):
            if key in CODE_KEYS:
                raise ModelError(
                    f"{name} of the model {folder.name!r} has the key {key!r}, which would run code."
                )
    return documents


#: What the class that a model's files name was made for; one without a head is an encoder of texts.
_TASK_OF_CLASS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForMaskedLM": "fill-mask",
    "ForImageClassification": "image-classification",
    "ForObjectDetection": "object-detection",
    "LMHeadModel": "text-generation",
    "ForCausalLM": "text-generation",
    "Model": "feature-extraction",
}


def task_of(folder: Path) -> str | None:
    """Return the task that the class in ``config.json`` was made for; None where that does not say."""
    named = _read_json(folder / "config.json").get("architectures") or []
    for ending, task in _TASK_OF_CLASS.items():
        if named and str(named[0]).endswith(ending):
            return task
    return None


def settle_untrained(model: Any, names: tuple[str, ...]) -> None:
    """Fill the weights called ``names`` the same way each time: small seeded draws, no bias, unit norms.

    torch's own generator is shared by all threads, so what it draws while two models load does not repeat.
    """
    import torch

    spread = float(getattr(model.config, "initializer_range", 0.02) or 0.02)
    generator = torch.Generator(device="cpu").manual_seed(HEAD_SEED)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name in sorted(set(names) & set(weights)):
            weight = weights[name]
            if weight.ndim >= 2:
                weight.copy_(torch.randn(weight.shape, generator=generator) * spread)
            else:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)


def _pooling(folder: Path) -> str | None:
    """Read how sentence-transformers makes one vector of a text with this model; None: it does not say."""
    file = folder / "1_Pooling" / "config.json"
    if not file.is_file():
        return None
    return "cls" if _read_json(file).get("pooling_mode_cls_token") is True else "mean"


def _read_json(path: Path) -> Any:
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ModelCorrupt(
            f"{path.name} of the model {path.parent.name!r} is too large to be a configuration."
        )
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelCorrupt(
            f"{path.name} of the model {path.parent.name!r} is not JSON: fetch it again."
        ) from error
    if not isinstance(document, dict):
        raise ModelCorrupt(
            f"{path.name} of the model {path.parent.name!r} is not a JSON object: fetch it again."
        )
    return document


def _keys(document: Any) -> set[str]:
    if isinstance(document, dict):
        return set(document).union(*map(_keys, document.values()))
    if isinstance(document, list):
        return set().union(*map(_keys, document))
    return set()


def _device(name: str | None) -> str:
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
        "xpu": torch.xpu.is_available(),
    }
    if not there[kind]:
        raise BadSettings(f"the device {name!r} is not on this machine: leave 'device' out, or say cpu.")
    return name


def _load_model(
    folder: Path, task: str, settings: Mapping[str, Any], device: str
) -> tuple[Any, tuple[str, ...], tuple[str, ...]]:
    import torch
    from safetensors import SafetensorError

    config = _load_config(folder, settings)
    resnet = backbones.resnet_for(config)
    if resnet is not None:
        config.backbone_config = resnet
    kinds = _model_kinds(config, task)
    if not kinds:
        raise ModelError(
            f"the model {folder.name!r} is a {config.model_type} "
            f"({', '.join(config.architectures or ['?'])}), which cannot do {task}: "
            "choose the task it was made for, or another model."
        )
    dtype: str = settings.get("dtype", "auto")
    notes: tuple[str, ...] = ()
    if device == "cpu":
        kept = str(config.dtype or "float32").removeprefix("torch.")
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        dtype, notes = choose_dtype(task, dtype, kept, size, native_bf16=has_bf16(device))
    try:
        model, found = kinds[0].from_pretrained(
            folder,
            config=config,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            ignore_mismatched_sizes="num_labels" in settings,
            output_loading_info=True,
            key_mapping=backbones.renamed_weights() if resnet is not None else None,
            **LOCAL,
        )
    except SafetensorError as error:
        raise ModelCorrupt(
            f"the weights of {folder.name!r} are damaged ({error}): fetch the model again."
        ) from error
    except ImportError as error:
        raise ModelError(f"the model {folder.name!r} needs more packages: {_first_line(error)}") from error
    except (OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"the model {folder.name!r} cannot be loaded for {task}: {_first_line(error)}"
        ) from error
    untrained = _untrained(model, found)
    if untrained:
        _refuse_strangers(folder, model, untrained)
        settle_untrained(model, untrained)
        notes += (
            f"the model has no trained head for {task}: its answers are arbitrary until it is fine-tuned.",
        )
    return model.eval(), untrained, notes


def _load_config(folder: Path, settings: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    more = {"num_labels": settings["num_labels"]} if "num_labels" in settings else {}
    try:
        config = AutoConfig.from_pretrained(folder, **LOCAL)
        if more and config.num_labels != more["num_labels"]:
            config = AutoConfig.from_pretrained(folder, **more, **LOCAL)
    except ImportError as error:
        raise ModelError(f"the model {folder.name!r} needs more packages: {_first_line(error)}") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"config.json of {folder.name!r} cannot be used: {_first_line(error)}") from error
    return config


def _model_kinds(config: Any, task: str) -> list[Any]:
    """Return the model classes for ``task`` that this configuration fits, the one its files name first."""
    import transformers
    from transformers.pipelines import PIPELINE_REGISTRY

    autos = PIPELINE_REGISTRY.check_task(task)[1].get("pt", ())
    fitting = [auto for auto in autos if type(config) in auto._model_mapping]
    named = [getattr(transformers, name, None) for name in config.architectures or ()]
    mapped = [auto for auto in fitting if _maps_to(auto, config, named)]
    if mapped or fitting:
        return mapped or fitting
    if (
        task == "image-segmentation"
    ):  # instance and universal segmentation have no auto class in the task's list
        return [kind for kind in named if kind is not None and kind.__name__.endswith("Segmentation")]
    return []


def _maps_to(auto: Any, config: Any, named: list[Any]) -> bool:
    target = auto._model_mapping[type(config)]
    targets = target if isinstance(target, tuple | list) else (target,)
    return any(one in named for one in targets)


def _untrained(model: Any, found: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the weights that the files did not hold in the right size; a bare encoder's pooler is not used."""
    missing = set(found["missing_keys"]) | {entry[0] for entry in found["mismatched_keys"]}
    bare = model.base_model is model
    return tuple(sorted(name for name in missing if not (bare and name.startswith("pooler."))))


def _refuse_strangers(folder: Path, model: Any, untrained: tuple[str, ...]) -> None:
    """Refuse weights of which less than half of the model was filled: they are another model's."""
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    lost = sum(sizes.get(name, 0) for name in untrained)
    if lost * 2 > sum(sizes.values()):
        raise ModelCorrupt(
            f"the weights of {folder.name!r} do not belong to its config.json: fetch the model again."
        )


def _load_readers(folder: Path, kind: Any) -> dict[str, Any]:
    """Load what the pipeline class reads its inputs with."""
    import transformers

    parts = {
        "tokenizer": (transformers.AutoTokenizer, ("tokenizer_config.json", "tokenizer.json", "vocab.txt")),
        "image_processor": (
            transformers.AutoImageProcessor,
            ("preprocessor_config.json", "processor_config.json"),
        ),
        "feature_extractor": (transformers.AutoFeatureExtractor, ("preprocessor_config.json",)),
        "processor": (transformers.AutoProcessor, ("processor_config.json", "preprocessor_config.json")),
    }
    loaded: dict[str, Any] = {}
    for name, (auto, files) in parts.items():
        wanted = getattr(kind, f"_load_{name}")
        if wanted is False or (wanted is None and not any((folder / file).exists() for file in files)):
            continue
        try:
            loaded[name] = auto.from_pretrained(folder, **LOCAL)
        except (ImportError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(_no_reader(folder, name, files, error)) from error
    return loaded


def _no_reader(folder: Path, name: str, files: tuple[str, ...], error: Exception) -> str:
    """Say why what the model reads its inputs with did not load."""
    wanted = f"the model {folder.name!r} has no usable {name.replace('_', ' ')}"
    pieces = [file.name for file in folder.glob("*.model")]
    if name == "tokenizer" and pieces and not (folder / "tokenizer.json").exists():
        missing = [one for one in ("sentencepiece", "google.protobuf") if not _installed(one)]
        if missing:  # transformers' own words ask for tiktoken, which would not help
            return f"{wanted}: {pieces[0]} is read with sentencepiece: pip install sentencepiece protobuf."
    return f"{wanted} ({' or '.join(files)}): {_first_line(error)}"


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it is missing
        return False


def _context_tokens(model: Any) -> int | None:
    """Return how many tokens the model reads, or None when its configuration sets no limit."""
    config = getattr(model.config, "text_config", model.config)
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return None
    # RoBERTa and its kin number positions from the padding index on: 514 rows serve 512 tokens
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        padding = getattr(table, "padding_idx", None)
        if padding is not None and getattr(table, "num_embeddings", None) == positions:
            return positions - int(padding) - 1
    return positions


def _limit_tokenizer(tokenizer: Any, model: Any, context: int | None) -> None:
    if tokenizer is None:
        return
    if context is not None and tokenizer.model_max_length > context:
        tokenizer.model_max_length = context
    if tokenizer.model_max_length > LONGEST_SENSIBLE_TOKENS and context is not None:
        tokenizer.model_max_length = context
    if tokenizer.pad_token is None and tokenizer.eos_token is not None and model.can_generate():
        tokenizer.pad_token = tokenizer.eos_token


def _foundation(config: Mapping[str, Any]) -> str | None:
    """Return the model that this one was made from, when its configuration names one; never a path."""
    name = config.get("_name_or_path")
    if not isinstance(name, str) or not name or name.startswith((".", "/", "~")) or name.count("/") > 1:
        return None
    return name


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
