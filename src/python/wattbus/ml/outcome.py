"""What a training leaves in its run folder: the result, found again by an attempt after the one that wrote it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from wattbus import killpoints
from wattbus.home import make_owner_folder, sync_file, sync_folder, write_durably
from wattbus.ml.examples import batch_size_for
from wattbus.ml.loading import Loaded
from wattbus.ml.train_spec import TrainResult

RESULT = "result.json"
DEFAULT_SEED = 42


def finished_before(run_folder: Path, fingerprint: str) -> TrainResult | None:
    """Return the stored result when this very training ended before and its model is still there."""
    try:
        stored = TrainResult.model_validate_json((run_folder / RESULT).read_bytes())
    except (OSError, ValueError):
        return None
    if stored.fingerprint != fingerprint or not any(stored.model_folder.glob("*.safetensors")):
        return None
    note = "this training had ended before: its stored result is given, nothing was trained again."
    return stored.model_copy(update={"notes": (*stored.notes, note)})


def keep_result(run_folder: Path, result: TrainResult) -> None:
    """Write the result durably: from here on the training has ended."""
    if killpoints.ARMED:
        killpoints.reached("result.before-save")
    write_durably(run_folder / RESULT, result.model_dump_json(indent=1).encode())
    if killpoints.ARMED:
        killpoints.reached("result.after-save")


def dropped_note(dropped: int, columns: tuple[str, ...]) -> list[str]:
    """Say how many rows were left out, where any were."""
    return [f"{dropped} rows without {' or '.join(columns)} were left out."] if dropped else []


def library_versions() -> str:
    """Return the versions of torch and transformers: another release may give other figures."""
    from importlib.metadata import version

    return f"{version('torch')} {version('transformers')}"


def save_model(trained: Loaded, final: Path) -> Path:
    """Write a model and its tokenizer aside, make them durable, then give the folder its name, and return it."""
    aside = final.with_name(f".{final.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    make_owner_folder(final.parent)
    make_owner_folder(aside)
    trained.save(aside)
    for path in aside.rglob("*"):
        if path.is_file():
            sync_file(path)
    sync_folder(aside)
    shutil.rmtree(final, ignore_errors=True)
    aside.rename(final)
    sync_folder(final.parent)
    return final


def batch_note(count: int, most: int, asked: Mapping[str, object]) -> list[str]:
    """Say what is faster where so many rows leave a batch size of 1, and nobody has asked for it."""
    if batch_size_for(count, most) > 1 or "per_device_train_batch_size" in asked:
        return []
    return [
        f"{count} rows have no divisor from 2 to {most}, so the batch size is 1: "
        f"per_device_train_batch_size={min(16, most)} is faster."
    ]
