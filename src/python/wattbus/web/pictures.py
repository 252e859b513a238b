"""Pictures inside a page: a sheet as SVG whose colours are those of the style sheet, light or dark."""

from __future__ import annotations

import re

from markupsafe import Markup

from wattbus.pictures.sheet import Sheet
from wattbus.pictures.svg import draw_svg

# A page lets no style run that is not a file; the classes of the colours are in portal.css.
_STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)


def inline_picture(sheet: Sheet) -> Markup:
    """Return a sheet for the inside of a page."""
    svg = _STYLE.sub("", draw_svg(sheet), count=1)
    return Markup('<div class="picture">{}</div>').format(Markup(svg))  # noqa: S704 - draw_svg escapes every text
