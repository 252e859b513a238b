"""Files that other meters leave: every form and release, and every way in which they can be wrong."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boamps_samples import record, report_input
from wattbus.energy.figures import RunFigures, Source, Stage, figures_from_content
from wattbus.energy.record import Tier
from wattbus.errors import BadRequest, UnknownName, WattbusError
from wattbus.export.boamps import build_report
from wattbus.imports.imported import LARGEST_BYTES, MOST_RUNS, Given, Imported
from wattbus.imports.reading import read_runs

# The columns of emissions.csv, release by release, as their files have them.
COLUMNS_1 = (
    "timestamp,experiment_id,project_name,duration,emissions,energy_consumed,country_name,country_iso_code,region,"
    "on_cloud,cloud_provider,cloud_region"
)
COLUMNS_2 = (
    "timestamp,project_name,run_id,duration,emissions,emissions_rate,cpu_power,gpu_power,ram_power,cpu_energy,"
    "gpu_energy,ram_energy,energy_consumed,country_name,country_iso_code,region,cloud_provider,cloud_region,os,"
    "python_version,codecarbon_version,cpu_count,cpu_model,gpu_count,gpu_model,longitude,latitude,ram_total_size,"
    "tracking_mode,on_cloud,pue"
)
VALUES = {
    "timestamp": "2024-09-26T10:46:51",
    "project_name": "llama2",
    "run_id": "fe49c3d9",
    "experiment_id": "5b0fa12a",
    "duration": "3.5",
    "emissions": "4e-05",
    "cpu_energy": "1e-4",
    "gpu_energy": "3e-4",
    "ram_energy": "1e-4",
    "energy_consumed": "0.0005",
    "country_name": "France",
    "country_iso_code": "FRA",
    "python_version": "3.11.7",
    "codecarbon_version": "2.5.0",
    "cpu_model": "AMD EPYC",
    "gpu_model": "2 x Tesla V100S",
    "tracking_mode": "machine",
    "on_cloud": "N",
}
OLD_REPORT: dict[str, Any] = {
    "header": {"formatVersion": "0.1", "reportId": "2f46", "reportDatetime": None},
    "task": {
        "taskType": "supervisedLearning",
        "taskFamily": "classification",
        "taskStage": "training",
        "algorithms": [{"algorithmName": "randomForest"}],
        "dataset": [
            {
                "dataType": "tabular",
                "volume": 80,
                "volumeUnit": "megabyte",
                "inferenceProperties": [{"nbRequest": 7}],
            }
        ],
        "measuredAccuracy": 0.71,
    },
    "measures": [
        {
            "measurementMethod": "codecarbon",
            "version": "2.5.0",
            "unit": "Wh",
            "powerConsumption": 351,
            "measurementDuration": 1500,
            "measurementDateTime": "2023-07-01 10:02:05",
        }
    ],
    "environment": {"country": "france", "powerSourceCarbonIntensity": 25},
}


def emissions(folder: Path, *rows: dict[str, str], columns: str = COLUMNS_2) -> Path:
    """Write an emissions.csv."""
    file = folder / "emissions.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, columns.split(","), restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**VALUES, **row} for row in rows or ({},))
    return file


def report(folder: Path, document: Any) -> Path:
    file = folder / "report.json"
    file.write_text(json.dumps(document))
    return file


def only(found: Imported) -> RunFigures:
    assert found.skipped == []
    (run,) = found.runs
    return run.figures


# -- codecarbon -----------------------------------------------------------------------------------------------------


def theirs() -> str:
    """Return the columns of the release that is installed."""
    from codecarbon.output_methods.emissions_data import EmissionsData

    return ",".join(EmissionsData.__dataclass_fields__)


@pytest.mark.parametrize("columns", [COLUMNS_1, COLUMNS_2, theirs(), theirs() + ",of_release_4,and_more"])
def test_all_releases_are_read_by_the_names_of_their_columns(tmp_path: Path, columns: str) -> None:
    figures = only(read_runs(emissions(tmp_path, columns=columns)))

    assert figures.energy_joules == pytest.approx(1800.0)
    assert figures.carbon_grams == pytest.approx(0.04)
    assert figures.carbon_intensity_g_per_kwh == pytest.approx(80.0)
    assert (figures.duration_seconds, figures.country) == (3.5, "FRA")
    assert (figures.source, figures.tier) == (Source.IMPORTED, Tier.NONE)
    assert figures.measured_at_us == 1_727_347_611_000_000
    assert figures_from_content(json.loads(json.dumps(figures.to_content()))) == figures


def test_parts_hardware_and_method_come_along(tmp_path: Path) -> None:
    figures = only(read_runs(emissions(tmp_path)))

    assert figures.extra["gpu_energy_joules"] == pytest.approx(1080.0)
    assert figures.hardware == "AMD EPYC, 2 x Tesla V100S"
    assert figures.method == "codecarbon 2.5.0, machine"
    assert figures.name == "llama2, run fe49c3d9"


def test_what_our_own_tracker_leaves_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from energy_samples import FOREVER, burn
    from wattbus.codecarbon import EmissionsTracker
    from wattbus.energy import FakeFeed
    from wattbus.energy.process_meter import ProcessMeter

    monkeypatch.chdir(tmp_path)
    meter = ProcessMeter(FakeFeed(), interval_seconds=FOREVER)
    with EmissionsTracker(country_iso_code="FRA", meter=meter) as tracker:
        tracker.start_task("epoch 1")
        burn(0.02)
    meter.stop()

    run = only(read_runs(tmp_path / "emissions.csv"))
    task = only(read_runs(next(tmp_path.glob("emissions_base_*.csv"))))

    data = tracker.final_emissions_data
    assert data is not None and data.energy_consumed is not None and data.emissions is not None
    assert (run.energy_joules, run.carbon_grams) == (data.energy_consumed * 3.6e6, data.emissions * 1e3)
    assert task.name == f"codecarbon, epoch 1, run {tracker.run_id}"


def test_of_several_runs_one_is_chosen_and_none_is_averaged(tmp_path: Path) -> None:
    found = read_runs(emissions(tmp_path, {"run_id": "a"}, {"run_id": "b", "energy_consumed": "0.001"}))

    assert found.chosen("b").figures.energy_joules == pytest.approx(3600.0)
    assert found.chosen("1").run_id == "a"
    with pytest.raises(BadRequest, match=r"holds 2 runs: choose one .* row 1 \(a\), row 2 \(b\)"):
        found.chosen()
    with pytest.raises(UnknownName, match="unknown run 'c'"):
        found.chosen("c")


def test_the_rows_of_a_run_that_was_flushed_are_told_apart(tmp_path: Path) -> None:
    found = read_runs(emissions(tmp_path, {}, {"energy_consumed": "0.001"}))

    assert [run.figures.name for run in found.runs] == [
        "llama2, run fe49c3d9, row 1",
        "llama2, run fe49c3d9, row 2",
    ]
    with pytest.raises(
        BadRequest, match="has 2 rows, each with what was used until then: choose a row of 1, 2"
    ):
        found.chosen("fe49c3d9")
    assert found.chosen("2").figures.energy_joules == pytest.approx(3600.0)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("=1+1", "'=1+1' is a formula"),
        ("@SUM(A1)", "is a formula"),
        ("nan", "nan is no figure"),
        ("-inf", "-inf is no figure"),
        ("1e999", "inf is no figure"),
        ("1e300", "1e+300 is too large"),
        ("-0.5", "-0.5 is negative"),
        ("3.11.7", "'3.11.7' is no number"),
        ("2024-09-26", "is no number"),
        ("1,5", "'1,5' is no number"),
        ("0x10", "is no number"),
        ("12 kWh", "is no number"),
        ("١٢", "is no number"),
    ],
)
def test_an_energy_that_is_no_figure_skips_the_row_and_says_why(
    tmp_path: Path, cell: str, reason: str
) -> None:
    found = read_runs(emissions(tmp_path, {"energy_consumed": cell}, {}))

    assert [run.row for run in found.runs] == [2]
    (skipped,) = found.skipped
    assert skipped.where == "row 1"
    assert reason in skipped.reason and skipped.reason.startswith("energy_consumed: ")


def test_zero_is_kept_and_said_and_unknown_stays_unknown(tmp_path: Path) -> None:
    zero, unknown, nothing = (
        {"emissions": "0", "energy_consumed": "0.0"},
        {"energy_consumed": ""},
        {"energy_consumed": "", "emissions": ""},
    )

    found = read_runs(emissions(tmp_path, zero, unknown, nothing))

    assert [run.figures.energy_joules for run in found.runs] == [0.0, None]
    assert found.runs[0].notes[0].startswith("energy_consumed is 0, as the file says")
    assert found.runs[0].figures.carbon_intensity_g_per_kwh is None
    assert found.runs[1].figures.carbon_grams == pytest.approx(0.04)
    assert [one.reason for one in found.skipped] == ["has neither energy_consumed nor emissions"]


def test_a_wrong_figure_beside_costs_that_figure_only(tmp_path: Path) -> None:
    found = read_runs(emissions(tmp_path, {"duration": "-3", "timestamp": "yesterday", "cpu_energy": "=A1"}))

    (run,) = found.runs
    assert (run.figures.duration_seconds, run.figures.measured_at_us) == (None, None)
    assert "cpu_energy_joules" not in run.figures.extra
    assert len(run.notes) == 3


def test_rows_that_are_too_short_or_too_long_are_skipped(tmp_path: Path) -> None:
    file = emissions(tmp_path)
    with file.open("a") as out:
        out.write("2024,short\n\n" + ",".join(["1"] * 50) + "\n")

    found = read_runs(file)

    assert len(found.runs) == 1
    assert [one.where for one in found.skipped] == ["row 2", "row 3"]


def test_a_spreadsheets_semicolons_decimal_commas_and_utf_16_are_understood(tmp_path: Path) -> None:
    text = "timestamp;run_id;duration;emissions;energy_consumed\n2024-09-26T10:46:51;é;3,5;0,00004;5E-04\n"
    for encoding in ("utf-8-sig", "utf-16"):
        file = tmp_path / "emissions.csv"
        file.write_bytes(text.encode(encoding))

        figures = only(read_runs(file))

        assert (figures.energy_joules, figures.duration_seconds) == (pytest.approx(1800.0), 3.5)


def test_what_the_user_says_wins(tmp_path: Path) -> None:
    figures = only(read_runs(emissions(tmp_path)))

    said = Given(stage=Stage.INFERENCE, model="distilbert", requests=1000).over(figures)

    assert (said.stage, said.model, said.requests, said.task) == (Stage.INFERENCE, "distilbert", 1000, None)


# -- BoAmps ---------------------------------------------------------------------------------------------------------


def test_a_report_of_the_present_form_is_read(tmp_path: Path) -> None:
    document = {
        "header": {"formatVersion": "1.1.0", "reportId": "r-1"},
        "task": {
            "taskStage": "inference",
            "taskFamily": "chatbot",
            "nbRequest": 10,
            "algorithms": [
                {"foundationModelName": "llama2-13b", "parametersNumber": 13, "quantization": "q16"}
            ],
            "dataset": [
                {"dataUsage": "input", "dataType": "token", "dataQuantity": 11},
                {"dataUsage": "output", "dataType": "token", "dataQuantity": 828},
            ],
        },
        "measures": [
            {
                "measurementMethod": "codecarbon",
                "version": "2.5.0",
                "cpuTrackingMode": "constant",
                "powerConsumption": 0.002,
                "measurementDuration": 19.0,
                "measurementDateTime": "2024-09-30 09:09:40",
            }
        ],
        "infrastructure": {"components": [{"componentName": "Xeon", "componentType": "cpu"}]},
        "environment": {"country": "France", "powerSourceCarbonIntensity": 50},
    }

    figures = only(read_runs(report(tmp_path, document)))

    assert figures.name == "llama2-13b, report r-1"
    assert (figures.energy_joules, figures.carbon_grams) == (pytest.approx(7200.0), pytest.approx(0.1))
    assert (figures.stage, figures.requests, figures.tokens) == (Stage.INFERENCE, 10, 828)
    assert (figures.parameters, figures.precision, figures.country) == (13_000_000_000, "q16", "FRA")
    assert (figures.tier, figures.method) == (Tier.MODELLED_GENERIC, "codecarbon 2.5.0, cpu constant")
    assert (figures.measured_at_us, figures.hardware) == (1_727_687_380_000_000, "Xeon")


def test_a_report_of_2024_is_read_in_its_units(tmp_path: Path) -> None:
    figures = only(read_runs(report(tmp_path, OLD_REPORT)))

    assert (figures.energy_joules, figures.requests) == (351 * 3600.0, 7)
    assert (figures.stage, figures.accuracy, figures.model) == (Stage.TRAINING, 0.71, "randomForest")
    assert figures.carbon_grams == pytest.approx(0.351 * 25)


def test_our_own_export_comes_back_with_its_tier_and_bounds(tmp_path: Path) -> None:
    given_record = record()
    document = build_report(report_input(given_record)).document

    figures = only(read_runs(report(tmp_path, document)))

    assert figures.energy_joules == pytest.approx(given_record.energy_joules, rel=1e-3)
    assert figures.tier is given_record.tier
    assert figures.low_joules == pytest.approx(given_record.low_joules, rel=1e-3)


def test_each_measure_of_each_report_is_a_run(tmp_path: Path) -> None:
    measure = OLD_REPORT["measures"][0]
    two = {**OLD_REPORT, "measures": [measure, {**measure, "unit": "BTU", "powerConsumption": 1}]}

    found = read_runs(report(tmp_path, [two, OLD_REPORT, {"task": 1}]))

    assert [run.figures.energy_joules for run in found.runs] == [351 * 3600.0, 1055.06, 351 * 3600.0]
    assert found.runs[1].figures.name.endswith("measure 2 of 2")
    assert [one.where for one in found.skipped] == ["report 3, the report"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"powerConsumption": None}, "powerConsumption is missing"),
        ({"powerConsumption": "351"}, "powerConsumption is '351', and that is no number"),
        ({"powerConsumption": True}, "is no number"),
        ({"powerConsumption": -1}, "powerConsumption: -1 is negative"),
        ({"powerConsumption": float("nan")}, "powerConsumption: nan is no figure"),
        ({"unit": "teraFLOPS"}, "unit is 'teraFLOPS', and that is no unit of energy"),
        ({"unit": ["kWh"]}, "is no unit of energy"),
    ],
)
def test_a_measure_that_is_wrong_is_skipped_by_its_field(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    document = {**OLD_REPORT, "measures": [{**OLD_REPORT["measures"][0], **changes}]}

    found = read_runs(report(tmp_path, document))

    assert found.runs == []
    (skipped,) = found.skipped
    assert skipped.where == "measures[0]"
    assert reason in skipped.reason
    with pytest.raises(BadRequest, match="holds no run that can be used"):
        found.chosen()


@pytest.mark.parametrize("measures", [[], {}, None, "x", [1]])
def test_measures_that_are_none_are_skipped(tmp_path: Path, measures: Any) -> None:
    found = read_runs(report(tmp_path, {**OLD_REPORT, "measures": measures}))

    assert (len(found.runs), len(found.skipped)) == (0, 1)


def test_another_stage_than_training_and_inference_is_skipped(tmp_path: Path) -> None:
    document = {**OLD_REPORT, "task": {**OLD_REPORT["task"], "taskStage": "preprocessing"}}

    (skipped,) = read_runs(report(tmp_path, document)).skipped

    assert "neither a training nor an inference" in skipped.reason


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "task",
                        "measures",
                        "header",
                        "environment",
                        "powerConsumption",
                        "unit",
                        "taskStage",
                        "dataset",
                    ]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=20,
    )
)
def test_no_report_whatever_breaks_the_reader(tmp_path: Path, part: Any) -> None:
    for document in (
        part,
        {"task": part, "measures": part},
        {**OLD_REPORT, "measures": [part], "environment": part},
    ):
        with contextlib.suppress(WattbusError):
            read_runs(report(tmp_path, document))


# -- GAISSALabel ----------------------------------------------------------------------------------------------------


def test_the_csv_of_the_plug_in_is_read_in_its_units(tmp_path: Path) -> None:
    file = tmp_path / "bert.csv"
    file.write_text("model_size,file_size,flops\n109482240,417.64,22420000000.0\n")

    figures = only(read_runs(file))

    assert (figures.parameters, figures.flops) == (109_482_240, 22_420_000_000.0)
    assert figures.size_bytes == round(417.64 * 1024 * 1024)
    assert (figures.energy_joules, figures.name) == (None, "bert, plug-in")


def test_flops_that_could_not_be_counted_are_unknown(tmp_path: Path) -> None:
    file = tmp_path / "model.csv"
    file.write_text("model_size,file_size,flops\n100,1.5,N/A\n1.5,1,1\nN/A,N/A,N/A\n")

    found = read_runs(file)

    assert [run.figures.flops for run in found.runs] == [None]
    assert [one.reason for one in found.skipped] == [
        "model_size is 1.5, and a number of parameters is whole",
        "none of its three figures is known",
    ]


# -- files that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2\n", "begins with 'a, b', and that is no known form"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "no UTF-8 text"),
        (
            "duration,emissions,project_name\n1,1,\xe9\n".encode("latin-1"),
            "is no UTF-8 text: there is a byte 0xE9",
        ),
        (b"duration,emissions\n1,\x00\n", "skip"),
        (b"{", "is no JSON"),
        (b"{}", "JSON without a task and measures"),
        (b"[]", "JSON without a task and measures"),
        (b'{"task": {"a": "\xff"}}', "is no UTF-8 text"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"task": ' * 100_000, "nested too deeply"),
        (b'{"measures": [], "task": ' + b"9" * 10_000 + b"}", "is no JSON"),
        (b'duration,emissions\n1,"' + b"x" * 200_000 + b'"\n', "field larger than field limit"),
    ],
)
def test_a_file_that_is_none_of_these_is_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "file.csv"
    file.write_bytes(content)

    if sentence == "skip":
        assert [one.where for one in read_runs(file).skipped] == ["row 1"]
        return
    with pytest.raises(BadRequest, match=sentence) as raised:
        read_runs(file)
    assert len(str(raised.value)) < 500


def test_a_file_that_is_not_there_or_a_folder_is_a_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(BadRequest, match="there is no file"):
            read_runs(path)


def test_two_gigabytes_are_refused_without_being_read(tmp_path: Path) -> None:
    file = emissions(tmp_path)
    with file.open("r+b") as sparse:
        sparse.truncate(2_000_000_000)

    with pytest.raises(BadRequest, match=r"is 2\.0 GB long"):
        read_runs(file)
    assert LARGEST_BYTES < 2_000_000_000


def test_more_runs_than_are_read_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="holds more than 10,000 runs"):
        read_runs(emissions(tmp_path, *({"run_id": str(number)} for number in range(MOST_RUNS + 1))))


def test_a_file_of_wrong_rows_is_refused_after_a_thousand(tmp_path: Path) -> None:
    file = tmp_path / "file.csv"
    file.write_text("duration,emissions\n" + "1,2,3\n" * 1_002)

    with pytest.raises(
        BadRequest, match="more than 1,000 rows that cannot be used; row 1 does not have the 2 cells"
    ):
        read_runs(file)
