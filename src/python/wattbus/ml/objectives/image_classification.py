"""Image classification: one label for each picture, a file of the uploads folder or bytes in the table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.errors import BadRequest, ModelError, Refused
from wattbus.ml.examples import BATCH_MAX, LABELS_MAX, label_order, label_text
from wattbus.ml.images import ImageSource, OpenedImage, decode
from wattbus.ml.loading import IMAGE_HEAD, LOCAL, Loaded, first_line, load_headed
from wattbus.ml.metrics import classification_metrics
from wattbus.ml.objectives.base import Answers, Encoded, changed_places, shown
from wattbus.ml.objectives.texts import check_enough
from wattbus.ml.train_spec import ChangedExample, TrainMetrics, TrainSpec


@dataclass(frozen=True)
class Picture:
    """Where a picture lies: a file of the uploads folder, or a part of the file that keeps the table's bytes."""

    name: str
    offset: int | None = None
    size: int = 0


class Album:
    """The pictures of a table, opened one at a time; bytes of the table are kept in a file, not in memory."""

    def __init__(self, uploads: Path | None, folder: Path) -> None:
        self._source = ImageSource(uploads or folder / "no uploads", _no_address)
        self._file = folder / "pictures"
        self._file.unlink(missing_ok=True)
        self._size = 0

    def keep(self, cell: object, where: str) -> Picture:
        """Return where the picture of a cell can be opened; BadRequest when a cell is neither a name nor bytes."""
        if isinstance(cell, str):
            return Picture(cell)
        if not isinstance(cell, bytes | bytearray | memoryview):
            raise BadRequest(
                f"{where} holds {type(cell).__name__}: an image is the name of an uploaded file, or bytes. Name the "
                "label column first and the image column second."
            )
        data = bytes(cell)
        with self._file.open("ab") as file:
            file.write(data)
        self._size += len(data)
        return Picture(where, self._size - len(data), len(data))

    def open(self, picture: Picture) -> OpenedImage:
        """Decode a picture; BadRequest or Refused for what is none."""
        if picture.offset is None:
            return self._source.open(picture.name)
        with self._file.open("rb") as file:
            file.seek(picture.offset)
            return decode(file.read(picture.size), picture.name)


def _no_address(url: str) -> bytes:
    raise Refused(
        f"{url!r} is an address: a training reads pictures of the uploads folder and of the table only."
    )


@dataclass(frozen=True)
class PictureRows:
    """Rows of a label and a picture."""

    album: Album
    pictures: tuple[Picture, ...]
    labels: tuple[str, ...]
    row_numbers: tuple[int, ...]
    dropped: int
    digest: str
    bytes: int

    @property
    def strata(self) -> tuple[str, ...]:
        return self.labels

    def load(self, folder: Path, num_labels: int | None, seed: int) -> PictureLearner:
        """Load an image encoder with a head for the labels of these rows."""
        from transformers import AutoImageProcessor

        headed = load_headed(folder, IMAGE_HEAD, label_order(self.labels), num_labels, seed)
        try:
            processor = AutoImageProcessor.from_pretrained(folder, **LOCAL)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ModelError(
                f"the model in {folder} has no image processor ({first_line(error)})."
            ) from error
        base = Loaded(
            model=headed.model, reader=processor, collate=_stacked, labels=headed.labels,
            label_ids={label: number for number, label in enumerate(headed.labels)},
            max_tokens=0, old_note=headed.old_note, notes=headed.notes,
        )  # fmt: skip
        return PictureLearner(base, self)


def read(rows: Iterable[tuple[Any, ...]], spec: TrainSpec) -> PictureRows:
    """Read rows of (label, image) and open each picture once; BadRequest when one is none or they teach nothing."""
    album = Album(spec.uploads, spec.run_folder)
    pictures: list[Picture] = []
    labels: list[str] = []
    numbers: list[int] = []
    digest = hashlib.sha256()
    size = number = 0
    for number, (label, cell) in enumerate(rows, start=1):
        if (
            label is None
            or label == ""
            or cell is None
            or len(cell if hasattr(cell, "__len__") else "x") == 0
        ):
            continue
        where = f"row {number} of column {spec.columns[1]} of {spec.table}"
        picture = album.keep(cell, where)
        try:
            opened = album.open(picture)
        except (BadRequest, Refused) as error:
            raise type(error)(f"row {number} of {spec.table}: {error}") from None
        pictures.append(picture)
        labels.append(label_text(label, spec.table, spec.columns[0]))
        numbers.append(number)
        size += opened.bytes
        digest.update(f"{labels[-1]}\x00{opened.image.size}\x00".encode() + opened.image.tobytes())
    check_enough(len(pictures), number, spec)
    _check_labels(labels, spec)
    return PictureRows(
        album,
        tuple(pictures),
        tuple(labels),
        tuple(numbers),
        number - len(pictures),
        digest.hexdigest(),
        size,
    )


def _check_labels(labels: Sequence[str], spec: TrainSpec) -> None:
    distinct = len(set(labels))
    if distinct == 1:
        raise BadRequest(
            f"all {len(labels)} rows of {spec.table} have the same {spec.columns[0]} {labels[0]!r}: at least two "
            "different labels are needed."
        )
    if distinct > LABELS_MAX or (len(labels) > 10 and distinct > len(labels) / 2):
        raise BadRequest(
            f"column {spec.columns[0]} of {spec.table} has {distinct} different values in {len(labels)} rows, too many "
            "to be labels: name the label column first and the image column second."
        )


class Pixels(Sequence[dict[str, Any]]):
    """Pictures as the model sees them, each made when it is asked for: (channels, height, width) and a label."""

    def __init__(self, rows: PictureRows, base: Loaded, positions: Sequence[int]) -> None:
        self._rows, self._base, self._positions = rows, base, positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, number: Any) -> Any:
        """Open a picture and make its pixels."""
        row = self._positions[number]
        image = self._rows.album.open(self._rows.pictures[row]).image
        pixels = self._base.reader(images=image, return_tensors="pt")["pixel_values"][0]
        return {"pixel_values": pixels, "labels": self._base.label_ids[self._rows.labels[row]]}


def _stacked(rows: Sequence[dict[str, Any]]) -> Any:
    import torch
    from transformers import BatchFeature

    return BatchFeature(
        {
            "pixel_values": torch.stack([row["pixel_values"] for row in rows]),
            "labels": torch.tensor([row["labels"] for row in rows]),
        }
    )


@dataclass(frozen=True)
class PictureLearner:
    """A classifier of pictures beside its rows."""

    base: Loaded
    rows: PictureRows
    rows_at_once: int = BATCH_MAX

    def encode(self, positions: Sequence[int], *, held_out: bool) -> Encoded:
        """Return pixels that are made as they are asked for, with the number of their label."""
        return Encoded(Pixels(self.rows, self.base, positions), tuple(positions), (1,) * len(positions))

    def answers(self, encoded: Encoded) -> Answers:
        """Return the label that each picture gets."""
        import torch

        predicted: list[int] = []
        truth: list[int] = []
        self.base.model.eval()
        with torch.inference_mode():
            for start in range(0, len(encoded.rows), self.rows_at_once):
                end = min(start + self.rows_at_once, len(encoded.rows))
                batch = self.base.collate([encoded.rows[one] for one in range(start, end)])
                truth += batch.pop("labels").tolist()
                predicted += self.base.model(**batch.to(self.base.model.device)).logits.argmax(-1).tolist()
        return Answers(classification_metrics(truth, predicted), tuple((one,) for one in predicted))

    def score(self, truth: Any, predicted: Any) -> TrainMetrics:
        """Return accuracy, and precision, recall and F1 weighted by class."""
        return classification_metrics(truth.tolist(), predicted.tolist())

    def changed(self, encoded: Encoded, old: Answers, new: Answers) -> list[ChangedExample]:
        """Return the pictures that get another label."""
        return [
            ChangedExample(
                row=self.rows.row_numbers[row],
                text=shown(self.rows.pictures[row].name),
                label=self.rows.labels[row],
                old=self.base.labels[old.predicted[number][0]],
                new=self.base.labels[new.predicted[number][0]],
            )
            for row, number, _ in changed_places(encoded, old, new)
        ]
