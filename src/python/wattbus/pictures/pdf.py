"""Sheets as one PDF: a page each, with text that can be selected and the records as attached JSON files."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wattbus.errors import BadRequest
from wattbus.pictures.colours import BLACK, WHITE, Colour
from wattbus.pictures.fonts import font
from wattbus.pictures.sheet import Circle, Code, Item, Path, Rectangle, Sheet, Text
from wattbus.pictures.strokes import dashes

if TYPE_CHECKING:
    from fpdf import FPDF

#: A CSS pixel is so many points.
_POINTS = 0.75
_FAMILY = "Inter"


def draw_pdf(sheets: Sheet | Sequence[Sheet]) -> bytes:
    """Return the sheets as the pages of one document; the first gives its title and its description."""
    from fpdf import FPDF

    pages = [sheets] if isinstance(sheets, Sheet) else list(sheets)
    if not pages:
        raise BadRequest("a PDF of no page cannot be made: give at least one sheet.")
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of each step of cutting a font down
    document = FPDF(unit="pt")
    document.set_margin(0)
    document.set_auto_page_break(False)
    document.set_lang("en")
    document.set_title(pages[0].title)
    document.set_subject(" ".join(page.alt for page in pages))
    document.set_producer("wattbus")
    for bold in (False, True):
        document.add_font(_FAMILY, "B" if bold else "", font(bold=bold).file)
    for number, page in enumerate(pages, start=1):
        document.add_page(format=(page.width * _POINTS, page.height * _POINTS))
        for item in page.items:
            _draw(document, item)
        if page.record is not None:
            document.embed_file(
                bytes=json.dumps(page.record, allow_nan=False, indent=1).encode(),
                basename="record.json" if len(pages) == 1 else f"record-{number}.json",
                mime_type="application/json",
                desc=page.title,
                compress=True,
            )
    return bytes(document.output())


def _draw(document: FPDF, item: Item) -> None:
    match item:
        case Rectangle():
            _rectangle(document, item)
        case Circle():
            style = _paint(document, item.fill, item.stroke, item.stroke_width)
            document.circle(item.x * _POINTS, item.y * _POINTS, item.radius * _POINTS, style=style)
        case Path():
            _path(document, item)
        case Text():
            _text(document, item)
        case Code():
            _code(document, item)


def _rectangle(document: FPDF, item: Rectangle) -> None:
    document.rect(
        item.x * _POINTS,
        item.y * _POINTS,
        item.width * _POINTS,
        item.height * _POINTS,
        style=_paint(document, item.fill, item.stroke, item.stroke_width),
        round_corners=item.radius > 0,
        corner_radius=item.radius * _POINTS,
    )


def _path(document: FPDF, item: Path) -> None:
    points = [(x * _POINTS, y * _POINTS) for x, y in item.points]
    style = _paint(document, item.fill, item.stroke, item.stroke_width)
    if len(points) < 2:
        return
    if item.closed:
        document.polygon(points, style=style)
        return
    strokes = [points]
    if item.dash:
        # fpdf2 ends a line with a square as long as the line is wide: the strokes are so much shorter
        ends = item.stroke_width * _POINTS
        pattern = [
            max(0.1, length * _POINTS + (ends if number % 2 else -ends))
            for number, length in enumerate(item.dash)
        ]
        strokes = dashes(points, pattern)
    for stroke in strokes:
        document.polyline([(x, y) for x, y in stroke], style="D")


def _text(document: FPDF, item: Text) -> None:
    document.set_font(_FAMILY, "B" if item.bold else "", item.size * _POINTS)
    document.set_text_color(*item.colour.rgb)
    left = item.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[item.anchor] * item.width
    document.text(left * _POINTS, item.y * _POINTS, font(bold=item.bold).drawable(item.said))


def _code(document: FPDF, item: Code) -> None:
    step = item.size / len(item.rows)
    ground = item.size + 8 * step
    _rectangle(document, Rectangle(item.x - 4 * step, item.y - 4 * step, ground, ground, fill=WHITE))
    _paint(document, BLACK, None, 0)
    for y, row in enumerate(item.rows):
        x = 0
        while x < len(row):
            begin = x
            while x < len(row) and row[x]:
                x += 1
            if x > begin:
                # a hair taller than it is: no white line between two rows
                document.rect(
                    (item.x + begin * step) * _POINTS,
                    (item.y + y * step) * _POINTS,
                    (x - begin) * step * _POINTS,
                    (step + 0.05) * _POINTS,
                    style="F",
                )
            x += 1


def _paint(document: FPDF, fill: Colour | None, stroke: Colour | None, width: float) -> str:
    """Choose the colours, and return the style of painting: F fills, D draws the edge."""
    if fill is not None:
        document.set_fill_color(*fill.rgb)
    if stroke is not None:
        document.set_draw_color(*stroke.rgb)
        document.set_line_width(width * _POINTS)
    return ("D" if stroke else "") + ("F" if fill else "") or "D"
