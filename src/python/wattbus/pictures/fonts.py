"""The two cuts of the letters that pictures are drawn with: which signs they have, and how wide each is."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "fonts"
#: What stands for a letter that the fonts do not have.
MISSING = "□"
ELLIPSIS = "…"


@dataclass(frozen=True)
class Font:
    """A TrueType file with the advance of each of its signs, in parts of the letters' size."""

    file: Path
    advances: dict[str, float]

    def width(self, said: str, size: float) -> float:
        """Return how wide a line is; without kerning, as all three back ends set it."""
        missing = self.advances[MISSING]
        return size * sum(self.advances.get(sign, missing) for sign in said)

    def drawable(self, said: str) -> str:
        """Return the line with a box for each letter that is not here."""
        return "".join(sign if sign in self.advances else MISSING for sign in said)

    def shortened(self, said: str, size: float, width: float) -> str:
        """Return the line, cut with an ellipsis where it is wider than ``width``."""
        if self.width(said, size) <= width:
            return said
        left, kept = width - self.width(ELLIPSIS, size), 0
        for sign in said:
            left -= size * self.advances.get(sign, self.advances[MISSING])
            if left < 0:
                break
            kept += 1
        return said[:kept].rstrip() + ELLIPSIS


@cache
def font(*, bold: bool = False) -> Font:
    """Return the regular or the bold cut."""
    file = FOLDER / ("Inter-SemiBold.ttf" if bold else "Inter-Regular.ttf")
    return Font(file, _advances(file.read_bytes()))


def _advances(data: bytes) -> dict[str, float]:
    tables = {}
    for number in range(struct.unpack_from(">H", data, 4)[0]):
        name, _, begin, length = struct.unpack_from(">4sLLL", data, 12 + 16 * number)
        tables[name.decode()] = data[begin : begin + length]
    units = struct.unpack_from(">H", tables["head"], 18)[0]
    measured = struct.unpack_from(">H", tables["hhea"], 34)[0]
    widths = struct.unpack(">" + "Hh" * measured, tables["hmtx"][: 4 * measured])[::2]
    return {
        chr(code): widths[min(glyph, measured - 1)] / units for code, glyph in _glyphs(tables["cmap"]).items()
    }


def _glyphs(cmap: bytes) -> dict[int, int]:
    """Read the glyph of each sign from a character map of format 4, the one that our fonts have.

    https://learn.microsoft.com/typography/opentype/spec/cmap
    """
    table = cmap[struct.unpack_from(">L", cmap, 8)[0] :]
    segments = struct.unpack_from(">H", table, 6)[0] // 2
    ends, starts, deltas, offsets = (
        struct.unpack_from(f">{segments}H", table, 14 + 2 * segments * part + (2 if part else 0))
        for part in range(4)
    )
    at = 16 + 6 * segments
    found = {}
    for number in range(segments):
        for code in range(starts[number], min(ends[number], 0xFFFE) + 1):
            glyph = code
            if offsets[number]:
                place = at + 2 * number + offsets[number] + 2 * (code - starts[number])
                glyph = struct.unpack_from(">H", table, place)[0]
                if not glyph:
                    continue
            glyph = (glyph + deltas[number]) & 0xFFFF
            if glyph:
                found[code] = glyph
    return found
