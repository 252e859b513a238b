"""The transformers tasks that wattbus serves: what each takes, under which names, with which options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from wattbus.errors import BadRequest, BadSettings, UnknownName
from wattbus.ml.pipeline_options import (
    MAX_LENGTH_TOKENS,
    MAX_SEQUENCES,
    MAX_TOP_K,
    Option,
    choice,
    count_or_all,
    flag,
    integer,
    is_whole_text,
    number,
    parse_fields,
    text,
    words,
)

MAX_TEXTS = 256
MAX_LETTERS = 1_000_000  # of all texts of one request together
MAX_IMAGES = 16
MAX_SAMPLES = 16_000 * 600  # ten minutes of sound at 16 kHz


class Feed(StrEnum):
    """What a task reads."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"


# Requests have used the parameter names of each pipeline's __call__; transformers renamed several since.
FIELDS: Mapping[Feed, tuple[str, ...]] = {
    Feed.TEXT: (
        "inputs",
        "text_inputs",
        "text",
        "texts",
        "sequences",
        "sentence",
        "sentences",
        "prompt",
        "args",
        "query",
    ),
    Feed.IMAGE: ("url", "image", "images", "inputs", "urls"),
    Feed.AUDIO: ("inputs", "audio", "raw"),
}

ALIASES: Mapping[str, str] = {
    "ner": "token-classification",
    "sentiment-analysis": "text-classification",
    "image-to-text": "image-text-to-text",
}

REMOVED: Mapping[str, str] = {
    "text2text-generation": "use text-generation with a chat model",
    "summarization": "use text-generation with a chat model",
    "translation": "use text-generation with a chat model",
    "question-answering": "use text-generation with a chat model, or document-question-answering",
    "visual-question-answering": "use image-text-to-text",
    "vqa": "use image-text-to-text",
    "image-to-image": "transformers has no such pipeline any more",
    "conversational": "use text-generation, with a list of messages as inputs",
}

NOT_SERVED: Mapping[str, str] = {
    "video-classification": "it takes videos, which need a decoder that wattbus does not ship",
    "any-to-any": "its inputs have no fixed type",
    "decision": "its inputs have no fixed type",
    "text-to-audio": "it answers with sound, which a message body does not carry",
    "text-to-speech": "it answers with sound, which a message body does not carry",
}

_GENERATION: Mapping[str, Option] = {
    "max_length": integer(1, MAX_LENGTH_TOKENS),
    "max_new_tokens": integer(1, MAX_LENGTH_TOKENS),
    "min_length": integer(0, MAX_LENGTH_TOKENS),
    "min_new_tokens": integer(0, MAX_LENGTH_TOKENS),
    "num_return_sequences": integer(1, MAX_SEQUENCES),
    "num_beams": integer(1, MAX_SEQUENCES),
    "do_sample": flag(),
    "temperature": number(0.01, 100),
    "top_k": integer(0, MAX_TOP_K),
    "top_p": number(0.0001, 1),
    "min_p": number(0, 1),
    "typical_p": number(0.0001, 1),
    "repetition_penalty": number(0.1, 10),
    "length_penalty": number(-10, 10),
    "no_repeat_ngram_size": integer(0, 100),
    "early_stopping": flag(),
    "return_full_text": flag(),
    "clean_up_tokenization_spaces": flag(),
    "stop_sequence": words(),
    "prefix": text(),
    "handle_long_generation": choice("hole"),
    "seed": integer(0, 2**63 - 1),
}
_TOP_K = integer(1, MAX_TOP_K)
_SHARE = number(0, 1)
_FUNCTION = choice("sigmoid", "softmax", "none")
_NAMED: Mapping[str, Option] = {"candidate_labels": words(), "hypothesis_template": text()}


@dataclass(frozen=True)
class Task:
    """One task: what it reads, the options a call may carry, and the fields a call must carry."""

    name: str
    feed: Feed
    calling: Mapping[str, Option] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    pairs: bool = False  # each input is a pair (two images, or a text and its pair)

    @property
    def family(self) -> str:
        """The name in camel case, as energy reports spell a task family: textClassification."""
        first, *rest = self.name.split("-")
        return first + "".join(part.capitalize() for part in rest)


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task("text-generation", Feed.TEXT, _GENERATION),
        Task(
            "text-classification",
            Feed.TEXT,
            {"top_k": count_or_all(MAX_TOP_K), "function_to_apply": _FUNCTION, "truncation": flag()},
        ),
        Task(
            "token-classification",
            Feed.TEXT,
            {
                "aggregation_strategy": choice("none", "simple", "first", "average", "max"),
                "ignore_labels": words(),
                "stride": integer(1, 512),
            },
        ),
        Task("fill-mask", Feed.TEXT, {"top_k": _TOP_K, "targets": words()}),
        Task(
            "feature-extraction",
            Feed.TEXT,
            {"truncation": flag(), "pooling": choice("none", "mean", "cls", "model"), "normalize": flag()},
        ),
        Task("zero-shot-classification", Feed.TEXT, {**_NAMED, "multi_label": flag()}, ("candidate_labels",)),
        Task("table-question-answering", Feed.TEXT, {"sequential": flag()}, ("table",)),
        Task("image-classification", Feed.IMAGE, {"top_k": _TOP_K, "function_to_apply": _FUNCTION}),
        Task("object-detection", Feed.IMAGE, {"threshold": _SHARE}),
        Task(
            "image-segmentation",
            Feed.IMAGE,
            {
                "subtask": choice("panoptic", "instance", "semantic"),
                "threshold": _SHARE,
                "mask_threshold": _SHARE,
                "overlap_mask_area_threshold": _SHARE,
            },
        ),
        Task("depth-estimation", Feed.IMAGE),
        Task("image-feature-extraction", Feed.IMAGE, {"pool": flag()}),
        Task(
            "mask-generation",
            Feed.IMAGE,
            {
                "mask_threshold": number(-10, 10),
                "pred_iou_thresh": _SHARE,
                "stability_score_thresh": _SHARE,
                "points_per_batch": integer(1, 256),
            },
        ),
        Task("keypoint-matching", Feed.IMAGE, {"threshold": _SHARE}, pairs=True),
        Task("zero-shot-image-classification", Feed.IMAGE, _NAMED, ("candidate_labels",)),
        Task(
            "zero-shot-object-detection",
            Feed.IMAGE,
            {"candidate_labels": words(), "threshold": _SHARE, "top_k": _TOP_K},
            ("candidate_labels",),
        ),
        Task(
            "document-question-answering",
            Feed.IMAGE,
            {"question": text(), "top_k": _TOP_K, "max_answer_len": integer(1, 512)},
            ("question",),
        ),
        Task(
            "image-text-to-text",
            Feed.IMAGE,
            {
                "text": text(100_000),
                "max_new_tokens": integer(1, MAX_LENGTH_TOKENS),
                "return_full_text": flag(),
            },
            ("text",),
        ),
        Task("audio-classification", Feed.AUDIO, {"top_k": _TOP_K, "function_to_apply": _FUNCTION}),
        Task("automatic-speech-recognition", Feed.AUDIO, {"return_timestamps": choice("char", "word")}),
        Task("zero-shot-audio-classification", Feed.AUDIO, _NAMED, ("candidate_labels",)),
    )
}


@dataclass(frozen=True)
class Call:
    """A request as its task reads it: the inputs one by one, whether a list was sent, and the options."""

    inputs: tuple[Any, ...]  # texts, chats or pairs; image addresses; sound as a list of numbers
    listed: bool
    options: Mapping[str, Any]


def find_task(name: str) -> Task:
    """Return the task called ``name`` or by its alias (ner); otherwise raise UnknownName or BadSettings."""
    name = name.strip()
    canonical = ALIASES.get(name, name)
    if canonical in TASKS:
        return TASKS[canonical]
    if canonical in NOT_SERVED:
        served = ", ".join(sorted(TASKS))
        raise BadSettings(f"the task {name!r} is not served: {NOT_SERVED[canonical]}. Served: {served}.")
    removed = "translation" if name.startswith("translation_") else name
    if removed in REMOVED:
        raise BadSettings(f"transformers 5 has no task {name!r}: {REMOVED[removed]}.")
    raise UnknownName("task", name, [*TASKS, *ALIASES])


def read_call(task: Task, fields: Mapping[str, object], defaults: Mapping[str, Any]) -> Call:
    """Read the fields of one request to ``task``; ``defaults`` are the options that the item's settings give.

    Raises UnknownName (with the nearest field), Refused or BadRequest.
    """
    options_known = {**task.calling}
    inputs_known = [name for name in FIELDS[task.feed] if name not in options_known]
    extra = ["sampling_rate"] if task.feed is Feed.AUDIO else ["table"] if "table" in task.needs else []
    extra += ["text_pair"] if task.name == "text-classification" else []
    given = {name: value for name, value in fields.items() if value is not None or name in options_known}
    rest = {name: value for name, value in given.items() if name not in inputs_known and name not in extra}
    options = {**defaults, **parse_fields(rest, options_known, [*inputs_known, *extra, *options_known])}
    named = [name for name in inputs_known if name in given]
    if len(named) > 1:
        raise BadRequest(f"give one of {_quoted(named)}, not both: each is the input of {task.name}.")
    if not named:
        raise BadRequest(f"the request has no input for {task.name}: give {inputs_known[0]!r}.")
    for need in task.needs:
        if need not in options and need not in given:
            raise BadRequest(f"{task.name} also needs the field {need!r}.")
    inputs, listed = _READERS[task.feed](task, named[0], given)
    return Call(inputs, listed, options)


def _read_texts(task: Task, name: str, given: Mapping[str, object]) -> tuple[tuple[Any, ...], bool]:
    value = given[name]
    if task.name == "text-generation" and _is_chat(value):
        return (value,), False
    texts = value if isinstance(value, list | tuple) else [value]
    if not texts:
        raise BadRequest(f"{name!r} is an empty list: give at least one text.")
    if len(texts) > MAX_TEXTS:
        raise BadRequest(
            f"{name!r} has {len(texts)} texts, and one request may have {MAX_TEXTS}: send several."
        )
    for one in texts:
        if not isinstance(one, str):
            raise BadRequest(f"{name!r} must be a text or a list of texts, not {type(one).__name__}.")
        if not is_whole_text(one):
            raise BadRequest(f"{name!r} holds half a character (a lone surrogate): send whole Unicode text.")
    letters = sum(map(len, texts))
    if letters > MAX_LETTERS:
        raise BadRequest(f"{name!r} has {letters} characters, and one request may have {MAX_LETTERS}.")
    if "table" in task.needs:
        table = _read_table(given["table"])
        return tuple({"table": table, "query": query} for query in texts), isinstance(value, list | tuple)
    if "text_pair" in given:
        pair = given["text_pair"]
        if not isinstance(pair, str) or not is_whole_text(pair) or isinstance(value, list | tuple):
            raise BadRequest("'text_pair' is one text, beside one text.")
        return ({"text": texts[0], "text_pair": pair},), False
    return tuple(texts), isinstance(value, list | tuple)


def _is_chat(value: object) -> bool:
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        return False
    for turn in value:
        texts = [turn.get("role"), turn.get("content")]
        if set(turn) != {"role", "content"} or not all(isinstance(one, str) for one in texts):
            raise BadRequest("a chat is a list of {'role': text, 'content': text}.")
        if not all(is_whole_text(one) for one in texts):
            raise BadRequest("the chat holds half a character (a lone surrogate): send whole Unicode text.")
    letters = sum(len(turn["content"]) for turn in value)
    if letters > MAX_LETTERS:
        raise BadRequest(f"the chat has {letters} characters, and one request may have {MAX_LETTERS}.")
    return True


def _read_table(value: object) -> dict[str, list[str]]:
    """Read a table as a dict of columns, each a list of cells, all of one length."""
    sentence = "'table' is an object of columns, each a list of cells of the same length."
    if not isinstance(value, dict) or not value or len(value) > 100:
        raise BadRequest(sentence)
    columns = {str(name): cells for name, cells in value.items()}
    lengths = {len(cells) if isinstance(cells, list) else -1 for cells in columns.values()}
    if len(lengths) != 1 or not 1 <= lengths.pop() <= 1000:
        raise BadRequest(sentence)
    return {name: [str(cell) for cell in cells] for name, cells in columns.items()}


def _read_images(task: Task, name: str, given: Mapping[str, object]) -> tuple[tuple[Any, ...], bool]:
    value = given[name]
    addresses = value if isinstance(value, list | tuple) else [value]
    if not addresses or len(addresses) > MAX_IMAGES:
        raise BadRequest(f"{name!r} has {len(addresses)} images, and one request may have 1 to {MAX_IMAGES}.")
    if not all(isinstance(address, str) for address in addresses):
        raise BadRequest(f"{name!r} must be the address or file name of an image, or a list of them.")
    if task.pairs:
        if len(addresses) != 2:
            raise BadRequest(f"{task.name} compares two images: give a list of two.")
        return (tuple(addresses),), False
    return tuple(addresses), isinstance(value, list | tuple)


def _read_sound(task: Task, name: str, given: Mapping[str, object]) -> tuple[tuple[Any, ...], bool]:
    value, rate = given[name], given.get("sampling_rate")
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_SAMPLES:
        raise BadRequest(f"{name!r} must be a list of 1 to {MAX_SAMPLES} numbers, the sound's samples.")
    if not all(isinstance(sample, int | float) and not isinstance(sample, bool) for sample in value):
        raise BadRequest(f"{name!r} must be a list of numbers, the sound's samples.")
    if rate is not None and (type(rate) is not int or not 1000 <= rate <= 192_000):
        raise BadRequest(f"'sampling_rate' must be a whole number from 1000 to 192000, not {rate!r}.")
    return ({"raw": value, "sampling_rate": rate},), False


_READERS = {Feed.TEXT: _read_texts, Feed.IMAGE: _read_images, Feed.AUDIO: _read_sound}


def _quoted(names: list[str]) -> str:
    return " and ".join(repr(name) for name in names)
