"""Publishing tells first, then opens one pull request with everything in it, or leaves everything as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from boamps_samples import report_input
from fakehub import FakeHub, HubDataset
from wattbus.errors import BadRequest, Refused, RequestFailed, WattbusError
from wattbus.export.boamps import build_report
from wattbus.export.boamps_status import corrected, finalised
from wattbus.export.organisation import Organisation
from wattbus.export.publishing import DATASET, plan, publish, published
from wattbus.export.report_files import write_document
from wattbus.export.signing import SigningKey, signing_key
from wattbus.home import Home
from wattbus.ml.publishing import DatasetHub

TOKEN = "hf_" + "x" * 30
PUBLIC = Organisation(name="Acme", confidentiality="public")


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.accounts[TOKEN] = "ann"
        hub.datasets[DATASET] = HubDataset()
        yield hub


@pytest.fixture
def key(home: Home) -> SigningKey:
    key = signing_key(home)
    assert key is not None
    return key


@pytest.fixture
def final(home: Home, key: SigningKey) -> Path:
    return write_document(final_document(key), home.exports, suffix=".final")


def final_document(key: SigningKey, organisation: Organisation = PUBLIC) -> dict[str, Any]:
    draft = build_report(report_input(signer=key, organisation=organisation)).document
    return finalised(draft, signer=key, now=datetime(2026, 1, 2, tzinfo=UTC))


def to(hub: FakeHub, **options: Any) -> DatasetHub:
    return DatasetHub(DATASET, endpoint=hub.endpoint, **{"token": TOKEN, **options})


def pulls(hub: FakeHub) -> list[Any]:
    return hub.datasets[DATASET].pulls


def test_what_would_leave_is_told_before_anything_leaves(
    hub: FakeHub, home: Home, final: Path, key: SigningKey
) -> None:
    publication = plan([final], home, to(hub), [key.public_key])

    (file,) = publication.files
    assert (publication.account, publication.page) == ("ann", f"{hub.endpoint}/datasets/{DATASET}")
    assert (file.size_bytes, file.status, file.signature, file.publisher) == (
        final.stat().st_size, "final", "valid", "Acme",
    )  # fmt: skip
    assert file.path == f"data/boamps-{file.report_id}.json"
    assert pulls(hub) == []
    assert [request.method for request in hub.requests if "/commit/" in request.path] == []


def test_all_reports_are_one_pull_request_with_the_very_bytes(
    hub: FakeHub, home: Home, final: Path, key: SigningKey
) -> None:
    other = write_document(final_document(key), home.exports)
    publication = plan([final, other], home, to(hub), [key.public_key])

    opened = publish(publication, home, to(hub))

    (pull,) = pulls(hub)
    assert opened.url == f"{hub.endpoint}/datasets/{DATASET}/discussions/1"
    assert sorted(pull.files.values()) == sorted([final.read_bytes(), other.read_bytes()])
    assert (pull.account, pull.title) == (
        "ann",
        "Add 2 BoAmps reports: inference of text classification",
    )
    assert hub.datasets[DATASET].files == {}


def test_the_same_report_is_not_published_twice(
    hub: FakeHub, home: Home, final: Path, key: SigningKey
) -> None:
    publish(plan([final], home, to(hub), [key.public_key]), home, to(hub))

    with pytest.raises(Refused, match=r"was published before: .*/discussions/1"):
        plan([final], home, to(hub), [key.public_key])
    final.write_text(json.dumps(json.loads(final.read_text())))  # the same, written otherwise
    with pytest.raises(Refused, match="was published before"):
        plan([final], home, to(hub), [key.public_key])
    assert len(pulls(hub)) == 1
    assert len(published(home)) == 1


def test_a_report_that_the_data_set_holds_already_is_noticed(
    hub: FakeHub, home: Home, final: Path, key: SigningKey
) -> None:
    name = f"data/boamps-{json.loads(final.read_text())['header']['reportId']}.json"
    hub.datasets[DATASET].files[name] = final.read_bytes()

    with pytest.raises(Refused, match="already"):
        plan([final], home, to(hub), [key.public_key])


def test_a_correction_is_published_as_a_report_of_its_own(
    hub: FakeHub, home: Home, final: Path, key: SigningKey
) -> None:
    document = corrected(
        json.loads(final.read_text()), {"environment.country": "France"}, "it was left out", signer=key
    )
    file = write_document(document, home.exports)
    publish(plan([final], home, to(hub), [key.public_key]), home, to(hub))

    publish(plan([file], home, to(hub), [key.public_key]), home, to(hub))

    first, second = pulls(hub)
    assert set(first.files) & set(second.files) == set()
    assert "corrective" in second.description


@pytest.mark.parametrize("level", ["internal", "confidential", "secret", None])
def test_only_public_reports_leave(hub: FakeHub, home: Home, key: SigningKey, level: Any) -> None:
    document = final_document(key, Organisation(confidentiality=level))
    file = write_document(document, home.exports)

    with pytest.raises(Refused, match="only public reports"):
        plan([file], home, to(hub), [key.public_key])
    assert hub.requests == []


def test_a_draft_does_not_leave(hub: FakeHub, home: Home, key: SigningKey) -> None:
    draft = build_report(report_input(signer=key, organisation=PUBLIC)).document
    file = write_document(draft, home.exports)

    with pytest.raises(Refused, match="is a draft: make it final first"):
        plan([file], home, to(hub), [key.public_key])
    assert hub.requests == []


def test_a_report_that_was_changed_after_it_was_signed_does_not_leave(
    hub: FakeHub, home: Home, final: Path, key: SigningKey
) -> None:
    document = json.loads(final.read_text())
    document["measures"][0]["powerConsumption"] /= 2
    final.write_text(json.dumps(document))

    with pytest.raises(Refused, match="not what was signed"):
        plan([final], home, to(hub), [key.public_key])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"header": {}}', "x" * 5_000_000])
def test_a_file_that_is_no_report_does_not_leave(
    hub: FakeHub, home: Home, key: SigningKey, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "boamps-x.json"
    file.write_text(text)

    with pytest.raises(BadRequest):
        plan([file], home, to(hub), [key.public_key])


def test_without_a_token_there_is_a_sentence(
    hub: FakeHub, home: Home, final: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))

    with pytest.raises(Refused, match="set HF_TOKEN"):
        plan([final], home, to(hub, token=None), [key.public_key])
    assert hub.requests == []


def test_a_wrong_token_is_a_sentence(hub: FakeHub, home: Home, final: Path, key: SigningKey) -> None:
    with pytest.raises(RequestFailed, match=r"401 .* token is not valid"):
        plan([final], home, to(hub, token="hf_" + "y" * 30), [key.public_key])


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda hub: hub.refuse(403, "/commit/"), "403 .* right to write"),
        (lambda hub: hub.refuse(500, "/commit/"), "500 .* try again later"),
        (lambda hub: hub.html("/commit/"), "did not answer like a Hub"),
        (lambda hub: hub.datasets.clear(), "there is no data set"),
        (lambda hub: hub.hang("/commit/"), "no answer within .* is not known: look at .*/discussions"),
    ],
    ids=["403", "500", "a web page", "no such data set", "silence"],
)
def test_a_hub_that_fails_at_the_last_step_is_a_sentence_and_nothing_is_remembered(
    hub: FakeHub, home: Home, final: Path, key: SigningKey, break_it: Any, said: str
) -> None:
    publication = plan([final], home, to(hub), [key.public_key])
    break_it(hub)

    with pytest.raises(WattbusError, match=said):
        publish(publication, home, to(hub, commit_seconds=0.5))

    assert published(home) == {}
    assert DATASET not in hub.datasets or pulls(hub) == []
    assert not home.published_file.exists()


def test_a_hub_that_is_away_is_a_sentence(home: Home, final: Path, key: SigningKey) -> None:
    away = DatasetHub(DATASET, endpoint="http://127.0.0.1:9", token=TOKEN)

    with pytest.raises(RequestFailed, match=r"cannot be reached .* Nothing was published"):
        plan([final], home, away, [key.public_key])


def test_nothing_and_the_same_file_twice_are_refused(
    hub: FakeHub, home: Home, final: Path, key: SigningKey
) -> None:
    with pytest.raises(BadRequest, match="name the files"):
        plan([], home, to(hub), [])
    with pytest.raises(BadRequest, match="named twice"):
        plan([final, final], home, to(hub), [])
