"""Return on investment of ways to spend less energy, from measured or typed figures; see ``docs/roi.md``.

>>> from wattbus import roi
>>> roi.gaissa_roi(old=150, new=75, cost=10).value
0.7647058823529411
>>> draft = roi.Draft(
...     name="int8", tactic="quantise", before={"joules": 3.6e6}, after={"reduction": 0.5},
...     cost=10, price_per_kwh=0.15, units=1000,
... )
>>> roi.outcome_of(roi.analysed(draft)).ordinary_return.at.value
6.5
"""

from wattbus.roi.analysis import Analysis, Energy
from wattbus.roi.curves import cost_curve, return_curve
from wattbus.roi.files import as_record, csv_file, json_file
from wattbus.roi.formulas import (
    Answer,
    State,
    break_even,
    gaissa_roi,
    infinite_roi,
    ordinary_return,
    payback_days,
)
from wattbus.roi.given import Draft
from wattbus.roi.inputs import inputs_of
from wattbus.roi.kept import (
    Kept,
    forget_analysis,
    kept_analysis,
    kept_versions,
    list_analyses,
    save_analysis,
)
from wattbus.roi.lines import lines_of
from wattbus.roi.outcome import Bounded, Outcome, outcome_of
from wattbus.roi.sensitivity import grid, tornado
from wattbus.roi.sidebyside import side_by_side
from wattbus.roi.sources import analysed
from wattbus.roi.tactics import TACTICS, Tactic, tactic_of

__all__ = [
    "TACTICS",
    "Analysis",
    "Answer",
    "Bounded",
    "Draft",
    "Energy",
    "Kept",
    "Outcome",
    "State",
    "Tactic",
    "analysed",
    "as_record",
    "break_even",
    "cost_curve",
    "csv_file",
    "forget_analysis",
    "gaissa_roi",
    "grid",
    "infinite_roi",
    "inputs_of",
    "json_file",
    "kept_analysis",
    "kept_versions",
    "lines_of",
    "list_analyses",
    "ordinary_return",
    "outcome_of",
    "payback_days",
    "return_curve",
    "save_analysis",
    "side_by_side",
    "tactic_of",
    "tornado",
]
