"""The forms in which an analysis leaves: each with its media type and what makes it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from wattbus.errors import UnknownName
from wattbus.pictures.png import draw_png
from wattbus.pictures.svg import draw_svg
from wattbus.roi.drawings import return_sheet
from wattbus.roi.files import csv_file, json_file
from wattbus.roi.kept import Kept
from wattbus.roi.report import pdf_file


@dataclass(frozen=True)
class Download:
    """A file: its name, its media type, its bytes."""

    name: str
    media_type: str
    content: bytes


_FORMS: dict[str, tuple[str, Callable[[Kept], bytes]]] = {
    "pdf": ("application/pdf", pdf_file),
    "csv": ("text/csv; charset=utf-8", lambda kept: csv_file(kept).encode()),
    "json": ("application/json", lambda kept: json_file(kept).encode()),
    "svg": ("image/svg+xml", lambda kept: draw_svg(return_sheet(kept.analysis)).encode()),
    "png": ("image/png", lambda kept: draw_png(return_sheet(kept.analysis))),
}
FORMATS = tuple(_FORMS)


def download(kept: Kept, format: str) -> Download:
    """Return an analysis in one of the forms; svg and png are the curve of its return."""
    if format not in _FORMS:
        raise UnknownName("format", format, FORMATS)
    media_type, make = _FORMS[format]
    return Download(f"{file_stem(kept.name)}.{format}", media_type, make(kept))


def file_stem(name: str) -> str:
    """Return a name that is safe for a file and a header.

    >>> file_stem("int8, für alle / 2"), file_stem("…")
    ('int8-f-r-alle-2', 'analysis')
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.") or "analysis"
