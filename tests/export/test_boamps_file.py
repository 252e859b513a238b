"""What leaves with a BoAmps report: no message text, an origin for each value, a score, one whole file."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boamps_samples import FACTS, official_schemas, record, report_input
from wattbus.energy.record import DataFacts, TaskFacts, TrackerFacts
from wattbus.errors import BadSettings, Refused
from wattbus.export.boamps import build_report, write_report
from wattbus.export.boamps_draft import data_address, public_address
from wattbus.export.boamps_model import validate
from wattbus.export.boamps_score import INDEX, filled_paths
from wattbus.export.organisation import Organisation

NOW = datetime(2025, 6, 16, 8, 30, 1, tzinfo=timezone(timedelta(hours=2)))


def test_no_message_text_no_secret_and_no_folder_enters_a_report(tmp_path: Path) -> None:
    canary = "CANARY-7f3a"
    data = DataFacts(
        "input",
        "tabular",
        shape=f"({canary}, 2)",
        source="private",
        source_uri=f"postgresql://me:{canary}@db.example.org/shop?password={canary}#Review",
    )
    facts = replace(
        FACTS,
        description=f"the user wrote {canary}",
        family=f"text {canary}!" + "\n",
        algorithm_uri=f"file:///home/{canary}/model",
        foundation_model_uri=f"https://me:{canary}@huggingface.co/acme/m?token={canary}",
        class_path=f"{canary} " * 100,
        data=(data,),
    )

    report = build_report(report_input(record(reason=f"failed on {canary}", facts=facts), facts=facts))
    path = write_report(report, tmp_path)

    assert canary not in path.read_text(encoding="utf-8")
    assert report.document["task"]["dataset"][0]["sourceUri"] == "postgresql://db.example.org/shop#Review"
    assert report.document["task"]["algorithms"][0]["foundationModelUri"] == "https://huggingface.co/acme/m"


@pytest.mark.parametrize(
    ("uri", "public"),
    [
        ("https://huggingface.co/acme/m/tree/0a1b", "https://huggingface.co/acme/m/tree/0a1b"),
        ("http://127.0.0.1:8080/acme/m", None),
        ("http://2130706433/m", None),
        ("http://[::1]/m", None),
        ("http://hub.internal/m", None),
        ("http://localhost/m", None),
        ("/home/me/models/m", None),
        ("https://host:port/m", None),
        ("https://[broken/m", None),
        (None, None),
    ],
)
def test_only_an_address_that_others_can_reach_is_public(uri: str | None, public: str | None) -> None:
    assert public_address(uri) == public


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////home/me/.wattbus/tables.sqlite#Review", "sqlite:tables.sqlite#Review"),
        ("mysql+pymysql://me:pw@db.example.org/shop", "mysql://db.example.org/shop"),
        ("sqlite:///x.sqlite#SELECT secret", "sqlite:x.sqlite"),
        ("not an address", None),
        ("", None),
    ],
)
def test_the_address_of_data_loses_account_folder_and_anything_that_is_no_table(
    uri: str, shown: str | None
) -> None:
    assert data_address(uri) == shown


def test_each_value_in_a_report_has_its_origin_and_each_origin_a_value() -> None:
    report = build_report(report_input(organisation=Organisation(country="France")))

    assert {INDEX.sub("[]", path) for path in report.provenance} == filled_paths(report.document)
    assert set(report.document["x-wattbus-provenance"]) == set(report.provenance)
    assert report.score.filled == len(filled_paths(report.document))


def test_filled_missing_and_not_applicable_make_all_77() -> None:
    score = build_report(report_input()).score

    assert score.filled + len(score.missing) + len(score.not_applicable) == 77
    assert score.applicable == score.filled + len(score.missing)
    assert str(score) == f"{score.filled} / {score.applicable}"


def test_what_is_missing_says_what_to_do_and_doing_it_fills_it() -> None:
    before = build_report(report_input())

    after = build_report(report_input(organisation=Organisation(licence="CC BY 4.0")))

    assert "licence in organisation.toml" in dict(before.score.missing)["header.licensing"]
    assert "header.licensing" not in dict(after.score.missing)
    assert (after.score.filled, after.score.applicable) == (before.score.filled + 1, before.score.applicable)


def test_a_training_is_not_asked_for_requests_but_for_what_trainings_have() -> None:
    training = replace(FACTS, stage="finetuning", requests=None)

    score = build_report(report_input(facts=training)).score

    assert dict(score.not_applicable)["task.nbRequest"] == "a training answers no requests"
    assert {"task.algorithms[].optimizer", "task.measuredAccuracy"} <= set(dict(score.missing))


def test_what_cannot_apply_is_not_counted_as_missing() -> None:
    score = build_report(report_input()).score

    reasons = dict(score.not_applicable)
    assert reasons["measures[].averageUtilizationGpu"] == "the machine has no GPU"
    assert reasons["task.algorithms[].epochsNumber"] == "an inference trains nothing"
    assert reasons["infrastructure.cloudProvider"] == "not in a cloud"


texts = st.none() | st.text(max_size=30)
counts = st.none() | st.integers(-5, 10**13)
data_facts = st.builds(
    DataFacts,
    usage=st.sampled_from(["input", "output"]),
    kind=st.text(max_size=8) | st.just("image"),
    items=counts, bytes=counts, shape=texts, format=texts, source=texts, source_uri=texts, owner=texts,
)  # fmt: skip
task_facts = st.builds(
    TaskFacts,
    stage=st.sampled_from(["inference", "finetuning", "training", "other", ""]),
    family=texts,
    requests=st.none() | st.integers(1, 9),
    algorithm_type=texts,
    algorithm_uri=texts,
    parameters=counts,
    framework=texts | st.just("scikit-learn"),
    layers=counts,
    precision=texts,
    optimizer=texts,
    epochs=st.none() | st.floats(),
    accuracy=st.none() | st.floats(),
    data=st.tuples(data_facts) | st.just(()),
)
trackers = st.builds(
    TrackerFacts,
    method=st.just("codecarbon"),
    cpu_utilisation=st.none() | st.floats(),
    calibration_joules=st.none() | st.floats(),
    calibration_seconds=st.none() | st.floats(),
    country=texts,
)


@given(facts=task_facts, tracker=trackers)
@settings(max_examples=150, deadline=None)
def test_whatever_the_facts_the_report_is_valid_and_its_score_adds_up(
    facts: TaskFacts, tracker: TrackerFacts
) -> None:
    report = build_report(report_input(facts=facts, tracker=tracker))

    assert validate(report.document) == []
    assert official_schemas().faults(json.loads(json.dumps(report.document, allow_nan=False))) == []
    assert report.score.filled <= report.score.applicable <= 77
    assert report.score.filled + len(report.score.missing) + len(report.score.not_applicable) == 77


def test_a_report_is_written_whole_for_its_owner_only(tmp_path: Path) -> None:
    report = build_report(report_input(), report_id="r-1", now=datetime.now(UTC))

    path = write_report(report, tmp_path / "exports")

    assert path.name == "boamps-r-1.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text(encoding="utf-8")) == report.document
    assert [part.name for part in path.parent.iterdir()] == [path.name]


def test_an_invalid_report_is_an_error_and_not_a_file(tmp_path: Path) -> None:
    report = build_report(report_input())
    report.document["quality"] = "excellent"

    with pytest.raises(Refused, match="quality"):
        write_report(report, tmp_path / "exports")

    assert not (tmp_path / "exports").exists()


def test_writing_a_report_again_changes_nothing_and_another_one_never_replaces_it(tmp_path: Path) -> None:
    first = build_report(report_input(), report_id="r-1", now=NOW)
    path = write_report(first, tmp_path)
    other = build_report(report_input(record(energy_joules=1.0)), report_id="r-1", now=NOW)

    assert write_report(first, tmp_path) == path
    with pytest.raises(Refused, match="holds another report"):
        write_report(other, tmp_path)

    assert json.loads(path.read_text(encoding="utf-8")) == first.document


def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "exports").write_text("a file, no folder")

    with pytest.raises(BadSettings, match="exports"):
        write_report(build_report(report_input()), tmp_path / "exports")


def test_a_folder_of_the_users_own_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    write_report(build_report(report_input()), tmp_path)

    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_two_reports_have_different_ids() -> None:
    ids = {build_report(report_input()).report_id for _ in range(3)}

    assert len(ids) == 3
