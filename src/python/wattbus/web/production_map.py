"""The map of a production as SVG: services, processes, operations in columns, and which sends to which.

Pure: it takes what is to be drawn and returns text; every name in it is escaped. No style attribute: the policy of the
pages allows none, so the looks are classes of the style sheet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 252, 84, 96, 22
_TOP, _EDGE = 34, 14
_LETTERS = 25
_TITLES = {"service": "Services", "process": "Processes", "operation": "Operations", "": "Need IRIS"}


@dataclass(frozen=True)
class Box:
    """One item."""

    name: str
    kind: str  # service, process, operation; empty: it needs IRIS
    component: str
    state: str
    look: str  # good, bad, warn, info, plain
    sign: str
    figures: str  # pool, queue, alerts in words
    href: str
    about: str = ""  # its error, or why it needs IRIS


@dataclass(frozen=True)
class Line:
    """One item sends to another."""

    source: str
    target: str
    setting: str = ""


def draw(boxes: Sequence[Box], lines: Iterable[Line]) -> Markup:
    """Return the map of a production."""
    kinds = [kind for kind in _TITLES if kind or any(not box.kind for box in boxes)]
    columns = {kind: [box for box in boxes if box.kind == kind] for kind in kinds}
    rows = max(1, *map(len, columns.values()))
    width = 2 * _EDGE + len(kinds) * _WIDTH + (len(kinds) - 1) * _GAP_X
    height = _TOP + rows * (_HEIGHT + _GAP_Y) + _EDGE
    places = {
        box.name: (_left(number), _TOP + row * (_HEIGHT + _GAP_Y))
        for number, kind in enumerate(kinds)
        for row, box in enumerate(columns[kind])
    }
    drawn = [
        Markup('<text class="column" x="{}" y="20">{}</text>').format(_left(number), _TITLES[kind])
        for number, kind in enumerate(kinds)
    ]
    drawn += [
        Markup('<text class="none" x="{}" y="{}">none</text>').format(_left(number), _TOP + 22)
        for number, kind in enumerate(kinds)
        if not columns[kind]
    ]
    drawn += [_line(line, places) for line in lines if line.source in places and line.target in places]
    drawn += [_box(box, *places[box.name]) for box in boxes if box.name in places]
    return Markup(
        '<svg class="map" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="group" '
        'aria-label="Map of the production"><defs><marker id="map-arrow" viewBox="0 0 8 8" refX="8" refY="4" '
        'markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z"></path>'
        "</marker></defs>{drawn}</svg>"
    ).format(width=width, height=height, drawn=Markup("").join(drawn))


def _left(column: int) -> int:
    return _EDGE + column * (_WIDTH + _GAP_X)


def _box(box: Box, x: int, y: int) -> Markup:
    about = f"{box.name}: {box.component}, {box.state}. {box.figures}. {box.about}".rstrip()
    return Markup(
        '<a href="{href}" class="box {look}"><title>{about}</title><rect x="{x}" y="{y}" width="{width}" '
        'height="{height}" rx="8"></rect><rect class="flag" x="{x}" y="{y}" width="6" height="{height}" rx="3"></rect>'
        '<text class="name" x="{inside}" y="{first}">{name}</text><text class="class" x="{inside}" y="{second}">'
        '{component}</text><text class="state" x="{inside}" y="{third}">{sign} {state}</text>'
        '<text class="figures" x="{right}" y="{third}">{figures}</text></a>'
    ).format(
        href=box.href, look=box.look, about=about, x=x, y=y, width=_WIDTH, height=_HEIGHT, inside=x + 18,
        right=x + _WIDTH - 12, first=y + 25, second=y + 44, third=y + 68, name=_short(box.name),
        component=_short(box.component.rpartition(".")[2], _LETTERS + 4), sign=box.sign, state=box.state,
        figures=box.figures,
    )  # fmt: skip


def _line(line: Line, places: dict[str, tuple[int, int]]) -> Markup:
    (x1, y1), (x2, y2) = places[line.source], places[line.target]
    start_y, end_y = y1 + _HEIGHT // 2, y2 + _HEIGHT // 2
    if x2 > x1:
        start, end, bend = x1 + _WIDTH, x2, max(40, (x2 - x1 - _WIDTH) // 2)
        path = f"M{start} {start_y}C{start + bend} {start_y} {end - bend} {end_y} {end} {end_y}"
    elif x2 < x1:
        start, end, bend = x1, x2 + _WIDTH, max(40, (x1 - x2 - _WIDTH) // 2)
        path = f"M{start} {start_y}C{start - bend} {start_y} {end + bend} {end_y} {end} {end_y}"
    else:  # in one column: around its right side
        side = x1 + _WIDTH
        path = f"M{side} {start_y - 8}C{side + 44} {start_y - 8} {side + 44} {end_y + 8} {side} {end_y + 8}"
    by = f" ({line.setting})" if line.setting else ""
    return Markup('<path class="line" d="{}" marker-end="url(#map-arrow)"><title>{}</title></path>').format(
        path, f"{line.source} sends to {line.target}{by}"
    )


def _short(name: str, most: int = _LETTERS) -> Markup:
    return escape(name if len(name) <= most else f"{name[: most - 1]}…")
