"""People at the portal: with keys only, in the dark, on a phone, without script, and where a text is hostile."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from doors import OpenDoor, open_door
from playwright.sync_api import expect

from browsing import PHONE, Visitor
from components import Text, echo_production

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
PAGES = (
    "/", "/production", "/items/Echo", "/test?item=Echo&type=Text", "/messages", "/messages/1", "/trace", "/trace/1",
    "/log",
    "/queues", "/queues/Echo", "/jobs", "/attempts", "/alerts", "/purge", "/doctor", "/models", "/trainings", "/tables",
    "/energy", "/energy/boamps", "/energy/models", "/energy/roi", "/energy/roi/new", "/energy/runs",
    "/energy/savings", "/access", "/docs",
)  # fmt: skip


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    """A production that has worked: a process with its children, an error, and texts that somebody meant badly."""
    with open_door(tmp_path_factory.mktemp("people"), echo_production()) as opened:
        running = opened.director.current()
        assert running.wait_ready(30)
        running.request("Relay", Text("first"))
        running.request("Echo", Text(HOSTILE))
        failed = running.submit("Echo", Text("boom"))
        running.bus.log("Error", HOSTILE, "Echo", failed)
        running.request("Echo", Text("last"))
        yield opened


def test_a_first_visitor_signs_in_and_sees_a_production_that_is_well(
    visit: Callable[..., Visitor], door: OpenDoor
) -> None:
    visitor = visit(door)
    visitor.go("/messages?filter=item%3DEcho")
    expect(visitor.page.get_by_label("Token")).to_be_focused()

    visitor.page.get_by_label("Token").fill("wbt_wrong")
    visitor.page.get_by_role("button", name="Sign in").click()
    expect(visitor.page.get_by_role("alert")).to_contain_text("no token of this door")
    visitor.page.get_by_label("Token").fill(door.token)
    visitor.page.get_by_role("button", name="Sign in").click()

    expect(visitor.page).to_have_url(f"{door.url}/messages?filter=item%3DEcho")
    expect(visitor.page.get_by_role("banner")).to_contain_text("Test.Production")
    expect(visitor.page.get_by_role("banner")).to_contain_text("Running")


def test_a_wrong_request_is_answered_with_the_nearest_right_name_and_keeps_what_was_typed(
    visit: Callable[..., Visitor], door: OpenDoor
) -> None:
    page = visit(door).sign_in()
    page.goto(f"{door.url}/test?item=Echo&type=Text&as_json=true")
    page.get_by_label("Body, as JSON").fill('{"txt": "typed"}')

    page.get_by_role("button", name="Send and wait").click()

    expect(page.get_by_role("alert")).to_contain_text("did you mean 'text'")
    expect(page.get_by_label("Body, as JSON")).to_have_value('{"txt": "typed"}')


def test_a_failed_message_is_edited_and_sent_again(visit: Callable[..., Visitor], door: OpenDoor) -> None:
    page = visit(door).sign_in()
    page.goto(f"{door.url}/messages?filter=status%3DError")
    page.locator("main [data-rows] a[data-row]").first.click()
    expect(page.get_by_role("main")).to_contain_text("the text is boom")

    page.get_by_role("link", name="Edit and resend").click()
    page.get_by_label("Body, JSON").fill('{"text": "mended", "times": 1}')
    page.get_by_role("button", name="Send", exact=True).click()

    expect(page.get_by_role("status").first).to_be_visible()
    page.goto(f"{door.url}/messages?filter=item%3DEcho%20%22body%20contains%20mended%22")
    expect(page.get_by_role("main")).to_contain_text("Completed")


def test_the_whole_way_is_gone_with_keys_alone(visit: Callable[..., Visitor], door: OpenDoor) -> None:
    page = visit(door).sign_in()
    keys = page.keyboard

    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    keys.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    keys.press("/")
    keys.type("item=Echo")
    keys.press("Enter")
    expect(page).to_have_url(f"{door.url}/messages?filter=item%3DEcho")
    page.wait_for_load_state()  # before that no script listens to a key
    keys.press("j")
    keys.press("j")
    keys.press("k")
    expect(page.locator("main [data-rows] a[data-row]").first).to_be_focused()
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1, name=re.compile(r"^Message \d+"))).to_be_visible()
    page.wait_for_load_state()
    keys.press("g")
    keys.press("v")
    expect(page).to_have_url(f"{door.url}/trace")


def test_dark_is_dark_and_the_choice_is_kept(visit: Callable[..., Visitor], door: OpenDoor) -> None:
    page = visit(door, scheme="dark").sign_in()
    dark = page.evaluate("getComputedStyle(document.body).color")
    page.get_by_role("button", name="Light or dark").click()
    light = page.evaluate("getComputedStyle(document.body).color")
    page.goto(f"{door.url}/log")

    kept = page.evaluate("getComputedStyle(document.body).color")

    assert dark != light == kept


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_a_serious_finding_of_axe(
    visit: Callable[..., Visitor], door: OpenDoor, path: str
) -> None:
    for scheme in ("light", "dark"):
        visitor = visit(door, scheme=scheme)
        visitor.sign_in().goto(f"{door.url}{path}")

        found = Axe().run(visitor.page).response["violations"]

        serious = [
            (one["id"], node["html"][:200])
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]
        assert serious == []
        assert visitor.complaints == []


@pytest.mark.parametrize("path", PAGES)
def test_every_page_fits_a_phone_and_a_window_at_200_percent(
    visit: Callable[..., Visitor], door: OpenDoor, path: str
) -> None:
    for size in (PHONE, (640, 450)):
        visitor = visit(door, size=size)
        visitor.sign_in().goto(f"{door.url}{path}")

        assert visitor.width_of_page() <= size[0]


@pytest.mark.parametrize("path", PAGES)
def test_stored_text_stays_text_and_no_page_asks_another_host(
    visit: Callable[..., Visitor], door: OpenDoor, path: str
) -> None:
    visitor = visit(door)
    visitor.sign_in().goto(f"{door.url}{path}")
    visitor.page.wait_for_load_state("networkidle" if path == "/docs" else "load")

    assert visitor.dialogs == []
    assert visitor.page.locator("main img[onerror], main script:not([src])").count() == 0
    assert all(url.startswith((door.url, "data:")) for url in visitor.requests)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_whole_without_script(visit: Callable[..., Visitor], door: OpenDoor, path: str) -> None:
    visitor = visit(door, script=False)
    page = visitor.sign_in()

    answer = page.goto(f"{door.url}{path}")

    assert answer is not None and answer.status == 200
    expect(page.get_by_role("heading", level=1)).to_be_visible()
