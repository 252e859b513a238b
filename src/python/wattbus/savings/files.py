"""The savings as lines of a table, as CSV that no spreadsheet takes for formulas, and as markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from wattbus import words
from wattbus.export.event_lines import cell
from wattbus.savings.reckoning import Row, Totals
from wattbus.savings.report import Report
from wattbus.savings.runs import Side

COLUMNS = ("run", "when", "what", "ours", "the template's way", "ratio", "how it is known")
_CSV = (
    "run", "kind", "when", "what", "ours_seconds", "ours_joules", "ours_low_joules", "ours_high_joules", "ours_tier",
    "ours_cpu_seconds", "ours_bytes", "template_seconds", "template_low_seconds", "template_high_seconds",
    "template_joules", "template_low_joules", "template_high_joules", "template_tier", "template_bytes",
    "seconds_ratio", "joules_ratio", "bytes_ratio", "how", "not_measured", "command", "note",
)  # fmt: skip


def lines_of(found: Report) -> list[tuple[str, ...]]:
    """Return a line of each run under ``COLUMNS``."""
    return [
        (
            row.run,
            words.local_time(row.at_us)[:16],
            row.what,
            shown_side(row.ours),
            "not measured" if row.template is None else shown_side(row.template),
            shown_ratios(row),
            shown_how(row),
        )
        for row in found.rows
    ]


def shown_side(side: Side) -> str:
    """Show what one way cost: bytes, seconds, joules; those that are not known are a dash."""
    parts = [words.size(side.bytes)] if side.bytes is not None else []
    parts.append(words.seconds(side.seconds))
    if side.bytes is None:
        parts.append(
            words.joules(side.joules, side.tier) if side.joules is not None else f"{words.UNKNOWN} J"
        )
    return ", ".join(parts)


def shown_ratios(row: Row) -> str:
    """Show the ratios in words; one below 1 says that ours took more."""
    told = (("time", row.seconds_ratio), ("energy", row.joules_ratio), ("bytes", row.bytes_ratio))
    return ", ".join(f"{name} {shown_ratio(value)}" for name, value in told if value is not None)


def shown_ratio(value: float) -> str:
    """Show how many times ours the other way is.

    >>> shown_ratio(21.44), shown_ratio(0.8), shown_ratio(1.0), shown_ratio(340.2)
    ('21x', '0.80x, ours took more', '1.0x', '340x')
    """
    shown = f"{value:.2f}x" if value < 0.995 else f"{value:.1f}x" if value < 9.95 else f"{value:.0f}x"
    return f"{shown}, ours took more" if value < 0.995 else shown


def shown_how(row: Row) -> str:
    """Say how the other side is known, or why it is not and what would measure it."""
    if row.template is None:
        return f"{row.not_measured}{f': `{row.command}`' if row.command else ''}"
    return f"{row.how}; {row.note}" if row.note else row.how


def sentences_of(totals: Totals) -> list[str]:
    """Say what the runs come to together, and how many are in no sum."""
    told = []
    if totals.seconds_runs:
        told.append(
            f"{words.counted(totals.seconds_runs, 'run')} with seconds on both sides: ours "
            f"{words.seconds(totals.ours_seconds)}, the template's way {words.seconds(totals.template_seconds)}."
        )
    for one in totals.joules:
        told.append(
            f"{words.counted(one.runs, 'run')} with joules on both sides: ours {words.joules(one.ours, one.tier)}, "
            f"the template's way {words.joules(one.template, one.tier)}."
        )
    if totals.fetches:
        told.append(
            f"{words.counted(totals.fetches, 'fetch', 'fetches')}: {words.size(totals.ours_bytes)} came, "
            f"{words.size(totals.template_bytes)} are listed."
        )
    if totals.left_out:
        told.append(f"{words.counted(totals.left_out, 'run')} not measured, and in no sum.")
    return told


def csv_of(rows: Sequence[Row]) -> str:
    """Return the runs as CSV, a line each; what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_CSV)
    for row in rows:
        other = row.template or Side()
        values = (
            row.run, row.kind, words.utc_time(row.at_us), row.what, row.ours.seconds, row.ours.joules,
            row.ours.low_joules, row.ours.high_joules, str(row.ours.tier), row.ours.cpu_seconds, row.ours.bytes,
            other.seconds, other.low_seconds, other.high_seconds, other.joules, other.low_joules, other.high_joules,
            str(other.tier), other.bytes, row.seconds_ratio, row.joules_ratio, row.bytes_ratio, row.how,
            row.not_measured, row.command, row.note,
        )  # fmt: skip
        writer.writerow([cell(value) for value in values])
    return text.getvalue()


def markdown_of(found: Report) -> str:
    """Return the runs as a markdown table with the sums below."""
    head = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines = ["| " + " | ".join(part.replace("|", "/") for part in line) + " |" for line in lines_of(found)]
    return "\n".join([*head, *lines, "", *sentences_of(found.totals)])
