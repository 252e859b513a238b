"""Savings in the portal: each run beside the way of the 2022 template, with its bars; what is not measured says so."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from markupsafe import Markup

from wattbus import words
from wattbus.savings.files import sentences_of, shown_ratios, shown_side
from wattbus.savings.reckoning import Row
from wattbus.savings.report import DAYS, MOST_DAYS, Report, report
from wattbus.web.bar_charts import Bar, stacked_bars
from wattbus.web.desk import Desk
from wattbus.web.twin import Twins

#: So many of the newest runs have bars.
_MOST_BARS = 12
WAYS = ("ours", "the template's way")


def add(twins: Twins, desk: Desk) -> None:
    """Open the page."""

    def savings(days: Annotated[int, Query(ge=1, le=MOST_DAYS)] = DAYS) -> Report:
        """Return each run with its seconds and joules, beside those of the template's way where it was measured."""
        with desk.reading() as engine:
            return report(engine, desk.models(), desk.tables(), days)

    twins.share(
        savings_bars=savings_bars,
        savings_side=shown_side,
        savings_ratios=shown_ratios,
        savings_sentences=sentences_of,
    )
    twins.view("/energy/savings", "savings.html", savings, tag="energy")


def savings_bars(view: Report, figure: str) -> Markup:
    """Draw ours beside the template's way, which is 100 %, for the newest runs that have both; nothing: nothing."""
    rows = [row for row in view.rows if _share(row, figure) is not None][:_MOST_BARS]
    bars: list[Bar] = []
    for row in rows:
        share = _share(row, figure) or 0.0
        said = f"{row.run}: {figure} of ours are {share:.3g} % of the template's way"
        bars += [Bar(words.clean(row.run, 14), said, (share, 0.0)), Bar("", said, (0.0, 100.0))]
    told = "; ".join(f"{row.run} {_share(row, figure) or 0.0:.3g} %" for row in rows)
    return stacked_bars(
        bars, WAYS, "%", f"{figure.capitalize()} of ours, the template's way being 100 %: {told}."
    )


def _share(row: Row, figure: str) -> float | None:
    """Return ours in per cent of the template's way; above 100 where ours took more."""
    ratio = row.joules_ratio if figure == "joules" else row.seconds_ratio
    return None if not ratio else 100.0 / ratio
