"""What a training leaves in its run folder: the result, found again by an attempt after the one that wrote it."""

from __future__ import annotations

from pathlib import Path

from wattbus import killpoints
from wattbus.home import write_durably
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
