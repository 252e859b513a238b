"""A report goes from draft to final once, and what was final is corrected by another report, never changed."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from boamps_samples import official_schemas, report_input
from wattbus.errors import BadRequest, Refused, UnknownName
from wattbus.export.boamps import build_report
from wattbus.export.boamps_model import validate
from wattbus.export.boamps_status import CORRECTS, corrected, digest_of, finalised, with_answers
from wattbus.export.organisation import Organisation
from wattbus.export.report_files import write_document
from wattbus.export.signing import SIGNATURE, SigningKey, Verdict, signing_key, verify
from wattbus.home import Home

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture
def key(home: Home) -> SigningKey:
    key = signing_key(home)
    assert key is not None
    return key


@pytest.fixture
def draft(key: SigningKey) -> dict[str, Any]:
    return build_report(report_input(signer=key)).document


def test_a_draft_becomes_final_with_the_answers_given_since(draft: dict[str, Any], key: SigningKey) -> None:
    before = copy.deepcopy(draft)
    organisation = Organisation(name="Acme", confidentiality="public", country="France", latitude=48.8)

    final = finalised(draft, organisation=organisation, signer=key, now=NOW)

    assert draft == before
    header = final["header"]
    assert (header["reportStatus"], header["reportDatetime"]) == ("final", "2026-03-04 05:06:07")
    assert header["reportId"] == draft["header"]["reportId"]
    assert (header["publisher"]["name"], header["publisher"]["confidentialityLevel"]) == ("Acme", "public")
    assert final["environment"] == {"country": "France", "latitude": 48.8}
    assert final["x-wattbus-provenance"]["environment.country"].startswith("declared")
    assert verify(final, [key.public_key]).verdict is Verdict.VALID
    assert validate(final) == [] and official_schemas().faults(final) == []


def test_an_answer_replaces_no_value_that_somebody_said(draft: dict[str, Any]) -> None:
    draft["header"]["publisher"]["name"] = "Another"

    assert with_answers(draft, Organisation(name="Acme"))["header"]["publisher"]["name"] == "Another"


def test_without_a_country_no_place_is_filled(draft: dict[str, Any]) -> None:
    assert "environment" not in with_answers(draft, Organisation(location="Paris", latitude=48.8))


@pytest.mark.parametrize("consumed", [0, -1.0, 0.0])
def test_a_report_of_unknown_energy_is_not_final(draft: dict[str, Any], consumed: float) -> None:
    draft["measures"][0]["powerConsumption"] = consumed

    with pytest.raises(Refused, match="its energy is unknown"):
        finalised(draft)


def test_an_invalid_report_is_not_final(draft: dict[str, Any]) -> None:
    del draft["task"]["taskStage"]

    with pytest.raises(Refused, match=r"task\.taskStage"):
        finalised(draft)


def test_a_final_report_is_not_made_final_again(draft: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="final already: correct it"):
        finalised(finalised(draft))


def test_a_correction_names_what_it_corrects_and_leaves_it_alone(
    draft: dict[str, Any], key: SigningKey, home: Home
) -> None:
    final = finalised(draft, signer=key, now=NOW)
    kept = copy.deepcopy(final)
    changes = {
        "environment.country": "France",
        "environment.latitude": "48.8",
        "task.dataset[0].owner": "Acme",
    }

    made = corrected(final, changes, "the place  was left out", signer=key, now=NOW)

    assert final == kept
    assert made["header"]["reportStatus"] == "corrective"
    assert made["header"]["reportId"] != final["header"]["reportId"]
    assert made[CORRECTS] == {
        "reportId": final["header"]["reportId"],
        "reportDatetime": "2026-03-04 05:06:07",
        "sha256": digest_of(final),
        "because": "the place was left out",
    }
    assert made["environment"] == {"country": "France", "latitude": 48.8}
    assert made["task"]["dataset"][0]["owner"] == "Acme"
    assert made["x-wattbus-provenance"]["environment.country"] == "declared: corrected by hand, from None"
    assert verify(made, [key.public_key]).verdict is Verdict.VALID
    assert official_schemas().faults(made) == []
    first, second = write_document(final, home.exports), write_document(made, home.exports)
    assert first != second


def test_a_correction_may_take_a_value_out_and_may_be_corrected(draft: dict[str, Any]) -> None:
    first = corrected(finalised(draft), {"quality": ""}, "not known")

    second = corrected(first, {"quality": "low"}, "known after all")

    assert "quality" not in first and "quality" not in first["x-wattbus-provenance"]
    assert second["quality"] == "low"
    assert second[CORRECTS]["reportId"] == first["header"]["reportId"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "nothing is corrected"),
        ({"environment.contry": "France"}, "did you mean 'environment.country'"),
        ({"header.reportId": "x"}, "made by wattbus"),
        ({"task.dataset[].owner": "x"}, r"say which one"),
        ({"task.dataset[7].owner": "x"}, r"has 2 of dataset"),
        ({"measures[0].powerConsumption": "much"}, "it takes a number"),
        ({"measures[0].powerConsumption": "0"}, "its energy is unknown"),
        ({"measures[0].powerConsumption": "nan"}, "not valid"),
        ({"quality": "superb"}, "not valid"),
        ({"environment.latitude": "48.8"}, r"environment\.country"),
    ],
)
def test_what_cannot_be_corrected_is_a_sentence(
    draft: dict[str, Any], changes: dict[str, str], said: str
) -> None:
    with pytest.raises((BadRequest, UnknownName), match=said):
        corrected(finalised(draft), changes, "because")


def test_a_draft_is_not_corrected_and_a_correction_says_why(draft: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="only a final one"):
        corrected(draft, {"quality": "low"}, "because")
    with pytest.raises(BadRequest, match="says why"):
        corrected(finalised(draft), {"quality": "low"}, "  ")


def test_a_key_of_the_organisations_own_leaves_a_final_report_unsigned(key: SigningKey) -> None:
    draft = build_report(
        report_input(organisation=Organisation(public_key="ssh-ed25519 AAAAtheirs"))
    ).document

    final = finalised(draft, signer=key)

    assert SIGNATURE not in final
    assert final["header"]["publisher"]["publicKey"] == "ssh-ed25519 AAAAtheirs"


def test_a_final_report_is_never_written_over_another(draft: dict[str, Any], home: Home) -> None:
    final = finalised(draft, now=NOW)
    write_document(final, home.exports, suffix=".final")
    other = {**final, "quality": "high"}

    with pytest.raises(Refused, match="holds another report"):
        write_document(other, home.exports, suffix=".final")
