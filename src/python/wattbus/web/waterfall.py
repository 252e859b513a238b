"""The waterfall of a trace in SVG: of each attempt its wait in the queue, its loading, its work, its children.

All bars are on one scale, that of the whole session. Pure functions, as in :mod:`wattbus.web.diagram`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wattbus import words
from wattbus.trace.views import AttemptView, Step, Trace
from wattbus.web.svg import element, text, title

_ROW, _HEAD = 24, 28
_NUMBER, _ITEM, _BARS, _FIGURE, _ENERGY = 44, 180, 320, 76, 150  # widths
_ITEM_CHARS, _ENERGY_CHARS = 24, 24
_FIGURES = ("wait", "load", "compute", "children")

Span = tuple[int, int]


@dataclass(frozen=True)
class Bar:
    """One attempt: when it waited, loaded, worked, and what its children covered; microseconds."""

    number: str
    item: str
    depth: int
    wait: Span | None
    load_us: int
    run: Span | None
    children: tuple[Span, ...]
    energy: str
    failed: bool

    @property
    def compute_seconds(self) -> float | None:
        """Return the seconds of the item's own work: its time without that of its children."""
        if self.run is None:
            return None
        begun, ended = self.run
        inside = sum(max(0, min(end, ended) - max(start, begun)) for start, end in self.children)
        return max(0, ended - begun - inside) / 1e6


def waterfall(trace: Trace, steps: Sequence[Step]) -> str:
    """Draw the attempts of some messages; empty where there is none."""
    width, height, parts = drawn(trace, steps)
    if not parts:
        return ""
    label = f"session {trace.session_id}: waits, work and energy of each attempt"
    return element(
        "svg", title(label), *parts, xmlns="http://www.w3.org/2000/svg", class_="trace", width=width, height=height,
        viewBox=f"0 0 {width} {height}", role="img", aria_label=label,
    )  # fmt: skip


def drawn(trace: Trace, steps: Sequence[Step]) -> tuple[int, int, list[str]]:
    """Return width, height and the parts of the waterfall."""
    bars = bars_of(trace, steps)
    width = _NUMBER + _ITEM + _BARS + len(_FIGURES) * _FIGURE + _ENERGY + 16
    if not bars:
        return width, 0, []
    parts = list(_titles())
    for place, bar in enumerate(bars):
        parts.append(_row(trace, bar, _HEAD + place * _ROW))
    return width, _HEAD + len(bars) * _ROW + 8, parts


def bars_of(trace: Trace, steps: Iterable[Step]) -> list[Bar]:
    """Return the attempts of some messages with what there is to draw of them."""
    children = _children(trace)
    bars = []
    for step in steps:
        if step.type != "Request":
            continue
        if not step.attempts:
            bars.append(_not_begun(trace, step))
        since = step.created_us
        for place, attempt in enumerate(step.attempts):
            following = step.attempts[place + 1].started_us if place + 1 < len(step.attempts) else None
            bars.append(_bar(trace, step, attempt, since, following, children.get(step.number, [])))
            since = attempt.ended_us or since
    return bars


def _children(trace: Trace) -> dict[int, list[Span]]:
    """Return when the children of each message were under way, with what overlaps taken together."""
    spans: dict[int, list[Span]] = {}
    for step in trace.steps:
        if step.type == "Request" and step.parent is not None:
            ends = [attempt.ended_us or trace.read_us for attempt in step.attempts]
            spans.setdefault(step.parent, []).append((step.created_us, max(ends, default=step.created_us)))
    return {parent: _merged(found) for parent, found in spans.items()}


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _not_begun(trace: Trace, step: Step) -> Bar:
    waits = (step.created_us, trace.read_us) if step.waiting_because is not None else None
    return Bar(
        str(step.number), step.target, step.depth, waits, 0, None, (), step.status, step.status == "Error"
    )


def _bar(
    trace: Trace, step: Step, attempt: AttemptView, since: int, following: int | None, children: list[Span]
) -> Bar:
    ended = attempt.ended_us or trace.read_us
    done = attempt.duration_seconds
    begun = attempt.started_us if done is None else max(attempt.started_us, ended - round(done * 1e6))
    views = [view for view in step.energy if view.attempt == attempt.number and view.scope != "remote"]
    own = views[0] if views else None
    until = (
        following
        if following is not None
        else max(ended, trace.started_us + round(trace.duration_seconds * 1e6))
    )
    return Bar(
        number=str(step.number) if len(step.attempts) == 1 else f"{step.number}.{attempt.number}",
        item=step.target,
        depth=step.depth,
        wait=(min(since, attempt.started_us), attempt.started_us),
        load_us=round(attempt.load_wait_seconds * 1e6),
        run=(begun, max(begun, ended)),
        children=tuple((start, end) for start, end in children if attempt.started_us <= start < until),
        energy=words.UNKNOWN if own is None else words.joules(own.joules, own.tier),
        failed=attempt.outcome not in ("completed", "deferred", "running"),
    )


def _titles() -> Iterable[str]:
    yield text("#", _NUMBER - 8, 16, "column n")
    yield text("item", _NUMBER, 16, "column")
    for place, name in enumerate(_FIGURES, 1):
        yield text(name, _NUMBER + _ITEM + _BARS + place * _FIGURE, 16, "column n")
    yield text("energy", _NUMBER + _ITEM + _BARS + len(_FIGURES) * _FIGURE + 14, 16, "column")


def _row(trace: Trace, bar: Bar, y: int) -> str:
    left = _NUMBER + _ITEM
    children_us = sum(end - start for start, end in bar.children)
    wait = None if bar.wait is None else max(0, bar.wait[1] - bar.wait[0] - bar.load_us) / 1e6
    figures = (
        words.seconds(wait),
        words.seconds(bar.load_us / 1e6) if bar.load_us else "",
        words.seconds(bar.compute_seconds),
        words.seconds(children_us / 1e6) if bar.children else "",
    )
    depth = min(bar.depth, 8)
    parts = [
        text(("✕ " if bar.failed else "") + bar.number, _NUMBER - 8, y + 16, "n bad" if bar.failed else "n"),
        text(bar.item, _NUMBER + depth * 10, y + 16, "item", longest=_ITEM_CHARS - depth),
        element("rect", class_="track", x=left, y=y + 4, width=_BARS, height=16),
        *_pieces(trace, bar, left, y),
    ]
    parts += [
        text(figure, left + _BARS + place * _FIGURE, y + 16, "figures n")
        for place, figure in enumerate(figures, 1)
        if figure
    ]
    parts.append(
        text(
            bar.energy, left + _BARS + len(_FIGURES) * _FIGURE + 14, y + 16, "figures", longest=_ENERGY_CHARS
        )
    )
    return element("g", *parts, class_="attempt bad" if bar.failed else "attempt")


def _pieces(trace: Trace, bar: Bar, left: int, y: int) -> Iterable[str]:
    if bar.wait is not None:
        yield _piece(trace, "wait", (bar.wait[0], bar.wait[1] - bar.load_us), left, y + 7, 10)
        yield _piece(trace, "load", (bar.wait[1] - bar.load_us, bar.wait[1]), left, y + 7, 10)
    if bar.run is not None:
        yield _piece(trace, "run bad" if bar.failed else "run", bar.run, left, y + 4, 16, least=2.0)
    for span in bar.children[:200]:
        yield _piece(trace, "children", span, left, y + 9, 6, least=1.0)


def _piece(trace: Trace, name: str, span: Span, left: int, y: int, height: int, least: float = 0.0) -> str:
    """Draw one piece on the scale of the session; what ran is never drawn as nothing."""
    scale = _BARS / max(1.0, trace.duration_seconds * 1e6)
    start = min(_BARS - 2.0, max(0.0, (span[0] - trace.started_us) * scale))
    wide = min(_BARS - start, max(least, (span[1] - span[0]) * scale))
    if wide <= 0:
        return ""
    return element("rect", class_=name, x=left + start, y=y, width=wide, height=height)
