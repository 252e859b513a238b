"""A trace as one piece of HTML for a notebook: self-contained, no script, every text escaped."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from html import escape

from wattbus import words
from wattbus.trace.views import AttemptView, Step, Trace

#: Longer sessions are cut, in words; ``to_dict`` has everything.
MOST_STEPS = 300
_LONGEST_TEXT = 500
_STYLE = """
.wb-trace{font:13px/1.4 system-ui,sans-serif;color:#1f2430;background:#fff;padding:8px;overflow-x:auto}
.wb-trace table{border-collapse:collapse;margin:6px 0;color:inherit;background:none}
.wb-trace th,.wb-trace td{padding:2px 8px;text-align:left;border:0;white-space:nowrap;background:none}
.wb-trace th{border-bottom:1px solid #9aa3b2}.wb-trace td.n{text-align:right;font-variant-numeric:tabular-nums}
.wb-trace .k{font-weight:normal;color:#5b6472}.wb-trace .e{color:#b3261e}.wb-trace .l{color:#5b6472;white-space:normal}
.wb-trace .a{border-bottom:2px solid #2f6fab;text-align:center}.wb-trace .a.e{border-color:#b3261e}
.wb-trace .bar{position:relative;width:220px;height:11px;background:#eef1f5}
.wb-trace .bar i{position:absolute;top:0;bottom:0}
.wb-trace .w{background:#c9d2de}.wb-trace .s{background:#e0b04b}.wb-trace .r{background:#2f6fab}
.wb-trace .r.x{background:#b3261e}
"""


def page_part(trace: Trace) -> str:
    """Return ``trace`` as a ``div`` with its own style."""
    steps = trace.steps[:MOST_STEPS]
    left = len(trace.steps) - len(steps)
    parts = [
        f'<div class="wb-trace"><style>{_STYLE}</style>',
        f"<p><b>session {trace.session_id}</b> {_text(words.local_time(trace.started_us))} "
        f"({words.utc_time(trace.started_us)}), {_text(words.seconds(trace.duration_seconds))}"
        f"{' so far' if trace.open_messages else ''}, {words.counted(len(trace.steps), 'message')}<br>"
        f"energy: {_text(trace.totals.in_words())}</p>",
        *_sequence(trace, steps),
        f"<p>… and {words.counted(left, 'more message')}: <code>to_dict()</code> has all.</p>"
        if left
        else "",
        *_waterfall(trace, steps),
        "</div>",
    ]
    return "".join(parts)


def _sequence(trace: Trace, steps: tuple[Step, ...]) -> Iterable[str]:
    lanes = {lane.item: place for place, lane in enumerate(trace.lanes)}
    heads = "".join(
        f"<th>{_text(lane.item)}<br><span class=k>{lane.kind}</span></th>" for lane in trace.lanes
    )
    yield f"<table><tr><th>#</th><th>offset</th>{heads}<th></th></tr>"
    # A clock that was set back must not turn the order of the messages round.
    times = itertools.accumulate((step.created_us for step in steps), max)
    rows = [
        (time, 0, step.number, _message(trace, lanes, step)) for time, step in zip(times, steps, strict=True)
    ]
    until = steps[-1].created_us if len(steps) < len(trace.steps) else None
    rows += [
        (event.time_us, 1, place, _log_line(trace, event.time_us, f"{event.type} {event.item}: {event.text}"))
        for place, event in enumerate(trace.events)
        if until is None or event.time_us <= until
    ]
    yield from (row for *_, row in sorted(rows))
    yield "</table>"


def _message(trace: Trace, lanes: dict[str, int], step: Step) -> str:
    first, last = sorted((lanes[step.source], lanes[step.target]))
    forward = lanes[step.source] <= lanes[step.target]
    name = _text(step.body_class.rpartition(".")[2] or "(no body)")
    label = f"{name} ▶" if forward else f"◀ {name}"
    failed = " e" if step.status == "Error" else ""
    said = [words.size(step.body_bytes)] if step.body_bytes is not None else []
    said += [step.status] if step.status != "Completed" else []
    said += [step.error] if step.error else []
    said += [f"waits, {step.waiting_because}"] if step.waiting_because else []
    return (
        f"<tr><td class=n>{step.number}</td><td class=n>{_offset(trace, step.created_us)}</td>"
        f"{'<td></td>' * first}"
        f'<td class="a{failed}" colspan="{last - first + 1}" title="message {step.id}">{label}</td>'
        f"{'<td></td>' * (len(lanes) - 1 - last)}"
        f'<td class="l{failed}">{_text(", ".join(said))}</td></tr>'
    )


def _log_line(trace: Trace, time_us: int, text: str) -> str:
    columns = len(trace.lanes) + 1
    return (
        f"<tr><td></td><td class=n>{_offset(trace, time_us)}</td>"
        f'<td class=l colspan="{columns}">{_text(text)}</td></tr>'
    )


def _waterfall(trace: Trace, steps: tuple[Step, ...]) -> Iterable[str]:
    titles = ("#", "item", "wait", "load", "time", "own CPU", "energy", "")
    yield "<table><tr>" + "".join(f"<th>{title}</th>" for title in titles) + "</tr>"
    for step in steps:
        since = step.created_us
        for attempt in step.attempts:
            yield _attempt(trace, step, attempt, since)
            since = attempt.ended_us or since
    yield "</table>"


def _attempt(trace: Trace, step: Step, attempt: AttemptView, since_us: int) -> str:
    views = [view for view in step.energy if view.attempt == attempt.number]
    cpu = next((view.cpu_seconds for view in views if view.scope != "remote"), None)
    energy = "<br>".join(
        _text(("" if view.scope == "local" else f"{view.scope}: ") + words.joules(view.joules, view.tier))
        + (f"<br><span class=k>{_text(view.reason or view.status)}</span>" if view.joules is None else "")
        for view in views
    )
    done = attempt.duration_seconds
    figures = (
        words.seconds(attempt.wait_seconds),
        words.seconds(attempt.load_wait_seconds or None),
        words.seconds(done) if done is not None else attempt.outcome,
        words.seconds(cpu),
    )
    number = step.number if len(step.attempts) == 1 else f"{step.number}.{attempt.number}"
    return (
        f"<tr><td class=n>{number}</td><td>{_text(step.target)}</td>"
        + "".join(f"<td class=n>{_text(figure)}</td>" for figure in figures)
        + f"<td>{energy or words.UNKNOWN}</td><td>{_bar(trace, attempt, since_us)}</td></tr>"
    )


def _bar(trace: Trace, attempt: AttemptView, since_us: int) -> str:
    ended = attempt.ended_us or trace.read_us
    done = attempt.duration_seconds
    begun = attempt.started_us if done is None else max(attempt.started_us, ended - round(done * 1e6))
    loads = attempt.started_us - round(attempt.load_wait_seconds * 1e6)
    failed = "" if attempt.outcome in ("completed", "deferred", "running") else " x"
    pieces = (
        ("w", since_us, attempt.started_us),
        ("s", loads, attempt.started_us),
        (f"r{failed}", begun, ended),
    )
    return f"<div class=bar>{''.join(_piece(trace, *piece) for piece in pieces)}</div>"


def _piece(trace: Trace, name: str, start_us: int, end_us: int) -> str:
    span = max(1.0, trace.duration_seconds * 1e6)
    left = min(99.0, max(0.0, (start_us - trace.started_us) / span * 100))
    wide = min(100 - left, max(1.0 if name.startswith("r") else 0.0, (end_us - start_us) / span * 100))
    return f'<i class="{name}" style="left:{left:.2f}%;width:{wide:.2f}%"></i>' if wide > 0 else ""


def _offset(trace: Trace, time_us: int) -> str:
    return escape(f"+{words.seconds(max(0, time_us - trace.started_us) / 1e6)}")


def _text(text: str) -> str:
    return escape(words.clean(text, _LONGEST_TEXT))
