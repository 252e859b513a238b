"""The tokenizer of a training: trained once a run on the rows that train, and the same one after a crash."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from wattbus.errors import BadRequest
from wattbus.home import make_owner_folder, sync_folder, write_durably
from wattbus.ml.examples import Split
from wattbus.ml.objectives.base import UsableRows
from wattbus.ml.objectives.texts import Texts
from wattbus.ml.tokenizing import retokenise
from wattbus.ml.train_spec import TrainSpec

RETOKENISED = "retokenised"
MADE = "made.json"  # which training it was made for, and what to say of it
NEW_TOKENIZER_NOTE = (
    "the tokenizer is new: the old figures are those of the stored model with it, before it was trained."
)


def with_new_tokenizer(
    spec: TrainSpec, rows: UsableRows, split: Split, fingerprint: str, notes: list[str]
) -> Path:
    """Return the folder of the model with a tokenizer of its own for these rows.

    A tokenizer does not come out the same twice, so a training that goes on takes the one that it had.
    """
    if spec.train_tokenizer is None or not isinstance(rows, Texts):
        raise BadRequest(f"{spec.objective} trains no tokenizer.")
    folder = spec.run_folder / RETOKENISED
    told = _told(folder)
    if told.get("fingerprint") != fingerprint:
        aside = spec.run_folder / f".{RETOKENISED}.part"
        for left in (aside, folder):
            shutil.rmtree(left, ignore_errors=True)
        make_owner_folder(aside)
        made = retokenise(
            spec.model_folder, (rows.texts[row] for row in split.train), spec.train_tokenizer, aside
        )
        told = {
            "fingerprint": fingerprint,
            "note": made.note.partition(":")[0] + " was trained on the rows that train.",
        }
        write_durably(aside / MADE, json.dumps(told).encode())
        aside.rename(folder)
        sync_folder(spec.run_folder)
    notes.append(told["note"])
    return folder


def _told(folder: Path) -> dict[str, str]:
    try:
        found = json.loads((folder / MADE).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
