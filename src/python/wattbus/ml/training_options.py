"""The TrainingArguments that a request may set: an allow-list with types, ranges and translations of old names."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.errors import BadRequest, Refused, nearest

Value = bool | int | float | str
OPTIMISERS = ("adamw_torch", "adamw_torch_fused", "adafactor", "adagrad", "rmsprop", "sgd")
SCHEDULES = (
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup",
    "inverse_sqrt",
)  # fmt: skip
INTERVALS = ("no", "steps", "epoch")
METRICS = ("loss", "accuracy", "precision", "recall", "f1")
KEPT_CHECKPOINTS = 2

# names of older transformers releases -> today's
RENAMED = {"evaluation_strategy": "eval_strategy", "warmup_ratio": "warmup_steps", "no_cuda": "use_cpu"}
# folders are ours to choose; what is given is only checked and mapped below the run folder
MAPPED = ("output_dir", "logging_dir")
# have no effect here, for the reason given
IDLE = {
    "group_by_length": "rows are always grouped by length",
    "overwrite_output_dir": "each run has its own folder",
    "do_train": "a training always trains",
    "do_eval": "the test rows are always evaluated",
    "disable_tqdm": "progress comes as events",
}


@dataclass(frozen=True)
class TrainingOptions:
    """What a request sets, by TrainingArguments name and typed, and what there is to say about it."""

    arguments: Mapping[str, Value]
    notes: tuple[str, ...]


def parse_options(given: Mapping[str, Any], run_folder: Path) -> TrainingOptions:
    """Check and type ``given``; Refused names a key that is not allowed, BadRequest a value that does not fit."""
    arguments: dict[str, Value] = {}
    notes: list[str] = []
    for key, value in given.items():
        name = RENAMED.get(key, key)
        if name in MAPPED:
            _check_path(name, value)
            notes.append(f"{name} {value} is mapped to {run_folder}.")
            continue
        if name in IDLE:
            notes.append(f"{name} has no effect: {IDLE[name]}.")
            continue
        if name not in ALLOWED:
            raise Refused(_refusal(key))
        if name in arguments:
            raise BadRequest(f"{key} and {name} are the same option: give one of them.")
        if name != key:
            notes.append(f"{key} is called {name} today and was taken as that.")
        arguments[name] = ALLOWED[name](key, value)
    return TrainingOptions(arguments, tuple(notes))


def allowed_options() -> tuple[str, ...]:
    """Name every TrainingArguments key that a request may set."""
    return tuple(sorted(ALLOWED))


def _refusal(key: str) -> str:
    near = nearest(key, [*ALLOWED, *RENAMED])
    meant = f" Did you mean {near!r}?" if near else ""
    return f"the option {key[:60]!r} is not allowed in a training.{meant} Allowed: {', '.join(allowed_options())}."


def _check_path(name: str, value: object) -> None:
    if not isinstance(value, str) or not value or len(value) > 1024:
        raise BadRequest(f"{name} must be a folder name: it is {str(value)[:60]!r}.")
    parts = re.split(r"[/\\]", value)
    if ".." in parts or any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        raise Refused(f"{name} {value[:120]!r} leads outside the run folder: leave it out.")


def _number(
    low: float, high: float, *, whole: bool, above: bool = False
) -> Callable[[str, object], int | float]:
    """Return a parser of a number from ``low`` (``above``: beyond it) to ``high``."""
    kind = "a whole number" if whole else "a number"
    span = f"{'above' if above else 'from'} {low:g} to {high:g}" if high < math.inf else f"of {low:g} or more"

    def parse(key: str, value: object) -> int | float:
        number: int | float | None = None
        if isinstance(value, str) and len(value) <= 40:
            try:
                number = int(value) if whole else float(value)
            except ValueError:
                number = None
        elif isinstance(value, int | float) and not isinstance(value, bool):
            number = value
        if (
            number is None
            or not math.isfinite(number)
            or (whole and number != int(number))
            or not low <= number <= high
            or (above and number == low)
        ):
            raise BadRequest(f"{key} is {str(value)[:60]!r}: it must be {kind} {span}.")
        return int(number) if whole else number

    return parse


def _choice(*choices: str) -> Callable[[str, object], str]:
    def parse(key: str, value: object) -> str:
        if not isinstance(value, str) or value.lower() not in choices:
            raise BadRequest(f"{key} is {str(value)[:60]!r}: it must be one of {', '.join(choices)}.")
        return value.lower()

    return parse


def _truth(key: str, value: object) -> bool:
    known: dict[object, bool] = {
        "true": True,
        "1": True,
        "yes": True,
        "false": False,
        "0": False,
        "no": False,
    }
    word = (
        value.lower() if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else None
    )
    if word not in known:
        raise BadRequest(f"{key} is {str(value)[:60]!r}: it must be true or false.")
    return known[word]


_SHARE = _number(0, 1, whole=False)
_BELOW_ONE = _number(0, 0.999999999, whole=False)
_POSITIVE = _number(0, 1e38, whole=False, above=True)
_INTERVAL = _number(0, 1e9, whole=False, above=True)  # below 1: a share of all steps
_BATCH = _number(1, 4096, whole=True)

ALLOWED: Mapping[str, Callable[[str, object], Value]] = {
    "adam_beta1": _BELOW_ONE,
    "adam_beta2": _BELOW_ONE,
    "adam_epsilon": _POSITIVE,
    "bf16": _truth,
    "data_seed": _number(0, 2**32 - 1, whole=True),
    "eval_delay": _number(0, 1e9, whole=False),
    "eval_steps": _INTERVAL,
    "eval_strategy": _choice(*INTERVALS),
    "gradient_accumulation_steps": _number(1, 4096, whole=True),
    "gradient_checkpointing": _truth,
    "greater_is_better": _truth,
    "label_smoothing_factor": _SHARE,
    "learning_rate": _POSITIVE,
    "load_best_model_at_end": _truth,
    "logging_first_step": _truth,
    "logging_steps": _INTERVAL,
    "logging_strategy": _choice(*INTERVALS),
    "lr_scheduler_type": _choice(*SCHEDULES),
    "max_grad_norm": _number(0, 1e9, whole=False),
    "max_steps": _number(-1, 1e9, whole=True),
    "metric_for_best_model": _choice(*METRICS),
    "num_train_epochs": _number(0, 1000, whole=False, above=True),
    "optim": _choice(*OPTIMISERS),
    "per_device_eval_batch_size": _BATCH,
    "per_device_train_batch_size": _BATCH,
    # one that is being written must leave a complete one beside it
    "save_steps": _INTERVAL,
    "save_strategy": _choice(*INTERVALS),
    "save_total_limit": _number(KEPT_CHECKPOINTS, 20, whole=True),
    "seed": _number(0, 2**32 - 1, whole=True),
    "use_cpu": _truth,
    "warmup_steps": _number(0, 1e9, whole=False),  # below 1: a share of all steps
    "weight_decay": _SHARE,
}
