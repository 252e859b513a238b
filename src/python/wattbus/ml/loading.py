"""A model folder loaded to be trained: from local safetensors only, with the head that its objective needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.errors import BadRequest, ModelError

TOKENS_MAX = 512
LOCAL = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True)
class Loaded:
    """A model, what makes its inputs of texts or pictures, and how inputs become a batch."""

    model: Any
    reader: Any  # the tokenizer or the image processor
    collate: Any
    labels: tuple[str, ...]  # in the order of the head's outputs; none where the vocabulary is the answer
    label_ids: dict[str, int]
    max_tokens: int
    old_note: str | None  # why the untrained figures are not those of a trained head
    notes: tuple[str, ...]

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def layers(self) -> int | None:
        return getattr(self.model.config, "num_hidden_layers", None)

    @property
    def class_path(self) -> str:
        return f"{type(self.model).__module__}.{type(self.model).__name__}"

    def save(self, folder: Path) -> None:
        """Write config, safetensors and the files of the reader."""
        self.model.save_pretrained(folder)
        self.reader.save_pretrained(folder)


@dataclass(frozen=True)
class HeadKind:
    """A kind of head with one output a label, in words and as transformers names it."""

    auto: str  # the class that loads it
    ending: str  # of the classes that have it
    doing: str
    needs: str


TEXT_HEAD = HeadKind(
    "AutoModelForSequenceClassification", "ForSequenceClassification", "text classification", "a text encoder"
)
TOKEN_HEAD = HeadKind(
    "AutoModelForTokenClassification", "ForTokenClassification", "token classification", "a text encoder"
)
IMAGE_HEAD = HeadKind(
    "AutoModelForImageClassification", "ForImageClassification", "image classification", "an image encoder"
)


@dataclass(frozen=True)
class Headed:
    """A model with a head for labels, and what there is to say about that head."""

    model: Any
    config: Any  # as it was stored
    labels: tuple[str, ...]
    old_note: str | None
    notes: tuple[str, ...]
    fresh: tuple[str, ...]  # names of the weights that the files did not hold


def load_headed(
    folder: Path, kind: HeadKind, labels: tuple[str, ...], num_labels: int | None, seed: int
) -> Headed:
    """Load ``folder`` with a head for ``labels``: its own where it knows them all, else a fresh seeded one.

    ``num_labels`` may ask for more outputs than there are labels. Raises ModelError on a model that has no such head.
    """
    config = load_config(folder)
    outputs, own_head = _outputs(config, kind, labels, num_labels)
    model, fresh = load_model(
        folder,
        kind.auto,
        seed,
        f"the model in {folder} cannot be fine-tuned for {kind.doing} ({{why}}): use {kind.needs} with "
        "safetensors weights.",
        id2label=dict(enumerate(outputs)),
        label2id={label: number for number, label in enumerate(outputs)},
        ignore_mismatched_sizes=True,
    )
    notes, old_note = _notes(config, labels, outputs, own_head, own_head and not fresh)
    return Headed(model, config, outputs, old_note, notes, fresh)


def load_config(folder: Path) -> Any:
    """Read the configuration of a model folder; ModelError when it is none."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, **LOCAL)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the model in {folder} cannot be loaded ({first_line(error)}).") from error


def load_tokenizer(folder: Path, **more: Any) -> Any:
    """Load the tokenizer of a model folder, with a padding token; ModelError when there is none."""
    from transformers import AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL, **more)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the model in {folder} cannot be loaded ({first_line(error)}).") from error
    if tokenizer.pad_token is None:  # decoders have none; the end marker serves
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(folder: Path, auto: str, seed: int, sentence: str, **more: Any) -> tuple[Any, tuple[str, ...]]:
    """Load the weights in fp32 by the class ``auto``, new parts initialised from ``seed``; return those as well.

    ``sentence`` is the ModelError of a model that has no such class; ``{why}`` in it is the library's own.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    transformers.set_seed(seed)
    try:
        model, report = getattr(transformers, auto).from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **LOCAL, **more
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(sentence.replace("{why}", first_line(error))) from error
    fresh = tuple(
        key if isinstance(key, str) else key[0]
        for key in (*report["missing_keys"], *report["mismatched_keys"])
    )
    # encoders are often stored without the pooler; anything else that is missing makes another model of it
    lost = [key for key in fresh if key.startswith(f"{model.base_model_prefix}.") and ".pooler." not in key]
    if lost:
        raise ModelError(
            f"the weights in {folder} lack {len(lost)} parts, such as {lost[0]}: fetch the model again."
        )
    return model, fresh


def set_padding(model: Any, tokenizer: Any) -> None:
    """Tell the model which token pads, where it does not know."""
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id


def longest_input(config: Any, tokenizer: Any) -> int:
    """Return how many tokens a row may have: what the model reads, and TOKENS_MAX at most."""
    positions = getattr(config, "max_position_embeddings", None) or TOKENS_MAX
    return int(min(tokenizer.model_max_length, positions, TOKENS_MAX))


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _outputs(
    config: Any, kind: HeadKind, labels: tuple[str, ...], num_labels: int | None
) -> tuple[tuple[str, ...], bool]:
    """Return the names of the head's outputs, and whether they are those of the stored head."""
    own = tuple(str(config.id2label[number]) for number in sorted(config.id2label))
    has_head = any(kind.ending in str(name) for name in config.architectures or ())
    if has_head and set(labels) <= set(own) and num_labels in (None, len(own)):
        return own, True
    unnamed = own == tuple(f"LABEL_{number}" for number in range(len(own)))
    if has_head and unnamed and len(own) == len(labels) and num_labels in (None, len(own)):
        return labels, True
    if num_labels is not None and num_labels < len(labels):
        raise BadRequest(
            f"num_labels is {num_labels} and the rows hold {len(labels)} different labels "
            f"({', '.join(labels[:12])}): set num_labels to {len(labels)}, or leave it out."
        )
    spare = tuple(f"unused_{number}" for number in range(len(labels), num_labels or 0))
    return labels + spare, False


def _notes(
    config: Any, labels: Sequence[str], outputs: Sequence[str], own_head: bool, trained_head: bool
) -> tuple[tuple[str, ...], str | None]:
    notes = []
    if len(outputs) > len(labels):
        notes.append(f"the head has {len(outputs)} outputs and the rows hold {len(labels)} of these labels.")
    if trained_head:
        return tuple(notes), None
    if own_head or not any("Classification" in str(name) for name in config.architectures or ()):
        why = "the stored model has no trained head"
    else:
        own = ", ".join(str(config.id2label[number]) for number in sorted(config.id2label)[:6])
        why = f"the stored head knows other labels ({own})"
    notes.append(f"{why}: a new head of {len(outputs)} outputs was made from the seed.")
    return tuple(notes), f"{why}: the old figures are those of the stored model with an untrained head."
