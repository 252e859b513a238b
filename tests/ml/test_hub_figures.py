"""The list of a hub is read page by page; what it says wrongly, slowly or not at all ends in a sentence."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from typing import Any

import pytest
from huggingface_hub import HfApi

from fakehublist import FakeHubList, fake_hub_list
from wattbus.errors import ModelError, ModelNotCached
from wattbus.ml import hub_figures
from wattbus.ml.hub import Patience
from wattbus.ml.hub_figures import HubList, Selection, hub_model

PATIENCE = Patience(stall_seconds=5, describe_seconds=10, tries=3, pause_seconds=0.01, longest_wait_seconds=2)


@pytest.fixture
def hub() -> Iterator[FakeHubList]:
    with fake_hub_list() as hub:
        yield hub


def list_of(hub: FakeHubList, **options: Any) -> HubList:
    return HubList(hub.endpoint, patience=PATIENCE, **options)


def names(listing: HubList, selection: Selection, page: int = 2) -> list[str]:
    address, found = listing.first(selection, page), list[str]()
    while address:
        read = listing.page(address)
        found += [one.name for one in read.models]
        address = read.next
    return found


def test_every_page_is_read_and_the_real_client_sees_the_same(hub: FakeHubList) -> None:
    for number in range(5):
        hub.add(f"org/model-{number}", number + 1)
    hub.add("org/silent")

    found = names(list_of(hub), Selection())

    client = HfApi(endpoint=hub.endpoint, token=False).list_models(filter="co2_eq_emissions", expand=["tags"])
    assert found == [one.id for one in client] == [f"org/model-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(author="one"), ["one/a", "one/b"]),
        (Selection(search="b"), ["one/b"]),
        (Selection(task="fill-mask"), ["two/c"]),
        (Selection(everything=True), ["one/a", "one/b", "two/c", "two/silent"]),
    ],
)
def test_a_selection_reaches_the_hub(hub: FakeHubList, selection: Selection, expected: list[str]) -> None:
    hub.add("one/a", 1)
    hub.add("one/b", 2)
    hub.add("two/c", 3, pipeline_tag="fill-mask")
    hub.add("two/silent")

    assert names(list_of(hub), selection) == expected


def test_a_model_has_its_size_downloads_task_and_score(hub: FakeHubList) -> None:
    metrics = [{"type": "f1", "value": 0.8}, {"type": "accuracy", "value": 0.9}]
    hub.add(
        "org/model",
        {"emissions": 20, "hardware_used": "one A100"},
        downloads=1200,
        likes=7,
        pipeline_tag="text-classification",
        library_name="transformers",
        safetensors={"parameters": {"F32": 1000, "BF16": 500}, "total": 1500},
        sha="a" * 40,
        tags=["pytorch"],
        card={"model-index": [{"results": [{"metrics": metrics}]}]},
    )

    (found,) = list_of(hub).page(list_of(hub).first(Selection())).models

    assert (found.parameters, found.size_bytes, found.size_origin) == (1500, 5000, "its tensors")
    assert (found.downloads, found.downloads_period, found.likes) == (1200, "the last 30 days", 7)
    assert (found.task, found.library, found.revision) == ("text-classification", "transformers", "a" * 40)
    assert (found.score_name, found.score) == ("accuracy", 0.9)
    assert found.declared.hardware == "one A100" and "pytorch" in found.tags


SAFE, PICKLED = {"rfilename": "model.safetensors"}, {"rfilename": "pytorch_model.bin", "size": 12}


@pytest.mark.parametrize(
    ("row", "size", "origin"),
    [
        ({"siblings": [{**SAFE, "size": 10}, PICKLED]}, 10, "its weight files"),
        ({"siblings": [PICKLED, {"rfilename": "README.md", "size": 5}]}, 12, "its weight files"),
        ({"siblings": [SAFE], "usedStorage": 99}, 99, "all that its repository stores, every commit"),
        ({"safetensors": {"parameters": {"Q4": 10}, "total": 10}}, None, ""),
        ({"safetensors": "x", "siblings": 7, "tags": 7, "usedStorage": -1}, None, ""),
        ({"usedStorage": True}, None, ""),
        ({}, None, ""),
    ],
)
def test_a_size_says_what_it_is_the_size_of_and_is_unknown_rather_than_guessed(
    row: dict[str, Any], size: int | None, origin: str
) -> None:
    found = hub_model({"id": "org/model", **row})

    assert (found.size_bytes, found.size_origin) == (size, origin)


@pytest.mark.parametrize(
    "row",
    [
        "text",
        None,
        {},
        {"id": 7},
        {"id": "../../etc/passwd"},
        {"id": "org/<script>"},
        {"id": "a" * 300},
    ],
)
def test_what_is_no_model_is_told(row: Any) -> None:
    with pytest.raises(ValueError, match="the Hub lists"):
        hub_model(row)


def test_what_cannot_be_read_is_listed_beside_the_others(hub: FakeHubList) -> None:
    hub.add("org/good", 1)
    hub.add("org/<b>", 1)

    page = list_of(hub).page(list_of(hub).first(Selection()))

    assert [one.name for one in page.models] == ["org/good"]
    assert page.unreadable == (("org/<b>", "the Hub lists it under a name that no model can have"),)


def test_a_hub_that_asks_to_wait_is_waited_for(hub: FakeHubList) -> None:
    hub.add("org/model", 1)
    hub.faults = [(429, {"retry-after": "0.05"}, b"slow down"), (503, {}, b"later")]
    told: list[str] = []

    listing = list_of(hub)
    page = listing.page(listing.first(Selection()), told.append)

    assert [one.name for one in page.models] == ["org/model"]
    assert "429; trying again" in told[0] and "503" in told[1]


def test_a_hub_that_asks_to_wait_for_too_long_is_told(hub: FakeHubList) -> None:
    hub.faults = [(429, {"retry-after": "3600"}, b"slow down")]

    listing = list_of(hub)
    with pytest.raises(
        ModelError, match=r"429, and asks to wait 3600 s\. What was read is kept, and the next run"
    ):
        listing.page(listing.first(Selection()))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((200, {}, b"<html>log in</html>"), "log-in page or a proxy"),
        ((200, {}, b'{"error": 1}'), "log-in page or a proxy"),
        ((200, {}, b"[" * 100_000), "log-in page or a proxy"),
        ((401, {}, b""), "check the token"),
        ((400, {}, b""), "begin anew"),
        ((404, {}, b""), "answered 404"),
        ((302, {"location": "http://169.254.169.254/latest"}, b""), "169.254.169.254"),
    ],
)
def test_a_wrong_answer_ends_in_a_sentence(
    hub: FakeHubList, answer: tuple[int, dict[str, str], bytes], sentence: str
) -> None:
    hub.faults = [answer] * 3

    listing = list_of(hub)
    with pytest.raises(Exception, match=sentence) as raised:
        listing.page(listing.first(Selection()))
    assert type(raised.value).__module__ == "wattbus.errors"


def test_a_connection_that_is_cut_is_tried_again(hub: FakeHubList) -> None:
    hub.add("org/model", 1)
    hub.faults = [(200, {"content-length": "5000"}, b"[{")]

    listing = list_of(hub)
    page = listing.page(listing.first(Selection()))

    assert [one.name for one in page.models] == ["org/model"]
    assert len(hub.asked) == 2


def test_a_hub_that_is_not_there_is_told() -> None:
    with fake_hub_list() as hub:
        listing = list_of(hub)
    with pytest.raises(ModelNotCached, match="cannot be reached"):
        listing.page(listing.first(Selection()))


def test_nothing_is_asked_offline(hub: FakeHubList) -> None:
    listing = list_of(hub, offline=True)
    with pytest.raises(ModelNotCached, match="offline is set"):
        listing.page(listing.first(Selection()))
    assert hub.asked == []


def test_a_list_that_goes_on_elsewhere_is_not_followed(hub: FakeHubList) -> None:
    for number in range(3):
        hub.add(f"org/model-{number}", 1)
    hub.next_host = "http://192.168.0.1"

    listing = list_of(hub, token="secret")
    page = listing.page(listing.first(Selection(), 2))
    with pytest.raises(ModelError, match="another host"):
        listing.page(page.next)


def test_the_token_goes_to_the_hub(hub: FakeHubList) -> None:
    hub.add("org/model", 1)

    listing = list_of(hub, token="secret")
    listing.page(listing.first(Selection()))

    assert hub.headers[0]["authorization"] == "Bearer secret"
    assert hub.headers[0]["user-agent"] == "wattbus"


def test_the_examples_of_the_docstrings_hold() -> None:
    failed, tried = doctest.testmod(hub_figures)

    assert tried > 0 and failed == 0
