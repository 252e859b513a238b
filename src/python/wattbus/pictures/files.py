"""The forms in which a sheet leaves: SVG, PNG or PDF by the end of a file's name."""

from __future__ import annotations

from wattbus.errors import UnknownName
from wattbus.pictures.pdf import draw_pdf
from wattbus.pictures.png import draw_png
from wattbus.pictures.sheet import Sheet
from wattbus.pictures.svg import draw_svg

#: The media type of each form.
FORMS = {"svg": "image/svg+xml", "png": "image/png", "pdf": "application/pdf"}


def draw(sheet: Sheet, form: str, scale: float = 2.0) -> bytes:
    """Return the sheet as a file of a form; ``scale`` is that of a PNG, in pixels for each unit of the sheet."""
    match form.lower():
        case "svg":
            return draw_svg(sheet).encode()
        case "png":
            return draw_png(sheet, scale)
        case "pdf":
            return draw_pdf(sheet)
        case _:
            raise UnknownName("form of a picture", form, FORMS, "The end of the file's name says which.")
