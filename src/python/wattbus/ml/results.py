"""JSON-safe results: what a pipeline answers, as plain values, with its pictures set apart as PNG."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_ARRAY_NUMBERS = 65_536
MAX_MASKS = 64


@dataclass(frozen=True)
class Picture:
    """A picture as PNG; the name holds a digest of its content, so that one name is one picture."""

    name: str
    kind: str  # annotated, mask or depth
    png: bytes = field(repr=False)
    width: int
    height: int

    @property
    def reference(self) -> dict[str, Any]:
        """What stands in the result in the picture's place."""
        return {"picture": self.name, "width": self.width, "height": self.height}


@dataclass(frozen=True)
class PlainResult:
    """A result of JSON values only, the pictures that were in it, and notes on what was left out."""

    value: Any
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]


def make_picture(image: Image, kind: str) -> Picture:
    """Encode ``image`` as a PNG picture named by its content."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    png = buffer.getvalue()
    digest = hashlib.sha256(png).hexdigest()[:16]
    return Picture(f"{kind}-{digest}.png", kind, png, image.width, image.height)


def make_plain(value: Any) -> PlainResult:
    """Turn a pipeline's output into JSON values: numbers of numpy and torch, arrays, pictures, NaN (null).

    Pictures become references; large arrays of numbers become a summary, with a note.
    """
    reader = _Reader()
    plain = reader.read(value, "result")
    return PlainResult(plain, tuple(reader.pictures), tuple(dict.fromkeys(reader.notes)))


class _Reader:
    """One walk through a result; gathers pictures and notes on the way."""

    def __init__(self) -> None:
        self.pictures: list[Picture] = []
        self.notes: list[str] = []

    def read(self, value: Any, name: str) -> Any:
        if value is None or isinstance(value, bool | str):
            return str(value) if isinstance(value, str) else value
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else None
        if isinstance(value, Mapping):
            return {str(key): self.read(one, str(key)) for key, one in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.read(one, name) for one in value]
        return self._read_foreign(value, name)

    def _read_foreign(self, value: Any, name: str) -> Any:
        """Read what numpy, torch, Pillow and transformers put into results."""
        import numpy
        import torch
        from PIL.Image import Image

        if isinstance(value, Image):
            return self._keep(value, name)
        if isinstance(value, numpy.generic):
            return self.read(value.item(), name)
        if isinstance(value, torch.Tensor):
            value = value.detach().to(device="cpu")
            value = (value.float() if value.is_floating_point() else value).numpy()
        if isinstance(value, numpy.ndarray):
            return self._read_array(value, name)
        if isinstance(value, bytes | bytearray):
            self.notes.append(f"{name!r} is {len(value)} bytes, left out.")
            return None
        return str(value)

    def _read_array(self, array: Any, name: str) -> Any:
        import numpy
        from PIL import Image

        if array.ndim == 2 and array.dtype == numpy.bool_:
            return self._keep(Image.fromarray(array.astype(numpy.uint8) * 255), "mask")
        if array.ndim == 3 and array.dtype == numpy.bool_:
            if len(array) > MAX_MASKS:
                self.notes.append(f"the first {MAX_MASKS} of {len(array)} masks were kept.")
            return [self._read_array(mask, name) for mask in array[:MAX_MASKS]]
        if array.size <= MAX_ARRAY_NUMBERS:
            return self.read(array.tolist(), name)
        self.notes.append(f"{name!r} is an array of {array.size} numbers: its shape and range were kept.")
        low, high = float(numpy.nanmin(array)), float(numpy.nanmax(array))
        return {"shape": list(array.shape), "min": self.read(low, name), "max": self.read(high, name)}

    def _keep(self, image: Image, name: str) -> dict[str, Any]:
        picture = make_picture(image, name if name in {"mask", "depth"} else "image")
        self.pictures.append(picture)
        return picture.reference
