"""The flattened form is that of BoAmps' own tool, and a spreadsheet runs nothing in it."""

from __future__ import annotations

import csv
import io
import json

import pytest

from boamps_samples import official_schemas, report_input, shared_folder
from wattbus.export.boamps import build_report
from wattbus.export.boamps_csv import FORMULA, csv_text, flattened
from wattbus.export.organisation import Organisation


def table(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_example_of_the_format_gives_its_own_csv() -> None:
    official_schemas()
    folder = shared_folder()
    assert folder is not None
    example = folder / "boamps" / "examples" / "energy-report-llm-inference.json"

    made = csv_text([json.loads(example.read_text())])

    assert table(made) == table(example.with_suffix(".csv").read_text())


def test_a_report_of_ours_is_a_row_without_keys_of_our_own() -> None:
    document = build_report(report_input()).document

    (row,) = read(csv_text([document]))

    assert row["task_dataset_1_dataUsage"] == "output"
    assert float(row["measures_0_powerConsumption"]) == document["measures"][0]["powerConsumption"]
    assert not [name for name in row if "x-" in name or "wattbus" in name]


def test_reports_of_different_fields_share_one_head() -> None:
    with_place = build_report(report_input(organisation=Organisation(country="France"))).document
    without = build_report(report_input()).document

    first, second = read(csv_text([without, with_place]))

    assert (first["environment_country"], second["environment_country"]) == ("", "France")


@pytest.mark.parametrize("start", FORMULA)
def test_a_text_that_begins_like_a_formula_is_a_text(start: str) -> None:
    text = csv_text([{"header": {"licensing": f"{start}cmd|' /C calc'!A0"}, "measures": [{"a": -1.5}]}])

    (row,) = read(text)

    assert row["header_licensing"].startswith(f"'{start}")
    assert row["measures_0_a"] == "-1.5"


def test_commas_quotes_and_line_breaks_stay_in_their_cell() -> None:
    (row,) = read(csv_text([{"task": {"taskFamily": 'a "b", c\nd'}}]))

    assert row == {"task_taskFamily": 'a "b", c\nd'}
    assert flattened({"a": [], "b": {}}) == {}
