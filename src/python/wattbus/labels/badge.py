"""The badge of a label: a small picture for a README, with the figure, its letter and its tier."""

from __future__ import annotations

from wattbus import words
from wattbus.labels.face import LabelFace
from wattbus.labels.picture import label_record
from wattbus.pictures.colours import Colour, step
from wattbus.pictures.sheet import Sheet, Sketch, text_width

_HEIGHT, _SIZE, _PAD = 20.0, 11.0, 7.0
# The same on every screen: a badge stands on grounds of others.
_NAME = Colour("badge-name", "#3d4744", "#3d4744")
_PLAIN = Colour("badge-plain", "#5d6865", "#5d6865")
_LIGHT = Colour("badge-light", "#ffffff", "#ffffff")
_LONGEST = 300.0


def draw_badge(face: LabelFace, base: str = "") -> Sheet:
    """Draw the badge of a face; the colour is that of its letter, grey without one."""
    said = badge_text(face)
    place = face.scale.find(face.letter) if face.letter else -1
    colour = step(place, len(face.scale)) if place >= 0 else _PLAIN
    name_width = text_width("energy", _SIZE) + 2 * _PAD
    figure_width = min(text_width(said, _SIZE, bold=True), _LONGEST) + 2 * _PAD
    sketch = Sketch(
        name_width + figure_width,
        _HEIGHT,
        title=f"Energy of {words.clean(face.model, 200)}",
        alt=face.in_words,
        record=label_record(face, base.rstrip("/") + face.address if base and face.address else ""),
    )
    sketch.rectangle(0, 0, name_width + figure_width, _HEIGHT, fill=colour, radius=4)
    sketch.rectangle(0, 0, name_width, _HEIGHT, fill=_NAME, radius=4)
    sketch.rectangle(name_width - 4, 0, 4, _HEIGHT, fill=_NAME)
    sketch.text(_PAD, 14, "energy", _SIZE, colour=_LIGHT)
    sketch.text(name_width + _PAD, 14, said, _SIZE, colour=_LIGHT, bold=True, fit=_LONGEST + 0.1)
    return sketch.sheet()


def badge_text(face: LabelFace) -> str:
    """Return what the badge says: "B · 0.048 Wh for 1,000 inferences · attributed", a class alone, or not known."""
    if not face.unit:
        return f"class {face.letter} · {face.profile}" if face.letter else "not known"
    return " · ".join(part for part in (face.letter, f"{face.headline} {face.unit}", face.tier) if part)
