"""Annotated pictures: found objects as labelled boxes, segments as a coloured overlay.

The colours are the eight of Okabe and Ito, which people with colour-blindness tell apart; the label is always
written too, so that colour alone never carries the meaning. https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (0, 0, 0),
)
MAX_LABEL_LETTERS = 40
OVERLAY_SHARE = 0.55


def annotated(task: str, images: Sequence[Image], each: Sequence[Any]) -> list[Image]:
    """Return the pictures of a request with what was found in each drawn on it; none where a task finds no places."""
    draw = _DRAWN.get(task)
    return [draw(image, found) for image, found in zip(images, each, strict=True)] if draw is not None else []


def draw_boxes(image: Image, found: Sequence[dict[str, Any]]) -> Image:
    """Return a copy of ``image`` with the box, label and score of each found object, the surest on top."""
    from PIL import ImageDraw

    drawn = image.convert("RGB")
    draw = ImageDraw.Draw(drawn)
    colours = _colours(found)
    width = max(2, round(min(drawn.size) / 200))
    for one in sorted(found, key=_score):
        colour, box = colours[str(one.get("label"))], one["box"]
        left, right = sorted((_inside(box["xmin"], drawn.width), _inside(box["xmax"], drawn.width)))
        top, bottom = sorted((_inside(box["ymin"], drawn.height), _inside(box["ymax"], drawn.height)))
        draw.rectangle((left, top, right, bottom), outline=colour, width=width)
        _write_label(draw, drawn, (left, top), _caption(one), colour)
    return drawn


def draw_segments(image: Image, segments: Sequence[dict[str, Any]]) -> Image:
    """Return a copy of ``image`` with each segment's mask as a colour over it and its label at its centre."""
    from PIL import Image as images
    from PIL import ImageDraw

    drawn = image.convert("RGB")
    places: list[tuple[tuple[int, int], str, Colour]] = []
    for number, segment in enumerate(segments):
        mask = segment["mask"].convert("L").resize(drawn.size)
        box = mask.getbbox()
        if box is None:
            continue
        colour = PALETTE[number % len(PALETTE)]
        drawn.paste(images.new("RGB", drawn.size, colour), mask=mask.point(_faded))
        places.append((((box[0] + box[2]) // 2, (box[1] + box[3]) // 2), _caption(segment), colour))
    draw = ImageDraw.Draw(drawn)
    for place, caption, colour in places:
        _write_label(draw, drawn, place, caption, colour)
    return drawn


_DRAWN: Mapping[str, Callable[[Image, Sequence[dict[str, Any]]], Image]] = {
    "object-detection": draw_boxes,
    "zero-shot-object-detection": draw_boxes,
    "image-segmentation": draw_segments,
}


def _faded(level: int) -> int:
    return round(level * OVERLAY_SHARE)


def _colours(found: Sequence[dict[str, Any]]) -> dict[str, Colour]:
    labels = dict.fromkeys(str(one.get("label")) for one in found)
    return {label: PALETTE[number % len(PALETTE)] for number, label in enumerate(labels)}


def _score(one: dict[str, Any]) -> float:
    return float(one.get("score") or 0.0)


def _caption(one: dict[str, Any]) -> str:
    # control characters would break the drawing, and a label comes with a model from elsewhere
    label = "".join(letter for letter in str(one.get("label")) if letter.isprintable())[:MAX_LABEL_LETTERS]
    return label if one.get("score") is None else f"{label} {_score(one):.0%}"


def _inside(position: float, size: int) -> int:
    return max(0, min(int(position), size - 1))


def _write_label(draw: ImageDraw, image: Image, place: tuple[int, int], caption: str, colour: Colour) -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(size=max(10, round(min(image.size) / 30)))
    left, top, right, bottom = draw.textbbox((0, 0), caption, font=font)
    width, height = int(right - left) + 6, int(bottom - top) + 6
    x = max(0, min(place[0], image.width - width))
    y = max(0, min(place[1], image.height - height))
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    draw.text((x + 3 - left, y + 3 - top), caption, fill=(0, 0, 0) if light else (255, 255, 255), font=font)
