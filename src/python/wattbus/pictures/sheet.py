"""The sheet: a drawing as a list of what stands on it, from back to front."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wattbus.pictures.colours import INK, Colour
from wattbus.pictures.fonts import ELLIPSIS, font

Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]
#: A4 at 96 dots an inch, upright.
A4 = (794, 1123)


@dataclass(frozen=True)
class Rectangle:
    """A box, with round corners where ``radius`` is given."""

    x: float
    y: float
    width: float
    height: float
    fill: Colour | None = None
    stroke: Colour | None = None
    stroke_width: float = 1.0
    radius: float = 0.0


@dataclass(frozen=True)
class Path:
    """Straight lines from point to point; ``dash`` holds the lengths of strokes and gaps in turn."""

    points: tuple[Point, ...]
    stroke: Colour | None = None
    fill: Colour | None = None
    stroke_width: float = 1.0
    closed: bool = False
    dash: tuple[float, ...] = ()


@dataclass(frozen=True)
class Circle:
    """A circle about a point."""

    x: float
    y: float
    radius: float
    fill: Colour | None = None
    stroke: Colour | None = None
    stroke_width: float = 1.0


@dataclass(frozen=True)
class Text:
    """One line of text: ``y`` is its baseline, ``width`` what it takes in our letters, ``whole`` what was cut."""

    x: float
    y: float
    said: str
    size: float
    width: float
    colour: Colour = INK
    bold: bool = False
    anchor: Anchor = "start"
    whole: str = ""


@dataclass(frozen=True)
class Code:
    """A QR code: ``rows`` of dark modules, without the quiet zone that stands around."""

    x: float
    y: float
    size: float
    content: str
    rows: tuple[tuple[bool, ...], ...]


Item = Rectangle | Path | Circle | Text | Code


@dataclass(frozen=True)
class Sheet:
    """A finished drawing. ``alt`` says all that it shows; ``record`` is what a program reads out of the file."""

    width: float
    height: float
    title: str
    alt: str
    items: tuple[Item, ...]
    record: dict[str, Any] | None = None


class Sketch:
    """A drawing in the making; lengths are in CSS pixels, y grows downwards."""

    def __init__(
        self, width: float, height: float, *, title: str, alt: str, record: dict[str, Any] | None = None
    ) -> None:
        self.width, self.height = width, height
        self.title, self.alt, self.record = title, alt, record
        self._items: list[Item] = []

    def sheet(self) -> Sheet:
        """Return what was drawn."""
        return Sheet(
            self.width, self.height, plain(self.title), plain(self.alt), tuple(self._items), self.record
        )

    def rectangle(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: Colour | None = None,
        stroke: Colour | None = None,
        stroke_width: float = 1.0,
        radius: float = 0.0,
    ) -> None:
        """Draw a box."""
        radius = min(radius, width / 2, height / 2)
        self._items.append(Rectangle(x, y, width, height, fill, stroke, stroke_width, radius))

    def line(
        self,
        points: Iterable[Point],
        *,
        colour: Colour = INK,
        width: float = 1.0,
        dash: Sequence[float] = (),
    ) -> None:
        """Draw a line through the points."""
        self._items.append(Path(tuple(points), stroke=colour, stroke_width=width, dash=tuple(dash)))

    def polygon(
        self,
        points: Iterable[Point],
        *,
        fill: Colour | None = None,
        stroke: Colour | None = None,
        stroke_width: float = 1.0,
    ) -> None:
        """Draw a closed shape."""
        self._items.append(Path(tuple(points), stroke, fill, stroke_width, closed=True))

    def circle(
        self,
        x: float,
        y: float,
        radius: float,
        *,
        fill: Colour | None = None,
        stroke: Colour | None = None,
        stroke_width: float = 1.0,
    ) -> None:
        """Draw a circle."""
        self._items.append(Circle(x, y, radius, fill, stroke, stroke_width))

    def text(
        self,
        x: float,
        y: float,
        said: str,
        size: float,
        *,
        colour: Colour = INK,
        bold: bool = False,
        anchor: Anchor = "start",
        fit: float | None = None,
    ) -> None:
        """Draw one line of text with its baseline at ``y``; what is wider than ``fit`` ends with an ellipsis."""
        whole = plain(said)
        letters = font(bold=bold)
        shown = whole if fit is None else letters.shortened(whole, size, fit)
        if shown:
            width = letters.width(shown, size)
            cut = whole if shown != whole else ""
            self._items.append(Text(x, y, shown, size, width, colour, bold, anchor, cut))

    def paragraph(
        self,
        x: float,
        y: float,
        said: str,
        size: float,
        *,
        fit: float,
        most_lines: int = 3,
        leading: float = 1.4,
        colour: Colour = INK,
        bold: bool = False,
    ) -> float:
        """Draw text over several lines, the first with its baseline at ``y``; return the baseline after the last."""
        for line in wrapped(said, size, fit, most_lines=most_lines, bold=bold):
            self.text(x, y, line, size, colour=colour, bold=bold, fit=fit)
            y += size * leading
        return y

    def code(self, x: float, y: float, size: float, content: str) -> None:
        """Draw a QR code of ``content``; leave four of its modules free around it."""
        self._items.append(Code(x, y, size, content, _modules(content)))


def wrapped(said: str, size: float, fit: float, *, most_lines: int = 3, bold: bool = False) -> list[str]:
    """Return the lines that text takes; the last ends with an ellipsis where more was to say.

    >>> wrapped("the energy of a model that nobody measured", 12, 120)
    ['the energy of a', 'model that nobody', 'measured']
    >>> wrapped("the energy of a model that nobody measured", 12, 120, most_lines=2)
    ['the energy of a', 'model that nobody…']
    """
    letters = font(bold=bold)
    words, lines = plain(said).split(" "), [""]
    while words:
        longer = f"{lines[-1]} {words[0]}".strip()
        if not lines[-1] or letters.width(longer, size) <= fit:
            lines[-1] = longer
            words.pop(0)
        elif len(lines) == most_lines:
            rest = " ".join([lines[-1], *words])
            lines[-1] = letters.shortened(rest, size, fit)
            break
        else:
            lines.append("")
    return [letters.shortened(line, size, fit) for line in lines if line]


def text_width(said: str, size: float, *, bold: bool = False) -> float:
    """Return how wide a line of text is."""
    return font(bold=bold).width(plain(said), size)


def plain(said: str) -> str:
    r"""Return text as one line that is only text: what cannot be printed is a box, any space a space.

    >>> plain("a\tb\x1b[31m\u202ec\ud800")
    'a b□[31m□c□'
    """
    line = re.sub(r"\s+", " ", said).strip()
    return line if line.isprintable() else "".join(sign if sign.isprintable() else "□" for sign in line)


def _modules(content: str) -> tuple[tuple[bool, ...], ...]:
    import segno

    found = segno.make_qr(content, error="m", boost_error=False)
    return tuple(tuple(bool(module) for module in row) for row in found.matrix)


__all__ = [
    "A4", "ELLIPSIS", "Anchor", "Circle", "Code", "Item", "Path", "Point", "Rectangle", "Sheet", "Sketch", "Text",
    "plain", "text_width", "wrapped",
]  # fmt: skip
