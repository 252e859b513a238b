"""A trace drawn for a terminal: lanes as columns, messages as numbered arrows, log lines between, a waterfall.

Whatever a user or a model wrote is cleaned first (:func:`words.clean`), so that no text can move the cursor, change
colours or pretend to be another line. Every sign that carries meaning reads without colour too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from wattbus import words
from wattbus.terminal import LONGEST_TEXT, fit, wrapped
from wattbus.trace.bars import waterfall
from wattbus.trace.views import EventLine, Step, Trace

NARROWEST = 60
_ERROR = "red"
_DIM = "dim"
_EVENT_STYLES = {"Error": "red", "Assert": "red", "Alert": "red", "Warning": "yellow"}
_SMALLEST_GAP, _NAME_GAP, _WIDEST_GAP = 4, 9, 26
_BODY_LINES = 20
_JOINTS = re.compile(r"(?<=[._ -])|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def lines_of(trace: Trace, width: int) -> list[Text]:
    """Draw ``trace`` in lines of ``width`` columns at most."""
    width = max(width, NARROWEST)
    layout = _Layout(trace, width)
    lines = [*_heading(trace, width), Text(), *layout.heading()]
    for moment in _timeline(trace):
        lines += layout.moment(moment)
    return [*lines, Text(), *waterfall(trace, width)]


def _heading(trace: Trace, width: int) -> list[Text]:
    still_open = f", {trace.open_messages:,} open" if trace.open_messages else ""
    first = (
        f"session {trace.session_id}  {words.local_time(trace.started_us)} ({words.utc_time(trace.started_us)})  "
        f"{words.seconds(trace.duration_seconds)}{' so far' if trace.open_messages else ''}  "
        f"{words.counted(len(trace.steps), 'message')}{still_open}"
    )
    energy = f"energy  {trace.totals.in_words()}"
    return [*wrapped(first, width, "", "bold"), *wrapped(energy, width, "        ")]


# -- what is drawn, in order ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Moment:
    """One entry of the sequence: a message, the failed end of an attempt, or a line of the event log."""

    time_us: int
    step: Step | None = None
    failure: str | None = None
    event: EventLine | None = None


def _timeline(trace: Trace) -> list[_Moment]:
    """Return messages in the order of their acceptance, and the rest between them by time."""
    entries: list[tuple[int, int, int, _Moment]] = []
    latest = 0
    for step in trace.steps:
        # A clock that was set back must not turn the order of the messages round.
        latest = max(latest, step.created_us)
        entries.append((latest, 0, step.number, _Moment(step.created_us, step=step)))
        for attempt in step.attempts:
            if attempt.outcome in ("completed", "deferred", "running"):
                continue
            ended = attempt.ended_us or attempt.started_us
            failure = f"{attempt.outcome} in attempt {attempt.number}: {attempt.detail or 'nobody said why'}"
            if attempt.outcome == "error" and step.error:
                failure = step.error
            entries.append((ended, 2, step.number, _Moment(ended, step=step, failure=failure)))
    for place, event in enumerate(trace.events):
        entries.append((event.time_us, 1, place, _Moment(event.time_us, event=event)))
    return [moment for *_, moment in sorted(entries, key=lambda entry: entry[:3])]


class _Layout:
    """Where the columns are: number, offset, one column a lane, and what the message is."""

    def __init__(self, trace: Trace, width: int) -> None:
        self._trace, self._width = trace, width
        self._lanes = {lane.item: place for place, lane in enumerate(trace.lanes)}
        self._number = max(2, len(str(len(trace.steps))))
        times = [step.created_us for step in trace.steps] + [event.time_us for event in trace.events]
        times += [attempt.ended_us for step in trace.steps for attempt in step.attempts if attempt.ended_us]
        offsets = [self._offset(time_us) for time_us in times]
        self._offset_width = max(map(len, [*offsets, "offset"]))
        self._left = self._number + self._offset_width + 4
        room = width - self._left
        labels = max((cell_len(_label(step)) for step in trace.steps), default=0)
        count = len(trace.lanes)
        self._gap = min(_WIDEST_GAP, (room - max(18, min(labels, room // 3)) - 2) // max(1, count))
        self._drawn = self._gap >= _SMALLEST_GAP
        self._arrow_width = self._gap * (count - 1) + 1 if self._drawn else 0
        self._label_width = room - self._arrow_width - (2 if self._drawn else 0)

    def heading(self) -> list[Text]:
        """Name the lanes: above their columns where there is room, else by letter."""
        lanes = [(words.clean(lane.item), lane.kind) for lane in self._trace.lanes]
        names = [_folded(name, self._gap - 1) for name, _ in lanes]
        if not self._drawn or self._gap < _NAME_GAP or max(map(len, names), default=0) > 3:
            legend = "   ".join(
                f"{letter(place)} {name} ({kind})" for place, (name, kind) in enumerate(lanes)
            )
            lines = wrapped(legend, self._width, "  ", most=len(lanes) + 3)
            return [*lines, self._head([letter(place) for place in range(len(lanes))])]
        height = max(map(len, names), default=0)
        columns = [[""] * (height - len(name)) + name for name in names]
        rows = [self._columns([column[line] for column in columns]) for line in range(height - 1)]
        kinds = self._columns([kind for _, kind in lanes]) if self._gap > _NAME_GAP else None
        named = [Text(" " * self._left + row, style="bold") for row in rows]
        last = self._head([column[-1] for column in columns])
        under = [Text(" " * self._left + kinds, style=_DIM)] if kinds is not None else []
        return [*named, last, *under]

    def _head(self, names: list[str]) -> Text:
        numbers = f"{'#':>{self._number}}  {'offset':>{self._offset_width}}  "
        return Text(numbers + (self._columns(names) if self._drawn else ""), style="bold")

    def _columns(self, cells: list[str]) -> str:
        shown = "".join(set_cell_size(cell, self._gap) for cell in cells[:-1]) + (cells[-1] if cells else "")
        return set_cell_size(shown, self._width - self._left).rstrip()

    def moment(self, moment: _Moment) -> list[Text]:
        """Draw one entry of the sequence."""
        if moment.event is not None:
            return self._event(moment.event)
        assert moment.step is not None
        if moment.failure is not None:
            return self._failure(moment.step, moment.failure, moment.time_us)
        return self._message(moment.step)

    def _message(self, step: Step) -> list[Text]:
        failed = step.status == "Error"
        line = self._prefix(str(step.number), step.created_us)
        line.append_text(self._arrow(step.source, step.target, "─", _ERROR if failed else ""))
        line.append(fit(_label(step), self._label_width), style=_ERROR if failed else "")
        lines = [line]
        if step.waiting_because is not None:
            lines += self._text(f"{step.status}: waits, {step.waiting_because}", "yellow")
        if step.body is not None:
            body = step.body.splitlines()
            lines += [self._short(part) for part in body[:_BODY_LINES]]
            if len(body) > _BODY_LINES:
                lines.append(self._short(f"… {len(body) - _BODY_LINES:,} more lines"))
        return lines

    def _failure(self, step: Step, text: str, time_us: int) -> list[Text]:
        line = self._prefix(str(step.number), time_us)
        line.append_text(self._arrow(step.target, step.source, "╌", _ERROR))
        said = f"✗ {words.clean(text, LONGEST_TEXT)}"
        if cell_len(said) <= self._label_width:
            return [line.append(said, style=_ERROR)]
        line.append(fit(said, self._label_width), style=_ERROR)
        logged = (
            event for event in self._trace.events if event.step == step.number and event.type == "Error"
        )
        # The event log has just said it in full.
        return [line] if any(text in event.text for event in logged) else [line, *self._text(said, _ERROR)]

    def _event(self, event: EventLine) -> list[Text]:
        style = _EVENT_STYLES.get(event.type, _DIM)
        prefix = self._prefix("", event.time_us)
        lines = wrapped(
            f"{event.type} {event.item or 'production'}: {_gist(event.text)}",
            self._width - self._left,
            "  ",
            style,
        )
        return [
            prefix.append_text(lines[0]),
            *(Text(" " * self._left).append_text(line) for line in lines[1:]),
        ]

    def _prefix(self, number: str, time_us: int) -> Text:
        return Text(f"{number:>{self._number}}  {self._offset(time_us):>{self._offset_width}}  ")

    def _offset(self, time_us: int) -> str:
        offset = (time_us - self._trace.started_us) / 1e6
        return words.seconds(offset) if offset < 0 else f"+{words.seconds(offset)}"

    def _arrow(self, source: str, target: str, stroke: str, style: str) -> Text:
        start, end = self._lanes[source], self._lanes[target]
        if not self._drawn:
            way = f"{letter(start)} {stroke}▶ {letter(end)}  "
            self_width = cell_len(way)
            return Text(set_cell_size(way, max(self_width, 8)), style=style)
        signs = [" "] * self._arrow_width
        for place in range(len(self._lanes)):
            signs[place * self._gap] = "│"
        first, last = sorted((start * self._gap, end * self._gap))
        if start == end:
            signs[first] = "↺"
        else:
            signs[first + 1 : last] = stroke * (last - first - 1)
            signs[first], signs[last] = ("├", "│") if start < end else ("│", "┤")
            signs[last - 1 if start < end else first + 1] = "▶" if start < end else "◀"
        line = Text("".join(signs) + "  ", style=_DIM)
        line.stylize(style or "not dim", first, last + 1)
        return line

    def _text(self, text: str, style: str) -> list[Text]:
        lines = wrapped(text, self._width - self._left, "  ", style)
        return [Text(" " * self._left).append_text(line) for line in lines]

    def _short(self, text: str) -> Text:
        return Text(" " * self._left + fit(words.clean(text), self._width - self._left), style=_DIM)


# -- words ---------------------------------------------------------------------------------------------------------


def _label(step: Step) -> str:
    name = words.clean(step.body_class.rpartition(".")[2]) or "(no body)"
    bytes_ = "" if step.body_bytes is None else f" {words.size(step.body_bytes)}"
    answer = f" for {step.answers}" if step.answers is not None else ""
    status = "" if step.status in ("Completed", "Error") else f" {step.status}"
    return f"{name}{bytes_}{answer}{status}"


def _gist(text: str) -> str:
    """Return the telling line of a log text: of a traceback the last, else the first; and how many there are."""
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    gist = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    more = f" (+{words.counted(len(lines) - 1, 'line')} in the event log)" if len(lines) > 1 else ""
    return gist.strip()[:LONGEST_TEXT] + more


def letter(place: int) -> str:
    """Return A to Z, then AA and so on, for a lane.

    >>> letter(0), letter(25), letter(26)
    ('A', 'Z', 'AA')
    """
    return (letter(place // 26 - 1) if place >= 26 else "") + chr(ord("A") + place % 26)


def _folded(name: str, width: int) -> list[str]:
    """Break the name of a lane after its dots and before its capitals, to lines of ``width`` columns."""
    lines = [""]
    for part in _JOINTS.split(name):
        if lines[-1] and cell_len(lines[-1]) + cell_len(part) > width:
            lines.append("")
        lines[-1] += part
    return [piece for line in lines for piece in _cut(line, max(1, width))]


def _cut(text: str, width: int) -> list[str]:
    return [text[start : start + width] for start in range(0, len(text), width)] or [""]
