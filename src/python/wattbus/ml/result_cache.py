"""Answers that are kept for requests that come again: the newest, in memory, by what they were made from."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from wattbus.errors import BadSettings
from wattbus.ml.pipeline_options import parse_settings
from wattbus.ml.pipeline_tasks import Call, Feed, find_task, read_call

#: What the answers of one cache take together at most; one that takes an eighth of it or more is not kept.
MOST_BYTES = 64 * 1024 * 1024
#: Tasks that write text word by word, and draw each word where nothing else is asked for.
_WRITES = frozenset({"text-generation", "image-text-to-text"})


class ResultCache:
    """Answers as JSON text by their keys, the least recently used leaving first; any number of threads may use it."""

    def __init__(self, size: int, most_bytes: int = MOST_BYTES) -> None:
        self.size, self._most_bytes = size, most_bytes
        self._kept: OrderedDict[str, str] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> str | None:
        """Return the answer under ``key``; None: there is none."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: str, answer: str) -> None:
        """Keep an answer; the oldest make room for it."""
        if len(answer) * 8 >= self._most_bytes:
            return
        with self._lock:
            self._bytes += len(answer) - len(self._kept.pop(key, ""))
            self._kept[key] = answer
            while len(self._kept) > self.size or self._bytes > self._most_bytes:
                self._bytes -= len(self._kept.popitem(last=False)[1])

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)


def check_cached(task: str) -> None:
    """Raise BadSettings for a task whose answers do not follow from what the request says."""
    served = find_task(task)
    if served.feed is Feed.IMAGE:
        raise BadSettings(
            f"result_cache keeps answers by what was asked, and {served.name} is asked with the address of a picture, "
            "behind which another may lie tomorrow: leave result_cache out."
        )


def key_of(version: str, task: str, settings: Mapping[str, str], fields: Mapping[str, Any]) -> str | None:
    """Return the key of a request to a version of a model: the same for the same answer; None: it is not to be kept.

    ``settings`` are the item's for the pipeline. Raises what :func:`read_call` does for a bad request.
    """
    served = find_task(task)
    call = read_call(served, fields, parse_settings(settings, served.calling))
    if served.name in _WRITES and not _repeats(call):
        return None
    parts = [version, served.name, sorted(settings.items()), call.listed, call.inputs, call.options]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _repeats(call: Call) -> bool:
    """Tell whether a text is written the same each time: drawn with a seed, or not drawn at all."""
    return call.options.get("seed") is not None or call.options.get("do_sample") is False
