"""An analysis as files: JSON with everything, and CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from wattbus import words
from wattbus.export.event_lines import cell
from wattbus.roi.curves import cost_curve, return_curve
from wattbus.roi.inputs import inputs_of
from wattbus.roi.kept import Kept
from wattbus.roi.lines import lines_of
from wattbus.roi.outcome import outcome_of
from wattbus.roi.sensitivity import grid, tornado
from wattbus.roi.sidebyside import SideBySide


def as_record(kept: Kept) -> dict[str, Any]:
    """Return everything of an analysis as JSON values: what was given, the outcome, the curves."""
    analysis = kept.analysis
    outcome = outcome_of(analysis)
    return {
        "kind": "wattbus-roi-analysis",
        "name": kept.name,
        "version": kept.version,
        "made": words.utc_time(kept.made_us),
        "made_by": kept.made_by,
        "analysis": analysis.model_dump(mode="json"),
        "outcome": asdict(outcome),
        "lines": [asdict(line) for line in lines_of(analysis, outcome)],
        "inputs": [asdict(one) for one in inputs_of(analysis)],
        "sensitivity": {"tornado": asdict(tornado(analysis)), "grid": asdict(grid(analysis))},
        "curves": {"returns": asdict(return_curve(analysis)), "costs": asdict(cost_curve(analysis))},
    }


def json_file(kept: Kept) -> str:
    """Return an analysis as a JSON document."""
    return json.dumps(as_record(kept), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def csv_file(kept: Kept) -> str:
    """Return an analysis as CSV: one line a figure, what went in first."""
    analysis = kept.analysis
    outcome = outcome_of(analysis)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["part", "key", "name", "value", "low", "high", "unit", "in words", "bounds", "origin"])

    def row(*cells: object) -> None:
        writer.writerow([cell(one) for one in cells])

    row("analysis", "name", "name", None, None, None, None, kept.name, None, None)
    row("analysis", "version", "version", kept.version, None, None, None, None, None, kept.made_by)
    row("analysis", "made", "saved", None, None, None, None, words.utc_time(kept.made_us), None, None)
    row("analysis", "tactic", "tactic", None, None, None, None, outcome.tactic, None, None)
    row("analysis", "verdict", "verdict", None, None, None, None, outcome.sentence, None, None)
    for one in inputs_of(analysis):
        row("input", None, one.name, None, None, None, None, one.text, None, one.origin)
    for line in lines_of(analysis, outcome):
        row(
            line.group.lower(), line.key, line.name, line.value, line.low, line.high, line.unit, line.text,
            line.interval, None,
        )  # fmt: skip
    for note in outcome.notes:
        row("note", None, None, None, None, None, None, note, None, None)
    return text.getvalue()


def side_by_side_csv(table: SideBySide) -> str:
    """Return analyses side by side as CSV: one line a figure, a column an analysis and one for its difference."""
    text = io.StringIO()
    writer = csv.writer(text)
    columns = [
        part
        for number, name in enumerate(table.names)
        for part in (name, *([f"{name}, difference", f"{name}, difference in words"] if number else []))
    ]
    writer.writerow([cell(one) for one in ("part", "name", *columns)])
    for row in table.rows:
        values = [
            part
            for number, place in enumerate(row.places)
            for part in (place.text, *([place.difference, place.difference_text] if number else []))
        ]
        writer.writerow([cell(one) for one in (row.group, row.name, *values)])
    for remark in table.remarks:
        writer.writerow(["remark", cell(remark)])
    return text.getvalue()
