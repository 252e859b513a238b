"""Checkpoints of a training: one is complete when its marker, written last, agrees with its files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from wattbus import killpoints
from wattbus.home import sync_folder, write_durably

MARKER = "complete.json"
NAME = re.compile(r"checkpoint-([0-9]+)\Z")


def mark_complete(checkpoint: Path, fingerprint: str) -> None:
    """Make the files of ``checkpoint`` durable, then say so in the marker."""
    files = {}
    for path in sorted(checkpoint.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            files[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    sync_folder(checkpoint)
    if killpoints.ARMED:
        killpoints.reached("checkpoint.before-marker")
    write_durably(checkpoint / MARKER, json.dumps({"fingerprint": fingerprint, "files": files}).encode())
    sync_folder(checkpoint.parent)
    if killpoints.ARMED:
        killpoints.reached("checkpoint.after-marker")


def is_complete(checkpoint: Path, fingerprint: str) -> bool:
    """Tell whether ``checkpoint`` is whole and of the same training."""
    try:
        marker = json.loads((checkpoint / MARKER).read_bytes())
        if marker["fingerprint"] != fingerprint:
            return False
        for name, digest in marker["files"].items():
            with (checkpoint / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return False
    except (OSError, ValueError, KeyError):
        return False
    return True


def step_of(checkpoint: Path) -> int:
    """Return the step that the folder's name tells."""
    match = NAME.match(checkpoint.name)
    return int(match.group(1)) if match else -1


def newest_complete(folder: Path, fingerprint: str) -> tuple[Path | None, int]:
    """Return the newest complete checkpoint below ``folder``, or None, and how many others were removed."""
    found = sorted(
        (path for path in folder.glob("checkpoint-*") if NAME.match(path.name)), key=step_of, reverse=True
    )
    keep = next((path for path in found if is_complete(path, fingerprint)), None)
    # a half-written folder would count among those that are kept, and push a whole one out
    others = [path for path in found if keep is None or step_of(path) > step_of(keep)]
    for path in others:
        shutil.rmtree(path)
    return keep, len(others)


def removed_note(removed: int, goes_on_from: Path | None) -> list[str]:
    """Say that checkpoints could not be used, and where the training begins."""
    if not removed:
        return []
    begins = f"goes on from step {step_of(goes_on_from)}" if goes_on_from else "restarts from the beginning"
    return [f"{removed} checkpoints were incomplete or of another training; the training {begins}."]
