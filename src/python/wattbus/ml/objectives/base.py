"""What an objective gives a training: rows that can be learnt from, and a model that learns from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from wattbus.ml.loading import Loaded
from wattbus.ml.train_spec import EXAMPLE_CHARACTERS, ChangedExample, TrainMetrics

IGNORED = -100  # a position that has no truth, as torch's cross entropy and transformers' Trainer know it


def _nothing(_: int) -> None:
    return


@dataclass(frozen=True)
class Encoded:
    """Rows as the model takes them, each with its truth under ``labels``."""

    rows: Sequence[Mapping[str, Any]]
    owners: tuple[int, ...]  # of each: its place among the usable rows of the table
    lengths: tuple[int, ...]  # of each, in tokens; like lengths share a batch
    notes: tuple[str, ...] = ()
    begin_epoch: Callable[[int], None] = _nothing  # for rows that are others in each epoch


@dataclass(frozen=True)
class Answers:
    """What a model says to encoded rows, and how well that fits."""

    metrics: TrainMetrics
    predicted: tuple[tuple[int, ...], ...]  # of each encoded row, one number for each of its truths


class UsableRows(Protocol):
    """The rows of a table that an objective can use."""

    @property
    def strata(self) -> tuple[str, ...]:
        """Of each row, what should have the same share among the rows that train and those that test."""

    @property
    def dropped(self) -> int:
        """How many rows were left out, because something in them was empty."""

    @property
    def digest(self) -> str:
        """A sha256 of the rows in order."""

    @property
    def bytes(self) -> int:
        """How large what the model reads of them is."""

    def load(self, folder: Path, num_labels: int | None, seed: int) -> Learner:
        """Load a model folder to learn these rows; ModelError where it cannot."""


class Learner(Protocol):
    """A model beside the rows that it is to learn."""

    @property
    def base(self) -> Loaded:
        """The model itself."""

    @property
    def rows_at_once(self) -> int:
        """The largest batch that is chosen without being asked for."""

    def encode(self, positions: Sequence[int], *, held_out: bool) -> Encoded:
        """Make inputs of rows; those that are ``held_out`` are the same for every model with this tokenizer."""

    def answers(self, encoded: Encoded) -> Answers:
        """Ask the model, and compare with the truth."""

    def score(self, truth: Any, predicted: Any) -> TrainMetrics:
        """Return the metrics of a whole evaluation of the Trainer: arrays with IGNORED where there is no truth."""

    def changed(self, encoded: Encoded, old: Answers, new: Answers) -> list[ChangedExample]:
        """Return the rows that get another answer, in the order of the table."""


def changed_places(encoded: Encoded, old: Answers, new: Answers) -> list[tuple[int, int, int]]:
    """Return where two sets of answers differ first in each row of the table: row, encoded row, number of the truth."""
    found: dict[int, tuple[int, int, int]] = {}
    for number, (before, after) in enumerate(zip(old.predicted, new.predicted, strict=True)):
        owner = encoded.owners[number]
        if owner not in found and before != after:
            place = next(i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
            found[owner] = (owner, number, place)
    return sorted(found.values())


def shown(text: str) -> str:
    """Return the first characters of a text, as examples show them."""
    return text[:EXAMPLE_CHARACTERS]
