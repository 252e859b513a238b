"""What each run saved, or did not, against the way of the 2022 template; see ``docs/savings.md``."""

from wattbus.savings.counterfactual import KIND, Cost, Counterfactual, kept_samples
from wattbus.savings.files import csv_of, lines_of, markdown_of
from wattbus.savings.measure import Place, Size, measure
from wattbus.savings.reckoning import Row, Totals, row_of, totals_of
from wattbus.savings.report import Report, measured, report
from wattbus.savings.runs import Run, Side, find_run, list_runs

__all__ = [
    "KIND",
    "Cost",
    "Counterfactual",
    "Place",
    "Report",
    "Row",
    "Run",
    "Side",
    "Size",
    "Totals",
    "csv_of",
    "find_run",
    "kept_samples",
    "lines_of",
    "list_runs",
    "markdown_of",
    "measure",
    "measured",
    "report",
    "row_of",
    "totals_of",
]
