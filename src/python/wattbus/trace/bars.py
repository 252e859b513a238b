"""The waterfall under a trace: each attempt with its wait, its time, its own CPU seconds, its joules, and a bar."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from wattbus import words
from wattbus.terminal import wrapped
from wattbus.trace.views import AttemptView, EnergyView, Step, Trace

_WAIT, _LOAD, _RUN = "░", "▒", "█"
_SHORTEST_BAR, _LONGEST_BAR, _SHORTEST_ITEM = 10, 60, 8
_TITLES = ("#", "item", "wait", "load", "time", "own CPU", "energy")
_FIRST_TO_GO = (3, 5, 2)  # of the titles, in a window that is too narrow for all
_MOST_NOTES = 8


@dataclass(frozen=True)
class _Row:
    cells: tuple[str, ...]
    failed: bool = False
    wait_us: tuple[int, int] = (0, 0)
    load_us: int = 0
    run_us: tuple[int, int] = (0, 0)


def waterfall(trace: Trace, width: int) -> list[Text]:
    """Draw the attempts of ``trace`` in lines of ``width`` columns at most, with the reasons of what is unknown."""
    rows = [row for step in trace.steps if step.type == "Request" for row in _rows(trace, step)]
    if not rows:
        return []
    widths = [
        max(cell_len(cell) for cell in column)
        for column in zip(_TITLES, *(row.cells for row in rows), strict=True)
    ]
    shown = [place for place in range(len(_TITLES)) if place != 3 or any(row.load_us for row in rows)]
    widths[1] = max(
        min(_SHORTEST_ITEM, widths[1]), widths[1] - max(0, _SHORTEST_BAR - _left(width, widths, shown))
    )
    for given_up in _FIRST_TO_GO:
        if _left(width, widths, shown) < 0 and given_up in shown:
            shown.remove(given_up)
    bar = min(_LONGEST_BAR, _left(width, widths, shown))
    lines = [Text(_line(_TITLES, widths, shown).rstrip(), style="bold")]
    for row in rows:
        line = Text(_line(row.cells, widths, shown), style="red" if row.failed else "")
        line.append_text(_bar(trace, row, bar))
        line.truncate(width)
        lines.append(line)
    return [*lines, *_legend(rows, width), *_notes(trace, width)]


def _left(width: int, widths: list[int], shown: list[int]) -> int:
    """Return the columns that are left for the bars."""
    return width - sum(widths[place] + 2 for place in shown)


def _line(cells: tuple[str, ...], widths: list[int], shown: list[int]) -> str:
    parts = []
    for place in shown:
        cell, wide = cells[place], widths[place]
        if cell_len(cell) > wide:
            cell = set_cell_size(cell, wide - 1) + "…"
        pad = " " * (wide - cell_len(cell))
        # Names read from the left, figures from the right.
        parts.append(cell + pad if place in (1, 6) else pad + cell)
    return "  ".join(parts) + "  "


def _rows(trace: Trace, step: Step) -> list[_Row]:
    number, item = str(step.number), words.clean(step.target)
    if not step.attempts:
        ends = trace.read_us if step.waiting_because is not None else step.created_us
        wait = (
            words.seconds(max(0, ends - step.created_us) / 1e6)
            if step.waiting_because is not None
            else words.UNKNOWN
        )
        cells = (number, item, wait, "", step.status, "", "")
        return [_Row(cells, step.status == "Error", (step.created_us, ends))]
    rows = []
    since = step.created_us
    for attempt in step.attempts:
        name = number if len(step.attempts) == 1 else f"{number}.{attempt.number}"
        views = [view for view in step.energy if view.attempt == attempt.number]
        own = [view for view in views if view.scope != "remote"]
        rows.append(_attempt(trace, attempt, name, item, own[0] if own else None, since))
        rows += [
            _Row(("", "↳ remote", "", "", "", "", words.joules(view.joules, view.tier)))
            for view in views
            if view.scope == "remote"
        ]
        since = attempt.ended_us or since
    return rows


def _attempt(
    trace: Trace, attempt: AttemptView, name: str, item: str, own: EnergyView | None, since_us: int
) -> _Row:
    ended = attempt.ended_us or trace.read_us
    # From claim to commit the store is at work as well; the component worked just before the end.
    ran = (
        ended - attempt.started_us
        if attempt.duration_seconds is None
        else round(attempt.duration_seconds * 1e6)
    )
    # A lost worker's end is the end of its lease, not the end of its work.
    time = (
        words.seconds(attempt.duration_seconds) if attempt.duration_seconds is not None else attempt.outcome
    )
    cells = (
        name,
        item,
        words.seconds(attempt.wait_seconds),
        words.seconds(attempt.load_wait_seconds) if attempt.load_wait_seconds else "",
        time,
        words.seconds(own.cpu_seconds if own else None),
        words.joules(own.joules, own.tier) if own else words.UNKNOWN,
    )
    return _Row(
        cells,
        attempt.outcome not in ("completed", "deferred", "running"),
        (min(since_us, attempt.started_us), attempt.started_us),
        round(attempt.load_wait_seconds * 1e6),
        (max(attempt.started_us, ended - ran), ended),
    )


def _bar(trace: Trace, row: _Row, width: int) -> Text:
    """Draw wait, load and run on one scale for the whole session; what ran is never drawn as nothing."""
    if width < 3:
        return Text()
    span = max(1.0, trace.duration_seconds * 1e6)

    def column(time_us: int) -> int:
        return min(width, max(0, round((time_us - trace.started_us) / span * width)))

    signs = [" "] * width
    waits, starts = map(column, row.wait_us)
    loads = column(row.wait_us[1] - row.load_us)
    signs[waits:starts] = _WAIT * (starts - waits)
    signs[loads:starts] = _LOAD * (starts - loads)
    if row.run_us != (0, 0):
        begins, ends = map(column, row.run_us)
        begins = min(begins, width - 1)
        ends = max(begins + 1, ends)
        signs[begins:ends] = _RUN * (ends - begins)
    return Text("".join(signs), style="red" if row.failed else "cyan")


def _legend(rows: list[_Row], width: int) -> list[Text]:
    parts = [f"{_RUN} runs"]
    if any(row.wait_us[0] != row.wait_us[1] for row in rows):
        parts.insert(0, f"{_WAIT} waits in the queue")
    if any(row.load_us for row in rows):
        parts.insert(-1, f"{_LOAD} waits while the item starts")
    return [Text("  ".join(parts)[:width], style="dim")]


def _notes(trace: Trace, width: int) -> list[Text]:
    """Say once for each reason why figures are unknown, and for which messages."""
    reasons: dict[str, list[int]] = {}
    for step in trace.steps:
        for attempt in step.attempts:
            views = [view for view in step.energy if view.attempt == attempt.number]
            if not views:
                why = "still running" if attempt.outcome == "running" else "there is no energy record"
                reasons.setdefault(why, []).append(step.number)
            for view in views:
                if view.joules is None:
                    reasons.setdefault(_why(view), []).append(step.number)
    lines = []
    for reason, numbers in list(reasons.items())[:_MOST_NOTES]:
        which = ", ".join(map(str, numbers[:6])) + (
            f" and {len(numbers) - 6:,} more" if len(numbers) > 6 else ""
        )
        lines += wrapped(f"{words.UNKNOWN} message {which}: {reason}", width, "  ", "dim")
    if len(reasons) > _MOST_NOTES:
        lines.append(Text(f"{words.UNKNOWN} and {len(reasons) - _MOST_NOTES:,} more reasons", style="dim"))
    return lines


def _why(view: EnergyView) -> str:
    if view.status == "pending":
        return "pending: the power reading that holds it is not in yet"
    side = "the remote side: " if view.scope == "remote" else ""
    return f"{side}{view.status.replace('_', ' ')}: {view.reason or 'no reason was given'}"
