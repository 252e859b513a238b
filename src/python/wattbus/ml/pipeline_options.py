"""The typed allow-list of the settings and request fields that reach a transformers pipeline, with bounds.

What is not listed is refused by name. ``REFUSED`` names the ones that would run code, reach the network or
take the machine, with the reason; the rest is refused as unknown, with the nearest right name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wattbus.errors import BadRequest, BadSettings, Refused, UnknownName, WattbusError, unknown_name_sentence

MAX_LENGTH_TOKENS = 4096
MAX_SEQUENCES = 16
MAX_LABELS = 10_000
MAX_WORDS = 100
MAX_WORD_LETTERS = 1_000
MAX_TOP_K = 1_000

REFUSED: Mapping[str, str] = {
    "trust_remote_code": "it runs code that came with the model",
    "code_revision": "it names code that came with the model",
    "custom_generate": "it runs code that came with the model",
    "pipeline_class": "it names code to run",
    "args_parser": "it names code to run",
    "model_kwargs": "it would pass anything on, unread",
    "tokenizer_kwargs": "it would pass anything on, unread",
    "generate_kwargs": "it would pass anything on, unread",
    "forward_params": "it would pass anything on, unread",
    "processor_kwargs": "it would pass anything on, unread",
    "tokenizer_encode_kwargs": "it would pass anything on, unread",
    "device_map": "it can spill a model over disks and devices; use 'device'",
    "model": "the model is the one that 'name' or 'model_url' gives",
    "tokenizer": "the tokenizer is the one in the model's folder",
    "config": "the configuration is the one in the model's folder",
    "revision": "the revision is pinned by the model store",
    "token": "a pipeline reads local files only",
    "use_auth_token": "a pipeline reads local files only",
    "use_safetensors": "weights are read from safetensors only",
    "assistant_model": "it would load a second model",
    "generation_config": "give its fields one by one",
    "logits_processor": "it names code to run",
    "stopping_criteria": "it names code to run",
    "num_workers": "the pool size of the item says how many run at once",
    "timeout": "addresses are fetched by wattbus, with its own time limit",
    "binary_output": "it writes pickle",
}

DTYPES: Mapping[str, str] = {
    "auto": "auto",
    "float32": "float32",
    "fp32": "float32",
    "float16": "float16",
    "fp16": "float16",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
}


@dataclass(frozen=True)
class Option:
    """One allowed setting or field: what it must be, and how it is read (ValueError when it is not that)."""

    must_be: str
    parse: Callable[[object], Any]


def integer(low: int, high: int) -> Option:
    """Allow a whole number from ``low`` to ``high``, also written as text."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        if isinstance(value, str):
            if not re.fullmatch(r"[+-]?[0-9]{1,19}", value.strip()):
                raise ValueError
            value = int(value)
        if isinstance(value, float) and not value.is_integer():
            raise ValueError
        if not low <= value <= high:
            raise ValueError
        return int(value)

    return Option(f"a whole number from {low} to {high}", parse)


def number(low: float, high: float) -> Option:
    """Allow a number from ``low`` to ``high``, also written as text; never NaN."""

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        if isinstance(value, str) and len(value) > 40:
            raise ValueError
        read = float(value)
        if math.isnan(read) or not low <= read <= high:
            raise ValueError
        return read

    return Option(f"a number from {low:g} to {high:g}", parse)


def flag() -> Option:
    """Allow true or false, also as the words of a settings line."""
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

    def parse(value: object) -> bool:
        if isinstance(value, bool):
            return value
        if not isinstance(value, str | int) or str(value).strip().lower() not in words:
            raise ValueError
        return words[str(value).strip().lower()]

    return Option("true or false", parse)


def choice(*allowed: str) -> Option:
    """Allow one of a few words, in any case."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value.strip().lower() not in allowed:
            raise ValueError
        return value.strip().lower()

    return Option(f"one of {', '.join(allowed)}", parse)


def text(letters: int = MAX_WORD_LETTERS) -> Option:
    """Allow a text of at most ``letters`` characters."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or len(value) > letters or not is_whole_text(value):
            raise ValueError
        return value

    return Option(f"a text of at most {letters} characters", parse)


def words() -> Option:
    """Allow a list of short texts, or one text that separates them by commas."""

    def parse(value: object) -> list[str]:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not 1 <= len(parts) <= MAX_WORDS:
            raise ValueError
        if not all(isinstance(part, str) and is_whole_text(part) for part in parts):
            raise ValueError
        cleaned = [part.strip() for part in parts]
        if not all(0 < len(part) <= MAX_WORD_LETTERS for part in cleaned):
            raise ValueError
        return cleaned

    return Option(f"a list of 1 to {MAX_WORDS} texts", parse)


def count_or_all(high: int) -> Option:
    """Allow a count from 1 to ``high``, or null ('none', 'all') for all of them."""
    counted = integer(1, high)

    def parse(value: object) -> int | None:
        if value is None or (isinstance(value, str) and value.strip().lower() in {"none", "null", "all"}):
            return None
        return int(counted.parse(value))

    return Option(f"{counted.must_be}, or null for all", parse)


def _dtype() -> Option:
    def parse(value: object) -> str:
        name = str(value).strip().lower().removeprefix("torch.")
        if name not in DTYPES:
            raise ValueError
        return DTYPES[name]

    return Option(f"one of {', '.join(DTYPES)}", parse)


def _device() -> Option:
    def parse(value: object) -> str:
        name = str(value).strip().lower()
        if name == "-1":
            return "cpu"
        if re.fullmatch(r"[0-9]{1,2}", name):
            return f"cuda:{name}"
        if not re.fullmatch(r"cpu|cuda|cuda:[0-9]{1,2}|mps|xpu", name):
            raise ValueError
        return name

    return Option("cpu, cuda, cuda:0 to cuda:99, mps, xpu, or the number of a GPU (-1 for the CPU)", parse)


LOADING: Mapping[str, Option] = {
    "device": _device(),
    "dtype": _dtype(),
    "num_labels": integer(1, MAX_LABELS),
    "batch_size": integer(1, 64),
    "framework": choice("pt"),  # once chose between PyTorch and TensorFlow; transformers 5 knows PyTorch only
}

# Names that older transformers took, with what they are called now.
RENAMED: Mapping[str, str] = {"torch_dtype": "dtype"}


def is_whole_text(value: str) -> bool:
    """Say whether ``value`` can be written as UTF-8; a lone surrogate cannot, and tokenizers fail on it."""
    return value.isascii() or not re.search("[\ud800-\udfff]", value)


def parse_settings(settings: Mapping[str, object], calling: Mapping[str, Option]) -> dict[str, Any]:
    """Read an item's pipeline settings: options of loading, and defaults for the options of each call.

    Raises BadSettings, by name, for what is not on the list or out of bounds.
    """
    return _parse(settings, {**LOADING, **calling}, "setting", _bad_setting)


def parse_fields(
    fields: Mapping[str, object], calling: Mapping[str, Option], known: Iterable[str]
) -> dict[str, Any]:
    """Read the option fields of a request; ``known`` are all field names to suggest.

    Raises UnknownName, Refused or BadRequest.
    """
    names = list(known)

    def fail(kind: str, name: str, _known: Iterable[str], sentence: str) -> WattbusError:
        if sentence:
            return Refused(sentence) if name in REFUSED else BadRequest(sentence)
        return UnknownName(kind, name, names)

    return _parse(fields, calling, "field", fail)


def _bad_setting(kind: str, name: str, known: Iterable[str], sentence: str) -> WattbusError:
    return BadSettings(sentence or unknown_name_sentence(kind, name, sorted(known)))


def _parse(
    given: Mapping[str, object],
    allowed: Mapping[str, Option],
    kind: str,
    fail: Callable[[str, str, Iterable[str], str], WattbusError],
) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for given_name, value in given.items():
        name, option = _named(given_name, allowed)
        if option is None and name in REFUSED:
            known = ", ".join(sorted(allowed)) or "none"
            sentence = f"the {kind} {name!r} is not allowed: {REFUSED[name]}. Allowed: {known}."
            raise fail(kind, name, allowed, sentence)
        if option is None:
            raise fail(kind, given_name, allowed, "")
        if name in read:
            raise fail(kind, name, allowed, f"the {kind} {name!r} is given twice, once as {given_name!r}.")
        try:
            read[name] = option.parse(value)
        except ValueError:
            sentence = f"the {kind} {given_name!r} must be {option.must_be}, not {_shown(value)}."
            raise fail(kind, name, allowed, sentence) from None
    return read


def _named(name: str, allowed: Mapping[str, Option]) -> tuple[str, Option | None]:
    """Find today's name and option for a name that may be from an older transformers."""
    if name == "return_all_scores" and "top_k" in allowed:
        return "top_k", Option("true or false", lambda value: None if flag().parse(value) else 1)
    if name == "grouped_entities" and "aggregation_strategy" in allowed:
        strategy = Option("true or false", lambda value: "simple" if flag().parse(value) else "none")
        return "aggregation_strategy", strategy
    name = RENAMED.get(name, name)
    return name, allowed.get(name)


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
