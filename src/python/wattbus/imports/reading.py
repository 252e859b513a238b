"""Reading a file of measured runs, whichever of the known forms it has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wattbus import words
from wattbus.errors import BadRequest
from wattbus.imports.boamps_json import is_boamps, read_boamps
from wattbus.imports.csv_table import CsvTable
from wattbus.imports.emissions_csv import is_emissions_csv, read_emissions_csv
from wattbus.imports.gaissa_csv import is_gaissa_csv, read_gaissa_csv
from wattbus.imports.imported import Imported, checked_file

LARGEST_JSON_BYTES = 20_000_000
KNOWN = (
    "emissions.csv of codecarbon, a BoAmps report as JSON, GAISSALabel's csv (model_size, file_size, flops)"
)


def read_runs(path: Path | str, called: str | None = None) -> Imported:
    """Return the runs of a file, with what was skipped and why; raises BadRequest for a file that is none of these.

    ``called`` is the name under which its owner knows the file, where that is another one.
    """
    name = words.clean(called or Path(path).name, 100)
    file = checked_file(Path(path), name)
    if _first_sign(file) in (b"{", b"["):
        return _json_runs(file, name)
    table = CsvTable(file, name)
    if is_gaissa_csv(table.columns):
        return read_gaissa_csv(table)
    if is_emissions_csv(table.columns):
        return read_emissions_csv(table)
    shown = words.clean(", ".join(table.columns[:8]), 120)
    raise BadRequest(f"{name} begins with {shown!r}, and that is no known form. Known: {KNOWN}.")


def _first_sign(file: Path) -> bytes:
    with file.open("rb") as raw:
        return raw.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _json_runs(file: Path, name: str) -> Imported:
    if file.stat().st_size > LARGEST_JSON_BYTES:
        raise BadRequest(
            f"{name} is longer than {words.size(LARGEST_JSON_BYTES)}: a BoAmps report has a few thousand bytes."
        )
    try:
        document: Any = json.loads(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadRequest(f"{name} is no UTF-8 text: {error.reason} at byte {error.start:,}.") from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadRequest(f"{name} is no JSON: {reason}.") from None
    documents = document if isinstance(document, list) else [document]
    if not any(is_boamps(one) for one in documents):
        raise BadRequest(f"{name} is JSON without a task and measures. Known: {KNOWN}.")
    return read_boamps(documents, name)
