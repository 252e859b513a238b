"""The rungs of a training that have ended, on disk: each with its result, the best one with its model."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from wattbus import killpoints
from wattbus.home import make_owner_folder, sync_folder, write_durably
from wattbus.ml.classifier import Classifier
from wattbus.ml.outcome import save_model
from wattbus.training_report import LearningPoint, Rung

FOLDER = "rungs"


class RungRecord(BaseModel):
    """All that is needed of a rung that ended, so that it need not be run again."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    rung: Rung
    chances: list[list[float]] = []  # of the test rows, by label; none where it made no model
    optimizer: str = ""
    learning_rate: float | None = None
    batch_size: int = 0
    precision: str = "fp32"
    epochs: float = 0.0
    training_seconds: float = 0.0
    resumed_from_step: int | None = None
    notes: list[str] = []
    learning_curve: list[LearningPoint] = []
    more_rows: str = ""
    parameters: int = 0
    layers: int | None = None

    @property
    def made_a_model(self) -> bool:
        return bool(self.chances)

    def value(self, metric: str) -> float:
        """Return its metric on the test rows; below all where it made no model."""
        return self.rung.metrics.get(metric, -1.0) if self.made_a_model else -1.0


class RungRecords:
    """The records of one run folder that belong to one training."""

    def __init__(self, run_folder: Path, fingerprint: str) -> None:
        self._folder = run_folder / FOLDER
        self._final = run_folder / "model"
        self._fingerprint = fingerprint

    def read(self, name: str) -> RungRecord | None:
        """Return the record of a rung that ended in an earlier attempt."""
        try:
            found = RungRecord.model_validate_json((self._folder / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None
        return found if found.fingerprint == self._fingerprint else None

    def has_model(self, name: str) -> bool:
        """Tell whether the model of a rung is there, in its own place or in the final one."""
        return any((self._folder / name).glob("*.safetensors")) or any(self._final.glob("*.safetensors"))

    def save_model(self, name: str, trained: Classifier) -> Path:
        """Write the model of a rung, durably."""
        return save_model(trained, self._folder / name)

    def keep(self, record: RungRecord) -> None:
        """Write down that a rung has ended, durably."""
        if killpoints.ARMED:
            killpoints.reached("rung.before-save")
        write_durably(
            make_owner_folder(self._folder) / f"{record.rung.name}.json", record.model_dump_json().encode()
        )
        if killpoints.ARMED:
            killpoints.reached("rung.after-save")

    def drop_models_but(self, best: str | None) -> None:
        """Take the models out that are not the best: each is as large as the model itself."""
        for path in list(self._folder.iterdir()):
            if path.is_dir() and path.name != best:
                shutil.rmtree(path)

    def settle_on(self, name: str) -> Path:
        """Give the model of a rung its final place and return that."""
        chosen = self._folder / name
        if chosen.is_dir():
            shutil.rmtree(self._final, ignore_errors=True)
            chosen.rename(self._final)
            sync_folder(self._folder)
            sync_folder(self._final.parent)
        return self._final  # an earlier attempt may have moved it already

    def forget(self) -> None:
        """Take all records out: the training has its result, or failed and begins anew."""
        shutil.rmtree(self._folder, ignore_errors=True)
