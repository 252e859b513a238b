"""A sheet as SVG: self-contained, with its text for who does not see it and its record for programs.

Nothing in it runs and nothing is loaded: every text is escaped, and letters come from the reader's machine, set to
the width that ours would take.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape

from wattbus.pictures.colours import BLACK, WHITE, Colour
from wattbus.pictures.fonts import font
from wattbus.pictures.sheet import Circle, Code, Item, Path, Rectangle, Sheet, Text

#: The namespace of the record in the metadata.
RECORD = "urn:wattbus:record"
LETTERS = "Inter, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


def draw_svg(sheet: Sheet) -> str:
    """Return the sheet as an SVG document; it follows the colour scheme of the screen."""
    width, height = _number(sheet.width), _number(sheet.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(sheet.alt)}">',
        f"<title>{escape(sheet.title)}</title><desc>{escape(sheet.alt)}</desc>",
    ]
    if sheet.record is not None:
        text = escape(json.dumps(sheet.record, allow_nan=False), quote=False)
        parts.append(f'<metadata><record xmlns="{RECORD}" type="application/json">{text}</record></metadata>')
    parts += [
        _dark(sheet.items),
        f'<g font-family="{LETTERS}">',
        *(part for item in sheet.items for part in _drawn(item)),
        "</g></svg>\n",
    ]
    return "\n".join(parts)


def _dark(items: Iterable[Item]) -> str:
    used = {colour.name: colour for item in items for colour in _colours(item) if colour.dark != colour.light}
    rules = "".join(
        f".f-{name}{{fill:{colour.dark}}}.s-{name}{{stroke:{colour.dark}}}" for name, colour in used.items()
    )
    return f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>" if rules else ""


def _colours(item: Item) -> list[Colour]:
    if isinstance(item, Code):
        return []
    found = (item.colour,) if isinstance(item, Text) else (item.fill, item.stroke)
    return [colour for colour in found if colour is not None]


def _drawn(item: Item) -> list[str]:
    match item:
        case Rectangle():
            place = _attributes(x=item.x, y=item.y, width=item.width, height=item.height)
            corners = _attributes(rx=item.radius) if item.radius else ""
            return [f"<rect{place}{corners}{_paint(item.fill, item.stroke, item.stroke_width)}/>"]
        case Circle():
            place = _attributes(cx=item.x, cy=item.y, r=item.radius)
            return [f"<circle{place}{_paint(item.fill, item.stroke, item.stroke_width)}/>"]
        case Path():
            return [_path(item)]
        case Text():
            return [_text(item)]
        case Code():
            return _code(item)


def _path(item: Path) -> str:
    points = " ".join(f"{_number(x)},{_number(y)}" for x, y in item.points)
    tag = "polygon" if item.closed else "polyline"
    dash = f' stroke-dasharray="{" ".join(map(_number, item.dash))}"' if item.dash else ""
    paint = _paint(item.fill, item.stroke, item.stroke_width)
    return f'<{tag} points="{points}"{paint} stroke-linejoin="round"{dash}/>'


def _text(item: Text) -> str:
    place = _attributes(x=item.x, y=item.y, font_size=item.size)
    weight = ' font-weight="600"' if item.bold else ""
    anchor = f' text-anchor="{item.anchor}"' if item.anchor != "start" else ""
    # Letters that ours lack are as wide as the reader's font makes them.
    known = font(bold=item.bold).drawable(item.said) == item.said
    length = f' textLength="{_number(item.width)}" lengthAdjust="spacingAndGlyphs"' if known else ""
    whole = f"<title>{escape(item.whole)}</title>" if item.whole else ""
    return f"<text{place}{weight}{anchor}{length}{_paint(item.colour, None, 0)}>{escape(item.said)}{whole}</text>"


def _code(item: Code) -> list[str]:
    count, step = len(item.rows), item.size / len(item.rows)
    quiet = 4 * step
    ground = _attributes(
        x=item.x - quiet, y=item.y - quiet, width=item.size + 2 * quiet, height=item.size + 2 * quiet
    )
    runs = []
    for y, row in enumerate(item.rows):
        x = 0
        while x < count:
            begin = x
            while x < count and row[x]:
                x += 1
            if x > begin:
                runs.append(f"M{begin} {y}h{x - begin}v1H{begin}z")
            x += 1
    move = f"translate({_number(item.x)} {_number(item.y)}) scale({item.size / count:.6g})"
    return [
        f'<rect{ground} fill="{WHITE.light}"/>',
        f'<path transform="{move}" fill="{BLACK.light}" shape-rendering="crispEdges" d="{"".join(runs)}"/>',
    ]


def _paint(fill: Colour | None, stroke: Colour | None, width: float) -> str:
    names = [f"f-{fill.name}"] if fill else []
    names += [f"s-{stroke.name}"] if stroke else []
    marked = f' class="{" ".join(names)}"' if names else ""
    painted = f' fill="{fill.light if fill else "none"}"'
    drawn = f' stroke="{stroke.light}" stroke-width="{_number(width)}"' if stroke else ""
    return f"{marked}{painted}{drawn}"


def _attributes(**values: float) -> str:
    return "".join(f' {name.replace("_", "-")}="{_number(value)}"' for name, value in values.items())


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
