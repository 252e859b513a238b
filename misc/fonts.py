"""Make the fonts of the pictures: Inter's regular and semi-bold cuts as small TrueType files.

Debian's package carries them: ``apt-get download fonts-inter && dpkg-deb -x fonts-inter_*.deb inter``, then
``python misc/fonts.py inter/usr/share/fonts/opentype/inter``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fontTools.pens.cu2quPen import Cu2QuPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont, newTable

TARGET = Path(__file__).parent.parent / "src" / "python" / "wattbus" / "pictures" / "fonts"
CUTS = {"Inter-Regular.otf": "Inter-Regular.ttf", "Inter-SemiBold.otf": "Inter-SemiBold.ttf"}
#: Latin, Greek and Cyrillic, then signs, money, letterlike, numbers, arrows, mathematics, boxes and shapes.
SCRIPTS = (range(0x20, 0x530), range(0x1D00, 0x2000))
SIGNS = (range(0x2000, 0x2150), range(0x2150, 0x2300), range(0x2500, 0x2800), range(0xFB00, 0xFB07))
#: The outlines may lie so far from the original, in thousandths of the size of the letters.
TOLERANCE = 0.6
#: What the table of a TrueType font's measures holds beside what is counted when it is written.
MEASURES = (
    "maxZones", "maxTwilightPoints", "maxStorage", "maxFunctionDefs", "maxInstructionDefs", "maxStackElements",
    "maxSizeOfInstructions", "maxPoints", "maxContours", "maxCompositePoints", "maxCompositeContours",
    "maxComponentElements", "maxComponentDepth",
)  # fmt: skip


def small(source: Path) -> TTFont:
    """Return the font with the letters that are drawn, and without what no back end reads."""
    font = TTFont(source)
    options = Options()
    options.layout_features = []
    options.drop_tables += ["GPOS", "GSUB", "GDEF", "DSIG", "STAT", "meta"]
    options.notdef_outline = True
    options.hinting = False
    options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 13, 14]
    letters = Subsetter(options)
    letters.populate(unicodes=[sign for part in (*SCRIPTS, *SIGNS) for sign in part])
    letters.subset(font)
    return with_quadratic_outlines(font)


def with_quadratic_outlines(font: TTFont) -> TTFont:
    """Turn the cubic outlines into TrueType's: what PDF libraries embed."""
    names, glyphs = font.getGlyphOrder(), font.getGlyphSet()
    drawn = {}
    for name in names:
        pen = TTGlyphPen(None)
        glyphs[name].draw(Cu2QuPen(pen, TOLERANCE * font["head"].unitsPerEm / 1000, reverse_direction=True))
        drawn[name] = pen.glyph()
    font["loca"], font["glyf"] = newTable("loca"), newTable("glyf")
    font["glyf"].glyphOrder, font["glyf"].glyphs = names, drawn
    for name in names:
        drawn[name].recalcBounds(font["glyf"])
        font["hmtx"][name] = (font["hmtx"][name][0], getattr(drawn[name], "xMin", 0))
    best = font["maxp"]
    best.tableVersion = 0x00010000
    for field in MEASURES:
        setattr(best, field, 1 if field == "maxZones" else 0)
    font["post"].formatType = 3.0
    del font["CFF "]
    font.sfntVersion = "\x00\x01\x00\x00"
    return font


def main(folder: Path) -> None:
    """Write both cuts."""
    for source, target in CUTS.items():
        small(folder / source).save(TARGET / target)
        print(target, f"{(TARGET / target).stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
