"""Reports as files: written whole or not at all, never over another one, read back with their faults."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from wattbus.errors import BadRequest, BadSettings, Refused
from wattbus.export.boamps_model import validate
from wattbus.home import make_owner_folder, write_durably

REPORT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LARGEST_BYTES = 4_000_000
_SHOWN_FAULTS = 5


def write_document(document: dict[str, Any], folder: Path, *, suffix: str = "") -> Path:
    """Write ``boamps-<report id><suffix>.json``, 0600, and return its path.

    An invalid report is an error and not a file, and a report that was written is never replaced by another.
    """
    if faults := validate(document):
        raise Refused(f"the report is not a valid BoAmps report, so no file was written: {_shown(faults)}")
    report_id = str(document.get("header", {}).get("reportId", ""))
    if not REPORT_ID.fullmatch(report_id):
        raise BadRequest(bad_id(report_id))
    try:
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Refused(f"the report cannot be written as JSON ({error}), so no file was written.") from error
    data = (text + "\n").encode()
    path = folder / f"boamps-{report_id}{suffix}.json"
    try:
        if not folder.is_dir():  # one that is there may be the user's own, and keeps its mode
            make_owner_folder(folder)
        if path.exists():
            if path.read_bytes() == data:
                return path
            raise Refused(f"{path} holds another report: leave the report id out, and a new one is made.")
        write_durably(path, data)
    except OSError as error:
        raise BadSettings(
            f"{path} cannot be written ({error.strerror}): name a folder that you own."
        ) from error
    return path


def read_document(path: Path) -> dict[str, Any]:
    """Return a report from a file, valid or an error with a sentence."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise BadRequest(f"the report {path} cannot be read ({error.strerror}).") from error
    if len(data) > LARGEST_BYTES:
        raise BadRequest(f"{path} is over {LARGEST_BYTES:,} bytes: it is no report.")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path.name} is not JSON ({error}): export the reports again.") from error
    if faults := validate(found):
        raise Refused(f"{path.name} is not a valid BoAmps report: {_shown(faults)}")
    document: dict[str, Any] = found
    return document


def find_file(name: str, folder: Path) -> Path:
    """Return the file that a user names: a path, a name in the folder of exports, or a report's id there."""
    for path in (Path(name), folder / name, folder / f"boamps-{name}.json"):
        if path.is_file():
            return path
    raise BadRequest(f"there is no report {name!r}, here or in {folder}: `wattbus boamps ls` lists them.")


def bad_id(report_id: str) -> str:
    return (
        f"the report id {report_id!r} is not usable: take up to 64 letters, digits, '.', '_' or '-', or none."
    )


def _shown(faults: list[str]) -> str:
    return "; ".join(faults[:_SHOWN_FAULTS])
