"""The seed's sections 4, 5.2 and 6, clicked through: settings, start, test, trace, train, override, use."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from doors import OpenDoor, open_door
from playwright.sync_api import Page, expect

import fakehub
import tinymodels
from browsing import Visitor
from seed_production import REPOSITORIES, seed_production
from wattbus.home import Home
from wattbus.ml.tables import TrainingTables

LONG_MS = 120_000
HF = {
    "api_url": "https://api-inference.huggingface.co/models/gpt2",
    "payload": "Can you please let us know more details about your ",
    "api_key": "----------------------",
}
GPT2 = {"text_inputs": "George Washington lived", "max_length": 30, "num_return_sequences": 3}
TRAIN = {
    "columns": "ReviewLabel,ReviewText",
    "table": "iris.Review",
    "limit": 20,
    "p_of_train": 0.8,
    "output_dir": "/irisdev/app/src/model/checkpoints",
    "evaluation_strategy": "steps",
    "learning_rate": 0.01,
    "num_train_epochs": 1,
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fakehub.FakeHub]:
    with fakehub.FakeHub() as hub:
        for repository, task in REPOSITORIES.items():
            hub.add(repository, tinymodels.build(task, tmp_path_factory.mktemp("model")))
        hub.serve_inference("gpt2", _generated)
        yield hub


@pytest.fixture(scope="module")
def door(hub: fakehub.FakeHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    """The seed's production, not started: the text begins with its green Start button."""
    home = Home(tmp_path_factory.mktemp("seed")).create()
    tinymodels.build("text-generation", home.models / "yourmodelname")
    reviews = home.root / "reviews.csv"
    grades = "".join(f"{number % 5 + 1},text {number} of grade {number % 5 + 1}\n" for number in range(40))
    reviews.write_text("ReviewLabel,ReviewText\n" + grades)
    TrainingTables(f"sqlite:///{home.tables_file}").load_csv("iris.Review", reviews)
    production = seed_production(f"{hub.endpoint}/hf-inference/models/", hub.address)
    config = {"allow_hosts": frozenset({hub.address}), "hub_url": hub.endpoint}
    with open_door(home.root, production, start=False, **config) as opened:
        yield opened


@pytest.fixture
def page(visit: Callable[..., Visitor], door: OpenDoor) -> Iterator[Page]:
    visitor = visit(door)
    yield visitor.sign_in()
    assert visitor.complaints == []


def test_2_the_production_is_started_with_the_green_button(page: Page) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Production").click()

    page.get_by_role("group", name="The production").get_by_role("button", name="Start", exact=True).click()

    expect(page.get_by_role("status")).to_be_visible()
    expect(page.get_by_role("main").get_by_text("Running").first).to_be_visible(timeout=LONG_MS)
    _wait_until_running(page, "Python.HFOperation")


def test_4_an_operation_is_tested_and_its_visual_trace_is_looked_at(page: Page) -> None:
    _send(page, "Python.HFOperation", "msg.HFRequest", HF)

    answer = page.get_by_role("region", name="Answer", exact=True)
    expect(answer).to_contain_text("about your order", timeout=LONG_MS)

    answer.get_by_role("link", name="Visual trace").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("ession")
    expect(page.locator("svg").filter(has_text="HFRequest").first).to_be_visible()
    expect(page.locator("svg").filter(has_text="HFResponse").first).to_be_visible()


def test_5_2_the_settings_of_an_operation_are_changed_and_it_is_used(page: Page) -> None:
    page.goto(f"{_base(page)}/items/Python.GPT2")
    text = page.get_by_label("%settings")
    expect(text).to_have_value(
        re.compile("model_url=https://huggingface.co/gpt2\nname=gpt2\ntask=text-generation")
    )
    text.fill("model_url=https://huggingface.co/gpt2\nname=gpt2\ntask=text-generation\nreturn_full_text=true")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("status").first).to_be_visible()
    _wait_until_running(page, "Python.GPT2")

    _send(page, "Python.GPT2", "msg.MLRequest", GPT2)

    answer = page.get_by_role("region", name="Answer", exact=True)
    expect(answer.get_by_text("George Washington lived").first).to_be_visible(timeout=LONG_MS)
    expect(answer).to_contain_text("text-generation")


def test_6_train_compare_override_and_use_the_new_model(page: Page) -> None:
    _wait_until_running(page, "Python.TuningOperation")
    _send(page, "Python.TuningOperation", "msg.OverrideRequest", {})
    expect(page.get_by_role("alert").first).to_contain_text("stag")

    _send(page, "Python.TuningOperation", "msg.TrainRequest", TRAIN, "Send in the background")
    page.goto(f"{_base(page)}/trainings")
    page.locator("main table a[data-row]").first.click()
    expect(page.get_by_role("main")).to_contain_text("Completed", timeout=LONG_MS)
    for metric in ("accuracy", "precision", "recall", "f1"):
        expect(page.get_by_role("main")).to_contain_text(metric)

    _send(page, "Python.TuningOperation", "msg.OverrideRequest", {})
    expect(page.get_by_role("region", name="Answer", exact=True)).to_contain_text(
        "Completed", timeout=LONG_MS
    )

    _send(page, "Python.MLOperation", "msg.MLRequest", {"inputs": "This was a really bad experience"})
    answer = page.get_by_role("region", name="Answer", exact=True)
    expect(answer).to_contain_text("v0002", timeout=LONG_MS)


def test_6_the_new_model_is_rolled_back_with_one_button(page: Page) -> None:
    page.goto(f"{_base(page)}/models/bert-base-cased")
    page.get_by_text("Roll back").first.click()
    page.locator("details.ask[open]").get_by_role("button", name="Roll back").click()

    expect(page.get_by_role("status").first).to_be_visible()
    _send(page, "Python.MLOperation", "msg.MLRequest", {"inputs": "This was a really bad experience"})
    expect(page.get_by_role("region", name="Answer", exact=True)).to_contain_text("v0001", timeout=LONG_MS)


def _send(page: Page, item: str, type_name: str, body: object, button: str = "Send and wait") -> None:
    """Test an item as the seed tells: choose it, name the class, type the JSON, press the button."""
    page.goto(f"{_base(page)}/test?item={item}")
    page.get_by_label("Message type", exact=True).fill(type_name)
    page.get_by_role("button", name="Show its form").click()
    as_json = page.get_by_role("link", name="as JSON", exact=True)
    if as_json.count():
        as_json.click()
    page.get_by_label("Body, as JSON").fill(json.dumps(body, indent=4))
    page.get_by_label("Wait, seconds").fill("100")
    page.get_by_role("button", name=button).click(timeout=LONG_MS)


def _wait_until_running(page: Page, item: str) -> None:
    page.goto(f"{_base(page)}/items/{item}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Running", timeout=LONG_MS)


def _base(page: Page) -> str:
    return page.url.split("/", 3)[0] + "//" + page.url.split("/", 3)[2]


def _generated(request: fakehub.HubRequest) -> tuple[int, dict[str, str], bytes]:
    text = json.loads(request.body)["inputs"] + "order"
    return 200, {"Content-Type": "application/json"}, json.dumps([{"generated_text": text}]).encode()
