"""A BoAmps report: its format, its units, and what it refuses to say."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from boamps_samples import DATA, FACTS, GPU_MACHINE, MACHINE, TRACKER, official_schemas, record, report_input
from wattbus.energy.cloud import CloudFacts
from wattbus.energy.hardware import CpuFacts, MachineFacts
from wattbus.energy.record import EnergyStatus, RemoteFacts, Scope, TaskFacts, Tier
from wattbus.errors import BadRequest, Refused
from wattbus.export.boamps import BoampsReport, build_report
from wattbus.export.boamps_fields import FIELDS, field_table
from wattbus.export.boamps_model import ATTRIBUTION, DATA_FORMATS, leaf_paths, validate
from wattbus.export.organisation import Organisation

DOCS = Path(__file__).resolve().parents[2] / "docs" / "boamps.md"
NOW = datetime(2025, 6, 16, 8, 30, 1, tzinfo=timezone(timedelta(hours=2)))


def measure(report: BoampsReport) -> dict[str, Any]:
    first: dict[str, Any] = report.document["measures"][0]
    return first


def test_the_models_have_the_77_leaf_fields_of_the_five_official_schemas() -> None:
    official = official_schemas().leaf_paths()

    assert len(official) == 77
    assert set(leaf_paths()) == official


def test_each_leaf_field_has_one_row_that_says_where_it_comes_from() -> None:
    assert tuple(field.path for field in FIELDS) == leaf_paths()


def test_the_documentation_shows_the_table_of_the_fields_as_it_is() -> None:
    text = DOCS.read_text(encoding="utf-8")

    assert field_table() in text, (
        "paste the output of wattbus.export.boamps_fields.field_table() into docs/boamps.md"
    )
    assert ATTRIBUTION in text


def test_the_official_example_is_valid_for_us_too() -> None:
    assert validate(official_schemas().example) == []


def test_the_file_formats_are_those_of_the_official_schema() -> None:
    formats = official_schemas().schemas["dataset"]["properties"]["dataFormat"]["enum"]

    assert {name for name in formats if name is not None} == DATA_FORMATS


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("quality",), "excellent", "quality"),
        (("measures",), [], "measures"),
        (("measures", 0, "powerConsumption"), "0.1", "powerConsumption"),
        (("measures", 0, "powerConsumption"), True, "powerConsumption"),
        (("measures", 0, "averageUtilizationCpu"), 50, "averageUtilizationCpu"),
        (("infrastructure", "components", 0, "nbComponent"), 1.5, "nbComponent"),
        (("infrastructure", "infraType"), "basement", "infraType"),
        (("task", "dataset", 0, "dataFormat"), "safetensors", "dataFormat"),
        (("task", "taskStage"), None, "taskStage is null"),
        (("header", "publisher"), {}, "confidentialityLevel"),
    ],
)
def test_a_broken_report_is_refused_by_us_and_by_the_official_schemas(
    path: tuple[str | int, ...], value: object, words: str
) -> None:
    document = json.loads(json.dumps(build_report(report_input()).document))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    faults = validate(document)

    assert words in " ".join(faults)
    assert official_schemas().faults(document) != []


def test_a_misspelt_field_is_named_with_the_nearest_right_one() -> None:
    document = build_report(report_input()).document
    document["measures"][0]["powerConsumtion"] = 1.0

    faults = validate(document)

    assert len(faults) == 1
    assert "did you mean 'powerConsumption'" in faults[0]


def test_energy_is_in_kwh_memory_in_gib_data_in_gb_and_parameters_in_billions() -> None:
    report = build_report(report_input())

    document = report.document
    assert measure(report)["powerConsumption"] == pytest.approx(36.0 / 3.6e6)
    assert measure(report)["x-wattbus-lowKwh"] == pytest.approx(18.0 / 3.6e6)
    assert measure(report)["x-wattbus-highKwh"] == pytest.approx(72.0 / 3.6e6)
    assert measure(report)["powerCalibrationMeasurement"] == pytest.approx(36.0 / 3.6e6)
    assert document["infrastructure"]["components"][1]["memorySize"] == 8.0
    assert document["task"]["dataset"][0]["dataSize"] == pytest.approx(2e-6)
    assert document["task"]["algorithms"][0]["parametersNumber"] == pytest.approx(0.066)


def test_the_measurement_begins_when_the_first_attempt_began_and_dates_are_utc() -> None:
    report = build_report(report_input(), now=NOW)

    assert measure(report)["measurementDateTime"] == "2025-06-15 15:06:40"
    assert report.document["header"]["reportDatetime"] == "2025-06-16 06:30:01"


def test_attempts_that_overlap_in_a_pool_count_their_time_once() -> None:
    later = record(message_id=2, started_at_us=record().started_at_us + 1_000_000)

    report = build_report(report_input(record(), later))

    assert measure(report)["measurementDuration"] == pytest.approx(3.0)
    assert measure(report)["powerConsumption"] == pytest.approx(72.0 / 3.6e6)


def test_the_share_of_the_processor_is_what_the_attempts_used_of_it() -> None:
    report = build_report(report_input(tracker=replace(TRACKER, cpu_utilisation=None)))

    # 4 CPU-seconds in 2 seconds on 4 threads
    assert report.document["infrastructure"]["components"][0]["share"] == pytest.approx(0.5)
    assert measure(report)["averageUtilizationCpu"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("tier", "quality"),
    [
        (Tier.MEASURED, "high"),
        (Tier.ATTRIBUTED, "medium"),
        (Tier.MODELLED, "low"),
        (Tier.MODELLED_GENERIC, "low"),
    ],
)
def test_the_quality_follows_the_tier(tier: Tier, quality: str) -> None:
    report = build_report(report_input(record(tier=tier)))

    assert report.document["quality"] == quality
    assert measure(report)["x-wattbus-tier"] == tier.value
    assert ("x-wattbus-note" in measure(report)) is (tier is Tier.MODELLED_GENERIC)


def test_a_sum_is_as_good_as_its_worst_attempt() -> None:
    report = build_report(report_input(record(tier=Tier.MEASURED), record(message_id=2, tier=Tier.MODELLED)))

    assert report.document["quality"] == "low"


def test_bounds_are_left_out_when_one_attempt_has_none() -> None:
    report = build_report(report_input(record(), record(message_id=2, high_joules=None)))

    assert "x-wattbus-lowKwh" in measure(report)
    assert "x-wattbus-highKwh" not in measure(report)


def test_without_a_country_there_is_no_environment() -> None:
    organisation = Organisation(latitude=48.8, power_source="nuclear", carbon_intensity_g_per_kwh=50)

    report = build_report(report_input(organisation=organisation))

    assert "environment" not in report.document
    assert "environment.country" in dict(report.score.missing)


def test_with_a_country_the_ledgers_carbon_intensity_is_told_in_grams_weighted_by_energy() -> None:
    rows = (
        record(carbon_intensity_g_per_kwh=50),
        record(message_id=2, energy_joules=12, carbon_intensity_g_per_kwh=90),
    )

    report = build_report(report_input(*rows, organisation=Organisation(country="France")))

    assert report.document["environment"] == {"country": "France", "powerSourceCarbonIntensity": 60.0}


def test_the_organisations_answers_stand_in_the_report_as_declared() -> None:
    organisation = Organisation(
        name="Acme", division="Lab", licence="CC BY 4.0", estimated_accuracy="good", confidentiality="public",
        country="France", power_supplier="public", power_source="nuclear", infrastructure="privateCloud",
        cloud_provider="acme cloud",
    )  # fmt: skip

    report = build_report(report_input(organisation=organisation))

    assert report.document["header"]["publisher"]["confidentialityLevel"] == "public"
    assert report.document["infrastructure"]["cloudProvider"] == "acme cloud"
    assert report.document["task"]["dataset"][0]["owner"] == "Acme"
    assert report.provenance["header.licensing"].origin.value == "declared"
    assert official_schemas().faults(report.document) == []


def test_a_cloud_that_the_firmware_names_is_a_public_cloud() -> None:
    machine = replace(
        MACHINE, virtual=True, cloud=CloudFacts("aws", "m5.large", "eu-west-3", "/sys/class/dmi/id/x")
    )

    report = build_report(report_input(machine=machine, organisation=Organisation(country="France")))

    assert report.document["infrastructure"]["infraType"] == "publicCloud"
    assert report.document["infrastructure"]["cloudInstance"] == "m5.large"
    assert report.document["environment"]["location"] == "eu-west-3"


def test_a_virtual_machine_that_does_not_say_whose_it_is_is_other_and_to_be_confirmed() -> None:
    report = build_report(report_input(machine=replace(MACHINE, virtual=True)))

    assert report.document["infrastructure"]["infraType"] == "other"
    assert "infrastructure.infraType" in dict(report.score.to_confirm)


def test_a_gpu_is_described_and_its_use_is_shared_over_all_of_them() -> None:
    tracker = replace(TRACKER, gpu_mode="nvml", gpu_utilisation=0.25)

    report = build_report(report_input(record(gpu_seconds=1.0), machine=GPU_MACHINE, tracker=tracker))

    gpu = report.document["infrastructure"]["components"][2]
    assert (gpu["nbComponent"], gpu["memorySize"], gpu["share"]) == (2, 141.0, 0.25)
    assert measure(report)["gpuTrackingMode"] == "nvml"
    assert measure(report)["averageUtilizationGpu"] == 0.25
    assert official_schemas().faults(report.document) == []


def test_a_machine_of_which_nothing_could_be_read_still_gives_a_valid_report() -> None:
    report = build_report(report_input(machine=MachineFacts(cpu=CpuFacts())))

    assert validate(report.document) == []
    assert official_schemas().faults(report.document) == []
    assert "system" not in report.document


def test_an_operation_that_states_nothing_still_gives_a_valid_report_with_defaults_to_confirm() -> None:
    report = build_report(report_input(facts=TaskFacts(stage="other")))

    assert official_schemas().faults(report.document) == []
    assert report.document["task"]["taskFamily"] == "generic task"
    assert {"task.taskFamily", "task.dataset[].dataType"} <= set(dict(report.score.to_confirm))


def test_a_remote_call_is_a_report_of_its_own_about_the_service_and_not_about_this_machine() -> None:
    remote = RemoteFacts(
        "hugging face", "hf-inference", gpus=1, gpu_name="80 GB accelerator", gpu_memory_bytes=80 * 1024**3
    )
    facts = replace(FACTS, family="text-generation", foundation_model="acme/large")
    row = record(scope=Scope.REMOTE, tier=Tier.ESTIMATED_REMOTE, method="ecologits 0.9", facts=facts)

    report = build_report(
        report_input(row, facts=facts, remote=remote, organisation=Organisation(country="France"))
    )

    document = report.document
    assert document["measures"][0]["measurementMethod"] == "ecologits 0.9"
    assert document["infrastructure"]["cloudService"] == "hf-inference"
    assert [part["componentType"] for part in document["infrastructure"]["components"]] == ["gpu"]
    assert not {"system", "software", "environment"} & set(document)
    assert document["quality"] == "low"
    assert official_schemas().faults(document) == []


def test_client_and_remote_are_never_added_up() -> None:
    rows = (record(scope=Scope.CLIENT), record(scope=Scope.REMOTE))

    with pytest.raises(Refused, match="client and remote are never added up"):
        build_report(report_input(*rows))


def test_a_remote_call_without_an_estimate_is_refused_in_words() -> None:
    with pytest.raises(Refused, match="the machine behind the remote call is unknown"):
        build_report(report_input(record(scope=Scope.REMOTE)))


@pytest.mark.parametrize("joules", [None, 0.0, -1.0, math.nan, math.inf])
def test_an_unknown_energy_is_refused_and_never_becomes_0(joules: float | None) -> None:
    row = record(energy_joules=joules, status=EnergyStatus.MEASURED, tier=Tier.MODELLED)

    with pytest.raises(Refused, match="no energy figure"):
        build_report(report_input(record(message_id=7), row))


def test_no_record_no_report() -> None:
    with pytest.raises(Refused, match="no energy record"):
        build_report(replace(report_input(), records=()))


@pytest.mark.parametrize("report_id", ["../x", "", "a/b", "x" * 65, "a\0b", ".hidden"])
def test_a_report_id_that_is_no_file_name_is_refused(report_id: str) -> None:
    with pytest.raises(BadRequest, match="report id"):
        build_report(report_input(), report_id=report_id)


def test_an_unknown_status_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadRequest, match="draft, final"):
        build_report(report_input(), status="finished")


def test_a_mean_request_is_described_when_one_report_holds_many() -> None:
    facts = replace(FACTS, requests=4, data=(replace(DATA[0], bytes=8_000, items=6),))

    report = build_report(report_input(facts=facts))

    assert report.document["task"]["nbRequest"] == 4
    assert report.document["task"]["dataset"][0]["dataSize"] == pytest.approx(2e-6)
    assert report.document["task"]["dataset"][0]["dataQuantity"] == 1.5
