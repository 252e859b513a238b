"""A sheet as PNG, with its text for who does not see it and its record for programs in text chunks."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from wattbus.errors import BadRequest
from wattbus.pictures.colours import BLACK, WHITE, Colour
from wattbus.pictures.fonts import font
from wattbus.pictures.sheet import Circle, Code, Item, Path, Point, Rectangle, Sheet, Text
from wattbus.pictures.strokes import dashes, module_edges

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

#: The keyword of the text chunk that holds the record as JSON.
RECORD = "wattbus-record"
_MOST_PIXELS = 24_000_000
# Drawn so many times larger and then reduced: edges come out smooth.
_FINER = 3


def draw_png(sheet: Sheet, scale: float = 2.0) -> bytes:
    """Return the sheet as a PNG picture, ``scale`` pixels for each unit; BadRequest where that is too large."""
    from PIL import Image, ImageDraw
    from PIL.PngImagePlugin import PngInfo

    size = round(sheet.width * scale), round(sheet.height * scale)
    if not 0 < size[0] * size[1] <= _MOST_PIXELS:
        raise BadRequest(
            f"a picture of {size[0]:,} by {size[1]:,} pixels is not drawn: choose a scale at which it has "
            f"1 to {_MOST_PIXELS:,} pixels."
        )
    picture = Image.new("RGB", (size[0] * _FINER, size[1] * _FINER), WHITE.light)
    canvas = _Canvas(ImageDraw.Draw(picture), scale * _FINER)
    for item in sheet.items:
        canvas.draw(item)
    told = PngInfo()
    told.add_itxt("Title", sheet.title)
    told.add_itxt("Description", sheet.alt)
    if sheet.record is not None:
        told.add_itxt(RECORD, json.dumps(sheet.record, allow_nan=False))
    out = io.BytesIO()
    picture.reduce(_FINER).save(out, "PNG", pnginfo=told, optimize=True, dpi=(96 * scale, 96 * scale))
    return out.getvalue()


class _Canvas:
    """Draws items with so many dots for each unit of the sheet."""

    def __init__(self, draw: ImageDraw, dots: float) -> None:
        self._draw, self._dots = draw, dots

    def draw(self, item: Item) -> None:
        match item:
            case Rectangle():
                self._rectangle(item)
            case Circle():
                self._circle(item)
            case Path():
                self._path(item)
            case Text():
                self._text(item)
            case Code():
                self._code(item)

    def _rectangle(self, item: Rectangle) -> None:
        dots = self._dots
        half = item.stroke_width / 2 if item.stroke else 0.0
        # Pillow strokes inwards and counts the last dot in; SVG strokes on the edge.
        box = (
            (item.x - half) * dots,
            (item.y - half) * dots,
            max((item.x - half) * dots, (item.x + item.width + half) * dots - 1),
            max((item.y - half) * dots, (item.y + item.height + half) * dots - 1),
        )
        self._draw.rounded_rectangle(
            box,
            (item.radius + half) * dots if item.radius else 0,
            fill=_hex(item.fill),
            outline=_hex(item.stroke),
            width=self._width(item.stroke_width),
        )

    def _circle(self, item: Circle) -> None:
        dots, half = self._dots, item.stroke_width / 2 if item.stroke else 0.0
        reach = item.radius + half
        box = (
            (item.x - reach) * dots,
            (item.y - reach) * dots,
            (item.x + reach) * dots,
            (item.y + reach) * dots,
        )
        self._draw.ellipse(
            box, fill=_hex(item.fill), outline=_hex(item.stroke), width=self._width(item.stroke_width)
        )

    def _path(self, item: Path) -> None:
        points = [(x * self._dots, y * self._dots) for x, y in item.points]
        if item.fill is not None and len(points) > 2:
            self._draw.polygon(points, fill=item.fill.light)
        if item.stroke is None or len(points) < 2:
            return
        if item.closed:
            points = [*points, points[0], points[1]]
        strokes: list[list[Point]] = [points]
        if item.dash:
            strokes = dashes(points, [length * self._dots for length in item.dash])
        for stroke in strokes:
            self._draw.line(
                stroke, fill=item.stroke.light, width=self._width(item.stroke_width), joint="curve"
            )

    def _text(self, item: Text) -> None:
        letters = font(bold=item.bold)
        left = item.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[item.anchor] * item.width
        self._draw.text(
            (left * self._dots, item.y * self._dots),
            letters.drawable(item.said),
            fill=item.colour.light,
            font=_letters(str(letters.file), item.size * self._dots),
            anchor="ls",
        )

    def _code(self, item: Code) -> None:
        count = len(item.rows)
        quiet = 4 * item.size / count
        self._rectangle(
            Rectangle(
                item.x - quiet, item.y - quiet, item.size + 2 * quiet, item.size + 2 * quiet, fill=WHITE
            )
        )
        whole = self._dots / _FINER
        across = [
            edge * _FINER for edge in module_edges(item.x * whole, item.size * whole, count)
        ]  # whole pixels of the picture: nothing is smoothed
        down = [edge * _FINER for edge in module_edges(item.y * whole, item.size * whole, count)]
        for y, row in enumerate(item.rows):
            for x, dark in enumerate(row):
                if dark and across[x + 1] > across[x] and down[y + 1] > down[y]:
                    box = (across[x], down[y], across[x + 1] - 1, down[y + 1] - 1)
                    self._draw.rectangle(box, fill=BLACK.light)

    def _width(self, width: float) -> int:
        return max(1, round(width * self._dots))


def _letters(file: str, size: float) -> Any:
    from PIL import ImageFont

    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


def _hex(colour: Colour | None) -> str | None:
    return None if colour is None else colour.light
