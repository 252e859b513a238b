"""The files of an analysis: JSON, CSV, PDF and pictures; and analyses side by side."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from PIL import Image

from roi_samples import LOSES, PAYS, run, typed
from wattbus.energy.figures import Source
from wattbus.energy.record import Tier
from wattbus.errors import BadRequest, UnknownName
from wattbus.pictures.sheet import Text
from wattbus.roi.analysis import Analysis, Energy
from wattbus.roi.downloads import FORMATS, download
from wattbus.roi.drawings import cost_sheet, return_sheet, tornado_sheet
from wattbus.roi.files import side_by_side_csv
from wattbus.roi.kept import Kept
from wattbus.roi.lines import KEYS, lines_of
from wattbus.roi.report import pages_of
from wattbus.roi.sidebyside import SideBySide, side_by_side

EDGES: list[dict[str, Any]] = [
    {"units": 0},
    {"cost": 0},
    {"price_per_kwh": 0},
    {"after": {"reduction": -3}},
    {"after": {"reduction": 1}, "cost": 0},
    {"units": 10**18},
    {"tactic": "fine-tune", "units": 3},
    {"before": {"fee": 0.1, "price_per_kwh": 0}, "after": {"joules": 5}},
    {"before": {"joules": 0}},
    {
        "note": "n" * 2000,
        "name": "a name that is as long as the names of analyses may be, with not one letter more",
    },
]


def kept(analysis: Analysis | None = None, **changes: Any) -> Kept:
    return Kept(analysis or typed(**changes), 3, 1_790_000_000_000_000, "ann")


def texts(analysis: Kept) -> str:
    return " ".join(
        item.whole or item.said
        for page in pages_of(analysis)
        for item in page.items
        if isinstance(item, Text)
    )


@pytest.mark.parametrize("changes", [{}, LOSES, *EDGES])
@pytest.mark.parametrize("format", FORMATS)
def test_every_analysis_comes_out_in_every_form(format: str, changes: dict[str, Any]) -> None:
    made = download(kept(**changes), format)

    begins = {"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<svg", "json": b"{", "csv": b"part,key,name"}
    assert made.content.startswith(begins[format])
    assert made.name.endswith(f".{format}")


def test_an_unknown_form_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownName, match="did you mean 'pdf'"):
        download(kept(), "pdff")


def test_the_json_has_everything_and_no_figure_that_is_none() -> None:
    record = json.loads(download(kept(), "json").content)

    assert record["outcome"]["ordinary_return"]["at"]["value"] == 6.5
    assert record["analysis"]["given"]["before"]["joules"] == 3.6e6
    assert record["outcome"]["carbon_saved"]["at"] == {
        "value": None,
        "state": "unknown",
        "why": "no carbon intensity is given, and none is guessed",
    }
    assert (record["version"], record["made_by"]) == (3, "ann")


def test_the_csv_has_a_line_a_figure_and_runs_in_no_spreadsheet() -> None:
    made = download(kept(name="=HYPERLINK(1)", note="@x", carbon_g_per_kwh=5, carbon_source="+cmd"), "csv")
    rows = list(csv.DictReader(io.StringIO(made.content.decode())))

    by_key = {row["key"]: row for row in rows}
    assert float(by_key["gaissa_roi"]["value"]) == pytest.approx(0.7647058823529411)
    assert by_key["net_saving"]["unit"] == "EUR"
    assert by_key["name"]["in words"] == "'=HYPERLINK(1)"
    cells = [cell for row in rows for cell in row.values() if cell]
    assert [cell for cell in cells if cell[0] in "=+@\t\r"] == []


def test_amounts_below_0_stay_figures_in_the_csv() -> None:
    rows = csv.DictReader(io.StringIO(download(kept(**LOSES), "csv").content.decode()))

    assert {row["key"]: row["value"] for row in rows}["net_saving"].startswith("-305.55")


def test_the_report_names_both_returns_and_where_each_figure_came_from() -> None:
    said = texts(kept(own={"joules": 36e6}, carbon_g_per_kwh=50, carbon_source="contract 2025", per_day=20))

    for part in (
        "GAISSA ROI, (old − new − I) / (new + I)", "ordinary return", "infinite ROI", "154 inferences",
        "contract 2025", "typed", "price of electricity per kWh", "It pays over 1,000 inferences.", "EUR/kWh",
    ):  # fmt: skip
        assert part in said, part


@pytest.mark.parametrize("changes", [{}, *EDGES])
def test_nothing_of_the_report_stands_below_its_foot(changes: dict[str, Any]) -> None:
    sides = {"before": {"joules": 3.6e6, "accuracy": 0.9}, "after": {"joules": 1.8e6, "accuracy": 0.8}}
    long = kept(**{"point_price": 5, **sides, **changes})

    for page in pages_of(long):
        lowest = sorted(item.y for item in page.items if isinstance(item, Text))
        assert lowest[-1] == page.height - 36
        assert lowest[-3] <= page.height - 56


def test_the_report_carries_the_analysis_for_programs() -> None:
    first, *others = pages_of(kept())

    assert first.record is not None and first.record["name"] == "pays"
    assert all(page.record is None for page in others)
    assert b"record-1.json" in download(kept(), "pdf").content


def test_the_pictures_say_in_words_what_they_show() -> None:
    analysis = typed()

    assert "the GAISSA ROI and the ordinary return" in return_sheet(analysis).alt
    assert "they meet at 134 inferences" in cost_sheet(analysis).alt
    assert "price of electricity per kWh: 46.25 EUR to 83.75 EUR" in tornado_sheet(analysis).alt
    assert "they do not meet" in cost_sheet(typed(after={"reduction": -1})).alt


def test_the_png_is_a_picture_of_some_size() -> None:
    picture = Image.open(io.BytesIO(download(kept(), "png").content))

    assert picture.size == (1520, 800)
    assert len(picture.convert("RGB").getcolors(1_000_000) or ()) > 20


def test_every_line_has_a_place_of_its_own() -> None:
    lines = lines_of(
        typed(before={"joules": 9, "accuracy": 0.9}, after={"joules": 3, "accuracy": 0.8}, point_price=1)
    )

    keys = [line.key for line in lines]
    assert keys == [key for key in KEYS if key in keys]
    assert "priced_gaissa_roi" in keys


def test_modelled_figures_have_two_digits_and_typed_ones_theirs() -> None:
    def side(joules: float) -> Energy:
        return Energy(
            joules=joules, low_joules=1.0, high_joules=9e9, tier=Tier.MODELLED, source=Source.LEDGER,
            origin="message 1",
        )  # fmt: skip

    sides = {"before": side(3_612_345.0), "after": side(1_812_345.0)}
    modelled = typed(after={"joules": 1}).model_copy(update=sides)

    rough = {line.key: line.text for line in lines_of(modelled)}
    exact = {line.key: line.text for line in lines_of(typed())}

    assert rough["gaissa_roi"] == "0.76 (76 %)"
    assert rough["break_even"] == "about 130 inferences"
    assert exact["gaissa_roi"] == "0.7647 (76.47 %)"
    assert exact["break_even"] == "134 inferences"


# -- side by side -------------------------------------------------------------------------------------------------


def place(table: SideBySide, key: str, number: int = 1) -> Any:
    return next(row for row in table.rows if row.key == key).places[number]


def test_differences_are_to_the_first() -> None:
    table = side_by_side([kept(), kept(name="dearer", cost=20)])

    assert place(table, "net_saving").difference == -10.0
    assert place(table, "net_saving").difference_text == "-10 EUR"
    assert place(table, "net_saving", 0).difference is None
    assert table.remarks == []
    rows = {row.key: row.differs for row in table.rows}
    assert rows["net_saving"] and not rows["old_cost"]


@pytest.mark.parametrize(
    ("changes", "without", "with_", "remark"),
    [
        ({"currency": "USD"}, "net_saving", "gaissa_roi", "different currencies (EUR, USD)"),
        ({"units": 2000}, "gaissa_roi", "infinite_roi", "different counts (1,000, 2,000)"),
        ({"tactic": "fine-tune"}, "infinite_roi", None, "do not count the same (inference, training)"),
    ],
)
def test_what_cannot_be_compared_has_no_difference_and_a_reason(
    changes: dict[str, Any], without: str, with_: str | None, remark: str
) -> None:
    table = side_by_side([kept(), kept(**{**PAYS, "name": "other", **changes})])

    assert any(remark in one for one in table.remarks)
    assert place(table, without).difference is None
    assert place(table, without).difference_text.startswith("no difference: ")
    if with_ is not None:
        assert place(table, with_).difference == 0.0


def test_figures_of_different_tiers_have_no_difference() -> None:
    analysis = typed(after={"joules": 1})
    sides = {
        name: Energy(
            joules=joules, low_joules=joules, high_joules=joules, tier=Tier.MEASURED, source=run("a", 1).source,
            origin="message 1",
        )
        for name, joules in (("before", 9.0), ("after", 3.0))
    }  # fmt: skip
    table = side_by_side([kept(), kept(analysis.model_copy(update=sides))])

    assert any("different tiers (typed, measured)" in one for one in table.remarks)
    assert place(table, "gaissa_roi").difference_text == "no difference: the tiers differ"


def test_two_at_least_are_compared() -> None:
    with pytest.raises(BadRequest, match="choose two analyses"):
        side_by_side([kept()])
    with pytest.raises(BadRequest, match="at most 12"):
        side_by_side([kept()] * 13)


def test_the_comparison_is_a_csv_too() -> None:
    text = side_by_side_csv(side_by_side([kept(), kept(name="=evil", cost=20)]))
    head, *rows = list(csv.reader(io.StringIO(text)))

    assert head[:4] == ["part", "name", "pays", "'=evil"]
    assert any(row[4] == "-10.0" for row in rows)
