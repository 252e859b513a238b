"""The picture of a label: our own drawing of a face, and of no authority's."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from wattbus import words
from wattbus.labels.face import FaceClass, LabelFace
from wattbus.pictures.colours import ACCENT, INK, ON_ACCENT, PANEL, PAPER, QUIET, RULE, WARNING, WHITE, step
from wattbus.pictures.sheet import Sheet, Sketch, plain, text_width, wrapped

#: The form of the record in a picture's file.
FORMAT = "wattbus-label/1"
_WIDTH, _EDGE = 440.0, 24.0
_INNER = _WIDTH - 2 * _EDGE
_CODE = 78.0
_COMMIT = 40  # letters of a commit; its first twelve tell it
#: The tiers that rest on a counter of the hardware: their name is filled, the others have an edge.
_COUNTED = frozenset({"measured", "attributed"})
_BESIDE = 112.0  # the width of the quality
_MOST_LINES, _MOST_CLASSES = 10, 8


def draw_label(face: LabelFace, base: str = "") -> Sheet:
    """Draw a label. ``base`` is the address of the portal, for the QR code; without it there is none."""
    address = base.rstrip("/") + face.address if base and face.address else ""
    sketch = Sketch(
        _WIDTH,
        0,
        title=f"Energy label of {words.clean(face.model, 200)}",
        alt=face.in_words,
        record=label_record(face, address),
    )
    y = _head(sketch, face)
    y = _headline(sketch, face, y)
    y = _scale(sketch, face, y)
    y = _trust(sketch, face, y)
    y = _metrics(sketch, face, y)
    y = _facts(sketch, face, y)
    sketch.height = _foot(sketch, face, address, y)
    sketch.ground(fill=PAPER, stroke=RULE, stroke_width=1.5, radius=14)
    return sketch.sheet()


def label_record(face: LabelFace, address: str) -> dict[str, Any]:
    """Return what a program reads out of the picture's file."""
    return {"format": FORMAT, **asdict(face), "address": address or face.address}


def _head(sketch: Sketch, face: LabelFace) -> float:
    kind = "ENERGY OF A TRAINING" if face.stage == "training" else "ENERGY OF A MODEL AT WORK"
    sketch.rectangle(_EDGE, 25, 4, 13, fill=ACCENT, radius=2)
    sketch.text(_EDGE + 12, 36, kind, 11, colour=ACCENT, bold=True)
    sketch.text(_WIDTH - _EDGE, 36, "wattbus", 11, colour=QUIET, bold=True, anchor="end")
    y = sketch.paragraph(_EDGE, 66, face.model, 21, fit=_INNER, most_lines=2, leading=1.25, bold=True)
    version = face.version[:12] if len(face.version) == _COMMIT else face.version
    about = " · ".join(part for part in (face.task, f"version {version}" if version else "") if part)
    if about:
        sketch.text(_EDGE, y - 5, about, 12, colour=QUIET, fit=_INNER)
        y += 15
    return y


def _headline(sketch: Sketch, face: LabelFace, y: float) -> float:
    if face.unit:
        size, room = 54.0, _INNER - (_BESIDE if face.quality else 0)
        while size > 20 and text_width(face.headline, size, bold=True) > room:
            size -= 2
        y += size * 0.62 + 12
        if face.quality:
            _quality(sketch, face.quality[0], y)
        sketch.text(_EDGE - 2, y, face.headline, size, bold=True, fit=room)
        y += 24
        sketch.text(_EDGE, y, face.unit, 15, bold=True, fit=room)
        y += 6
    elif face.letter:
        y += 28
        sketch.text(
            _EDGE, y, f"Class {face.letter} of {face.scale[0]} to {face.scale[-1]}", 24, bold=True, fit=_INNER
        )
        said = f"no energy figure: {face.headline}"
        y = sketch.paragraph(_EDGE, y + 24, said, 12.5, fit=_INNER, most_lines=2, colour=QUIET) - 12
    else:
        y += 26
        y = (
            sketch.paragraph(_EDGE, y, face.headline, 19, fit=_INNER, most_lines=3, leading=1.3, bold=True)
            - 12
        )
    for line in (face.interval, face.bounds):
        if line:
            y += 17
            sketch.text(_EDGE, y, line, 12, colour=QUIET, fit=_INNER)
    return y + 22


def _quality(sketch: Sketch, quality: tuple[str, str], y: float) -> None:
    """Draw how good the model is beside what it uses, behind a rule: the one is not mixed into the other."""
    left = _WIDTH - _EDGE - _BESIDE + 18
    sketch.line([(left - 12, y - 36), (left - 12, y + 24)], colour=RULE, width=1.5)
    sketch.text(left, y, quality[1], 24, bold=True, fit=_BESIDE - 18)
    sketch.text(left, y + 24, quality[0], 12, colour=QUIET, fit=_BESIDE - 18)


def _scale(sketch: Sketch, face: LabelFace, y: float) -> float:
    """Draw the steps of the scale, the one that was reached raised above the others; or why none was."""
    low, gap = 26.0, 4.0
    tall = 46.0 if face.letter else low
    count = max(1, len(face.scale))
    width = (_INNER - gap * (count - 1)) / count
    reached = _span(face)
    for number, letter in enumerate(face.scale):
        x = _EDGE + number * (width + gap)
        if letter == face.letter:
            sketch.rectangle(x - 2, y, width + 4, tall, fill=step(number, count), radius=8)
            sketch.text(x + width / 2, y + 33, letter, 28, colour=WHITE, bold=True, anchor="middle")
            continue
        top = y + tall - low
        stroke = QUIET if letter in reached else None
        sketch.rectangle(x, top, width, low, fill=PANEL, stroke=stroke, stroke_width=1.5, radius=6)
        colour = INK if letter in reached else QUIET
        sketch.text(
            x + width / 2, top + 18, letter, 13, colour=colour, bold=letter in reached, anchor="middle"
        )
    y += tall + 19
    said = face.reason if face.letter else _no_letter(face)
    if said:
        y = sketch.paragraph(_EDGE, y, said, 12.5, fit=_INNER, most_lines=3, bold=face.letter is None)
    return y + (4 if said else 0)


def _no_letter(face: LabelFace) -> str:
    why = face.reason.removeprefix("no letter").removeprefix(", ").strip()
    if not why or why == face.headline:
        return "No letter without a figure" if not face.unit else "No letter"
    said = f"No letter {why}" if face.reason.startswith("no letter ") else f"No letter: {why}"
    return f"{said}; the bounds reach {face.span}" if face.span else said


def _span(face: LabelFace) -> str:
    """Return the letters that the bounds reach where there is no letter."""
    if face.letter is not None or not face.span:
        return ""
    first, last = face.scale.find(face.span[0]), face.scale.find(face.span[-1])
    return face.scale[first : last + 1] if 0 <= first <= last else ""


def _trust(sketch: Sketch, face: LabelFace, y: float) -> float:
    """Draw the tier and the coverage: how far the figure can be trusted."""
    lines = wrapped(face.coverage, 12, _INNER - 24, most_lines=2)
    height = 34 + 16 * len(lines)
    sketch.rectangle(_EDGE, y, _INNER, height, fill=PANEL, radius=8)
    sketch.text(_EDGE + 12, y + 21, "Tier", 12, colour=QUIET)
    width = min(text_width(face.tier, 12, bold=True), _INNER - 80)
    counted = face.tier in _COUNTED
    edge = ACCENT if face.tier != "none" else WARNING
    sketch.rectangle(
        _EDGE + 46,
        y + 7,
        width + 18,
        20,
        fill=ACCENT if counted else None,
        stroke=edge,
        stroke_width=1.5,
        radius=10,
    )
    colour = ON_ACCENT if counted else edge
    sketch.text(_EDGE + 55, y + 21, face.tier, 12, colour=colour, bold=True, fit=width + 0.1)
    for number, line in enumerate(lines):
        sketch.text(_EDGE + 12, y + 42 + 16 * number, line, 12, fit=_INNER - 24)
    return y + height + 22


def _metrics(sketch: Sketch, face: LabelFace, y: float) -> float:
    """Draw a row for each metric that was graded: name, value, letter."""
    y += 6 if face.classes else 0
    for one in face.classes[:_MOST_CLASSES]:
        _metric(sketch, face, one, y)
        y += 30
    left_out = len(face.classes) - _MOST_CLASSES
    if left_out > 0:
        sketch.text(_EDGE, y, f"and {words.counted(left_out, 'metric')} in the record", 12, colour=QUIET)
        y += 18
    return y + (6 if face.classes else 0)


def _metric(sketch: Sketch, face: LabelFace, one: FaceClass, y: float) -> None:
    right = _WIDTH - _EDGE
    if one.letter:
        place = max(0, face.scale.find(one.letter))
        sketch.rectangle(right - 26, y - 15, 26, 22, fill=step(place, len(face.scale)), radius=6)
        sketch.text(right - 13, y + 1, one.letter, 13, colour=WHITE, bold=True, anchor="middle")
    value = one.value if one.letter or not one.reason else one.reason
    room = min(text_width(value, 12.5, bold=bool(one.letter)), 190)
    end = right - 36 if one.letter else right
    colour = INK if one.letter else QUIET
    sketch.text(end, y, value, 12.5, colour=colour, bold=bool(one.letter), anchor="end", fit=room + 0.1)
    sketch.text(_EDGE, y, one.name, 12.5, fit=end - room - 12 - _EDGE)
    sketch.line([(_EDGE, y + 11), (right, y + 11)], colour=RULE)


def _facts(sketch: Sketch, face: LabelFace, y: float) -> float:
    """Draw what the figure stands for, name and value, and the quality beside it."""
    quality = face.quality[1:] if face.unit else face.quality  # the first stands beside the headline
    facts = [(name, value) for name, value in (*quality, *face.lines) if plain(value)]
    names = min(110.0, max((text_width(name, 12) for name, _ in facts), default=0.0)) + 14
    for number, (name, value) in enumerate(facts[:_MOST_LINES]):
        is_quality = number < len(quality)
        sketch.text(_EDGE, y, name, 12, colour=QUIET, fit=names - 8)
        y = sketch.paragraph(
            _EDGE + names, y, value, 12, fit=_INNER - names, most_lines=2, leading=1.3, bold=is_quality
        )
        y += 3.4
    left_out = len(facts) - _MOST_LINES
    if left_out > 0:
        sketch.text(_EDGE, y, f"and {words.counted(left_out, 'more fact')} in the record", 12, colour=QUIET)
        y += 19
    return y


def _foot(sketch: Sketch, face: LabelFace, address: str, y: float) -> float:
    """Draw the code and the record's name; return the height of the whole."""
    sketch.line([(_EDGE, y), (_WIDTH - _EDGE, y)], colour=RULE)
    y += 16
    left = _EDGE
    if address:
        sketch.code(_EDGE + 8, y + 8, _CODE, address)
        left += _CODE + 34
    fit = _WIDTH - _EDGE - left
    line = y + 16
    sketch.text(
        left, line, f"graded by {face.profile}" if face.profile else "not graded", 12, bold=True, fit=fit
    )
    if face.record:
        sketch.text(left, line + 18, face.record, 12, colour=QUIET, fit=fit)
    if address:
        for number, part in enumerate(wrapped(address.partition("://")[2], 10.5, fit, most_lines=1)):
            sketch.text(left, line + 35 + 14 * number, part, 10.5, colour=QUIET, fit=fit)
    sketch.text(
        left,
        line + (56 if address else 36),
        "No official label of any authority.",
        10.5,
        colour=QUIET,
        fit=fit,
    )
    return y + (_CODE + 34 if address else 68)
