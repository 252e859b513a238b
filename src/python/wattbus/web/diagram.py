"""A trace as a sequence diagram in SVG: lanes of items, numbered boxes on arrows, lines of the event log between.

Pure functions. Every text is escaped, there is no inline style, and each message has one box with the id ``step-N``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from wattbus import words
from wattbus.trace.views import EventLine, Lane, Step, Trace
from wattbus.web import waterfall
from wattbus.web.svg import element, text, title

_GUTTER, _LANE, _REMARK = 84, 240, 420  # widths: of the times, of an item, of what stands beside
_BOX, _BOX_HEIGHT = 204, 38
_STEP, _EVENT, _HEAD = 48, 22, 64  # heights
_CLASS_CHARS, _FIGURE_CHARS, _ITEM_CHARS, _REMARK_CHARS = 25, 34, 30, 62
_GROUPS = {"service": "services", "process": "processes", "operation": "operations"}
#: Of a file that is looked at outside the portal.
_STYLE = """
text{font:12px system-ui,sans-serif;fill:#1c2430}.ground{fill:#fff}.group{fill:#566172;font-weight:600}
.lane-name{font-weight:600;text-anchor:middle}.lane{stroke:#d6dbe3;stroke-dasharray:3 4}
.arrow,.bracket{stroke:#1f4f8f;fill:none;stroke-width:1.5}.head{fill:#1f4f8f}.back .arrow{stroke-dasharray:6 4}
.frame{fill:#e5eefb;stroke:#1f4f8f}.figures,.offset,.log,.remark{fill:#566172;font-size:11px}
.offset,.n{text-anchor:end}.class{font-weight:600}.bad .frame{fill:#fbe6e6}.bad .frame,.bad .arrow{stroke:#a61b1b}
.bad .head,.bad .class,.bad.remark,.bad.log{fill:#a61b1b}.open .frame{fill:#fdf0d5;stroke:#7a4d00}
.wait{fill:#c3ccd9}.load{fill:#e0b04b}.run{fill:#2f6fab}.children{fill:#0b6b4f}.run.bad{fill:#a61b1b}.track{fill:#eef1f5}
.title{font-size:16px;font-weight:600}.column{fill:#566172;font-weight:600}
"""

Link = Callable[[int], str]


def sequence(
    trace: Trace, *, steps: Sequence[Step] | None = None, link: Link | None = None, chosen: int | None = None
) -> str:
    """Draw the messages of a trace, or some ``steps`` that follow each other; ``link`` gives a box its address."""
    shown = trace.steps if steps is None else steps
    width, height, parts = _sequence(trace, shown, link, chosen)
    label = f"session {trace.session_id}: {words.counted(len(shown), 'message')} between items"
    return _svg(width, height, [title(label), *parts], label)


def standalone(trace: Trace) -> str:
    """Draw a whole trace, with its waterfall, as a file of its own."""
    width, height, parts = _sequence(trace, trace.steps, None, None)
    wide, high, bars = waterfall.drawn(trace, trace.steps)
    label = f"session {trace.session_id}, {words.utc_time(trace.started_us)}, " + words.seconds(
        trace.duration_seconds
    )
    full_width, full_height = max(width, wide) + 24, height + high + 96
    body = [
        element("style", _STYLE),
        element("rect", class_="ground", width=full_width, height=full_height),
        text(label, 12, 24, "title"),
        text(f"energy: {trace.totals.in_words()}", 12, 44, "remark"),
        element("g", *parts, transform="translate(12 60)"),
        element("g", *bars, transform=f"translate(12 {height + 80})") if bars else "",
    ]
    return _svg(full_width, full_height, body, label)


def energy_words(step: Step) -> str:
    """Say what a message used on our side with its tier; unlike tiers stand apart, unknown is a dash."""
    own = [view for view in step.energy if view.scope != "remote"]
    tiers: dict[str, float] = {}
    unknown = False
    for view in own:
        if view.joules is None or view.status == "pending":
            unknown = True
        else:
            tiers[view.tier] = tiers.get(view.tier, 0.0) + view.joules
    known = " + ".join(words.joules(joules, tier) for tier, joules in tiers.items())
    if not known:
        return words.UNKNOWN
    return f"{known} + unknown" if unknown else known


def seconds_of(step: Step) -> float | None:
    """Return how long the attempts of a message took together; None where one is not known."""
    total = 0.0
    for attempt in step.attempts:
        if attempt.duration_seconds is None:
            return None
        total += attempt.duration_seconds
    return total if step.attempts else None


def failed(step: Step) -> bool:
    """Tell whether a message stands for an error."""
    return step.error is not None or step.status == "Error"


def _svg(width: float, height: float, parts: Iterable[str], label: str) -> str:
    return element(
        "svg", *parts, xmlns="http://www.w3.org/2000/svg", class_="trace", width=width, height=height,
        viewBox=f"0 0 {width} {height}", role="group", aria_label=label,
    )  # fmt: skip


def _sequence(
    trace: Trace, steps: Sequence[Step], link: Link | None, chosen: int | None
) -> tuple[int, int, list[str]]:
    places = {lane.item: _GUTTER + number * _LANE + _LANE // 2 for number, lane in enumerate(trace.lanes)}
    rows, y = [], _HEAD
    for _, _, _, part in _in_order(trace, steps):
        if isinstance(part, EventLine):
            rows.append(_log_line(trace, part, places, y))
            y += _EVENT
        else:
            rows.append(_step(trace, part, places, y, link, part.number == chosen))
            y += _STEP
    height = y + 12
    return _GUTTER + len(places) * _LANE + _REMARK, height, [*_lanes(trace.lanes, places, height), *rows]


def _in_order(trace: Trace, steps: Sequence[Step]) -> list[tuple[int, int, int, Step | EventLine]]:
    """Return the messages with the lines of the event log between them."""
    # A clock that was set back must not turn the order of the messages round.
    times = list(itertools.accumulate((step.created_us for step in steps), max))
    rows: list[tuple[int, int, int, Step | EventLine]] = [
        (time, 0, step.number, step) for time, step in zip(times, steps, strict=True)
    ]
    if not steps:
        return rows
    since = times[0] if steps[0].number > 1 else None
    last = steps[-1].number
    until = trace.steps[last].created_us if last < len(trace.steps) else None
    rows += [
        (line.time_us, 1, place, line)
        for place, line in enumerate(trace.events)
        if (since is None or line.time_us >= since) and (until is None or line.time_us < until)
    ]
    return sorted(rows, key=lambda row: row[:3])


def _lanes(lanes: Sequence[Lane], places: dict[str, int], height: int) -> Iterable[str]:
    for kind, group in itertools.groupby(lanes, key=lambda lane: lane.kind):
        items = [places[lane.item] for lane in group]
        left, right = items[0] - _LANE / 2 + 6, items[-1] + _LANE / 2 - 6
        yield text(_GROUPS[kind], left, 14, "group")
        yield element("path", class_="bracket", d=f"M{left:g} 24V20H{right:g}V24")
    for lane in lanes:
        x = places[lane.item]
        yield text(lane.item, x, 44, "lane-name", longest=_ITEM_CHARS)
        yield element("line", class_="lane", x1=x, x2=x, y1=52, y2=height)


def _step(trace: Trace, step: Step, places: dict[str, int], y: int, link: Link | None, chosen: bool) -> str:
    start, end = places[step.source], places[step.target]
    middle = y + _STEP // 2
    way = (end > start) - (end < start)
    left = start + way * _LANE / 2 - _BOX / 2
    response = step.type == "Response"
    bad = failed(step)
    names = "message" + (" back" if response else "") + (" bad" if bad else "")
    names += " open" if not bad and step.status in ("Queued", "Delivered", "Deferred", "Created") else ""
    name = step.body_class.rpartition(".")[2] or "(no body)"
    sign = "✕ " if bad else ""
    said = (
        f"message {step.number}, {step.type.lower()}: {name} from {step.source} to {step.target}, {step.status}, "
        f"{words.seconds(seconds_of(step))}, {energy_words(step)}"
    )
    box = [
        element(
            "rect", class_="frame", x=left, y=middle - _BOX_HEIGHT / 2, width=_BOX, height=_BOX_HEIGHT, rx=5
        ),
        text(f"{sign}{step.number} {name}", left + 8, middle - 3, "class", longest=_CLASS_CHARS),
        text(_figures(step), left + 8, middle + 13, "figures", longest=_FIGURE_CHARS),
        title(said),
    ]
    names_of_box = "box chosen" if chosen else "box"
    drawn = (
        element("g", *box, id=f"step-{step.number}", class_=names_of_box)
        if link is None
        else element(
            "a", *box, id=f"step-{step.number}", class_=names_of_box, href=link(step.number), aria_label=said,
            aria_current="true" if chosen else None, data_row="",
        )
    )  # fmt: skip
    parts = [
        text(_offset(trace, step.created_us), _GUTTER - 12, middle + 4, "offset"),
        _arrow(start, end, middle, way) if way else "",
        drawn,
        _remark(step, places, middle, bad),
    ]
    return element("g", *parts, class_=names)


def _arrow(start: int, end: int, y: int, way: int) -> str:
    tip = end - way * 3
    head = f"M{tip} {y}l{-9 * way} -5v10z"
    return element("line", class_="arrow", x1=start, x2=tip - 8 * way, y1=y, y2=y) + element(
        "path", class_="head", d=head
    )


def _figures(step: Step) -> str:
    if step.type == "Response":
        return words.size(step.body_bytes)
    return f"{words.seconds(seconds_of(step))} · {energy_words(step)}"


def _remark(step: Step, places: dict[str, int], y: int, bad: bool) -> str:
    x = _GUTTER + len(places) * _LANE + 8
    tries = f"{len(step.attempts)} attempts" if len(step.attempts) > 1 else ""
    waits = f"waits: {step.waiting_because}" if step.waiting_because else ""
    status = "" if step.status == "Completed" and not bad else step.status
    said = ", ".join(part for part in (status, tries, waits) if part)
    if bad:
        said = f"✕ {said or 'Error'}: {step.error or ''}"
    return text(said, x, y + 4, "remark bad" if bad else "remark", longest=_REMARK_CHARS) if said else ""


def _log_line(trace: Trace, line: EventLine, places: dict[str, int], y: int) -> str:
    x = places.get(line.item, _GUTTER) + 8
    bad = line.type in ("Error", "Assert", "Alert")
    sign = "✕ " if bad else "! " if line.type == "Warning" else ""
    left = len(places) * _LANE + _GUTTER + _REMARK - x
    return element(
        "g",
        text(_offset(trace, line.time_us), _GUTTER - 12, y + 15, "offset"),
        text(
            f"{sign}{line.type}: {_said(line.text)}",
            x,
            y + 15,
            "log bad" if bad else "log",
            longest=max(24, left // 7),
        ),
    )


def _said(text: str) -> str:
    """Return what a line says: of a traceback its last line, which names the error."""
    return text.strip().rpartition("\n")[2] if text.startswith("Traceback") else text


def _offset(trace: Trace, time_us: int) -> str:
    return f"+{words.seconds(max(0, time_us - trace.started_us) / 1e6)}"
