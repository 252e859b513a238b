"""An analysis as a report of A4 pages: verdict, figures and their origins, curves, sensitivity."""

from __future__ import annotations

from collections.abc import Sequence

from wattbus import words
from wattbus.pictures.chart import Box
from wattbus.pictures.colours import ACCENT, INK, PANEL, PAPER, QUIET, RULE
from wattbus.pictures.pdf import draw_pdf
from wattbus.pictures.sheet import A4, Sheet, Sketch, wrapped
from wattbus.roi.drawings import draw_costs, draw_returns, draw_tornado
from wattbus.roi.files import as_record
from wattbus.roi.inputs import inputs_of
from wattbus.roi.kept import Kept
from wattbus.roi.lines import digits_of, lines_of
from wattbus.roi.outcome import Outcome, outcome_of
from wattbus.roi.sensitivity import grid, tornado
from wattbus.roi.shown import money, plain, ratio, told

_MARGIN, _WIDTH = 56.0, A4[0] - 112.0
_TEXT, _HEAD = 10.5, 13.0
#: What stands on a page ends here; below is its foot.
_LOWEST = A4[1] - 56.0


def pdf_file(kept: Kept) -> bytes:
    """Return the report as a PDF; the analysis is attached as JSON."""
    return draw_pdf(pages_of(kept))


def pages_of(kept: Kept) -> list[Sheet]:
    """Draw the pages."""
    outcome = outcome_of(kept.analysis)
    pages = [*_figures(kept, outcome), _origins_and_curves(kept, outcome), _sensitivity(kept)]
    for number, page in enumerate(pages, start=1):
        said = f"{number} / {len(pages)}"
        page.text(_MARGIN + _WIDTH, A4[1] - 36, said, 9, colour=QUIET, anchor="end")
    return [page.sheet() for page in pages]


def _figures(kept: Kept, outcome: Outcome) -> list[Sketch]:
    analysis = kept.analysis
    page = _page(kept, f"Return on investment: {kept.name}. {outcome.sentence}", as_record(kept))
    pages = [page]
    y = page.paragraph(_MARGIN, 84, kept.name, 22, fit=_WIDTH, most_lines=2, leading=1.25, bold=True)
    page.text(_MARGIN, y - 2, f"Return on investment · {analysis.tactic.title}", 12, colour=QUIET, fit=_WIDTH)
    verdict = wrapped(outcome.sentence, 12.5, _WIDTH - 28, most_lines=4, bold=True)
    height = 22 + 18 * len(verdict)
    page.rectangle(_MARGIN, y + 12, _WIDTH, height, fill=PANEL, radius=6)
    page.rectangle(_MARGIN, y + 12, 5, height, fill=ACCENT)
    for number, line in enumerate(verdict):
        page.text(_MARGIN + 18, y + 36 + 18 * number, line, 12.5, bold=True)
    y += height + 34
    group = ""
    for row in lines_of(analysis, outcome):
        begins = row.group != group
        if y > _LOWEST - (70 if begins else 40):
            page = _page(kept, "More of what it comes to.")
            pages.append(page)
            y = 64.0
        if begins:
            group = row.group
            y += 8
            page.text(_MARGIN, y + 8, group, _HEAD, bold=True)
            y += 16
        y = _row(page, y, row.name, row.text, row.interval)
    return pages


def _origins_and_curves(kept: Kept, outcome: Outcome) -> Sketch:
    analysis = kept.analysis
    page = _page(kept, "What went in, and the curves.")
    page.text(_MARGIN, 78, "What went in", _HEAD, bold=True)
    y = 88.0
    for one in inputs_of(analysis):
        y = _row(page, y, one.name, one.text, one.origin)
    y += 10
    for note in outcome.notes:
        y = page.paragraph(_MARGIN, y + 8, note, _TEXT, fit=_WIDTH, colour=QUIET)
    if analysis.given.note:
        y = page.paragraph(_MARGIN, y + 8, f"Note: {analysis.given.note}", _TEXT, fit=_WIDTH, most_lines=6)
    room = (A4[1] - 70 - y - 16) / 2
    if room >= 180:
        height = min(room, 300.0)
        draw_returns(page, Box(_MARGIN, y + 16, _WIDTH, height - 10), analysis)
        draw_costs(page, Box(_MARGIN, y + 20 + height, _WIDTH, height - 10), analysis)
    return page


def _sensitivity(kept: Kept) -> Sketch:
    analysis = kept.analysis
    found, table = tornado(analysis), grid(analysis)
    page = _page(kept, "How the return moves with each figure, and with price and reduction together.")
    page.text(_MARGIN, 78, "Sensitivity", _HEAD, bold=True)
    height = 70 + 44.0 * max(1, len(found.swings))
    draw_tornado(page, Box(_MARGIN, 96, _WIDTH, height), analysis, found)
    y = 96 + height + 34
    page.text(
        _MARGIN, y, "GAISSA ROI and net saving by price of electricity and energy reduction", _HEAD, bold=True
    )
    if not table.rows:
        page.text(
            _MARGIN, y + 22, "The energy reduction is unknown, so there is no table.", _TEXT, colour=QUIET
        )
        return page
    currency, digits = analysis.given.currency, digits_of(analysis)
    columns = len(table.prices)
    step = (_WIDTH - 92) / columns
    y += 26
    page.text(_MARGIN, y, "reduction", _TEXT, colour=QUIET)
    for number, price in enumerate(table.prices):
        right = _MARGIN + 92 + step * (number + 1)
        page.text(right, y, f"{plain(price, 4)} {currency}/kWh", 9, colour=QUIET, anchor="end", fit=step - 4)
    for reduction, row in zip(table.reductions, table.rows, strict=True):
        y += 34
        page.line([(_MARGIN, y - 20), (_MARGIN + _WIDTH, y - 20)], colour=RULE)
        page.text(_MARGIN, y, f"{plain(100 * reduction, 4)} %", _TEXT, bold=reduction == table.base_reduction)
        for number, (price, cell) in enumerate(zip(table.prices, row, strict=True)):
            right = _MARGIN + 92 + step * (number + 1)
            base = price == table.base_price and reduction == table.base_reduction
            roi = told(cell.gaissa_roi, lambda value: ratio(value, min(digits, 3)).partition(" ")[0])
            page.text(right, y - 5, roi, 10, bold=base, anchor="end", fit=step - 4)
            saved = money(cell.net_saving, currency, min(digits, 3))
            page.text(right, y + 8, saved, 8.5, colour=QUIET, anchor="end", fit=step - 4)
    page.paragraph(
        _MARGIN, y + 34, "The bold cell is the analysis itself; a price that a side has of its own stays as it is.",
        _TEXT, fit=_WIDTH, colour=QUIET,
    )  # fmt: skip
    return page


def _page(kept: Kept, alt: str, record: dict[str, object] | None = None) -> Sketch:
    page = Sketch(*A4, title=f"Return on investment: {kept.name}", alt=alt, record=record)
    page.rectangle(0, 0, *A4, fill=PAPER)
    page.line([(_MARGIN, 48), (_MARGIN + _WIDTH, 48)], colour=RULE)
    page.text(_MARGIN, 38, "wattbus", _TEXT, bold=True, colour=ACCENT)
    said = f"{kept.name}, version {kept.version}, {words.utc_time(kept.made_us)[:16].replace('T', ' ')} UTC"
    page.text(_MARGIN + _WIDTH, 38, said, _TEXT, colour=QUIET, anchor="end", fit=_WIDTH - 90)
    foot = "GAISSA ROI: (old − new − I) / (new + I). Ordinary return: (old − new − I) / I."
    page.text(_MARGIN, A4[1] - 36, foot, 9, colour=QUIET)
    return page


def _row(page: Sketch, y: float, name: str, text: str, more: str) -> float:
    """Write one line of a table: its name, its figure, and what stands under it; return where the next begins."""
    left = _MARGIN + _WIDTH * 0.5
    named = wrapped(name, _TEXT, _WIDTH * 0.48, most_lines=2)
    said: Sequence[str] = wrapped(text, _TEXT, _WIDTH * 0.5, most_lines=3)
    below: Sequence[str] = wrapped(more, 9, _WIDTH * 0.5, most_lines=2) if more else ()
    page.line([(_MARGIN, y), (_MARGIN + _WIDTH, y)], colour=RULE)
    for number, line in enumerate(named):
        page.text(_MARGIN, y + 14 + 13 * number, line, _TEXT, colour=INK)
    for number, line in enumerate(said):
        page.text(left, y + 14 + 13 * number, line, _TEXT, bold=True)
    for number, line in enumerate(below):
        page.text(left, y + 13 + 13 * len(said) + 11 * number, line, 9, colour=QUIET)
    return y + max(20 + 13 * (len(named) - 1), 20 + 13 * (len(said) - 1) + 11 * len(below))
