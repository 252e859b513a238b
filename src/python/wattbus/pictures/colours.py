"""The colours of the pictures: each with its twin for dark screens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """One colour by its part in a picture; print and PNG take ``light``, an SVG on a dark screen ``dark``."""

    name: str
    light: str  # "#rrggbb"
    dark: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Return red, green and blue, 0 to 255, as on paper."""
        return int(self.light[1:3], 16), int(self.light[3:5], 16), int(self.light[5:7], 16)


PAPER = Colour("paper", "#ffffff", "#14181b")
PANEL = Colour("panel", "#f1f4f3", "#1f2629")
RULE = Colour("rule", "#d5dcda", "#39444a")
QUIET = Colour("quiet", "#55625f", "#a3b1b0")
INK = Colour("ink", "#14211e", "#edf3f1")
ACCENT = Colour("accent", "#0b6b57", "#4fc9a8")
ON_ACCENT = Colour("on-accent", "#ffffff", "#0c1512")
WARNING = Colour("warning", "#8a4b00", "#f0b25a")
#: The same on every screen: what a camera reads.
BLACK = Colour("black", "#000000", "#000000")
WHITE = Colour("white", "#ffffff", "#ffffff")

#: Series of a chart, apart for colour-blind eyes too (after Okabe and Ito, darkened until they read on white).
SERIES = (
    Colour("series-1", "#0b6b57", "#4fc9a8"),
    Colour("series-2", "#b34a00", "#f08d4a"),
    Colour("series-3", "#2a5ca8", "#7fb0f5"),
    Colour("series-4", "#8a2d6b", "#e08cc4"),
    Colour("series-5", "#6b5d00", "#d8c64a"),
    Colour("series-6", "#4a4f57", "#b9c0ca"),
)
#: The steps of a scale of seven from good to bad: from petrol over sand to plum, which no official label uses.
STEPS = (
    Colour("step-1", "#0b6b57", "#0f8a70"),
    Colour("step-2", "#2f7f6c", "#35937d"),
    Colour("step-3", "#5b8f77", "#5f967d"),
    Colour("step-4", "#8c8a5c", "#918f61"),
    Colour("step-5", "#a3703f", "#aa7645"),
    Colour("step-6", "#98493f", "#a3564b"),
    Colour("step-7", "#7a2d4a", "#8f3a59"),
)
