"""A text classifier made of a model folder: tokenizer, labels and head, loaded from local safetensors only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.errors import BadRequest, ModelError

TOKENS_MAX = 512


@dataclass(frozen=True)
class Classifier:
    """A model with a head for ``labels``, and what turns texts into its inputs."""

    model: Any
    tokenizer: Any
    collate: Any
    labels: tuple[str, ...]  # in the order of the head's outputs
    label_ids: dict[str, int]
    max_tokens: int
    old_note: str | None  # why the untrained figures are not those of a trained head
    notes: tuple[str, ...]

    def encode(self, texts: Sequence[str]) -> list[dict[str, list[int]]]:
        """Tokenise texts, cut at ``max_tokens``, unpadded: a batch is padded to its own longest row."""
        coded = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens, padding=False)
        names = list(coded)
        return [
            dict(zip(names, row, strict=True)) for row in zip(*(coded[name] for name in names), strict=True)
        ]

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
        """Write config, safetensors and tokenizer files."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def load_classifier(folder: Path, labels: tuple[str, ...], num_labels: int | None, seed: int) -> Classifier:
    """Load ``folder`` with a head for ``labels``: its own where it knows them all, else a fresh seeded one.

    ``num_labels`` may ask for more outputs than there are labels. Raises ModelError on a model that is no
    text encoder.
    """
    from transformers import AutoConfig, AutoTokenizer, DataCollatorWithPadding
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the model in {folder} cannot be loaded ({_first_line(error)}).") from error
    outputs, own_head = _outputs(config, labels, num_labels)
    model, missing = _load_model(folder, outputs, seed)
    trained_head = own_head and not missing
    notes, old_note = _notes(config, labels, outputs, own_head, trained_head)
    if tokenizer.pad_token is None:  # decoders have none; the end marker serves
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return Classifier(
        model=model,
        tokenizer=tokenizer,
        collate=DataCollatorWithPadding(tokenizer),
        labels=outputs,
        label_ids={label: number for number, label in enumerate(outputs)},
        max_tokens=_max_tokens(config, tokenizer),
        old_note=old_note,
        notes=notes,
    )


def _outputs(config: Any, labels: tuple[str, ...], num_labels: int | None) -> tuple[tuple[str, ...], bool]:
    """Return the names of the head's outputs, and whether they are those of the stored head."""
    own = tuple(str(config.id2label[number]) for number in sorted(config.id2label))
    has_head = any("ForSequenceClassification" in str(name) for name in config.architectures or ())
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


def _load_model(folder: Path, outputs: tuple[str, ...], seed: int) -> tuple[Any, bool]:
    """Return the model, its new parts initialised from ``seed``, and whether its head is new."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification, set_seed

    set_seed(seed)
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            id2label=dict(enumerate(outputs)),
            label2id={label: number for number, label in enumerate(outputs)},
            ignore_mismatched_sizes=True,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"the model in {folder} cannot be fine-tuned for text classification ({_first_line(error)}): "
            "use a text encoder with safetensors weights."
        ) from error
    fresh = [
        key if isinstance(key, str) else key[0]
        for key in (*report["missing_keys"], *report["mismatched_keys"])
    ]
    # encoders are often stored without the pooler; anything else that is missing makes another model of it
    lost = [key for key in fresh if key.startswith(f"{model.base_model_prefix}.") and ".pooler." not in key]
    if lost:
        raise ModelError(
            f"the weights in {folder} lack {len(lost)} parts, such as {lost[0]}: fetch the model again."
        )
    return model, bool(fresh)


def _notes(
    config: Any, labels: tuple[str, ...], outputs: tuple[str, ...], own_head: bool, trained_head: bool
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


def _max_tokens(config: Any, tokenizer: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None) or TOKENS_MAX
    return int(min(tokenizer.model_max_length, positions, TOKENS_MAX))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
