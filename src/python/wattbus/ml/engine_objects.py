"""Objects in a picture on an engine: what the numbers of a detection model mean, as its image processor reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattbus.errors import ModelError
from wattbus.ml.engine_files import EngineCard
from wattbus.ml.engine_images import ImageReader
from wattbus.ml.engine_tokens import softmax
from wattbus.ml.pipeline_tasks import Call
from wattbus.ml.runner import Runner

if TYPE_CHECKING:
    from PIL.Image import Image

#: What a pipeline asks for where a request names no threshold.
_THRESHOLD = 0.5
#: Processors that take the surest label of each query; the last label is "no object".
_ONE_A_QUERY = frozenset({"DetrImageProcessor", "YolosImageProcessor"})
#: Processors that take the surest pairs of query and label, so many at most; None: as many as there are queries.
_SUREST_PAIRS: Mapping[str, int | None] = {
    "ConditionalDetrImageProcessor": 100,
    "DeformableDetrImageProcessor": 100,
    "RTDetrImageProcessor": None,
}


@dataclass(frozen=True)
class _Pixels:
    values: Any  # (1, 3, height, width)
    width: int  # of the picture as it was sent
    height: int


class ObjectDetection:
    """Things in a picture, each with its label, score and box."""

    def __init__(self, folder: Path, card: EngineCard, runner: Runner, labels: Mapping[int, str]) -> None:
        self._images = ImageReader(folder)
        self._runner = runner
        self._labels = labels
        kind = self._images.kind
        if kind not in _ONE_A_QUERY and kind not in _SUREST_PAIRS:
            raise ModelError(
                f"{kind} of {folder.name!r} names no objects: it does not serve object-detection."
            )
        self._most = _SUREST_PAIRS.get(kind)
        self._of_queries = kind in _ONE_A_QUERY

    def read(self, given: Image, options: Mapping[str, Any]) -> Any:
        return _Pixels(self._images.pixels(given), given.width, given.height)

    def run(self, inputs: Sequence[_Pixels]) -> list[Any]:
        return [
            tuple(output[0] for output in self._runner.run({"pixel_values": one.values})) for one in inputs
        ]

    def answer(self, read: _Pixels, outputs: Any, options: Mapping[str, Any]) -> Any:
        """Return the objects as ``post_process_object_detection`` and the pipeline of transformers 5 do."""
        import numpy

        logits, centred = (output.astype(numpy.float32) for output in outputs)
        scores, labels, queries = (
            one_a_query(logits) if self._of_queries else surest_pairs(logits, self._most or len(logits))
        )
        boxes = corners(centred, read.width, read.height)[queries]
        sure = scores > options.get("threshold", _THRESHOLD)
        return [
            {"score": float(score), "label": self._labels[int(label)], "box": _whole(box)}
            for score, label, box in zip(scores[sure], labels[sure], boxes[sure], strict=True)
        ]

    def shaped(self, answers: list[Any], call: Call) -> Any:
        return answers if call.listed else answers[0]

    def tokens(self, read: Any) -> int | None:
        return None

    def notes(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        return ()


def one_a_query(logits: Any) -> tuple[Any, Any, Any]:
    """Return of each query (queries, labels + 1) its surest label: scores, labels, queries."""
    import numpy

    shares = softmax(logits)[:, :-1]
    labels = shares.argmax(axis=-1)
    queries = numpy.arange(len(shares))
    return shares[queries, labels], labels, queries


def surest_pairs(logits: Any, most: int) -> tuple[Any, Any, Any]:
    """Return the surest pairs of query and label (queries, labels), the surest first: scores, labels, queries."""
    import numpy

    with numpy.errstate(over="ignore"):
        shares = (1.0 / (1.0 + numpy.exp(-logits))).ravel()
    best = numpy.argsort(-shares, kind="stable")[: min(most, shares.size)]
    return shares[best], best % logits.shape[1], best // logits.shape[1]


def corners(centred: Any, width: int, height: int) -> Any:
    """Turn boxes of centre and size, shares of the picture, into left, top, right, bottom in its pixels."""
    import numpy

    x, y, wide, high = centred.T
    half = numpy.float32(0.5)
    shares = numpy.stack([x - half * wide, y - half * high, x + half * wide, y + half * high], axis=-1)
    return shares * numpy.asarray([width, height, width, height], dtype=numpy.float32)


def _whole(box: Any) -> dict[str, int]:
    """Cut the pixels off to whole numbers, as the pipeline does."""
    return {
        name: int(edge) for name, edge in zip(("xmin", "ymin", "xmax", "ymax"), box.tolist(), strict=True)
    }
