"""The figures of models that the Hub lists: what a card declares, the size, the downloads; page by page.

The requests go the way of :mod:`wattbus.ml.hub`: its endpoint, its patience, the token for the Hub alone. Only the
list is read, so that a page of a hundred models is one request.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from wattbus.errors import ModelError, ModelNotCached
from wattbus.ml.declared import Declared, declared_emissions, doubts_of
from wattbus.ml.hub import TRANSIENT, Hub, Interrupted, Tell, retry_after, within

PAGE = 100
#: The Hub marks cards that declare emissions with this tag.
DECLARES = "co2_eq_emissions"
_LARGEST_PAGE = 32 * 1024 * 1024
_WANTED = (
    "cardData", "downloads", "downloadsAllTime", "likes", "tags", "pipeline_tag", "library_name", "safetensors",
    "usedStorage", "siblings", "sha", "lastModified",
)  # fmt: skip
_SCORES = ("accuracy", "f1")
# Bytes of one parameter by the names that safetensors has for them.
_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_NAME = re.compile(r"[\w.-]{1,96}(?:/[\w.-]{1,96})?", re.ASCII)


@dataclass(frozen=True)
class Selection:
    """Which models of the Hub are asked for; with ``everything`` also those whose card declares no emissions."""

    author: str = ""
    search: str = ""
    task: str = ""
    everything: bool = False

    @property
    def title(self) -> str:
        """Name the selection, so that a later run goes on with the same.

        >>> Selection(author="org", task="fill-mask").title, Selection().title
        ('author org, task fill-mask', 'all that declare emissions')
        """
        parts = [
            f"{name} {getattr(self, name)}" for name in ("author", "search", "task") if getattr(self, name)
        ]
        parts += ["also without emissions"] if self.everything else []
        return ", ".join(parts) or "all that declare emissions"


@dataclass(frozen=True)
class HubModel:
    """One model as the Hub lists it; unknown is None."""

    name: str
    declared: Declared
    doubts: tuple[str, ...] = ()
    revision: str | None = None
    task: str | None = None
    library: str | None = None
    tags: tuple[str, ...] = ()
    downloads: int | None = None
    downloads_period: str = ""  # "all time" or "the last 30 days"
    likes: int | None = None
    parameters: int | None = None
    size_bytes: int | None = None
    size_origin: str = ""
    score: float | None = None  # 0..1
    score_name: str = ""
    changed: str = ""  # ISO 8601, as the Hub says


@dataclass(frozen=True)
class HubPage:
    """A page of the list: the models on it, what could not be read as one, and where the next begins."""

    models: tuple[HubModel, ...]
    unreadable: tuple[tuple[str, str], ...]  # name, why
    next: str  # empty: this was the last


class HubList(Hub):
    """Lists models of one endpoint."""

    _kept = "What was read is kept, and the next run goes on from there."

    def first(self, selection: Selection, page: int = PAGE) -> str:
        """Return the address of the first page."""
        query: list[tuple[str, str]] = [("limit", str(page))]
        query += [
            (name, getattr(selection, name)) for name in ("author", "search") if getattr(selection, name)
        ]
        query += [("pipeline_tag", selection.task)] if selection.task else []
        query += [] if selection.everything else [("filter", DECLARES)]
        query += [("expand", one) for one in _WANTED]
        return f"{self.endpoint}/api/models?{urlencode(query)}"

    def page(self, address: str, tell: Tell = lambda text: None) -> HubPage:
        """Read a page; ModelNotCached where the Hub cannot be reached, ModelError for what it answers wrongly."""
        if self.offline:
            raise ModelNotCached(f"offline is set: the list of {self.endpoint} is not read.")
        self._check_own(address)
        deadline = time.monotonic() + self._patience.describe_seconds + self._patience.longest_wait_seconds
        rows, following = self._tried(lambda: self._read(address), "the list of models", tell, deadline)
        models, unreadable = [], []
        for row in rows:
            try:
                models.append(hub_model(row))
            except ValueError as error:
                name = row.get("id") if isinstance(row, dict) else None
                unreadable.append((str(name or "a model without a name")[:200], str(error)))
        return HubPage(tuple(models), tuple(unreadable), following)

    def _read(self, address: str) -> tuple[list[Any], str]:
        """Ask once, and return the rows with the address of the next page."""
        import httpx2

        def ask() -> tuple[list[Any], str]:
            with self._response(address, 0) as response:
                if response.status_code in TRANSIENT:
                    raise Interrupted(
                        f"{response.status_code}", retry_after(response.headers.get("retry-after"))
                    )
                if response.status_code != 200:
                    raise ModelError(_refusal(self.endpoint, response.status_code))
                content = bytearray()
                for block in response.iter_raw():
                    content += block
                    if len(content) > _LARGEST_PAGE:
                        raise ModelError(
                            f"{self.endpoint} sends a list of more than {_LARGEST_PAGE:,} bytes."
                        )
                rows = json.loads(bytes(content))
                if not isinstance(rows, list):
                    raise ValueError("it is no list")
                following = response.links.get("next", {}).get("url")
                return rows, urljoin(address, following) if following else ""

        try:
            return within(self._patience.describe_seconds, ask)  # type: ignore[no-any-return]
        except httpx2.RemoteProtocolError as error:
            raise Interrupted(str(error)) from None
        except (httpx2.TransportError, TimeoutError) as error:
            raise ModelNotCached(
                f"{self.endpoint} cannot be reached ({type(error).__name__}): what was read is kept, and the next run "
                "goes on from there."
            ) from None
        except (ValueError, RecursionError) as error:
            raise ModelError(
                f"{self.endpoint} did not answer like a Hub ({type(error).__name__}): is there a log-in page or a "
                "proxy in between?"
            ) from None

    def _check_own(self, address: str) -> None:
        """Refuse a next page that is elsewhere: the list comes from the one endpoint that was configured."""
        if urlsplit(address)[:2] != urlsplit(self.endpoint)[:2]:
            raise ModelError(f"{self.endpoint} sends its list on to another host: that is not followed.")


def _refusal(endpoint: str, status: int) -> str:
    if status in (401, 403):
        return f"{endpoint} answered {status} for its list of models: check the token."
    if status == 400:
        return f"{endpoint} answered 400 for its list of models: begin anew with --restart, and check the task's name."
    return f"{endpoint} answered {status} for its list of models: try again later."


def hub_model(row: Any) -> HubModel:
    """Read one model of the list; ValueError, with a sentence, for what is none."""
    if not isinstance(row, dict):
        raise ValueError("the Hub lists something that is no model")
    name = row.get("id") or row.get("modelId")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("the Hub lists it under a name that no model can have")
    card = row.get("cardData")
    card = card if isinstance(card, dict) else {}
    declared = declared_emissions(card.get("co2_eq_emissions"))
    parameters, size, origin = _size(row)
    score_name, score = _score(card.get("model-index"))
    all_time = _count(row.get("downloadsAllTime"))
    recent = _count(row.get("downloads"))
    return HubModel(
        name,
        declared,
        doubts_of(declared, parameters),
        _text(row.get("sha")),
        _text(row.get("pipeline_tag")) or _text(card.get("pipeline_tag")),
        _text(row.get("library_name")) or _text(card.get("library_name")),
        tuple(str(tag)[:100] for tag in (row.get("tags") or ())[:50])
        if isinstance(row.get("tags"), list)
        else (),
        recent if recent is not None else all_time,
        "the last 30 days" if recent is not None else "all time" if all_time is not None else "",
        _count(row.get("likes")),
        parameters,
        size,
        origin,
        score,
        score_name,
        _text(row.get("lastModified")) or "",
    )


def _size(row: dict[str, Any]) -> tuple[int | None, int | None, str]:
    """Return parameters and bytes: of the tensors, else of the weight files, else of all that the repository stores."""
    tensors = row.get("safetensors")
    tensors = tensors if isinstance(tensors, dict) else {}
    parameters = _count(tensors.get("total")) or None
    kinds = tensors.get("parameters")
    if (
        isinstance(kinds, dict)
        and kinds
        and all(name in _BYTES and _count(count) for name, count in kinds.items())
    ):
        return (
            parameters or sum(kinds.values()),
            sum(_BYTES[name] * count for name, count in kinds.items()),
            "its tensors",
        )
    files = [one for one in _list(row, "siblings") if isinstance(one, dict)]
    weights = [one for one in files if str(one.get("rfilename", "")).endswith((".safetensors", ".bin"))]
    kept = [one for one in weights if str(one["rfilename"]).endswith(".safetensors")] or weights
    sizes = [_count(one.get("size")) for one in kept]
    if sizes and None not in sizes and sum(size or 0 for size in sizes):
        return parameters, sum(size or 0 for size in sizes), "its weight files"
    stored = _count(row.get("usedStorage"))
    return parameters, stored or None, "all that its repository stores, every commit" if stored else ""


def _score(index: Any) -> tuple[str, float | None]:
    """Return a score of the card with its name: the first accuracy from 0 to 1, else the first F1."""
    metrics = [
        metric
        for model in (index if isinstance(index, list) else ())
        for result in _list(model, "results")
        for metric in _list(result, "metrics")
        if isinstance(metric, dict)
    ]
    for wanted in _SCORES:
        for metric in metrics:
            value = metric.get("value")
            if str(metric.get("type", "")).lower() != wanted or isinstance(value, bool):
                continue
            if isinstance(value, int | float) and 0 <= value <= 1:
                return wanted, float(value)
    return "", None


def _list(value: Any, name: str) -> list[Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _text(value: Any) -> str | None:
    return value.strip()[:200] or None if isinstance(value, str) else None
