"""A BoAmps document under construction: a value goes in together with where it came from, or not at all."""

from __future__ import annotations

import ipaddress
import math
import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from wattbus.export.boamps_fields import FIELDS, Origin
from wattbus.export.boamps_score import INDEX, Provenance

JOULES_PER_KWH = 3_600_000
MOMENT = "%Y-%m-%d %H:%M:%S"
SIGNIFICANT_DIGITS = 6
WORD_LIMIT = 200


class Draft:
    """Collects the document and its provenance."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {}
        self.provenance: dict[str, Provenance] = {}
        self._fields = {field.path: field for field in FIELDS}

    def put(
        self,
        path: str,
        value: str | int | float | None,
        origin: Origin | None = None,
        source: str | None = None,
    ) -> None:
        """Set a leaf such as ``task.dataset[0].shape``; None, NaN and blank text are left out."""
        if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
            return
        usual = self._fields[INDEX.sub("[]", path)]
        *parents, leaf = path.split(".")
        self.place(".".join(parents))[leaf] = value
        self.provenance[path] = Provenance(origin or usual.origin, source or usual.source)

    def add_own(self, parent: str, name: str, value: Any) -> None:
        """Set a key of our own, ``x-wattbus-name``; None is left out."""
        if value is not None:
            self.place(parent)[f"x-wattbus-{name}"] = value

    def place(self, path: str) -> dict[str, Any]:
        """Return the object at ``path``, made with its parents where missing."""
        place = self.document
        for step in filter(None, path.split(".")):
            name, _, index = step.rstrip("]").partition("[")
            if not index:
                place = place.setdefault(name, {})
                continue
            items: list[dict[str, Any]] = place.setdefault(name, [])
            items.extend({} for _ in range(int(index) + 1 - len(items)))
            place = items[int(index)]
        return place


def kwh(joules: float | None) -> float | None:
    """Return joules as kWh."""
    return None if joules is None else significant(joules / JOULES_PER_KWH)


def significant(value: float | None) -> float | None:
    """Round to six significant digits: no meter here is better, and the JSON stays readable."""
    return None if value is None else float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def share(value: float | None) -> float | None:
    """Return a share within 0..1; a hair above 1 is the clocks' error, else what is outside is no share."""
    if value is None or not 0 <= value <= 1.05:
        return None
    return significant(min(value, 1.0))


def word(value: str | None) -> str | None:
    """Return a short text in one line, or None; a fact is a name, and a long text is none."""
    text = " ".join((value or "").split())
    return text if text and len(text) <= WORD_LIMIT and text.isprintable() else None


def public_address(uri: str | None) -> str | None:
    """Return an http address that others can reach, without account and query, or a package URL; else None.

    >>> public_address("pkg:pypi/some-model@1.0"), public_address("https://me@host.example/m?key=1")
    ('pkg:pypi/some-model@1.0', 'https://host.example/m')
    """
    if re.fullmatch(r"pkg:[a-z]+/[\w./-]+(?:@[\w.+-]+)?", uri or ""):
        return word(uri)
    parts = _split(uri)
    if parts is None or parts.scheme not in ("http", "https") or not _is_public_host(parts.hostname):
        return None
    host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    return word(urlunsplit((parts.scheme, host, parts.path, "", "")))


def data_address(uri: str | None) -> str | None:
    """Return the address of data without account, password, query or folder.

    >>> data_address("postgresql+psycopg://me:secret@db.example.org:5432/shop?sslmode=require#Review")
    'postgresql://db.example.org:5432/shop#Review'
    >>> data_address("sqlite:////home/me/.wattbus/tables.sqlite#Review")
    'sqlite:tables.sqlite#Review'
    """
    parts = _split(uri)
    if parts is None or not parts.scheme:
        return None
    if parts.scheme in ("http", "https"):
        return public_address(uri)
    scheme = parts.scheme.split("+")[0]
    table = f"#{parts.fragment}" if re.fullmatch(r"[\w.]{1,128}", parts.fragment) else ""
    if parts.hostname:
        port = f":{parts.port}" if parts.port else ""
        return word(f"{scheme}://{parts.hostname}{port}{parts.path}{table}")
    return word(f"{scheme}:{PurePosixPath(parts.path).name}{table}")


def _split(uri: str | None) -> Any:
    try:
        parts = urlsplit(uri or "")
        parts.port  # noqa: B018 -- read for its check: a port that is no number raises here
    except ValueError:
        return None
    return parts


def _is_public_host(host: str | None) -> bool:
    if not host or "." not in host or host.endswith((".local", ".internal", ".localhost", ".lan")):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return not re.fullmatch(r"[\d.x]+", host)
    return False
