"""Return on investment in the portal: the analyses, a form for a new one, one with its curves, and several compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Query
from fastapi.responses import Response
from markupsafe import Markup

from wattbus import words
from wattbus.access import Role
from wattbus.energy.carbon import CarbonIntensity, carbon_intensity
from wattbus.errors import BadRequest
from wattbus.imports.stored_runs import list_runs
from wattbus.roi.analysis import Analysis
from wattbus.roi.downloads import FORMATS, download
from wattbus.roi.drawings import cost_sheet, return_sheet, tornado_sheet
from wattbus.roi.files import side_by_side_csv
from wattbus.roi.given import Draft
from wattbus.roi.inputs import Input, inputs_of
from wattbus.roi.kept import (
    Kept,
    forget_analysis,
    kept_analysis,
    kept_versions,
    list_analyses,
    save_analysis,
)
from wattbus.roi.lines import Line, digits_of, lines_of
from wattbus.roi.outcome import Outcome, outcome_of
from wattbus.roi.sensitivity import Cell, Grid, Tornado, grid, tornado
from wattbus.roi.shown import money, plain, ratio, told
from wattbus.roi.sidebyside import SideBySide, side_by_side
from wattbus.roi.sources import analysed
from wattbus.roi.tactics import TACTICS, Tactic
from wattbus.store.energy_queries import newest_records
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.pictures import inline_picture
from wattbus.web.roi_form import RoiPart, parts_of, typed_of
from wattbus.web.roles import needs
from wattbus.web.twin import Twins

_PATH = "/energy/roi"
#: Models are suggested that were at work among so many of the newest records.
_LOOKED_AT = 2_000
Format = Literal["pdf", "csv", "json", "svg", "png"]
Version = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


@dataclass(frozen=True)
class RoiLine:
    """One analysis of the list."""

    name: str
    version: int
    tactic: str
    verdict: str
    sentence: str
    gaissa_roi: str
    ordinary_return: str
    made_us: int
    made_by: str


@dataclass(frozen=True)
class RoiList:
    """The analyses, the one that was saved last first."""

    analyses: list[RoiLine]


@dataclass(frozen=True)
class RoiForm:
    """The form, with what was typed and what was wrong with it."""

    wrong: str
    name: str
    tactic: Tactic
    tactics: list[Tactic]
    note: str
    parts: list[RoiPart]


@dataclass(frozen=True)
class RoiVersion:
    """One version in the history of an analysis."""

    version: int
    made_us: int
    made_by: str
    sentence: str


@dataclass(frozen=True)
class RoiView:
    """One analysis: what went in, what it comes to, how that moves, and its history."""

    name: str
    version: int
    made_us: int
    made_by: str
    tactic: Tactic
    analysis: Analysis
    outcome: Outcome
    lines: list[Line]
    inputs: list[Input]
    tornado: Tornado
    grid: Grid
    versions: list[RoiVersion]
    formats: list[str]


@dataclass(frozen=True)
class Forgotten:
    """An analysis that is kept no more."""

    name: str
    versions: int
    sentence: str


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages."""

    def analyses() -> RoiList:
        """List the analyses of what a way to spend less energy returns."""
        with desk.reading() as engine:
            found = [] if engine is None else list_analyses(engine)
        return RoiList([_line(one) for one in found])

    def form(
        like: Annotated[str | None, Query(description="an analysis to begin with")] = None,
        tactic: Annotated[str, Query(description="name of a tactic")] = "",
    ) -> RoiForm:
        """Return the form of an analysis, empty or filled with another one."""
        typed: dict[str, Any] = {}
        if like:
            with desk.store() as engine:
                typed = typed_of(kept_analysis(engine, like).analysis.given)
        return _form(desk, "", typed | ({"tactic": tactic} if tactic else {}))

    def save(body: Draft, who: Who) -> RoiView:
        """Reckon an analysis and keep it; a name that is there gets a new version."""
        with desk.reading() as engine:
            analysis = analysed(body, engine, _configured(desk))
        with desk.writing() as engine:
            kept = save_analysis(engine, analysis, f"{who.name} in the portal")
            return _view(kept, kept_versions(engine, kept.name))

    def compare(names: Annotated[list[str], Query(default_factory=list)]) -> SideBySide:
        """Put analyses side by side, with the differences to the first."""
        return _compared(desk, names)

    def compare_csv(names: Annotated[list[str], Query(default_factory=list)]) -> Any:
        """Return analyses side by side as CSV."""
        return _sent(
            "analyses.csv", "text/csv; charset=utf-8", side_by_side_csv(_compared(desk, names)).encode()
        )

    def one(name: str, version: Version = None) -> RoiView:
        """Show one analysis: both returns by name, break-evens, curves, sensitivity, and where each figure is from."""
        with desk.store() as engine:
            return _view(kept_analysis(engine, name, version), kept_versions(engine, name))

    def file(name: str, format: Format = "pdf", version: Version = None) -> Any:
        """Return one analysis as a PDF, CSV, JSON, or its curve as SVG or PNG."""
        with desk.store() as engine:
            made = download(kept_analysis(engine, name, version), format)
        return _sent(made.name, made.media_type, made.content)

    def forget(name: str) -> Forgotten:
        """Forget an analysis with all its versions."""
        with desk.writing() as engine:
            gone = forget_analysis(engine, name)
        return Forgotten(name, gone, f"{name} is forgotten, {words.counted(gone, 'version')} of it.")

    def again(sentence: str, fields: dict[str, Any]) -> RoiForm:
        return _form(desk, sentence, fields)

    twins.share(
        roi_returns=lambda view: inline_picture(return_sheet(view.analysis)),
        roi_costs=lambda view: inline_picture(cost_sheet(view.analysis)),
        roi_tornado=lambda view: inline_picture(tornado_sheet(view.analysis)),
        roi_cell=_cell,
        roi_plain=plain,
    )
    twins.view(_PATH, "roi.html", analyses, tag="roi")
    twins.view(f"{_PATH}/new", "roi_new.html", form, tag="roi")
    twins.view(f"{_PATH}/compare", "roi_compare.html", compare, tag="roi")
    _open(twins, f"{_PATH}/compare/csv", compare_csv)
    twins.view(f"{_PATH}/{{name}}", "roi_one.html", one, tag="roi")
    _open(twins, f"{_PATH}/{{name}}/file", file)
    twins.action(
        _PATH,
        save,
        tag="roi",
        then=lambda done: f"{_PATH}/{quote(done.name, safe='')}",
        said=lambda done: f"{done.name} is kept, version {done.version}.",
        again=("roi_new.html", again),
    )
    twins.action(
        f"{_PATH}/{{name}}/forget", forget, tag="roi", then=_PATH, said=lambda done: str(done.sentence)
    )


# -- what the pages show ------------------------------------------------------------------------------------------


def _line(kept: Kept) -> RoiLine:
    outcome, digits = outcome_of(kept.analysis), digits_of(kept.analysis)
    gaissa, ordinary = (
        told(found.at, lambda value: ratio(value, digits))
        for found in (outcome.gaissa_roi, outcome.ordinary_return)
    )
    return RoiLine(
        kept.name, kept.version, outcome.tactic, outcome.verdict, outcome.sentence, gaissa, ordinary, kept.made_us,
        kept.made_by,
    )  # fmt: skip


def _view(kept: Kept, versions: Sequence[Kept]) -> RoiView:
    analysis = kept.analysis
    outcome = outcome_of(analysis)
    history = [
        RoiVersion(one.version, one.made_us, one.made_by, outcome_of(one.analysis).sentence)
        for one in versions
    ]
    return RoiView(
        kept.name, kept.version, kept.made_us, kept.made_by, analysis.tactic, analysis, outcome,
        lines_of(analysis, outcome), inputs_of(analysis), tornado(analysis), grid(analysis), history, list(FORMATS),
    )  # fmt: skip


def _form(desk: Desk, wrong: str, typed: dict[str, Any]) -> RoiForm:
    with desk.reading() as engine:
        runs = [] if engine is None else list_runs(engine)
        records = [] if engine is None else newest_records(engine, limit=_LOOKED_AT)
    models = sorted({one.model for one in records if one.model})
    chosen = str(typed.get("tactic", ""))
    tactic = next((one for one in TACTICS if one.name == chosen), TACTICS[1])
    return RoiForm(
        wrong, str(typed.get("name", "")), tactic, list(TACTICS), str(typed.get("note", "")),
        parts_of(typed, tactic.name, runs, models),
    )  # fmt: skip


def _cell(cell: Cell, view: RoiView) -> Markup:
    """Show a place of the grid: the GAISSA ROI, and the net saving under it."""
    digits = min(digits_of(view.analysis), 3)
    roi = told(cell.gaissa_roi, lambda value: ratio(value, digits).partition(" ")[0])
    saved = money(cell.net_saving, view.outcome.currency, digits)
    return Markup('{}<br><span class="dim">{}</span>').format(roi, saved)


def _compared(desk: Desk, names: Sequence[str]) -> SideBySide:
    chosen = list(dict.fromkeys(name for name in names if name))
    if len(chosen) < 2:
        raise BadRequest("choose two analyses or more to compare, as in names=A&names=B.")
    with desk.store() as engine:
        return side_by_side([kept_analysis(engine, name) for name in chosen])


def _configured(desk: Desk) -> CarbonIntensity | None:
    return carbon_intensity(g_per_kwh=desk.config.carbon_g_per_kwh, country=desk.config.country)


# -- files --------------------------------------------------------------------------------------------------------


def _open(twins: Twins, path: str, function: Any) -> None:
    """Open what is sent as a file, for people and for programs."""
    twins.pages.add_api_route(path, function, methods=["GET"], dependencies=[needs(Role.VIEWER)])
    twins.api.add_api_route(
        path, function, methods=["GET"], dependencies=[needs(Role.VIEWER)], tags=["roi"], response_model=None
    )


def _sent(name: str, media_type: str, content: bytes) -> Response:
    return Response(
        content, media_type=media_type, headers={"content-disposition": f'attachment; filename="{name}"'}
    )
