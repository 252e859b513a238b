"""Returns on investment in the portal: form, one analysis, comparison, files; through the door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doors import OpenDoor, open_door
from pages import page, told

from components import echo_production
from roi_samples import LOSES, PAYS, run
from wattbus.access import Role
from wattbus.imports.stored_runs import save_run
from wattbus.roi.tactics import TACTICS

ROI = "/energy/roi"
API = f"/api/v1{ROI}"
FORM = {
    "name": "int8", "tactic": "quantise", "before.joules": "3.6e6", "after.reduction": "0.5", "cost": "10",
    "price_per_kwh": "0.15", "units": "1000", "currency": "CHF",
}  # fmt: skip


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[OpenDoor]:
    with open_door(tmp_path / "home", echo_production(), country="FRA") as door:
        yield door


def saved(ask: OpenDoor, **changes: Any) -> dict[str, Any]:
    answer = ask("POST", API, {**PAYS, **changes})
    assert answer.status == 200, answer.said
    made: dict[str, Any] = answer.said
    return made


def test_a_form_makes_an_analysis_and_leads_to_its_page(ask: OpenDoor) -> None:
    answer = ask.form(ROI, FORM)
    shown = ask.page(answer.headers["location"])

    assert (answer.status, answer.headers["location"]) == (303, f"{ROI}/int8")
    assert told(answer) == "int8 is kept, version 1."
    assert "It pays over 1,000 inferences." in page(shown).text
    for part in ("0.7647 (76.47 %)", "6.5 (650 %)", "134 inferences", "65.00 CHF", "FRA"):
        assert part in page(shown).text, part


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cost": "-3"}, "field 'cost': it cannot be below 0"),
        ({"before.joules": "a lot"}, "field 'before.joules': a number is needed"),
        ({"before.run": "nothing"}, "before: run and joules are both given"),
        ({"before.joules": "", "before.run": "nothing"}, "unknown run 'nothing'"),
        ({"units": ""}, "how far to look is needed once"),
        ({"name": "new"}, "is the address of a page"),
        ({"tactic": "wish"}, "unknown tactic 'wish'"),
        ({"after.reduction": "1.5"}, "more than all cannot be saved"),
        ({"before.colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_form_says_why_and_keeps_what_was_typed(
    ask: OpenDoor, changes: dict[str, str], sentence: str
) -> None:
    typed = {**FORM, **changes}
    answer = ask.form(ROI, typed)
    form = page(answer).one("form", action=ROI)

    assert answer.status == 422
    assert sentence in page(answer).one("p", id="wrong").text
    kept = {name: values[-1] for name, values in form.fields().items()}
    tactics = {one.name for one in TACTICS}
    for name, value in typed.items():
        if name != "before.colour" and (name != "tactic" or value in tactics):
            assert kept[name] == value, name


def test_the_form_offers_the_stored_runs_and_an_older_analysis_fills_it(ask: OpenDoor) -> None:
    with ask.desk.writing() as engine:
        save_run(engine, run("reviews <fp32>", 4000.0))
    saved(ask, name="old", note="as agreed", before={"run": "reviews <fp32>", "fee": 0.25}, currency="USD")

    form = ask.page(f"{ROI}/new?like=old")
    fields = page(form).one("form", action=ROI).fields()

    assert "<fp32>" not in form.said and "reviews &lt;fp32&gt;" in form.said
    assert fields["before.run"] == ["reviews <fp32>"]
    assert (fields["before.fee"], fields["currency"], fields["cost"]) == (["0.25"], ["USD"], ["10"])
    assert fields["note"] == ["as agreed"]
    assert [one.attributes["value"] for one in page(form).all("option", value="reviews <fp32>")]


def test_two_runs_of_ours_are_compared_within_their_bounds(ask: OpenDoor) -> None:
    with ask.desk.writing() as engine:
        save_run(engine, run("fp32", 4000.0))
        save_run(engine, run("int8", 3000.0))

    made = saved(ask, name="measured", before={"run": "fp32"}, after={"run": "int8"}, units=10**9)

    assert made["outcome"]["verdict"] == "cannot tell"
    assert made["analysis"]["before"]["joules"] == 4.0
    shown = page(ask.page(f"{ROI}/measured")).text
    assert "Cannot tell over 1,000,000,000 inferences" in shown
    assert "metered by wattbus, the run fp32" in shown


def test_the_page_shows_curves_sensitivity_and_history(ask: OpenDoor) -> None:
    saved(ask)
    saved(ask, cost=20)

    shown = page(ask.page(f"{ROI}/pays"))
    first = page(ask.page(f"{ROI}/pays?version=1"))

    pictures = [
        one.attributes["aria-label"] for one in shown.all("svg") if one.attributes.get("role") == "img"
    ]
    assert any("the GAISSA ROI and the ordinary return" in one for one in pictures)
    assert any("they meet at" in one for one in pictures)
    assert any("net saving where one figure is 25 % lower or higher" in one for one in pictures)
    assert shown.one("td", class_="base").text.startswith("0.579")
    assert shown.all("style") == []
    assert "This is version 1" in first.text and "The newest is 2" in first.text
    assert ask.page(f"{ROI}/pays?version=3").status == 404


def test_every_file_is_served_with_its_type_and_name(ask: OpenDoor) -> None:
    saved(ask, name="ünser int8")
    path = f"{ROI}/%C3%BCnser%20int8/file"

    for format, kind in (
        ("csv", "text/csv; charset=utf-8"),
        ("json", "application/json"),
        ("svg", "image/svg+xml"),
        ("pdf", "application/pdf"),
        ("png", "image/png"),
    ):
        answer = ask("GET", f"{path}?format={format}")
        assert (answer.status, answer.headers["content-type"]) == (200, kind)
        assert answer.headers["content-disposition"] == f'attachment; filename="nser-int8.{format}"'
    assert ask("GET", f"{path}?format=doc").status == 400


def test_analyses_are_put_side_by_side(ask: OpenDoor) -> None:
    saved(ask)
    saved(ask, **LOSES)
    saved(ask, name="in dollars", currency="USD")

    shown = ask.page(f"{ROI}/compare?names=pays&names=in%20dollars")
    table = ask("GET", f"{API}/compare?names=pays&names=loses").said
    lines = ask("GET", f"{ROI}/compare/csv?names=pays&names=loses")

    assert "They are in different currencies (EUR, USD)" in page(shown).text
    assert "no difference: the currencies differ" in page(shown).text
    assert "They look at different counts (1,000, 100,000,000)" in table["remarks"][0]
    assert lines.said.startswith("part,name,pays,loses")
    assert ask.page(f"{ROI}/compare?names=pays").status == 400
    assert ask.page(f"{ROI}/compare?names=pays&names=nothing").status == 404


def test_the_list_shows_each_with_its_verdict_and_forgets_on_demand(ask: OpenDoor) -> None:
    assert "No analysis is kept yet." in page(ask.page(ROI)).text
    saved(ask)
    saved(ask, **LOSES)

    listed = page(ask.page(ROI)).text
    gone = ask.form(f"{ROI}/loses/forget")

    assert "It pays over 1,000 inferences." in listed and "-0.0991 (-9.91 %)" in listed
    assert told(gone) == "loses is forgotten, 1 version of it."
    assert [one["name"] for one in ask("GET", API).said["analyses"]] == ["pays"]
    assert ask("POST", f"{API}/loses/forget").status == 404


def test_a_viewer_looks_and_changes_nothing(ask: OpenDoor) -> None:
    saved(ask)
    viewer = ask.as_role(Role.VIEWER)

    assert viewer.page(f"{ROI}/pays").status == 200
    assert "New analysis" not in page(viewer.page(ROI)).text
    assert viewer("POST", API, PAYS).status == 403
    assert viewer("POST", f"{API}/pays/forget").status == 403


def test_a_name_with_markup_stays_text(ask: OpenDoor) -> None:
    saved(ask, name="<b>x", note="<script>1")

    for path in (ROI, f"{ROI}/%3Cb%3Ex", f"{ROI}/new?like=%3Cb%3Ex"):
        shown = ask.page(path)
        assert shown.status == 200
        assert "<b>x" not in shown.said and "<script>1" not in shown.said


@pytest.mark.parametrize(
    "body",
    [
        {**PAYS, "cost": None},
        {**PAYS, "before": None},
        {**PAYS, "before": []},
        {**PAYS, "units": "NaN"},
        {**PAYS, "cost": 10**400},
        {**PAYS, "own": {"message": 5}},
        {**PAYS, "own": {"message": 2**63}},
        {**PAYS, "name": "a\ud800"},
        {"before.joules": 1},
        {},
    ],
)
def test_no_body_makes_a_server_error(ask: OpenDoor, body: dict[str, Any]) -> None:
    answer = ask("POST", API, body)

    assert 400 <= answer.status < 500
    assert answer.said["detail"]
