"""Text that fits a terminal: cleaned, and cut or broken by columns, not by characters."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from wattbus import words

#: Of a longer text only this much is shown.
LONGEST_TEXT = 2_000


def wrapped(text: str, width: int, indent: str, style: str = "", most: int = 3) -> list[Text]:
    """Clean ``text`` and break it into lines of ``width`` columns, the later ones indented; ``most`` at most."""
    lines: list[str] = []
    line = ""
    for word in _chunks(words.clean(text, LONGEST_TEXT), width - len(indent)):
        if line.strip() and cell_len(line) + cell_len(word) > width:
            lines.append(line.rstrip())
            line = indent
        line += word
    lines.append(line.rstrip())
    if len(lines) > most:
        lines = [*lines[: most - 1], fit(f"{lines[most - 1]} {lines[most].lstrip()}", width)]
    return [Text(line, style=style) for line in lines]


def _chunks(text: str, longest: int) -> Iterable[str]:
    """Yield words with the spaces after them, none wider than ``longest`` columns."""
    for word in text.split(" "):
        chunk = ""
        for char in word:
            if cell_len(chunk) + cell_len(char) >= longest:
                yield chunk
                chunk = ""
            chunk += char
        yield chunk + " "


def fit(text: str, width: int) -> str:
    """Return ``text`` cut to ``width`` columns, with an ellipsis where something is cut off."""
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)).rstrip() + "…"
