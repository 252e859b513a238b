"""Pictures for an engine: resized, cropped, rescaled and normalised with Pillow and numpy, as transformers does it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattbus.errors import BadRequest, ModelError

if TYPE_CHECKING:
    from PIL.Image import Image

PROCESSOR = "preprocessor_config.json"
#: Image processors whose work is these four steps and no more; those of detection keep the shape of the picture.
KNOWN = (
    "BeitImageProcessor", "BitImageProcessor", "CLIPImageProcessor", "ConvNextImageProcessor", "DeiTImageProcessor",
    "LevitImageProcessor", "MobileNetV1ImageProcessor", "MobileNetV2ImageProcessor", "SiglipImageProcessor",
    "ViTImageProcessor", "ViTFeatureExtractor", "ConvNextFeatureExtractor",
    "ConditionalDetrImageProcessor", "DeformableDetrImageProcessor", "DetrImageProcessor", "RTDetrImageProcessor",
    "YolosImageProcessor",
)  # fmt: skip
_BILINEAR = 2
#: The sides of a picture are whole numbers of patches, where a model reads it in patches of one size.
_PATCH = {"YolosImageProcessor": 16}


class ImageReader:
    """Makes of a picture the numbers that the model reads, one picture at a time."""

    def __init__(self, folder: Path) -> None:
        self._told = _settings(folder)
        kind = str(self._told.get("image_processor_type") or self._told.get("feature_extractor_type") or "")
        kind = kind.removesuffix("Fast").removesuffix("Pil")
        if kind not in KNOWN:
            raise ModelError(
                f"pictures of {folder.name!r} are prepared by {kind or 'nothing named'}, which an engine does not know."
            )
        self.kind = kind

    def pixels(self, image: Image) -> Any:
        """Return the pixel values of an RGB picture: (1, 3, height, width), float32."""
        import numpy

        told = self._told
        if told.get("do_resize", True):
            image = self._resized(image)
        pixels = numpy.asarray(image, dtype=numpy.uint8)
        if told.get("do_center_crop", False):
            pixels = _cropped(pixels, told["crop_size"])
        values = pixels.astype(numpy.float64)
        if told.get("do_rescale", True):
            values = (values * told.get("rescale_factor", 1 / 255)).astype(numpy.float32)
        if told.get("do_normalize", True):
            mean, std = (
                numpy.asarray(told[name], dtype=numpy.float32) for name in ("image_mean", "image_std")
            )
            values = (values - mean) / std
        return numpy.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=numpy.float32)

    def _resized(self, image: Image) -> Image:
        size = self._told.get("size")
        resample: Any = self._told.get("resample", _BILINEAR)
        width, height = _wanted(size, image.width, image.height)
        patch = _PATCH.get(self.kind, 1)
        width, height = width - width % patch, height - height % patch
        if not width or not height:
            raise BadRequest(
                f"a picture of {image.width} x {image.height} pixels is too narrow for the model: send a wider one."
            )
        if (
            self.kind.startswith("ConvNext")
            and isinstance(size, Mapping)
            and size.get("shortest_edge", 384) < 384
        ):
            # the shorter side is made longer by this share, and the middle is cut out
            edge = int(size["shortest_edge"])
            width, height = _wanted(
                {"shortest_edge": int(edge / self._told.get("crop_pct", 224 / 256))},
                image.width,
                image.height,
            )
            image = image.resize((width, height), resample)
            left, top = (width - edge) // 2, (height - edge) // 2
            return image.crop((left, top, left + edge, top + edge))
        if self.kind.startswith("ConvNext") and isinstance(size, Mapping) and "shortest_edge" in size:
            width = height = int(size["shortest_edge"])
        return image.resize((width, height), resample)


def _settings(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / PROCESSOR).read_bytes())
    except FileNotFoundError:
        raise ModelError(
            f"there is no {PROCESSOR} in {folder.name!r}: it does not say how pictures are read."
        ) from None
    return dict(told)


def _wanted(size: Any, width: int, height: int) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if not isinstance(size, Mapping):
        raise ModelError(f"{PROCESSOR} names no size that an engine knows: {size!r}.")
    if "height" in size and "width" in size:
        return int(size["width"]), int(size["height"])
    if "shortest_edge" in size and "longest_edge" not in size:
        short = int(size["shortest_edge"])
        if width <= height:
            return short, int(short * height / width)
        return int(short * width / height), short
    if "shortest_edge" in size and "longest_edge" in size:
        return _between(int(size["shortest_edge"]), int(size["longest_edge"]), width, height)
    raise ModelError(f"{PROCESSOR} names no size that an engine knows: {dict(size)!r}.")


def _between(short: int, longest: int, width: int, height: int) -> tuple[int, int]:
    """Return the size whose shorter side is ``short``, or whose longer one is ``longest`` where that is less.

    Rounded in the steps of ``get_size_with_aspect_ratio`` of transformers 5.
    """
    exact: float = short
    if max(width, height) / min(width, height) * short > longest:
        exact = longest * min(width, height) / max(width, height)
        short = round(exact)
    if min(width, height) == short:
        return width, height
    if width < height:
        return short, int(exact * height / width)
    return int(exact * width / height), short


def _cropped(pixels: Any, size: Any) -> Any:
    """Return the middle of a picture; one that is smaller gets black around it."""
    import numpy

    wide, high = (size, size) if isinstance(size, int) else (int(size["width"]), int(size["height"]))
    height, width = pixels.shape[:2]
    top, left = (height - high) // 2, (width - wide) // 2
    if top >= 0 and left >= 0:
        return pixels[top : top + high, left : left + wide]
    larger = numpy.zeros((max(high, height), max(wide, width), pixels.shape[2]), dtype=pixels.dtype)
    above, before = -(-(larger.shape[0] - height) // 2), -(-(larger.shape[1] - width) // 2)
    larger[above : above + height, before : before + width] = pixels
    top, left = top + above, left + before
    return larger[max(0, top) : top + high, max(0, left) : left + wide]
