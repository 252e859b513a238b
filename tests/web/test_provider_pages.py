"""The page of the model provider: read its list, see what was skipped and why, grade; against a hub on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doors import OpenDoor, open_door
from iop import Production

from components import Echo
from fakehublist import FakeHubList, fake_hub_list
from waiting import until
from wattbus.access import Role

PATH = "/energy/provider"


@pytest.fixture
def hub() -> Iterator[FakeHubList]:
    with fake_hub_list() as hub:
        hub.add("org/good", {"emissions": "0.5 kg", "source": "codecarbon"}, downloads=1200)
        hub.add("org/rough", "~20 g")
        hub.add("org/range", "10-20 g")
        hub.add("org/silent")
        yield hub


@pytest.fixture
def ask(tmp_path: Path, hub: FakeHubList) -> Iterator[OpenDoor]:
    production = Production("Provider.Test")
    production.operation("Echo", Echo)
    with open_door(tmp_path / "home", production, hub_url=hub.endpoint) as door:
        yield door


def view(door: OpenDoor, query: str = "") -> Any:
    return door("GET", f"/api/v1{PATH}{query}").said


def read(door: OpenDoor, **body: Any) -> Any:
    started = door("POST", f"/api/v1{PATH}/start", body)
    assert started.status == 200, started.said
    until(lambda: not view(door)["doing"], "the list is read")
    return started.said


def test_what_is_read_is_shown_and_what_is_skipped_says_why(ask: OpenDoor, hub: FakeHubList) -> None:
    done = read(ask, everything=True)

    assert done["run"]["kept"] == 2 and "2 skipped, each with its reason" in done["sentence"]
    shown = view(ask)
    assert {one["name"] for one in shown["models"]} == {"org/good", "org/rough"}
    assert {one["name"]: one["skipped"] for one in shown["skipped"]} == {
        "org/range": "its emissions are more than one number: '10-20 g'.",
        "org/silent": "its card declares no emissions.",
    }
    text = ask.page(PATH).said
    assert "500 g" in text and "rough figure" in text and "declares no emissions" in text
    assert "more than one number" in text


def test_a_form_starts_it_and_an_empty_field_is_none(ask: OpenDoor, hub: FakeHubList) -> None:
    sent = ask.form(f"{PATH}/start", {"author": "org", "search": "good", "task": "", "limit": "5"})

    assert (sent.status, sent.headers["location"]) == (303, PATH)
    until(lambda: not view(ask)["doing"], "the list is read")
    assert hub.asked[0]["author"] == ["org"] and hub.asked[0]["search"] == ["good"]
    assert "pipeline_tag" not in hub.asked[0]
    assert [one["name"] for one in view(ask)["models"]] == ["org/good"]


def test_a_search_narrows_the_list(ask: OpenDoor) -> None:
    read(ask)

    found = view(ask, "?search=ROUGH")

    assert ([one["name"] for one in found["models"]], found["skipped"]) == (["org/rough"], [])


def test_a_limit_goes_on_where_it_ended(ask: OpenDoor) -> None:
    first, second = read(ask, limit=1), read(ask, limit=2)

    assert (first["run"]["kept"], second["run"]["kept"] + second["run"]["skipped"]) == (1, 3)
    assert "to the end" in ask.page(PATH).said


def test_a_declared_model_is_graded_and_kept(ask: OpenDoor) -> None:
    read(ask)

    done = ask("POST", f"/api/v1{PATH}/grade", {"model": "org/good"})

    assert done.status == 200
    evaluation = done.said["evaluation"]
    letters = {one["metric"]: one["letter"] for one in evaluation["grades"]}
    assert (evaluation["profile"], evaluation["figures"]["source"]) == ("gaissa-training", "provider")
    assert (letters["co2_eq_emissions"], letters["downloads"], letters["performance_score"]) == (
        "D",
        "B",
        None,
    )


def test_what_cannot_be_graded_says_why(ask: OpenDoor) -> None:
    read(ask)

    skipped = ask("POST", f"/api/v1{PATH}/grade", {"model": "org/range"})
    unknown = ask("POST", f"/api/v1{PATH}/grade", {"model": "org/goood"})
    wrong = ask("POST", f"/api/v1{PATH}/grade", {"model": "org/good", "profile": "gaissa-inference"})

    assert (skipped.status, "more than one number" in skipped.said["detail"]) == (400, True)
    assert (unknown.status, "did you mean 'org/good'" in unknown.said["detail"]) == (404, True)
    assert (wrong.status, "choose another profile" in wrong.said["detail"]) == (400, True)


def test_one_model_is_read_by_its_name(ask: OpenDoor) -> None:
    read(ask)

    assert ask("GET", f"/api/v1{PATH}/models/org/good").said["emissions_source"] == "codecarbon"
    assert ask("GET", f"/api/v1{PATH}/models/org/nothing").status == 404


def test_a_hub_that_refuses_is_told_in_a_sentence(ask: OpenDoor, hub: FakeHubList) -> None:
    hub.faults = [(403, {}, b"")]

    answer = ask("POST", f"/api/v1{PATH}/start", {})

    assert answer.status == 502 and "check the token" in answer.said["detail"]
    assert view(ask)["models"] == []


def test_a_provider_that_is_down_is_told_in_a_sentence(tmp_path: Path) -> None:
    production = Production("Provider.Test")
    production.operation("Echo", Echo)
    with fake_hub_list() as gone:
        pass
    with open_door(tmp_path / "home", production, hub_url=gone.endpoint) as door:
        answer = door("POST", f"/api/v1{PATH}/start", {})

    assert answer.status == 502 and "cannot be reached" in answer.said["detail"]


def test_a_viewer_sees_and_starts_nothing(ask: OpenDoor) -> None:
    viewer = ask.as_role(Role.VIEWER)

    assert viewer("GET", f"/api/v1{PATH}").status == 200
    assert viewer("POST", f"/api/v1{PATH}/start", {}).status == 403
    assert "Read the list" not in viewer.page(PATH).said


def test_a_name_that_would_be_markup_is_only_shown(ask: OpenDoor, hub: FakeHubList) -> None:
    hub.add("org/<script>alert(1)</script>", 1)
    hub.add("org/odd", "<script>alert(1)</script>")

    read(ask)

    text = ask.page(PATH).said
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text
